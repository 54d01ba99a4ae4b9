//! In which form an answer is wanted: the header `Accept`.

use axum::http::{HeaderMap, header};

/// The form of objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Whole,
    /// Their metadata alone.
    Metadata,
    /// Rows of a table.
    Table,
}

/// The form of discovery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Discovery {
    /// One document for each group and version.
    Plain,
    /// All in one, in this version of `apidiscovery.k8s.io`.
    Aggregated(&'static str),
}

/// One of the alternatives of the header.
struct Media<'h> {
    range: &'h str,
    parameters: Vec<(&'h str, &'h str)>,
}

impl Media<'_> {
    fn is_json(&self) -> bool {
        matches!(self.range, "application/json" | "application/*" | "*/*")
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| *key == name).map_or("", |(_, value)| value)
    }
}

/// The form in which objects are wanted, the first that is offered; `None` if none is.
pub(super) fn form(headers: &HeaderMap) -> Option<Form> {
    first(headers, Form::Whole, |media| match (media.parameter("as"), media.parameter("g")) {
        ("", _) => Some(Form::Whole),
        // Version v1beta1 of these has the same members.
        ("Table", "meta.k8s.io") => Some(Form::Table).filter(|_| is_v1(media)),
        ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io") => {
            Some(Form::Metadata).filter(|_| is_v1(media))
        }
        _ => None,
    })
}

fn is_v1(media: &Media<'_>) -> bool {
    matches!(media.parameter("v"), "v1")
}

/// The form in which discovery is wanted.
pub(super) fn discovery(headers: &HeaderMap) -> Option<Discovery> {
    first(headers, Discovery::Plain, |media| match media.parameter("as") {
        "" => Some(Discovery::Plain),
        "APIGroupDiscoveryList" if media.parameter("g") == "apidiscovery.k8s.io" => {
            match media.parameter("v") {
                "v2" => Some(Discovery::Aggregated("v2")),
                "v2beta1" => Some(Discovery::Aggregated("v2beta1")),
                _ => None,
            }
        }
        _ => None,
    })
}

fn first<T>(headers: &HeaderMap, without: T, read: impl Fn(&Media<'_>) -> Option<T>) -> Option<T> {
    let mut values = headers.get_all(header::ACCEPT).iter().peekable();
    if values.peek().is_none() {
        return Some(without);
    }
    for value in values {
        for part in value.to_str().unwrap_or_default().split(',') {
            let mut pieces = part.split(';').map(str::trim);
            let range = pieces.next().unwrap_or_default();
            let parameters = pieces.filter_map(|piece| piece.split_once('=')).collect();
            let media = Media { range, parameters };
            let found = if media.is_json() { read(&media) } else { None };
            if found.is_some() {
                return found;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, value.parse().unwrap())])
    }

    #[test]
    fn the_first_form_that_is_offered_counts() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,\
                       application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(&accept(kubectl)), Some(Form::Table));
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;\
             g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        assert_eq!(form(&accept(metadata)), Some(Form::Metadata));
        assert_eq!(
            form(&accept("application/vnd.kubernetes.protobuf, application/json")),
            Some(Form::Whole)
        );
        assert_eq!(form(&accept("*/*")), Some(Form::Whole));
        assert_eq!(form(&HeaderMap::new()), Some(Form::Whole));
        assert_eq!(form(&accept("application/vnd.kubernetes.protobuf")), None);
        assert_eq!(form(&accept("application/json;as=Table;v=v9;g=meta.k8s.io")), None);
        let aggregated =
            "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(discovery(&accept(aggregated)), Some(Discovery::Aggregated("v2")));
        assert_eq!(discovery(&accept("application/json")), Some(Discovery::Plain));
    }
}
