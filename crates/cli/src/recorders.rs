//! The recorders of a process: one source and one list/watch machine for each cluster, started
//! together and stopped in order (first the watching, then the sealing and delivering).

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use prometheus_client::registry::Registry;
use stele_collect::kube::{
    Access, Cluster, Recorder, RecorderError, RecorderOptions, connect, contexts,
};
use stele_source::{
    Deliver, HEARTBEAT_DEFAULT, SPOOL_BYTES_MAX_DEFAULT, Source, SourceError, SourceOptions,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::app::App;
use crate::config::UpSettings;
use crate::error::{CliError, Exit, Outcome};
use crate::recorder_metrics::{RecorderCollector, Recording};
use crate::signals::Signals;

/// Which clusters to record, and how.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Recording")]
pub(crate) struct RecordArgs {
    /// Kubeconfig file; default is $KUBECONFIG, then ~/.kube/config
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig to record (can be repeated); default is its current context
    #[arg(long = "context", value_name = "CONTEXT")]
    kube_contexts: Vec<String>,
    /// Record the cluster this runs in, with the pod's service account
    #[arg(long, conflicts_with_all = ["kubeconfig", "kube_contexts"])]
    in_cluster: bool,
    /// Store values of Secrets as they are; without this they are replaced by keyed digests
    #[arg(long)]
    store_secret_values: bool,
}

/// The clusters to record.
#[derive(Debug)]
pub(crate) struct Clusters {
    clusters: Vec<Cluster>,
    /// Why there are none.
    none: String,
}

impl Clusters {
    /// No clusters, because of `why`.
    pub(crate) fn none(why: impl Into<String>) -> Self {
        Self { clusters: Vec::new(), none: why.into() }
    }

    /// Whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.clusters.is_empty()
    }

    /// Why there are none.
    pub(crate) fn why_none(&self) -> &str {
        &self.none
    }

    /// The names of the sources that record them.
    pub(crate) fn source_names(&self) -> Vec<String> {
        self.clusters.iter().map(source_name).collect()
    }
}

fn source_name(cluster: &Cluster) -> String {
    format!("recorder-{}", file_name(&cluster.name))
}

impl RecordArgs {
    /// The same with the settings of the configuration where no flag was given.
    pub(crate) fn with_settings(&self, settings: &UpSettings) -> Self {
        let mut args = self.clone();
        if args.in_cluster {
            return args;
        }
        args.kubeconfig = args.kubeconfig.or_else(|| settings.kubeconfig.clone());
        if args.kube_contexts.is_empty() {
            args.kube_contexts.clone_from(&settings.kube_contexts);
        }
        args
    }

    /// The clusters that are named, or that are found. Nothing is sent yet.
    ///
    /// # Errors
    /// When a named cluster is not there.
    pub(crate) async fn clusters(&self) -> Result<Clusters, CliError> {
        let accesses = self.accesses()?;
        let mut clusters = Vec::with_capacity(accesses.len());
        for access in &accesses {
            clusters.push(connect(access).await.map_err(CliError::usage)?);
        }
        let none = String::from("no kubeconfig and no service account was found");
        Ok(Clusters { clusters, none })
    }

    fn accesses(&self) -> Result<Vec<Access>, CliError> {
        let in_kubeconfig =
            |context: Option<String>| Access::Kubeconfig { path: self.kubeconfig.clone(), context };
        if self.in_cluster {
            return Ok(vec![Access::InCluster]);
        }
        if !self.kube_contexts.is_empty() {
            let named = self.kube_contexts.iter().cloned();
            return Ok(named.map(|context| in_kubeconfig(Some(context))).collect());
        }
        if self.kubeconfig.is_some() || kubeconfig_is_there()? {
            return Ok(vec![in_kubeconfig(None)]);
        }
        if Path::new(SERVICE_ACCOUNT_TOKEN).is_file() {
            return Ok(vec![Access::InCluster]);
        }
        Ok(Vec::new())
    }

    /// Whether values of Secrets are kept.
    pub(crate) const fn keeps_secret_values(&self) -> bool {
        self.store_secret_values
    }
}

const SERVICE_ACCOUNT_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Whether there is a kubeconfig in its usual places with a current context. One that is there and
/// can't be read is an error: recording nothing in silence would be the worse surprise.
fn kubeconfig_is_there() -> Result<bool, CliError> {
    let named = std::env::var_os("KUBECONFIG").is_some_and(|value| !value.is_empty());
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let usual = home.is_some_and(|home| home.join(".kube/config").is_file());
    if !named && !usual {
        return Ok(false);
    }
    let (_, current) = contexts(None).map_err(CliError::usage)?;
    Ok(current.is_some_and(|context| !context.is_empty()))
}

/// Recorders at work.
pub(crate) struct Recorders {
    names: Vec<(String, String)>,
    why_none: String,
    stop_watching: watch::Sender<bool>,
    stop_sources: watch::Sender<bool>,
    watching: JoinSet<Result<(), RecorderError>>,
    sources: JoinSet<Result<(), SourceError>>,
}

/// Longest time for delivering what is left at the end.
const DRAIN_MAX: Duration = Duration::from_secs(20);

