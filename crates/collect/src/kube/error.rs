//! Errors of the recorder.

use std::path::PathBuf;

use stele_source::SourceError;

/// Why no client for a cluster could be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The kubeconfig could not be read. Name another with `--kubeconfig` or `KUBECONFIG`.
    #[error("cannot read the kubeconfig{}: {detail}", path.as_ref().map(|p| format!(" {}", p.display())).unwrap_or_default())]
    Kubeconfig {
        /// The file that was asked for; `None` means the default places.
        path: Option<PathBuf>,
        /// What is wrong.
        detail: String,
    },
    /// The kubeconfig has no such context. Use one of those it has.
    #[error("the kubeconfig has no context {wanted:?}; it has: {}", known.join(", "))]
    NoSuchContext {
        /// The context asked for.
        wanted: String,
        /// Those there are.
        known: Vec<String>,
    },
    /// The kubeconfig names no current context. Name one with `--context`.
    #[error("the kubeconfig sets no current context; name one of: {}", known.join(", "))]
    NoCurrentContext {
        /// Those there are.
        known: Vec<String>,
    },
    /// Not in a pod, or the pod has no service account token.
    #[error("cannot use the in-cluster service account: {detail}")]
    InCluster {
        /// What is missing.
        detail: String,
    },
    /// The configuration was read but no client can be made of it, for example because of a
    /// certificate.
    #[error("cannot make a client for {server}: {detail}")]
    Client {
        /// The API server.
        server: String,
        /// What is wrong.
        detail: String,
    },
}

/// Why a recorder ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecorderError {
    /// The source can't take records any more; stop, and start again when the cause is gone.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A task of the recorder failed in a way it should not; a restart resumes where it stood.
    #[error("a task of the recorder ended: {detail}")]
    Task {
        /// What the runtime said.
        detail: String,
    },
}
