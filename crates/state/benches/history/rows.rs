//! What a view in a database of rows keeps, and how it is read from frames: written once for all
//! peers, so that they differ in their engines alone.
//!
//! Not here: gaps, relists, clocks other than the recorder's, what objects say of each other,
//! addresses of anything but pods. The peers answer fewer questions than the state view does.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use stele_record::Kind as RecordKind;
use stele_record::frame::FrameContext;
use stele_state::FoldRecord;

use crate::Fault;

/// An end that has not come.
pub(crate) const OPEN: i64 = i64::MAX;

/// How a version was seen; the numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    Listed = 0,
    Added = 1,
    Modified = 2,
    Deleted = 3,
    /// Its name was seen with another object.
    Replaced = 4,
}

/// A resource type of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) cluster: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) resource: String,
    pub(crate) kind: String,
}

/// What at most one object has at a time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) kind: i32,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// A life of a name.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) id: i64,
    pub(crate) name: Name,
    pub(crate) uid: String,
}

/// What is known of a version beside its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version {
    /// Number of the change, in the order of the log.
    pub(crate) change: i64,
    pub(crate) object: i64,
    pub(crate) verb: i16,
    pub(crate) rv: i64,
    pub(crate) record: i64,
    pub(crate) since: i64,
}

/// A change, as it stands in the log.
#[derive(Debug)]
pub(crate) struct Change<'a> {
    pub(crate) version: Version,
    pub(crate) body: Option<&'a str>,
}

/// The version that stands now.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    pub(crate) uid: String,
    pub(crate) version: Version,
    /// Of a pod: what the end of its leases depends on, as JSON.
    pub(crate) pod: Option<String>,
}

/// A version that stood for a while.
#[derive(Debug)]
pub(crate) struct Past {
    pub(crate) kind: i32,
    pub(crate) namespace: String,
    /// Its length in powers of two: see [`class`].
    pub(crate) class: i16,
    pub(crate) until: i64,
    pub(crate) version: Version,
}

/// From when to when a pod may have had an address.
#[derive(Debug, Clone)]
pub(crate) struct Lease {
    pub(crate) address: String,
    pub(crate) object: i64,
    pub(crate) since: i64,
    pub(crate) until: i64,
    /// The pod was removed then, and nobody saw the end of the lease.
    pub(crate) removed: Option<i64>,
}

/// Smallest c with until − since < 2^c. Of the versions of class c, those that stood at T began
/// within (T − 2^c, T]: no index over intervals is needed to find them.
pub(crate) fn class(since: i64, until: i64) -> i16 {
    let length = until.saturating_sub(since).max(0).cast_unsigned();
    i16::try_from(u64::BITS - length.leading_zeros()).unwrap_or(0)
}

/// An object in a frame.
pub(crate) struct Seen<'a> {
    pub(crate) name: Name,
    pub(crate) uid: Cow<'a, str>,
    pub(crate) rv: i64,
    pub(crate) verb: Verb,
    pub(crate) record: i64,
    pub(crate) time: i64,
    pub(crate) body: &'a str,
    pub(crate) pod: Option<PodSeen>,
}

/// What a version of a pod says about its addresses.
pub(crate) struct PodSeen {
    pub(crate) addresses: Vec<String>,
    pub(crate) created: Option<i64>,
    /// When it was to have ended, if it was given time for it.
    pub(crate) due: Option<i64>,
    pub(crate) on_node: bool,
    pub(crate) finished: bool,
    pub(crate) running: bool,
}

/// The resource types met so far.
#[derive(Default)]
pub(crate) struct Kinds {
    known: HashMap<Kind, i32>,
    /// By the first line of a watch frame, which is the same for all of a type, and whether they
    /// are pods.
    lines: HashMap<Box<[u8]>, (i32, bool)>,
    /// Not stored yet.
    pub(crate) new: Vec<(i32, Kind)>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    verb: Cow<'a, str>,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: Meta<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: Cow<'a, str>,
    #[serde(borrow, default)]
    uid: Cow<'a, str>,
    #[serde(borrow)]
    resource_version: Cow<'a, str>,
}

