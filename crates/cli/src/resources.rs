//! The ways in which people name objects: `pods`, `pods web`, `deploy/web`, `pods,svc`.
//!
//! Not here: which types exist. The server knows that, because the recorded clusters define them.

use crate::error::CliError;

/// A type, and the names wanted of it; no names means all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The type as the person wrote it: plural, singular, short or with its group.
    pub(crate) kind: String,
    /// The names.
    pub(crate) names: Vec<String>,
}

/// Reads the arguments of a command that takes kubectl's forms.
///
/// # Errors
/// When forms are mixed in a way that has no clear meaning.
pub(crate) fn parse(arguments: &[String]) -> Result<Vec<Wanted>, CliError> {
    let Some((first, rest)) = arguments.split_first() else {
        return Err(CliError::usage("a TYPE is needed, for example `pods`"));
    };
    if first.contains('/') {
        return parse_pairs(arguments);
    }
    let kinds: Vec<_> = first.split(',').map(str::trim).collect();
    if kinds.iter().any(|kind| kind.is_empty()) {
        return Err(CliError::usage(format!("{first:?} is not a list of types")));
    }
    if let Some(pair) = rest.iter().find(|name| name.contains('/')) {
        return Err(CliError::usage(format!("{pair:?} can't follow {first:?}"))
            .hint("write either `TYPE NAME...` or `TYPE/NAME TYPE/NAME...`"));
    }
    if kinds.len() > 1 && !rest.is_empty() {
        return Err(CliError::usage("names can't be given for several types")
            .hint("write TYPE/NAME for each"));
    }
    let wanted = |kind: &&str| Wanted { kind: (*kind).to_owned(), names: rest.to_vec() };
    Ok(kinds.iter().map(wanted).collect())
}

fn parse_pairs(arguments: &[String]) -> Result<Vec<Wanted>, CliError> {
    let mut all: Vec<Wanted> = Vec::new();
    for argument in arguments {
        let (kind, name) = pair(argument)?;
        match all.iter_mut().find(|wanted| wanted.kind == kind) {
            Some(wanted) => wanted.names.push(name.to_owned()),
            None => all.push(Wanted { kind: kind.to_owned(), names: vec![name.to_owned()] }),
        }
    }
    Ok(all)
}

/// Reads `TYPE/NAME`.
///
/// # Errors
/// When it is not of that form.
pub(crate) fn pair(argument: &str) -> Result<(&str, &str), CliError> {
    match argument.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((kind, name))
        }
        _ => Err(CliError::usage(format!("{argument:?} is not of the form TYPE/NAME"))),
    }
}

/// Reads `TYPE/NAME` or `TYPE NAME`, as commands about one object take it.
///
/// # Errors
/// When it is of neither form.
pub(crate) fn one(arguments: &[String]) -> Result<(&str, &str), CliError> {
    match arguments {
        [both] => pair(both),
        [kind, name] if !kind.contains('/') => Ok((kind, name)),
        _ => Err(CliError::usage("one object is needed, as TYPE/NAME")),
    }
}

/// Reads `TYPE` or `TYPE/NAME`, as `diff` and `watch` take it.
///
/// # Errors
/// When it is of neither form.
pub(crate) fn type_or_pair(argument: &str) -> Result<(&str, Option<&str>), CliError> {
    if argument.contains('/') {
        return pair(argument).map(|(kind, name)| (kind, Some(name)));
    }
    if argument.is_empty() || argument.contains(',') {
        return Err(CliError::usage(format!("{argument:?} is not of the form TYPE or TYPE/NAME")));
    }
    Ok((argument, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(arguments: &[&str]) -> Result<String, String> {
        let arguments: Vec<_> = arguments.iter().map(|a| (*a).to_owned()).collect();
        let wanted = parse(&arguments).map_err(|e| e.to_string())?;
        let each = wanted.iter().map(|w| format!("{}:{}", w.kind, w.names.join("+")));
        Ok(each.collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn kubectls_forms_are_read() {
        for (arguments, expected) in [
            (&["pods"][..], "pods:"),
            (&["pods", "a", "b"], "pods:a+b"),
            (&["deploy/web"], "deploy:web"),
            (&["pod/a", "svc/s", "pod/b"], "pod:a+b svc:s"),
            (&["pods,svc"], "pods: svc:"),
            (&["widgets.example.com"], "widgets.example.com:"),
        ] {
            assert_eq!(shown(arguments).unwrap(), expected);
        }
    }

    #[test]
    fn unclear_forms_are_refused() {
        for arguments in [
            &[][..],
            &["pods", "svc/a"],
            &["pods,svc", "a"],
            &["pods,"],
            &["pod/"],
            &["/a"],
            &["pod/a/b"],
            &["pod/a", "b"],
        ] {
            shown(arguments).unwrap_err();
        }
        type_or_pair("a,b").unwrap_err();
        assert_eq!(type_or_pair("pods").unwrap(), ("pods", None));
        assert_eq!(type_or_pair("pods/a").unwrap(), ("pods", Some("a")));
    }
}
