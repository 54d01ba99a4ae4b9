//! What there is to see in the demo's data: times, an address that two pods had, a Deployment
//! that changed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use stele_server::api::{
    Answer, ChangeKind, ClusterItem, DiffItem, Instant, IpAnswer, ObjectItem, Verdict,
};

use crate::client::{Client, Query};
use crate::error::CliError;
use crate::when::{duration, rfc3339};

/// Moments that are looked at.
const MOMENTS: i64 = 12;

/// What was found.
#[derive(Debug)]
pub(super) struct Sample {
    begin: i64,
    end: i64,
    /// An address, with two moments at which different pods had it.
    address: Option<Address>,
    /// A stretch of [`STRETCH_NS`] in which a Deployment changed.
    change: Option<Change>,
}

#[derive(Debug)]
struct Change {
    since: i64,
    namespace: String,
    deployment: String,
}

/// Length of the stretch in which changes are shown.
const STRETCH_NS: i64 = 10_000_000_000;

#[derive(Debug)]
struct Address {
    ip: String,
    first: i64,
    second: i64,
}

/// Looks for it.
pub(super) async fn find(client: &Client) -> Result<Sample, CliError> {
    let clusters: Answer<ClusterItem> = client.json("v1/clusters", &Query::new()).await?;
    let stretch = clusters.items.first().and_then(|c| Some((c.first_seen?.0, c.last_seen?.0)));
    let (begin, end) = stretch.ok_or_else(|| CliError::failed("the recording holds no cluster"))?;
    let mut holders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for step in 1..MOMENTS {
        let at = whole_second(begin + (end - begin) / MOMENTS * step);
        for (ip, uid) in addresses(client, at).await? {
            holders.entry(ip).or_default().insert(uid);
        }
    }
    let mut address = None;
    for (ip, _) in holders.iter().filter(|(_, pods)| pods.len() > 1) {
        address = certain(client, ip, begin, end).await?;
        if address.is_some() {
            break;
        }
    }
    let mut change = None;
    let mut since = whole_second(begin + (end - begin) / 2);
    while change.is_none() && since + STRETCH_NS < end {
        change = changed_deployment(client, since).await?;
        since += STRETCH_NS / 2;
    }
    Ok(Sample { begin, end, address, change })
}

fn whole_second(ns: i64) -> i64 {
    ns / 1_000_000_000 * 1_000_000_000
}

/// Address and uid of each pod that has one of its own and still runs.
async fn addresses(client: &Client, at: i64) -> Result<Vec<(String, String)>, CliError> {
    let query: Query = vec![
        ("type", String::from("pods")),
        ("all", String::from("true")),
        ("at", Instant(at).to_string()),
    ];
    let answer: Answer<ObjectItem> = client.json("v1/objects", &query).await?;
    let read = |item: &ObjectItem| {
        let pod: Value = serde_json::from_str(item.object.get()).ok()?;
        let own = pod["spec"]["hostNetwork"] != true && pod["status"]["phase"] == "Running";
        let ip = pod["status"]["podIP"].as_str().filter(|_| own)?;
        Some((ip.to_owned(), item.of.uid.clone()))
    };
    Ok(answer.items.iter().filter_map(read).collect())
}

/// Two moments at which it is certain that different pods had the address.
async fn certain(
    client: &Client,
    ip: &str,
    begin: i64,
    end: i64,
) -> Result<Option<Address>, CliError> {
    let path = format!("v1/ip/{ip}");
    let stretch: Query =
        vec![("since", Instant(begin).to_string()), ("until", Instant(end).to_string())];
    let mut leases = client.json::<IpAnswer>(&path, &stretch).await?.items;
    leases.sort_by_key(|lease| lease.reported_from);
    let mut first: Option<(String, i64)> = None;
    for lease in leases {
        let (from, to) = (lease.reported_from.0, lease.reported_to.0);
        let at = whole_second(from + (to - from) / 2);
        let moment: Query = vec![("at", Instant(at).to_string())];
        let answer: IpAnswer = client.json(&path, &moment).await?;
        if answer.verdict != Verdict::Certain || answer.items[0].of.uid != lease.of.uid {
            continue;
        }
        match first {
            Some((uid, first)) if uid != lease.of.uid => {
                return Ok(Some(Address { ip: ip.to_owned(), first, second: at }));
            }
            _ => first = Some((lease.of.uid, at)),
        }
    }
    Ok(None)
}

/// A Deployment that another version was seen of in the stretch that begins at `since`.
async fn changed_deployment(client: &Client, since: i64) -> Result<Option<Change>, CliError> {
    let query: Query = vec![
        ("type", String::from("deployments")),
        ("all", String::from("true")),
        ("since", Instant(since).to_string()),
        ("until", Instant(since + STRETCH_NS).to_string()),
    ];
    let answer: Answer<DiffItem> = client.json("v1/diff", &query).await?;
    let found = answer.items.into_iter().find(|item| item.change == ChangeKind::Modified);
    Ok(found.map(|item| Change { since, namespace: item.of.namespace, deployment: item.of.name }))
}

impl Sample {
    /// From when to when the recording is.
    pub(super) fn stretch(&self) -> String {
        let seconds = (self.end - self.begin) / 1_000_000_000;
        format!("{} long, from {}", duration(seconds), rfc3339(self.begin))
    }

    /// The commands to try, with their explanations.
    pub(super) fn commands(&self) -> Vec<String> {
        let at = |ns: i64| rfc3339(ns).replace(".000Z", "Z");
        let middle = whole_second(self.begin + (self.end - self.begin) / 2);
        let later = middle + STRETCH_NS;
        let mut lines = Vec::new();
        let mut show = |title: &str, commands: &[String]| {
            lines.push(String::new());
            lines.push(title.to_owned());
            lines.extend(commands.iter().map(|command| format!("  {command}")));
        };
        show(
            "What did the cluster look like then?",
            &[
                format!("stele get pods -A --at {}", at(middle)),
                format!("stele get deploy,svc -A --at {} -o wide", at(later)),
            ],
        );
        if let Some(Address { ip, first, second }) = &self.address {
            show(
                "Two pods had this address, one after the other. Which one when?",
                &[
                    format!("stele ip {ip} --at {}", at(*first)),
                    format!("stele ip {ip} --at {}", at(*second)),
                    format!("stele ip {ip} --since {} --until {}", at(*first), at(*second)),
                ],
            );
        }
        let since = self.change.as_ref().map_or(middle, |change| change.since);
        let stretch = format!("--since {} --until {}", at(since), at(since + STRETCH_NS));
        let mut changes = vec![format!("stele diff deploy -A {stretch} -o name")];
        if let Some(Change { namespace, deployment, .. }) = &self.change {
            changes.push(format!("stele diff deploy/{deployment} -n {namespace} {stretch}"));
            changes.push(format!("stele history deploy/{deployment} -n {namespace}"));
        }
        show("What changed within ten seconds?", &changes);
        show(
            "And who says so? Evidence that needs no server, and the log against its own past:",
            &[
                format!("stele export {stretch} --out evidence.jsonl"),
                String::from("stele verify evidence.jsonl"),
                String::from("stele verify --log"),
            ],
        );
        lines
    }
}
