//! Signatures that are not filled in yet.

use super::*;
use crate::{Point, State, StateError};

fn later<T>() -> Result<T, StateError> {
    Err(StateError::invalid("not built yet", ""))
}

impl State {
    /// All recorded clusters, by id.
    ///
    /// # Errors
    /// [`StateError::Engine`] or [`StateError::Damaged`].
    pub fn clusters(&self) -> Result<Vec<Cluster>, StateError> {
        later()
    }

    /// The resource types of a cluster (id or name; may be left out if there is only one).
    ///
    /// # Errors
    /// [`StateError::NotFound`] or [`StateError::Invalid`] for the cluster.
    pub fn resources(&self, _cluster: Option<&str>) -> Result<Vec<ResourceType>, StateError> {
        later()
    }

    /// The type that people mean by `po`, `deployments.apps` or `Deployment`.
    ///
    /// # Errors
    /// [`StateError::NotFound`], or [`StateError::Invalid`] if several types go by that name.
    pub fn resolve_type(
        &self,
        _cluster: Option<&str>,
        _text: &str,
    ) -> Result<ResourceType, StateError> {
        later()
    }

    /// The objects that exist at a point.
    ///
    /// # Errors
    /// [`StateError::NotFound`], [`StateError::Invalid`] or [`StateError::NotYet`] for the
    /// question.
    pub fn list(&self, _query: &ListQuery) -> Result<Listing, StateError> {
        later()
    }

    /// All lives and versions of the objects with a name, up to a point.
    ///
    /// # Errors
    /// As [`State::list`]; the filter must name a type and an object.
    pub fn history(&self, _query: &ListQuery) -> Result<History, StateError> {
        later()
    }

    /// What differs between two points.
    ///
    /// # Errors
    /// As [`State::list`].
    pub fn diff(&self, _filter: &Filter, _from: &Point, _to: &Point) -> Result<Diff, StateError> {
        later()
    }

    /// The recorded sequence of changes from a cursor on, gaps included.
    ///
    /// # Errors
    /// As [`State::list`].
    pub fn changes(
        &self,
        _from: Cursor,
        _filter: &Filter,
        _limit: usize,
    ) -> Result<Changes, StateError> {
        later()
    }

    /// Who had an address at a point.
    ///
    /// # Errors
    /// [`StateError::Invalid`] if it is no address, and as [`State::list`].
    pub fn ip(&self, _addr: &str, _at: &Point, _query: &IpQuery) -> Result<IpAnswer, StateError> {
        later()
    }

    /// Who had an address in a stretch of time.
    ///
    /// # Errors
    /// As [`State::ip`].
    pub fn ip_range(
        &self,
        _addr: &str,
        _from: &Point,
        _to: &Point,
        _query: &IpQuery,
    ) -> Result<IpAnswer, StateError> {
        later()
    }

    /// What was recorded when, what was not, and which records could not be used.
    ///
    /// # Errors
    /// As [`State::list`].
    pub fn coverage(
        &self,
        _filter: &Filter,
        _from: &Point,
        _to: &Point,
    ) -> Result<Coverage, StateError> {
        later()
    }
}
