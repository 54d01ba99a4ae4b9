//! Who had an address: the answer is a set of candidates that holds the truth, and a verdict that
//! says how much it is worth.

use super::gaps::{self, Window};
use super::ip_types::{Candidate, Holder, IpAnswer, LeaseEnd, Owner, Verdict};
use super::lease::{Lease, leases_of, unaddressed};
use super::names::Chosen;
use super::read::{Bound, Limit, View};
use super::shown::Shown;
use super::types::{GapSeen, ObjectRef};
use super::{IpQuery, UNADDRESSED_SHOWN};
use crate::fold::ip_key;
use crate::tables::{IpKey, LifeRow, VersionRow};
use crate::{Point, State, StateError, Time};

/// Longest owner chain that is followed.
const OWNERS_MAX: usize = 8;

/// The stretch asked about in one cluster: a point is a stretch without length.
struct Asked {
    cluster: u32,
    bound: Bound,
    from: i64,
    to: i64,
    point: bool,
    tolerance: i64,
}

/// What one cluster says.
struct Part {
    candidates: Vec<Candidate>,
    unaddressed: Vec<ObjectRef>,
    gaps: Vec<GapSeen>,
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
        let key = ip_key(addr).ok_or_else(|| {
            StateError::invalid(format!("{addr:?} is no IP address"), "write 10.0.0.7 or fd00::7")
        })?;
        let view = self.view()?;
        let clusters = view.some_clusters(query.cluster.as_deref())?;
        let mut asked = Vec::new();
        for cluster in clusters {
            asked.extend(view.asked(cluster, from, to, query)?);
        }
        let mut parts = Vec::new();
        for question in &asked {
            parts.push(view.part(&key, question)?);
        }
        let as_of = asked.iter().max_by_key(|a| a.to).map(|asked| asked.bound.as_of());
        let as_of = match as_of {
            Some(as_of) => as_of,
            None => view.bound(crate::tables::ALL, to, query.known_at)?.as_of(),
        };
        let from = from.and(asked.iter().map(|asked| Time(asked.from)).min());
        Ok(answer(&key, as_of, from, query.tolerance_ms, parts))
    }
}

impl View {
    /// The question as it stands for a cluster; `None` if the cluster has no record yet.
    fn asked(
        &self,
        cluster: u32,
        from: Option<&Point>,
        to: &Point,
        query: &IpQuery,
    ) -> Result<Option<Asked>, StateError> {
        let bound = self.bound(cluster, to, query.known_at)?;
        let begin = from.map(|from| self.bound(cluster, from, query.known_at)).transpose()?;
        for bound in [Some(&bound), begin.as_ref()].into_iter().flatten() {
            if matches!(bound.limit, Limit::Rv(_)) {
                return Err(StateError::invalid(
                    "an address can't be looked up at a resource version",
                    "ask by time or by ledger index",
                ));
            }
        }
        let Some(to) = bound.time else { return Ok(None) };
        let start = begin.as_ref().and_then(|begin| begin.time).unwrap_or(to);
        if start > to {
            return Err(StateError::invalid("the stretch ends before it begins", ""));
        }
        let tolerance =
            i64::try_from(query.tolerance_ms).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        Ok(Some(Asked { cluster, bound, from: start, to, point: from.is_none(), tolerance }))
    }

    fn part(&self, key: &IpKey, asked: &Asked) -> Result<Part, StateError> {
        let mut held: Vec<(u64, Lease)> = Vec::new();
        let range = (key, asked.cluster, 0)..=(key, asked.cluster, u64::MAX);
        for entry in self.rows.ips.range(range)? {
            let object = entry?.0.value().2;
            let life = self.life(object)?;
            let leases = leases_of(&life, &self.versions(object)?, key, &asked.bound);
            held.extend(leases.into_iter().map(|lease| (object, lease)));
        }
        close_unknown_ends(&mut held);
        let (from, to) = asked.widened();
        held.retain(|(_, lease)| lease.overlaps(from, to));
        let mut candidates = Vec::new();
        for (object, lease) in held {
            candidates.push(self.candidate(object, &lease, key, asked)?);
        }
        let window = if asked.point {
            Window::of(&asked.bound)
        } else {
            Window::span(Some(asked.from), &asked.bound)
        };
        let pods: Vec<Chosen> = vec![self.choose(asked.cluster, "pods")?];
        let gaps = self.gaps(asked.cluster, &pods, &window, &asked.bound)?;
        Ok(Part { candidates, unaddressed: self.unaddressed(asked)?, gaps })
    }

