//! Ways to a cluster: a context of a kubeconfig, or the service account of the pod.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::ConnectError;

/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Where the credentials for a cluster come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// A kubeconfig.
    Kubeconfig {
        /// The file; `None` takes `KUBECONFIG` or `~/.kube/config`.
        path: Option<PathBuf>,
        /// The context; `None` takes the current one.
        context: Option<String>,
    },
    /// The service account of the pod stele runs in.
    InCluster,
}

/// A cluster that can be spoken to.
#[derive(Clone)]
pub struct Cluster {
    /// Name for people: the context, or `in-cluster`.
    pub name: String,
    /// The API server's address.
    pub server: String,
    /// The client.
    pub client: Client,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cluster({}, {})", self.name, self.server)
    }
}

/// Makes a client. Nothing is sent yet.
///
/// # Errors
/// A [`ConnectError`] that says what to change.
pub async fn connect(access: &Access) -> Result<Cluster, ConnectError> {
    let (name, config) = match access {
        Access::InCluster => {
            let config = Config::incluster()
                .map_err(|e| ConnectError::InCluster { detail: e.to_string() })?;
            ("in-cluster".to_owned(), config)
        }
        Access::Kubeconfig { path, context } => {
            from_kubeconfig(path.as_deref(), context.as_deref()).await?
        }
    };
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = client(config)
        .map_err(|e| ConnectError::Client { server: server.clone(), detail: e.to_string() })?;
    Ok(Cluster { name, server, client })
}

/// The contexts of a kubeconfig, and the current one.
///
/// # Errors
/// [`ConnectError::Kubeconfig`].
pub fn contexts(path: Option<&Path>) -> Result<(Vec<String>, Option<String>), ConnectError> {
    let kubeconfig = read(path)?;
    Ok((names(&kubeconfig), kubeconfig.current_context))
}

fn client(mut config: Config) -> Result<Client, kube::Error> {
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    // The recorder has its own deadlines, and its own way to try again.
    config.read_timeout = None;
    config.default_retry = false;
    Client::try_from(config)
}

async fn from_kubeconfig(
    path: Option<&Path>,
    context: Option<&str>,
) -> Result<(String, Config), ConnectError> {
    let kubeconfig = read(path)?;
    let known = names(&kubeconfig);
    let name = match (context, &kubeconfig.current_context) {
        (Some(wanted), _) if !known.iter().any(|name| name == wanted) => {
            return Err(ConnectError::NoSuchContext { wanted: wanted.to_owned(), known });
        }
        (Some(wanted), _) => wanted.to_owned(),
        (None, Some(current)) if !current.is_empty() => current.clone(),
        (None, _) => return Err(ConnectError::NoCurrentContext { known }),
    };
    let options = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(|e| unreadable(path, &e))?;
    Ok((name, config))
}

fn read(path: Option<&Path>) -> Result<Kubeconfig, ConnectError> {
    match path {
        Some(file) => Kubeconfig::read_from(file),
        None => Kubeconfig::read(),
    }
    .map_err(|e| unreadable(path, &e))
}

fn unreadable(path: Option<&Path>, error: &KubeconfigError) -> ConnectError {
    ConnectError::Kubeconfig { path: path.map(Path::to_owned), detail: error.to_string() }
}

fn names(kubeconfig: &Kubeconfig) -> Vec<String> {
    kubeconfig.contexts.iter().map(|context| context.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster:\n    \
        server: https://127.0.0.1:1\nusers:\n- name: u\n  user: {}\ncontexts:\n- name: one\n  \
        context: {cluster: c, user: u}\n- name: two\n  context: {cluster: c, user: u}\n";

    async fn connect_with(text: &str, context: Option<&str>) -> Result<Cluster, ConnectError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config");
        std::fs::write(&path, text).unwrap();
        connect(&Access::Kubeconfig { path: Some(path), context: context.map(str::to_owned) }).await
    }

    #[tokio::test]
    async fn names_what_is_wrong_with_a_kubeconfig() {
        let cluster = connect_with(TWO, Some("two")).await.unwrap();
        assert_eq!(
            (cluster.name.as_str(), cluster.server.as_str()),
            ("two", "https://127.0.0.1:1")
        );
        let error = connect_with(TWO, None).await.unwrap_err().to_string();
        assert!(error.contains("one, two"), "{error}");
        let error = connect_with(TWO, Some("three")).await.unwrap_err().to_string();
        assert!(error.contains("\"three\"") && error.contains("one, two"), "{error}");
        let error = connect_with("{", None).await.unwrap_err().to_string();
        assert!(error.contains("config"), "{error}");
        let path = Some(PathBuf::from("/nowhere/config"));
        let error = connect(&Access::Kubeconfig { path, context: None }).await.unwrap_err();
        assert!(error.to_string().contains("/nowhere/config"), "{error}");
    }
}
