//! The configuration file, the environment, and which wins.

use super::*;

fn context(server: &str, key: &str) -> Context {
    Context { server: Some(server.to_owned()), key: vec![key.to_owned()], ..Context::default() }
}

#[test]
fn the_default_file_is_valid_and_names_every_key() {
    assert_eq!(Config::parse(DEFAULT_FILE), Ok(Config::default()));
    let all: String = DEFAULT_FILE
        .lines()
        .map(|line| line.strip_prefix("# ").unwrap_or(line))
        .filter(|line| line.starts_with('[') || line.contains(" = "))
        .map(|line| format!("{line}\n"))
        .collect();
    let config = Config::parse(&all).unwrap();
    let shown = toml::to_string(&config).unwrap();
    for key in [
        "server",
        "key",
        "token-file",
        "certificate-file",
        "namespace",
        "cluster",
        "data",
        "listen",
        "witness-policy",
        "witness-pause",
    ] {
        assert!(shown.contains(&format!("{key} = ")), "{key} is missing");
    }
}

#[test]
fn an_unknown_key_is_named() {
    let error = Config::parse("[context.a]\nservr = 'x'\n").unwrap_err();
    assert!(error.contains("servr") && error.contains("server"), "{error}");
}

#[test]
fn the_user_file_wins_over_the_system_file() {
    let user = Config::parse("[up]\nlisten = '127.0.0.1:1'\n[context.a]\nserver = 'u'\n").unwrap();
    let system = Config::parse(
        "[up]\nlisten = '127.0.0.1:2'\ndata = '/d'\n[context.a]\nserver = 's'\n[context.b]\n",
    )
    .unwrap();
    let merged = user.over(system);
    assert_eq!(merged.up.listen.as_deref(), Some("127.0.0.1:1"));
    assert_eq!(merged.up.data, Some(PathBuf::from("/d")));
    assert_eq!(merged.context["a"].server.as_deref(), Some("u"));
    assert!(merged.context.contains_key("b"));
}

#[test]
fn saving_a_context_keeps_every_other_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("stele/config.toml");
    assert_eq!(save_context(&path, "default", &context("http://a", "k")).unwrap(), Written::Saved);
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n# mine\n[up]\nlisten = '127.0.0.1:9'\n")).unwrap();

    let again = context("http://b", "k");
    assert_eq!(save_context(&path, "default", &again).unwrap(), Written::Saved);
    assert_eq!(save_context(&path, "default", &again).unwrap(), Written::Unchanged);
    let other = context("http://c", "another key");
    assert_eq!(save_context(&path, "default", &other).unwrap(), Written::OtherLedger);

    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("listen = '127.0.0.1:9'"), "{text}");
    let config = Config::parse(&text).unwrap();
    assert_eq!(config.context["default"].server.as_deref(), Some("http://b"));
}

#[test]
fn a_missing_context_is_an_error_only_if_it_was_asked_for() {
    let config = Config::default();
    assert_eq!(config.select(None).unwrap(), Context::default());
    assert_eq!(config.select(Some("x")).unwrap_err().exit(), crate::error::Exit::Usage);
}
