//! The questions, and what answers look like.
//!
//! Every answer says where it stands ([`AsOf`]) and which blind stretches it touches.
//! Not here: HTTP, text for people beyond one reason, and whether somebody may ask.

mod changes;
mod coverage;
mod diff;
mod documents;
mod endpoints;
mod fields;
mod follow;
mod gaps;
mod held;
mod history;
mod ip;
mod ip_types;
pub(crate) mod lease;
mod list;
mod lookup;
mod matcher;
pub(crate) mod memo;
mod names;
mod place;
mod reached;
mod read;
mod relation;
pub mod selector;
pub(crate) mod shown;
mod snapshot;
pub(crate) mod span;
mod subject;
mod types;

pub use documents::DocumentSeen;
pub use follow::{Begin, Follow, Followed, Held, Step, StepBody, Trail};
pub use history::{HISTORY_OBJECTS_MAX, HistoryQuery};
pub use ip_types::{
    Backend, Backends, Candidate, Conditions, Holder, IpAnswer, LeaseEnd, NamedPort, Owner, Place,
    PlaceKind, Port, Selection, Verdict, Via,
};
pub use lookup::Lookup;
pub use matcher::Matcher;
pub use relation::{ChangeFilter, Ip, OwnerFilter};
pub use selector::{FieldSelector, LabelSelector};
pub use snapshot::{ListPlace, Seen, Slot, Snapshot, SnapshotQuery};
pub use types::{
    AsOf, Change, ChangeBody, Changes, Cluster, Coverage, Cursor, Diff, Difference, GapSeen,
    History, Life, Listing, Object, ObjectRef, Problem, RequestBasis, RequestRef, ResourceType,
    TypeCoverage, Verb, Version,
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

impl Filter {
    /// Whether it takes an object's JSON to tell if the filter lets it through.
    pub(crate) fn looks_inside(&self) -> bool {
        !self.labels.is_empty() || self.fields.looks_inside()
    }

    /// Whether an object's JSON fulfils what the filter says about its content.
    pub(crate) fn matches_inside(&self, body: &str) -> bool {
        (self.labels.is_empty() || self.labels.matches(&read::View::labels(body)))
            && (!self.fields.looks_inside() || self.fields.matches_inside(body))
    }
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
