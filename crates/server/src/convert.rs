//! From the state's answers to the API's.

mod address;

use serde_json::value::RawValue;
use stele_state::query as from;
use stele_state::{Time, TimeBasis};

use crate::api::{
    ChangeKind, ClusterItem, CoverageItem, DiffItem, GapSeen, HistoryItem, Instant, ObjectItem,
    ObjectName, ProblemItem, ResourceItem, RvRange, TimeUsed, VersionSeen,
};

fn instant(time: Time) -> Instant {
    Instant(time.0)
}

fn null() -> Box<RawValue> {
    RawValue::NULL.to_owned()
}

/// Which time an answer about one point is for.
pub(crate) fn at(as_of: &from::AsOf) -> TimeUsed {
    TimeUsed {
        basis: basis(as_of.time_basis),
        resource_version: as_of.resource_version.clone(),
        at: as_of.time.map(instant),
        since: None,
        until: None,
    }
}

/// Which time an answer about a stretch is for.
pub(crate) fn stretch(since: Option<Time>, since_basis: TimeBasis, until: &from::AsOf) -> TimeUsed {
    TimeUsed {
        basis: basis(since_basis.max(until.time_basis)),
        resource_version: until.resource_version.clone(),
        at: None,
        since: since.map(instant),
        until: until.time.map(instant),
    }
}

fn basis(basis: TimeBasis) -> String {
    match basis {
        TimeBasis::Observed => "observed",
        TimeBasis::Claimed => "event",
    }
    .to_owned()
}

impl From<from::GapSeen> for GapSeen {
    fn from(gap: from::GapSeen) -> Self {
        Self {
            index: gap.index,
            cluster: gap.cluster,
            group: gap.group,
            resource: gap.resource,
            from: gap.from.map(instant),
            to: gap.to.map(instant),
            from_rv: gap.from_rv,
            to_rv: gap.to_rv,
            reason: gap.reason,
            recovered: gap.recovered,
            derived: gap.derived,
            detail: gap.detail,
        }
    }
}

/// All gaps of an answer.
pub(crate) fn gaps(gaps: Vec<from::GapSeen>) -> Vec<GapSeen> {
    gaps.into_iter().map(GapSeen::from).collect()
}

impl From<from::Cluster> for ClusterItem {
    fn from(cluster: from::Cluster) -> Self {
        Self {
            id: cluster.id,
            name: cluster.name,
            objects: cluster.objects,
            first_seen: cluster.first_seen.map(instant),
            last_seen: cluster.last_seen.map(instant),
        }
    }
}

impl From<from::ResourceType> for ResourceItem {
    fn from(of: from::ResourceType) -> Self {
        Self {
            cluster: of.cluster,
            group: of.group,
            version: of.version,
            resource: of.resource,
            kind: of.kind,
            singular: of.singular,
            short_names: of.short_names,
            namespaced: of.namespaced,
            recorded: of.recorded,
        }
    }
}

impl From<from::ObjectRef> for ObjectName {
    fn from(of: from::ObjectRef) -> Self {
        Self {
            cluster: of.cluster,
            group: of.group,
            version: of.version,
            resource: of.resource,
            kind: of.kind,
            namespace: of.namespace,
            name: of.name,
            uid: of.uid,
        }
    }
}

impl From<from::Object> for ObjectItem {
    fn from(object: from::Object) -> Self {
        let version = object.version;
        Self {
            of: object.reference.into(),
            resource_version: version.resource_version,
            index: version.index,
            ordinal: version.ordinal,
            seen: instant(version.time),
            redacted: version.redacted,
            object: version.object.unwrap_or_else(null),
        }
    }
}

/// One version of an object as an entry of its history.
pub(crate) fn history_item(of: ObjectName, version: from::Version) -> HistoryItem {
    let until = version.resource_version.clone();
    HistoryItem {
        of,
        change: change(version.verb),
        resource_version: version.resource_version,
        index: version.index,
        ordinal: version.ordinal,
        seen: instant(version.time),
        within: version.after_rv.map(|after| RvRange { after, until }),
        redacted: version.redacted,
        by: None,
        changes: None,
        object: version.object,
    }
}