    /// Pods that ran then and of which no address is known.
    fn unaddressed(&self, asked: &Asked) -> Result<Vec<ObjectRef>, StateError> {
        let Some(known) = asked.bound.known else { return Ok(Vec::new()) };
        let (from, to) = asked.widened();
        let mut found = Vec::new();
        let start = (asked.cluster, known.saturating_add(1), 0);
        for entry in self.rows.unaddressed.range(start..=(asked.cluster, u64::MAX, u64::MAX))? {
            let (row_key, first) = entry?;
            if !asked.bound.knows(first.value()) {
                continue;
            }
            let object = row_key.value().2;
            let life = self.life(object)?;
            let rows = self.versions(object)?;
            let waiting = unaddressed(&life, &rows, &asked.bound);
            if waiting.is_some_and(|lease| lease.overlaps(from, to))
                && let Some(row) = rows.first()
            {
                found.push(self.reference(&life, row)?);
            }
        }
        Ok(found)
    }

    fn candidate(
        &self,
        object: u64,
        lease: &Lease,
        key: &IpKey,
        asked: &Asked,
    ) -> Result<Candidate, StateError> {
        let life = self.life(object)?;
        let row = self.closest(object, &asked.at())?;
        let body = self.body(object, &row)?;
        let shown = Shown::read(&body);
        let address = row.address.as_ref();
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let node = match lease.holder {
            Holder::Node => Some(life.name.clone()),
            _ => address.and_then(|address| text(&address.node)),
        };
        let seen = self.seen_times(object, &asked.bound)?;
        let reported_to = lease.reported_to.unwrap_or(asked.to).max(lease.reported_from);
        let (from, to) = asked.widened();
        let network = if lease.network.is_empty() { "default" } else { &lease.network };
        Ok(Candidate {
            holder: lease.holder,
            reference: self.reference(&life, &row)?,
            ip: show_ip(key),
            network: network.to_owned(),
            from: Time(lease.from),
            to: lease.to.map(Time),
            reported_from: Time(lease.reported_from),
            reported_to: Time(reported_to),
            end: lease.end,
            reported: lease.reported_from <= to && from <= reported_to,
            share: lease.share(asked.from, asked.to),
            node,
            phase: address.and_then(|address| text(&address.phase)),
            owners: self.owners(asked, &shown)?,
            labels: shown.metadata.labels.unwrap_or_default(),
            service_account: shown.spec.service_account_name,
            images: shown
                .spec
                .containers
                .unwrap_or_default()
                .into_iter()
                .map(|c| c.image)
                .collect(),
            first_seen: seen.0,
            last_seen: seen.1,
            index: lease.index,
        })
    }

    /// The version that tells best what the object was at the bound: the newest one with a body
    /// of its own by then, or else its first one.
    fn closest(&self, object: u64, bound: &Bound) -> Result<VersionRow, StateError> {
        if let Some(row) = self.newest(object, bound)? {
            return Ok(row);
        }
        let rows = self.versions(object)?;
        let first = rows.into_iter().find(|row| bound.knows(row.index));
        first.ok_or_else(|| StateError::Damaged("an object has no version".to_owned()))
    }

    fn seen_times(&self, object: u64, bound: &Bound) -> Result<(Time, Time), StateError> {
        let rows = self.versions(object)?;
        let times = rows.iter().filter(|row| bound.knows(row.index)).map(|row| Time(row.time));
        let first = times.clone().min().unwrap_or(Time(0));
        Ok((first, times.max().unwrap_or(first)))
    }

    /// Who controls an object, nearest first: by uid, as of the point, deleted owners included
    /// (W1). Names are never taken apart (W2).
    fn owners(&self, asked: &Asked, of: &Shown) -> Result<Vec<Owner>, StateError> {
        let mut owners: Vec<Owner> = Vec::new();
        let mut next = of.controller();
        while let Some(reference) = next {
            let again = owners.iter().any(|owner| owner.uid == reference.uid);
            if again || owners.len() >= OWNERS_MAX {
                break;
            }
            let object = self.by_uid(asked.cluster, &reference.uid)?;
            let recorded = match object {
                Some((object, life)) if asked.bound.knows(life.first_index) => Some(object),
                _ => None,
            };
            owners.push(Owner {
                api_version: reference.api_version,
                kind: reference.kind,
                name: reference.name,
                uid: reference.uid,
                recorded: recorded.is_some(),
            });
            next = match recorded {
                Some(object) => {
                    let row = self.closest(object, &asked.at())?;
                    Shown::read(&self.body(object, &row)?).controller()
                }
                None => None,
            };
        }
        Ok(owners)
    }

    fn by_uid(&self, cluster: u32, uid: &str) -> Result<Option<(u64, LifeRow)>, StateError> {
        let mut range = self.rows.uids.range((cluster, uid, 0)..=(cluster, uid, u32::MAX))?;
        let Some(entry) = range.next() else { return Ok(None) };
        let object = entry?.1.value();
        Ok(Some((object, self.life(object)?)))
    }
}

