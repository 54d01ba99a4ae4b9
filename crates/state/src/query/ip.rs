//! Who had an address: the answer is a set of candidates that holds the truth, and a verdict that
//! says how much it is worth.

use super::gaps;
use super::ip_types::{Candidate, Holder, IpAnswer, Verdict};
use super::lookup::Asked;
use super::types::{AsOf, GapSeen, ObjectRef};
use super::{IpQuery, UNADDRESSED_SHOWN};
use crate::tables::IpKey;
use crate::{Point, State, StateError, Time};

/// How long before its end is seen a pod's address may be free, where nothing is wrong.
const LAG_NS: i64 = 5_000_000_000;

/// What one cluster says.
pub(super) struct Part {
    pub(super) asked: Asked,
    pub(super) candidates: Vec<Candidate>,
    pub(super) unaddressed: Vec<ObjectRef>,
    pub(super) unaddressed_count: u64,
    pub(super) gaps: Vec<GapSeen>,
    /// The cluster was not recorded then, and nothing is known of the address.
    pub(super) beyond: bool,
}

impl State {
    /// Who had an address at a point.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if it is no address or the point is a resource version; otherwise
    /// as [`State::list`].
    pub fn ip(&self, addr: &str, at: &Point, query: &IpQuery) -> Result<IpAnswer, StateError> {
        self.address(addr, None, at, query)
    }

    /// Who had an address in a stretch of time: a flow record is one.
    ///
    /// # Errors
    /// As [`State::ip`].
    pub fn ip_range(
        &self,
        addr: &str,
        from: &Point,
        to: &Point,
        query: &IpQuery,
    ) -> Result<IpAnswer, StateError> {
        self.address(addr, Some(from), to, query)
    }

    fn address(
        &self,
        addr: &str,
        from: Option<&Point>,
        to: &Point,
        query: &IpQuery,
    ) -> Result<IpAnswer, StateError> {
        let known_at = match (to, query.known_at) {
            (Point::Index(index), Some(known)) => Some(known.min(*index)),
            (Point::Index(index), None) => Some(*index),
            (_, known_at) => known_at,
        };
        for index in [query.known_at, from.and_then(index_of)].into_iter().flatten() {
            let next = self.next_index();
            if index >= next {
                return Err(StateError::NotYet { index, next });
            }
        }
        let mut lookup = self.lookup(&IpQuery { known_at, ..query.clone() })?.once();
        lookup.ask(addr, query.port.clone(), from, to)
    }
}

fn index_of(point: &Point) -> Option<u64> {
    match point {
        Point::Index(index) => Some(*index),
        _ => None,
    }
}

/// Whether a cluster was not recorded then.
pub(super) fn is_beyond(gaps: &[GapSeen]) -> bool {
    let reasons = [gaps::NOT_YET, gaps::NEVER, gaps::NO_LATER, gaps::ENDED];
    gaps.iter().any(|gap| reasons.contains(&gap.reason.as_str()))
}

/// Where one cluster was recorded then, one that was not recorded at all is left out.
pub(super) fn retain_covered(parts: &mut Vec<Part>) {
    if parts.iter().any(|part| !part.beyond) {
        parts.retain(|part| !part.beyond);
    }
}