fn change(verb: from::Verb) -> ChangeKind {
    match verb {
        from::Verb::Listed => ChangeKind::Listed,
        from::Verb::Added => ChangeKind::Added,
        from::Verb::Deleted => ChangeKind::Deleted,
        from::Verb::Vanished => ChangeKind::Vanished,
        from::Verb::Replaced => ChangeKind::Replaced,
        _ => ChangeKind::Modified,
    }
}

impl From<from::Version> for VersionSeen {
    fn from(version: from::Version) -> Self {
        Self {
            resource_version: version.resource_version,
            index: version.index,
            seen: instant(version.time),
            redacted: version.redacted,
            object: version.object.unwrap_or_else(null),
        }
    }
}

impl From<from::Difference> for DiffItem {
    fn from(difference: from::Difference) -> Self {
        let change = match (&difference.before, &difference.after) {
            (None, _) => ChangeKind::Added,
            (_, None) => ChangeKind::Deleted,
            _ => ChangeKind::Modified,
        };
        Self {
            of: difference.reference.into(),
            change,
            before: difference.before.map(VersionSeen::from),
            after: difference.after.map(VersionSeen::from),
        }
    }
}

impl From<from::Problem> for ProblemItem {
    fn from(problem: from::Problem) -> Self {
        Self { index: problem.index, reason: problem.reason }
    }
}

/// What was recorded of a type, within a stretch.
pub(crate) fn coverage_item(
    of: from::TypeCoverage,
    since: Option<Time>,
    until: Option<Time>,
) -> CoverageItem {
    let covered = covered(&of.gaps, since, until);
    CoverageItem {
        cluster: of.of.cluster,
        group: of.of.group,
        resource: of.of.resource,
        from: of.from.map(instant),
        to: of.to.map(instant),
        resource_version: of.resource_version,
        covered,
        gaps: gaps(of.gaps),
    }
}

/// The part of a stretch that no gap takes away. A gap in which nothing was missed takes none.
fn covered(gaps: &[from::GapSeen], since: Option<Time>, until: Option<Time>) -> f64 {
    let (Some(since), Some(until)) = (since, until) else { return 0.0 };
    let whole = i128::from(until.0) - i128::from(since.0);
    if whole <= 0 {
        let blind = gaps.iter().any(|gap| !gap.recovered);
        return if blind { 0.0 } else { 1.0 };
    }
    let mut blind: Vec<(i64, i64)> = gaps
        .iter()
        .filter(|gap| !gap.recovered)
        .map(|gap| {
            let from = gap.from.map_or(since.0, |from| from.0.max(since.0));
            (from, gap.to.map_or(until.0, |to| to.0.min(until.0)))
        })
        .filter(|(from, to)| from < to)
        .collect();
    blind.sort_unstable();
    let mut lost = 0;
    let mut end = since.0;
    for (from, to) in blind {
        lost += i128::from((to - from.max(end)).max(0));
        end = end.max(to);
    }
    1.0 - lost as f64 / whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gap(from: Option<i64>, to: Option<i64>, recovered: bool) -> from::GapSeen {
        from::GapSeen {
            index: None,
            cluster: None,
            group: None,
            resource: None,
            from: from.map(Time),
            to: to.map(Time),
            from_rv: None,
            to_rv: None,
            reason: String::new(),
            recovered,
            derived: false,
            detail: String::new(),
        }
    }

    #[test]
    fn overlapping_gaps_count_once_and_recovered_ones_not_at_all() {
        let share = |gaps: &[from::GapSeen]| covered(gaps, Some(Time(100)), Some(Time(200)));
        assert_eq!(share(&[]), 1.0);
        assert_eq!(share(&[gap(None, Some(120), false)]), 0.8);
        assert_eq!(share(&[gap(Some(180), None, false), gap(Some(150), Some(190), false)]), 0.5);
        assert_eq!(share(&[gap(Some(0), Some(900), true)]), 1.0);
        assert_eq!(share(&[gap(Some(0), Some(900), false)]), 0.0);
        assert_eq!(share(&[gap(Some(10), Some(20), false)]), 1.0);
    }
}