impl Asked {
    /// The stretch, with the tolerance on both sides.
    fn widened(&self) -> (i64, i64) {
        (self.from.saturating_sub(self.tolerance), self.to.saturating_add(self.tolerance))
    }

    /// The bound for what an object was at the (end of the) stretch.
    fn at(&self) -> Bound {
        Bound { limit: Limit::Time(self.to), ..self.bound.clone() }
    }
}

/// The end of a lease that nobody saw came at the latest when another pod was seen with the
/// address (E4).
fn close_unknown_ends(held: &mut [(u64, Lease)]) {
    let reports: Vec<(u64, String, i64)> = held
        .iter()
        .filter(|(_, lease)| lease.holder == Holder::Pod)
        .map(|(object, lease)| (*object, lease.network.clone(), lease.reported_from))
        .collect();
    for (object, lease) in held {
        let Some(removed) = lease.removed.filter(|_| lease.end == LeaseEnd::Unknown) else {
            continue;
        };
        let next = reports
            .iter()
            .filter(|(other, network, at)| {
                other != object && *network == lease.network && *at > removed
            })
            .map(|(_, _, at)| *at)
            .min();
        if let Some(next) = next {
            lease.to = Some(next);
            lease.end = LeaseEnd::Superseded;
        }
    }
}

fn answer(
    key: &IpKey,
    as_of: super::AsOf,
    from: Option<Time>,
    tolerance_ms: u64,
    mut parts: Vec<Part>,
) -> IpAnswer {
    // Where one cluster was recorded then, one that was not recorded at all is left out.
    let beyond = |part: &Part| {
        part.candidates.is_empty()
            && part.gaps.iter().any(|gap| {
                [gaps::NOT_YET, gaps::NEVER, gaps::NO_LATER, gaps::ENDED]
                    .contains(&gap.reason.as_str())
            })
    };
    if parts.iter().any(|part| !beyond(part)) {
        parts.retain(|part| !beyond(part));
    }
    let mut candidates = Vec::new();
    let mut unaddressed = Vec::new();
    let mut gaps = Vec::new();
    for part in parts {
        candidates.extend(part.candidates);
        unaddressed.extend(part.unaddressed);
        gaps.extend(part.gaps);
    }
    if from.is_none() {
        let share = 1.0 / (candidates.len().max(1) as f64);
        candidates.iter_mut().for_each(|candidate| candidate.share = share);
    }
    candidates.sort_by(|a, b| {
        (a.holder, !a.reported, std::cmp::Reverse(a.reported_from), &a.reference).cmp(&(
            b.holder,
            !b.reported,
            std::cmp::Reverse(b.reported_from),
            &b.reference,
        ))
    });
    let (verdict, reason) = judge(&candidates, &gaps, unaddressed.len(), as_of.index.is_none());
    let unaddressed_count = unaddressed.len() as u64;
    unaddressed.truncate(UNADDRESSED_SHOWN);
    IpAnswer {
        address: show_ip(key),
        as_of,
        from,
        tolerance_ms,
        verdict,
        reason,
        candidates,
        unaddressed,
        unaddressed_count,
        gaps,
    }
}

fn judge(
    candidates: &[Candidate],
    gaps: &[GapSeen],
    unaddressed: usize,
    empty: bool,
) -> (Verdict, String) {
    let count = |holder| candidates.iter().filter(|c| c.holder == holder).count();
    let pods = count(Holder::Pod);
    let nodes = count(Holder::Node) + count(Holder::HostNetworkPod);
    let waiting = match unaddressed {
        0 => String::new(),
        1 => "1 pod ran then of which no address is known".to_owned(),
        n => format!("{n} pods ran then of which no address is known"),
    };
    if empty {
        return (Verdict::Unknown, "nothing is recorded yet".to_owned());
    }
    if let Some(gap) = gaps.iter().find(|gap| !gap.recovered) {
        let reason =
            format!("nobody looked then ({}): another holder can't be ruled out", gap.reason);
        return (Verdict::Unknown, reason);
    }
    match (pods, nodes) {
        (0, 0) if count(Holder::Service) > 0 => (Verdict::Service, waiting),
        (0, 0) => (Verdict::None, waiting),
        (0, _) => (
            Verdict::Node,
            "the address is the node's: all host-network pods on it share it".to_owned(),
        ),
        (1, 0) => (Verdict::Single, waiting),
        _ => (Verdict::Several, "the stretches in which they may have held it overlap".to_owned()),
    }
}

fn show_ip(key: &IpKey) -> String {
    std::net::Ipv6Addr::from(*key).to_canonical().to_string()
}
