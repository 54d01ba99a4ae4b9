//! The arguments of the program: one subcommand for each command, and flags that several share.

use clap::{Args, Parser, Subcommand};

use crate::app::GlobalArgs;
use crate::client::Query;
use crate::commands::{
    agent, bench, completion, configure, coverage, demo, diff, export, fsck, get, help, history,
    import, ip, kubeconfig, leaf_mirror, log, mirror, reference, referrers, state, up, verify,
    watch, webhook, witness,
};
use crate::topics;

/// A write-once ledger of what happened in a cluster, and the answers from it, with proof
///
/// Stele records everything a Kubernetes API server says into an append-only Merkle log, and
/// answers what a cluster looked like at any time, who had an address, and what changed. Every
/// answer can be checked offline by somebody who trusts neither this program nor its storage.
#[derive(Debug, Parser)]
#[command(
    name = "stele",
    version,
    after_help = topics::overview(),
    disable_help_subcommand = true,
    infer_subcommands = false,
    max_term_width = 100,
    arg_required_else_help = true,
    subcommand_required = true
)]
pub(crate) struct Cli {
    /// Flags of every command.
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    /// The command.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show objects as they were at a time
    Get(get::GetArgs),
    /// Show which pods had an address
    Ip(ip::IpArgs),
    /// Show what changed between two times
    Diff(diff::DiffArgs),
    /// Show all versions of one object
    History(history::HistoryArgs),
    /// Show which objects name an object by its uid
    Referrers(referrers::ReferrersArgs),
    /// Follow changes, from any point in the past into the present
    Watch(watch::WatchArgs),
    /// Push changes to a receiver, signed and in batches
    Webhook(webhook::WebhookArgs),
    /// Show when the recorder was blind
    Coverage(coverage::CoverageArgs),
    /// Point kubectl, k9s or any client of Kubernetes at a recorded cluster, at any time
    Kubeconfig(kubeconfig::KubeconfigArgs),
    /// Append to, read from and prove the log
    Log(log::LogArgs),
    /// Write an evidence file that can be verified without a server
    Export(export::ExportArgs),
    /// Verify an evidence file, a proof, a data directory or a running log
    Verify(verify::VerifyArgs),
    /// Check every stored byte of a data directory
    Fsck(fsck::FsckArgs),
    /// Keep a verified copy of a log and cosign what it holds
    Mirror(mirror::MirrorArgs),
    /// Start ledger, API and recorder in one process
    Up(up::UpArgs),
    /// Record clusters and deliver to a ledger elsewhere
    Agent(agent::AgentArgs),
    /// Cosign the checkpoints of other logs, each only if it continues the one before
    Witness(witness::WitnessArgs),
    /// Hold the leaves of other logs that are pushed here, serve and cosign them
    LeafMirror(leaf_mirror::LeafMirrorArgs),
    /// Take in recordings that were made by other means
    Import(import::ImportArgs),
    /// Manage the state that is derived from the log
    State(state::StateArgs),
    /// Look around in a recorded cluster, with nothing to set up
    Demo(demo::DemoArgs),
    /// Measure how many records a ledger takes in, checking every answer
    Bench(bench::BenchArgs),
    /// Show the configuration
    Config(configure::ConfigArgs),
    /// Print a completion script for a shell
    Completion(completion::CompletionArgs),
    /// Show the help of a command or a topic
    Help(help::HelpArgs),
    /// Print reference documents
    #[command(hide = true)]
    Reference(reference::ReferenceArgs),
}

/// Which namespace.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct NamespaceArgs {
    /// Namespace; default is that of the context, else `default`
    #[arg(long, short, value_name = "NAMESPACE", conflicts_with = "all_namespaces")]
    pub(crate) namespace: Option<String>,
    /// All namespaces
    #[arg(long, short = 'A')]
    pub(crate) all_namespaces: bool,
}

/// Which changes of the objects that are followed.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ChangeArgs {
    /// Label selector
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only pods, nodes, services and endpoint slices with this address before or after the change
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<String>,
    /// Only what this object owns before or after the change, itself or through others
    #[arg(long, value_name = "TYPE/NAME|UID")]
    owner: Option<String>,
}

impl ChangeArgs {
    /// Adds them to a question.
    pub(crate) fn add(&self, query: &mut Query) {
        let Self { selector, ip, owner } = self.clone();
        let given = [("selector", selector), ("ip", ip), ("owner", owner)];
        query.extend(given.into_iter().filter_map(|(name, value)| Some((name, value?))));
    }
}

/// Which of several recorded clusters.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Cluster, by name or id; needed only if the ledger holds several
    #[arg(long, env = "STELE_CLUSTER", value_name = "CLUSTER", hide_env_values = true)]
    pub(crate) cluster: Option<String>,
}

/// A stretch of time.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct StretchArgs {
    /// Begin of the stretch (see `stele help time`)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// End of the stretch; default is now
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}