impl Recorders {
    /// Starts a recorder for each cluster, with its source in a directory that `place` gives.
    ///
    /// # Errors
    /// When a source can't be opened.
    pub(crate) fn start<D: Deliver + Clone + 'static>(
        app: &App,
        place: &dyn Fn(&str) -> PathBuf,
        clusters: Clusters,
        args: &RecordArgs,
        delivery: &D,
        registry: &mut Registry,
    ) -> Result<Self, CliError> {
        let mut metrics = Vec::new();
        let (stop_watching, watching_stopped) = watch::channel(false);
        let (stop_sources, sources_stopped) = watch::channel(false);
        let mut all = Self {
            names: Vec::new(),
            why_none: clusters.none,
            stop_watching,
            stop_sources,
            watching: JoinSet::new(),
            sources: JoinSet::new(),
        };
        for cluster in clusters.clusters {
            all.names.push((cluster.name.clone(), cluster.server.clone()));
            let dir = place(&source_name(&cluster));
            let options = source_options(
                format!("recorder/{}", cluster.name),
                "what the Kubernetes API server sent in answer to lists and watches",
                false,
            );
            let source = Source::open(&dir, options, app.clock.clone()).map_err(source_error)?;
            let options = RecorderOptions {
                store_secret_values: args.keeps_secret_values(),
                ..RecorderOptions::default()
            };
            let name = cluster.name.clone();
            let recorder = Recorder::new(cluster, source.clone(), options);
            metrics.push(Recording {
                cluster: name,
                metrics: recorder.metrics(),
                source: source.clone(),
            });
            all.watching.spawn(recorder.run(watching_stopped.clone()));
            let (delivery, stopped) = (delivery.clone(), sources_stopped.clone());
            all.sources.spawn(async move { source.run(&delivery, stopped, DRAIN_MAX).await });
        }
        registry.register_collector(Box::new(RecorderCollector::new(metrics)));
        Ok(all)
    }

    /// Says what is recorded, or plainly that nothing is.
    ///
    /// # Errors
    /// When standard output can't be written.
    pub(crate) fn announce(&self, app: &App) -> Result<(), CliError> {
        if self.names.is_empty() {
            return app.ui.line(&format!("recording nothing: {}", self.why_none));
        }
        for (name, server) in &self.names {
            app.ui.line(&format!("recording {name} ({server})"))?;
        }
        Ok(())
    }

    /// Waits until a recorder ends by itself, which it does only when it can't go on. Waits for
    /// ever if there is none.
    pub(crate) async fn failed(&mut self) -> CliError {
        tokio::select! {
            Some(ended) = self.watching.join_next() => match ended {
                Ok(Err(error)) => CliError::failed(error),
                Ok(Ok(())) => CliError::failed("a recorder has ended"),
                Err(error) => CliError::failed(format!("a recorder has ended: {error}")),
            },
            Some(ended) = self.sources.join_next() => match ended {
                Ok(Err(error)) => source_error(error),
                Ok(Ok(())) => CliError::failed("a source has ended"),
                Err(error) => CliError::failed(format!("a source has ended: {error}")),
            },
            else => std::future::pending().await,
        }
    }

    /// Stops watching, then seals, closes and delivers what is left.
    ///
    /// # Errors
    /// The first thing that went wrong.
    pub(crate) async fn stop(&mut self) -> Result<(), CliError> {
        let mut outcome = Ok(());
        self.stop_watching.send_replace(true);
        while let Some(ended) = self.watching.join_next().await {
            if let Ok(Err(error)) = ended {
                outcome = outcome.and(Err(CliError::failed(error)));
            }
        }
        self.stop_sources.send_replace(true);
        while let Some(ended) = self.sources.join_next().await {
            if let Ok(Err(error)) = ended {
                outcome = outcome.and(Err(source_error(error)));
            }
        }
        outcome
    }

    /// Stops, unless a second signal does not want to wait; then what was the failure before, if
    /// there was one.
    ///
    /// # Errors
    /// The failure, or what [`Recorders::stop`] finds.
    pub(crate) async fn end(
        &mut self,
        app: &App,
        signals: &mut Signals,
        failure: Option<CliError>,
    ) -> Outcome {
        app.ui.note("Stopping: sealing and delivering what is left.");
        let stopped = tokio::select! {
            stopped = self.stop() => stopped,
            () = signals.stop() => Err(CliError::failed("stopped before everything was delivered")
                .hint("what is left is in the spool, and is delivered at the next start")),
        };
        match failure {
            Some(error) => Err(error),
            None => stopped.map(|()| Exit::Done),
        }
    }
}

/// Options of a source of this program.
pub(crate) fn source_options(name: String, attests: &str, imported: bool) -> SourceOptions {
    SourceOptions {
        name,
        attests: attests.to_owned(),
        imported,
        heartbeat: HEARTBEAT_DEFAULT,
        software: concat!("stele/", env!("CARGO_PKG_VERSION")).to_owned(),
        spool_bytes_max: SPOOL_BYTES_MAX_DEFAULT,
    }
}

/// What went wrong with a source.
pub(crate) fn source_error(error: SourceError) -> CliError {
    let in_use = matches!(error, SourceError::InUse { .. });
    let error = CliError::failed(error);
    if in_use {
        return error.hint("another stele records the same into this directory");
    }
    error
}

/// A name as part of a path.
pub(crate) fn file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.@".contains(c) { c } else { '_' };
    let name: String = name.chars().map(safe).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { String::from("_") } else { name.to_owned() }
}
