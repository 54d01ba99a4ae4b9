//! `stele kubeconfig`: what kubectl and other clients of Kubernetes need to look at a recorded
//! cluster at a time.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use stele_server::Kubeconfig;
use stele_server::api::{Answer, ClusterItem};

use crate::app::{App, ConnectArgs};
use crate::args::ClusterArgs;
use crate::config::Context;
use crate::data_dir::cannot;
use crate::error::{CliError, Exit, Outcome};
use crate::output;
use crate::point;

/// Arguments of `stele kubeconfig`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele kubeconfig --at 2026-11-23T03:12Z --out then.yaml
  kubectl --kubeconfig then.yaml get pods -A -o wide
  KUBECONFIG=then.yaml k9s
  stele kubeconfig --at '2h ago' | kubectl --kubeconfig /dev/stdin get events

The file names one cluster at one point. With `now`, the default, it follows the recording. A time
such as `2h ago` is resolved once, when the file is made. It can be read only: whatever would change
the cluster is refused.

Tables count ages from that point, as they were printed then. `kubectl describe` counts ages by its
own clock: take off the time since then.

Where nobody looked, answers carry a warning, which kubectl prints.")]
pub(crate) struct KubeconfigArgs {
    /// Point in time (see `stele help time`)
    #[arg(long, value_name = "TIME", default_value = "now", hide_default_value = true)]
    at: String,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Namespace that clients use where none is named
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Name of the context in the file; default is the cluster's and the point
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// File with the server's certificate; `stele up` keeps it in DIR/keys/tls.crt
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Write to this file, for its owner's eyes only, instead of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &KubeconfigArgs) -> Outcome {
    let at = point::parse(app, &args.at)?;
    let (client, context) = app.client(&args.connect)?;
    let clusters: Answer<ClusterItem> = client.json("v1/clusters", &Vec::new()).await?;
    let wanted = args.cluster.cluster.as_ref().or(context.cluster.as_ref());
    let cluster = choose(&clusters.items, wanted)?;
    let server = context.server.clone().unwrap_or_default();
    let certificate = certificate(args, &context, &server)?;
    let token_file = context.token_file.as_deref().map(absolute).transpose()?;
    let name = args.name.clone().unwrap_or_else(|| format!("{}@{at}", cluster.name));
    let kubeconfig = Kubeconfig {
        name: &name,
        server: &server.replacen("http://", "https://", 1),
        cluster: &cluster.id,
        point: &at,
        namespace: args.namespace.as_deref().or(context.namespace.as_deref()),
        certificate: certificate.as_deref(),
        token_file: token_file.as_deref().and_then(Path::to_str),
    };
    let document = kubeconfig.document();
    let Some(out) = &args.out else {
        output::yaml(&app.ui, &document)?;
        return Ok(Exit::Done);
    };
    let text = output::yaml_text(&document)?;
    write(out, text.as_bytes()).map_err(|e| cannot("write", out, &e))?;
    app.ui.note(&format!("kubectl --kubeconfig {} get pods -A", out.display()));
    Ok(Exit::Done)
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file =
        File::options().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// The cluster that is meant: the one named, or the only one.
fn choose<'c>(
    clusters: &'c [ClusterItem],
    wanted: Option<&String>,
) -> Result<&'c ClusterItem, CliError> {
    let names: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    let known = format!("recorded are: {}", names.join(", "));
    let Some(wanted) = wanted else {
        return match clusters {
            [only] => Ok(only),
            [] => Err(CliError::not_found("no cluster is recorded yet")),
            _ => Err(CliError::usage("several clusters are recorded; choose one with --cluster")
                .hint(known)),
        };
    };
    let mut found = clusters.iter().filter(|c| c.id == *wanted || c.name == *wanted);
    match (found.next(), found.next()) {
        (Some(cluster), None) => Ok(cluster),
        (None, _) => Err(CliError::usage(format!("no cluster {wanted:?} is recorded")).hint(known)),
        _ => Err(CliError::usage(format!("several clusters are named {wanted:?}: give its id"))),
    }
}

/// The certificate that clients are to trust; `None` where the system's are meant.
fn certificate(
    args: &KubeconfigArgs,
    context: &Context,
    server: &str,
) -> Result<Option<String>, CliError> {
    if let Some(path) = args.certificate.as_ref().or(context.certificate_file.as_ref()) {
        let text = std::fs::read_to_string(path).map_err(|e| cannot("read", path, &e))?;
        return Ok(Some(text));
    }
    if server.starts_with("https://") {
        return Ok(None);
    }
    Err(CliError::usage("the certificate of the server is not known")
        .hint("clients of Kubernetes send a token over TLS only, which `stele up` speaks on the same port")
        .hint("name its certificate: --certificate DIR/keys/tls.crt"))
}

fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(CliError::failed)
}
