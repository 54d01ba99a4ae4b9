//! Documents that a server gave about itself, as of a point: the schemas of its types, its version.
//!
//! Not here: what they say. Invariant: before a document was first recorded there is none.

use super::read::{Bound, Limit, View};
use crate::bodies::{Piece, damaged};
use crate::{Point, State, StateError, Time};

/// A document at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DocumentSeen {
    /// Path under which the server gave it, without a query.
    pub path: String,
    /// The record that holds it: another text has another one.
    pub index: u64,
    /// Effective time at which it was first seen so.
    pub time: Time,
}

impl State {
    /// The documents of a cluster whose path begins with `prefix`, in the order of their paths. A
    /// resource version says nothing of when a document was given: for such a point it is the newest.
    ///
    /// # Errors
    /// [`StateError::NotFound`] if the cluster is not known, [`StateError::NotYet`] if the point is not
    /// reached; [`StateError::Engine`] or [`StateError::Damaged`] for the view.
    pub fn documents(
        &self,
        cluster: &str,
        prefix: &str,
        at: &Point,
    ) -> Result<Vec<DocumentSeen>, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(Some(cluster))?;
        let bound = view.bound(cluster, at, None)?;
        view.documents(cluster, prefix, &bound)
    }

    /// The text of a document of a cluster, as [`State::documents`] finds it; `None` if there was none.
    ///
    /// # Errors
    /// As [`State::documents`].
    pub fn document(
        &self,
        cluster: &str,
        path: &str,
        at: &Point,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let view = self.view()?;
        let cluster = view.one_cluster(Some(cluster))?;
        let bound = view.bound(cluster, at, None)?;
        let found = view.documents(cluster, path, &bound)?.into_iter();
        let Some(found) = found.take(1).find(|found| found.path == path) else { return Ok(None) };
        let stored = view.rows.document_texts.get(found.index)?;
        let stored = stored.ok_or_else(|| damaged("a document is not there"))?;
        Piece::read_text(stored.value()).map(Some)
    }
}

impl View {
    fn documents(
        &self,
        cluster: u32,
        prefix: &str,
        bound: &Bound,
    ) -> Result<Vec<DocumentSeen>, StateError> {
        let mut newest: Vec<(DocumentSeen, bool)> = Vec::new();
        for row in self.rows.documents.range((cluster, prefix, 0)..(cluster + 1, "", 0)) {
            let (key, value) = row?;
            let ((_, path, index), (time, gone)) = (key.value(), value.value());
            if !path.starts_with(prefix) {
                break;
            }
            let late = matches!(bound.limit, Limit::Time(limit) if time > limit);
            if late || bound.known.is_none_or(|known| index > known) {
                continue;
            }
            let seen = DocumentSeen { path: path.to_owned(), index, time: Time(time) };
            match newest.last_mut() {
                // Of one path they come by their records.
                Some(last) if last.0.path == path => {
                    if last.0.time <= seen.time {
                        *last = (seen, gone);
                    }
                }
                _ => newest.push((seen, gone)),
            }
        }
        Ok(newest.into_iter().filter(|(_, gone)| !gone).map(|(seen, _)| seen).collect())
    }
}
