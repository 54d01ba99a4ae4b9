//! The three kinds of time. They are different types because they answer different questions and
//! must never be compared by accident. All count nanoseconds since the Unix epoch, UTC, without
//! leap seconds; an `i64` of them lasts until the year 2262.

macro_rules! time_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[derive(serde::Serialize, serde::Deserialize)]
        #[serde(transparent)]
        pub struct $name(i64);

        impl $name {
            /// A time from nanoseconds since the Unix epoch.
            pub const fn from_unix_ns(ns: i64) -> Self {
                Self(ns)
            }

            /// Nanoseconds since the Unix epoch.
            pub const fn unix_ns(self) -> i64 {
                self.0
            }
        }
    };
}

time_type! {
    /// When the origin says that it happened: a claim.
    EventTime
}
time_type! {
    /// When the source saw it, by the source's own clock.
    ObservedTime
}
time_type! {
    /// When the ledger took it in, by the ledger's clock; bounded by its checkpoints.
    LedgerTime
}