impl Kinds {
    /// The objects in a record, in their order; none in one that is no frame.
    pub(crate) fn read<'a>(
        &mut self,
        record: &FoldRecord<'a>,
        seen: &mut Vec<Seen<'a>>,
    ) -> Result<(), Fault> {
        let list = record.header.kind == RecordKind::KUBE_LIST;
        if !list && record.header.kind != RecordKind::KUBE_WATCH {
            return Ok(());
        }
        if list { self.page(record, seen) } else { self.line(record, seen) }
    }

    fn page<'a>(&mut self, record: &FoldRecord<'a>, seen: &mut Vec<Seen<'a>>) -> Result<(), Fault> {
        let (context, raw) = FrameContext::split(record.payload)?;
        let (pods, place) = (is_pods(&context), context.list);
        let known = self.known.len();
        let kind = self.id(context)?;
        // What a second list lacks has vanished; no record here says so.
        if known == self.known.len() && place.is_none_or(|place| place.page == 0) {
            return Err("a type is listed anew, which the peers do not fold".into());
        }
        let page: Page<'a> = serde_json::from_slice(raw)?;
        for item in page.items.into_iter().flatten() {
            seen.push(Seen::of(kind, pods, record, item, Verb::Listed)?);
        }
        Ok(())
    }

    fn line<'a>(&mut self, record: &FoldRecord<'a>, seen: &mut Vec<Seen<'a>>) -> Result<(), Fault> {
        let end = record.payload.iter().position(|byte| *byte == b'\n').unwrap_or_default();
        let context = &record.payload[..end];
        let (kind, pods) = match self.lines.get(context) {
            Some(known) => *known,
            None => {
                let (read, _) = FrameContext::split(record.payload)?;
                let (pods, kind) = (is_pods(&read), self.id(read)?);
                self.lines.insert(context.into(), (kind, pods));
                (kind, pods)
            }
        };
        let line: Line<'a> = serde_json::from_slice(&record.payload[end..])?;
        let verb = match line.verb.as_ref() {
            "ADDED" => Verb::Added,
            "MODIFIED" => Verb::Modified,
            "DELETED" => Verb::Deleted,
            other => return Err(format!("the peers do not fold {other:?}").into()),
        };
        seen.push(Seen::of(kind, pods, record, line.object, verb)?);
        Ok(())
    }

    fn id(&mut self, context: FrameContext) -> Result<i32, Fault> {
        let kind = Kind {
            cluster: context.cluster,
            group: context.group,
            version: context.version,
            resource: context.resource,
            kind: context.kind,
        };
        if let Some(id) = self.known.get(&kind) {
            return Ok(*id);
        }
        let id = i32::try_from(self.known.len() + 1)?;
        self.known.insert(kind.clone(), id);
        self.new.push((id, kind));
        Ok(id)
    }
}

fn is_pods(context: &FrameContext) -> bool {
    context.group.is_empty() && context.resource == "pods"
}

impl<'a> Seen<'a> {
    fn of(
        kind: i32,
        pods: bool,
        record: &FoldRecord<'a>,
        object: &'a RawValue,
        verb: Verb,
    ) -> Result<Self, Fault> {
        let body = object.get();
        let meta = serde_json::from_str::<Head<'a>>(body)?.metadata;
        let name =
            Name { kind, namespace: meta.namespace.into_owned(), name: meta.name.into_owned() };
        Ok(Self {
            name,
            uid: meta.uid,
            rv: meta.resource_version.parse()?,
            verb,
            record: i64::try_from(record.index)?,
            time: record.header.observed_time.unix_ns(),
            body,
            pod: pods.then(|| PodSeen::read(body)).transpose()?,
        })
    }
}

#[derive(Deserialize)]
struct Pod<'a> {
    #[serde(borrow)]
    metadata: PodMeta<'a>,
    #[serde(borrow, default)]
    spec: PodSpec<'a>,
    #[serde(borrow, default)]
    status: PodStatus<'a>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PodMeta<'a> {
    #[serde(borrow, default)]
    creation_timestamp: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    deletion_timestamp: Option<Cow<'a, str>>,
    #[serde(default)]
    deletion_grace_period_seconds: Option<i64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodSpec<'a> {
    #[serde(borrow, default)]
    node_name: Cow<'a, str>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase")]
struct PodStatus<'a> {
    #[serde(borrow, default)]
    phase: Cow<'a, str>,
    #[serde(borrow, default, rename = "podIP")]
    pod_ip: Cow<'a, str>,
    #[serde(borrow, default, rename = "podIPs")]
    pod_ips: Option<Vec<Ip<'a>>>,
    #[serde(default)]
    container_statuses: Option<Vec<ContainerStatus>>,
}

#[derive(Deserialize)]
struct Ip<'a> {
    #[serde(borrow, default)]
    ip: Cow<'a, str>,
}

#[derive(Deserialize)]
struct ContainerStatus {
    #[serde(default)]
    state: ContainerState,
}

#[derive(Deserialize, Default)]
struct ContainerState {
    #[serde(default)]
    running: Option<serde::de::IgnoredAny>,
}

impl PodSeen {
    fn read(body: &str) -> Result<Self, Fault> {
        let pod: Pod<'_> = serde_json::from_str(body)?;
        let status = pod.status;
        let several = status.pod_ips.iter().flatten().map(|entry| entry.ip.as_ref());
        let mut addresses: Vec<String> = several
            .chain([status.pod_ip.as_ref()])
            .filter_map(|text| Some(text.parse::<std::net::IpAddr>().ok()?.to_string()))
            .collect();
        addresses.dedup();
        let meta = pod.metadata;
        let given = meta.deletion_grace_period_seconds.is_some_and(|seconds| seconds > 0);
        let time =
            |text: &Option<Cow<'_, str>>| Some(stele_state::Time::parse(text.as_ref()?).ok()?.0);
        Ok(Self {
            addresses,
            created: time(&meta.creation_timestamp),
            due: time(&meta.deletion_timestamp).filter(|_| given),
            on_node: !pod.spec.node_name.is_empty(),
            finished: matches!(status.phase.as_ref(), "Succeeded" | "Failed"),
            running: status
                .container_statuses
                .iter()
                .flatten()
                .any(|container| container.state.running.is_some()),
        })
    }
}
