//! Which objects a question is about, as parameters name them.

use std::str::FromStr;

use stele_state::StateError;
use stele_state::query::{FieldSelector, Filter, LabelSelector};

use crate::error::ApiError;

/// The parameters, not read yet.
#[derive(Debug, Default)]
pub(crate) struct FilterParams {
    pub(crate) cluster: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) all: bool,
    pub(crate) selector: Option<String>,
    pub(crate) field_selector: Option<String>,
}

impl FilterParams {
    pub(crate) fn read(self) -> Result<Filter, ApiError> {
        if self.all && self.namespace.is_some() {
            return Err(ApiError::invalid("all: can't be used together with namespace"));
        }
        if self.name.is_some() && self.kind.is_none() {
            return Err(ApiError::invalid("name: needs type"));
        }
        Ok(Filter {
            cluster: self.cluster,
            resource: self.kind,
            namespace: self.namespace,
            name: self.name,
            labels: read::<LabelSelector>("selector", self.selector)?.unwrap_or_default(),
            fields: read::<FieldSelector>("field_selector", self.field_selector)?
                .unwrap_or_default(),
        })
    }
}

/// Reads a parameter; an error names it.
pub(crate) fn read<T: FromStr<Err = StateError>>(
    name: &str,
    text: Option<String>,
) -> Result<Option<T>, ApiError> {
    let read = |text: String| {
        text.parse().map_err(|e: StateError| {
            let error = ApiError::invalid(format!("{name}: {e}"));
            if e.hint().is_empty() { error } else { error.hint(e.hint()) }
        })
    };
    text.map(read).transpose()
}