/// Puts together what the clusters say.
pub(super) fn answer(
    key: &IpKey,
    as_of: AsOf,
    from: Option<Time>,
    tolerance_ms: u64,
    parts: Vec<Part>,
) -> IpAnswer {
    let mut candidates = Vec::new();
    let mut unaddressed = Vec::new();
    let mut unaddressed_count = 0;
    let mut gaps = Vec::new();
    for part in parts {
        candidates.extend(part.candidates);
        unaddressed.extend(part.unaddressed);
        unaddressed_count += part.unaddressed_count;
        gaps.extend(part.gaps);
    }
    if from.is_none() {
        let share = 1.0 / (candidates.len().max(1) as f64);
        candidates.iter_mut().for_each(|candidate| candidate.share = share);
    }
    // Whoever declares the port comes first, then whoever was last seen to begin.
    candidates.sort_by(|a, b| {
        let rank = |c: &Candidate| {
            (c.holder, c.port.is_none(), !c.reported, std::cmp::Reverse(c.reported_from))
        };
        rank(a).cmp(&rank(b)).then_with(|| a.reference.cmp(&b.reference))
    });
    let stretch = as_of.time.map(|to| (from.unwrap_or(to), to));
    let (verdict, reason) = judge(&candidates, &gaps, unaddressed_count, stretch);
    let (verdict, reason) = match as_of.index {
        Some(_) => (verdict, reason),
        None => (Verdict::Unknown, "nothing is recorded yet".to_owned()),
    };
    unaddressed.truncate(UNADDRESSED_SHOWN);
    IpAnswer {
        address: show_ip(key),
        port: None,
        as_of,
        from,
        tolerance_ms,
        verdict,
        reason,
        candidates,
        place: None,
        unaddressed,
        unaddressed_count,
        gaps,
    }
}

fn judge(
    candidates: &[Candidate],
    gaps: &[GapSeen],
    unaddressed: u64,
    stretch: Option<(Time, Time)>,
) -> (Verdict, String) {
    let count = |holder| candidates.iter().filter(|c| c.holder == holder).count();
    let (pods, services) = (count(Holder::Pod), count(Holder::Service));
    let waiting = match unaddressed {
        0 => String::new(),
        1 => "1 pod ran then of which no address is known".to_owned(),
        n => format!("{n} pods ran then of which no address is known"),
    };
    let blind = |of_pods: bool| {
        gaps.iter().find(|gap| {
            let pods = gap.resource.as_deref().is_none_or(|resource| resource == "pods");
            !gap.recovered && pods == of_pods && gap.resource.as_deref() != Some("endpointslices")
        })
    };
    if let Some(gap) = blind(true) {
        let reason =
            format!("nobody looked then ({}): another holder can't be ruled out", gap.reason);
        return (Verdict::Unknown, reason);
    }
    if let Some(gap) = blind(false).filter(|_| candidates.is_empty()) {
        let what = gap.resource.as_deref().unwrap_or("everything");
        let reason = format!(
            "no pod had it, but nobody looked at {what} then ({}): one of them may have had it",
            gap.reason
        );
        return (Verdict::Unknown, reason);
    }
    let nodes = candidates.len() - pods - services;
    match (pods, nodes, services) {
        (0, 0, 0) => (Verdict::None, waiting),
        (0, 0, _) => (Verdict::Service, waiting),
        (0, _, _) => (Verdict::Node, of_a_node(candidates)),
        (1, 0, 0) if unaddressed == 0 || is_firm(&candidates[0], stretch) => {
            (Verdict::Single, waiting)
        }
        (1, 0, 0) => (Verdict::Several, format!("{waiting}; each may have had it")),
        _ => (Verdict::Several, "the stretches in which they may have held it overlap".to_owned()),
    }
}

/// Whether it was so surely the holder that a pod of which no address is known can't have been: it
/// was reported with the address, and its end was not near, before which the address is free (E2).
fn is_firm(candidate: &Candidate, stretch: Option<(Time, Time)>) -> bool {
    let Some((from, to)) = stretch else { return false };
    candidate.reported_from <= from
        && candidate.reported
        && candidate.to.is_none_or(|end| to.plus(LAG_NS) < end)
}

/// Why an address of a node is nobody's alone (I4, T3).
fn of_a_node(candidates: &[Candidate]) -> String {
    let declared = candidates.iter().filter(|c| c.port.is_some()).count();
    let port = match declared {
        0 => String::new(),
        1 => "; one of them declares the port".to_owned(),
        n => format!("; {n} of them declare the port"),
    };
    format!(
        "the address is the node's: all host-network pods on it share it, and traffic that is \
         translated there has it as its source{port}"
    )
}

pub(super) fn show_ip(key: &IpKey) -> String {
    std::net::Ipv6Addr::from(*key).to_canonical().to_string()
}
