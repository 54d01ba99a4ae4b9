//! When somebody looked, when nobody did, and which records could not be used.

use super::gaps::Window;
use super::names::Chosen;
use super::read::{Bound, View};
use super::types::{Coverage, Problem, TypeCoverage};
use super::{Filter, PROBLEMS_SHOWN};
use crate::tables::StreamRow;
use crate::{Point, State, StateError, Time, rv};

impl State {
    /// What was recorded when, what was not, and which records could not be used. Of the filter
    /// only cluster and type count.
    ///
    /// # Errors
    /// As [`State::list`].
    pub fn coverage(
        &self,
        filter: &Filter,
        from: &Point,
        to: &Point,
    ) -> Result<Coverage, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(filter.cluster.as_deref())?;
        let first = view.bound(cluster, from, None)?;
        let bound = view.bound(cluster, to, None)?;
        let window = Window::span(first.time, &bound);
        let mut types = Vec::new();
        for chosen in view.chosen_or_all(cluster, filter.resource.as_deref())? {
            types.push(view.type_coverage(cluster, chosen, &window, &bound)?);
        }
        let problem_count = view.rows.meta.get("problems")?.map_or(0, |n| n.value());
        let mut problems = Vec::new();
        for entry in view.rows.problems.iter().rev().take(PROBLEMS_SHOWN) {
            let (key, reason) = entry?;
            problems.push(Problem { index: key.value().0, reason: reason.value().to_owned() });
        }
        Ok(Coverage { as_of: bound.as_of(), types, problem_count, problems })
    }
}

impl View {
    fn type_coverage(
        &self,
        cluster: u32,
        chosen: Chosen,
        window: &Window,
        bound: &Bound,
    ) -> Result<TypeCoverage, StateError> {
        let streams = match chosen.number {
            Some(number) => self.streams(number, bound)?,
            None => Vec::new(),
        };
        let from = streams
            .iter()
            .filter_map(|(_, stream)| stream.first_list.as_ref())
            .map(|(_, time, _)| Time(*time))
            .min();
        let mut to = None;
        for (source, _) in &streams {
            to = to.max(self.source_last(*source)?.map(Time));
        }
        let gaps = self.gaps(cluster, std::slice::from_ref(&chosen), window, bound)?;
        Ok(TypeCoverage { of: chosen.shown, from, to, resource_version: newest_rv(&streams), gaps })
    }
}

fn newest_rv(streams: &[(u32, StreamRow)]) -> Option<String> {
    let rvs = streams.iter().map(|(_, stream)| &stream.last_rv).filter(|rv| !rv.is_empty());
    rvs.reduce(|a, b| if rv::compare(a, b) == Some(std::cmp::Ordering::Less) { b } else { a })
        .cloned()
}
