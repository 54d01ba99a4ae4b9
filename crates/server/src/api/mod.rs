//! The JSON of the API: what requests and answers hold. The command line reads the same types.
//!
//! Not here: how an answer is found. Names are in camel case as in Kubernetes; every whole answer
//! has `apiVersion` and `kind`. Fields may be added within `stele/v1`, never removed or changed;
//! readers pass over those that they do not know.

mod address;
mod cloud_event;
mod events;
mod log;
mod request;
mod state;
mod time;

pub use address::*;
pub use cloud_event::RecordEvent;
pub use events::{AppendAck, AppendedEvent};
pub use log::{
    ConsistencyProof, DeliveryAck, LogInfo, RunOfIndices, StoredObjects, WitnessState, Witnessing,
};
pub use request::{ChangedPath, RequestBasis, RequestSeen};
pub use state::*;
pub use time::{Instant, format_time};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The version of this API.
pub const API_VERSION: &str = "stele/v1";

/// Where in the log an answer stands: enough to ask the same question again and get the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LedgerPosition {
    /// Name of the log.
    pub origin: String,
    /// Newest record taken into account; absent if there was none. The same question at
    /// `#INDEX`, or with this as `known_at`, has the same answer for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Size of the newest checkpoint; it covers the answer.
    pub checkpoint: u64,
    /// Root hash of that checkpoint, base64.
    pub root: String,
}

/// Which time a question was answered for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct TimeUsed {
    /// `observed`: the clocks of the sources that saw it; `event`: an imported recording takes
    /// part in the answer, with the receive times that its origin claims.
    pub basis: String,
    /// The resourceVersion asked for, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// The instant, if the question is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Instant>,
    /// Begin of the stretch, if the question is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Instant>,
    /// End of the stretch, if the question is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
}

/// A list of things, with all that is needed to judge it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Answer<T> {
    /// [`API_VERSION`].
    pub api_version: String,
    /// What the items are.
    pub kind: String,
    /// Where in the log the answer stands.
    pub ledger: LedgerPosition,
    /// Which time it is for; absent where time does not matter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<TimeUsed>,
    /// Stretches in which the recorder was blind and that this answer touches.
    pub gaps: Vec<GapSeen>,
    /// The items.
    pub items: Vec<T>,
}
