//! The questions, and what answers look like.
//!
//! Every answer says where it stands ([`AsOf`]) and which blind stretches it touches.
//! Not here: HTTP, text for people beyond one reason, and whether somebody may ask.

mod changes;
mod coverage;
mod diff;
mod endpoints;
mod gaps;
mod held;
mod ip;
mod ip_types;
pub(crate) mod lease;
mod list;
mod lookup;
mod names;
mod place;
mod read;
pub mod selector;
mod shown;
pub(crate) mod span;
mod subject;
mod types;

pub use ip_types::{
    Backend, Backends, Candidate, Conditions, Holder, IpAnswer, LeaseEnd, NamedPort, Owner, Place,
    PlaceKind, Port, Selection, Verdict, Via,
};
pub use lookup::Lookup;
pub use selector::{FieldSelector, LabelSelector};
pub use types::{
    AsOf, Change, ChangeBody, Changes, Cluster, Coverage, Cursor, Diff, Difference, GapSeen,
    History, Life, Listing, Object, ObjectRef, Problem, ResourceType, TypeCoverage, Verb, Version,
};

use crate::Point;

/// Most problems that a coverage answer shows.
pub const PROBLEMS_SHOWN: usize = 100;

/// Most pods without a known address that an answer about an address shows.
pub const UNADDRESSED_SHOWN: usize = 20;

/// Most endpoints of a service that an answer about an address shows.
pub const BACKENDS_SHOWN: usize = 100;

/// Which objects a question is about. Empty fields mean all.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// Id or name of the cluster. May be left out if there is only one (otherwise all for
    /// [`crate::State::changes`], an error elsewhere).
    pub cluster: Option<String>,
    /// The resource type as people write it: `po`, `deployments.apps`, `Deployment`. `None` means
    /// all types.
    pub resource: Option<String>,
    /// The namespace; objects that have none never match one.
    pub namespace: Option<String>,
    /// The name.
    pub name: Option<String>,
    /// Label selector.
    pub labels: LabelSelector,
    /// Field selector.
    pub fields: FieldSelector,
}

/// A question about objects at a point.
#[derive(Debug, Clone)]
pub struct ListQuery {
    /// Which objects.
    pub filter: Filter,
    /// At which point.
    pub at: Point,
    /// Pass over records after this one, to repeat an earlier answer exactly.
    pub known_at: Option<u64>,
    /// Leave out the objects' JSON (a selector by labels has to read it all the same).
    pub without_bodies: bool,
}

impl ListQuery {
    /// All objects of a type at a point.
    pub fn new(filter: Filter, at: Point) -> Self {
        Self { filter, at, known_at: None, without_bodies: false }
    }
}

/// A question about an address.
#[derive(Debug, Clone, Default)]
pub struct IpQuery {
    /// Only this cluster, by id or name.
    pub cluster: Option<String>,
    /// How far the clock of whoever saw the traffic may be off, in milliseconds.
    pub tolerance_ms: u64,
    /// Pass over records after this one, to repeat an earlier answer exactly.
    pub known_at: Option<u64>,
    /// The port of the address that the traffic was for. It tells apart what shares a node's
    /// address, and leads through a service to its endpoints.
    pub port: Option<Port>,
    /// Leave out which services pods stood in and where services led: that is read from endpoint
    /// slices, and costs more than all the rest.
    pub without_services: bool,
}
