//! `stele export`: an evidence file that can be verified without a server.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use futures::StreamExt;
use reqwest::Method;

use crate::app::{App, ConnectArgs};
use crate::client::Query;
use crate::error::{CliError, Exit, Outcome};
use crate::files;
use crate::point;
use crate::when::grouped;

/// Arguments of `stele export`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele export --since 2026-11-23T03:00Z --until 2026-11-23T03:20Z --out case42.jsonl
  stele export --from 812000 --to 812400 --out case42.jsonl
  stele verify case42.jsonl --key log.pub

The file holds the records with payloads and salts, a proof for each, and a signed checkpoint. It
discloses these records and no other.")]
pub(crate) struct ExportArgs {
    /// Records seen since this time (see `stele help time`)
    #[arg(long, value_name = "TIME", conflicts_with_all = ["from", "to"])]
    since: Option<String>,
    /// Records seen before this time; default is now
    #[arg(long, value_name = "TIME", requires = "since")]
    until: Option<String>,
    /// First ledger index
    #[arg(long, value_name = "INDEX")]
    from: Option<u64>,
    /// Ledger index after the last; default is all
    #[arg(long, value_name = "INDEX", requires = "from")]
    to: Option<u64>,
    /// File to write; `-` is standard output
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &ExportArgs) -> Outcome {
    if args.since.is_none() && args.from.is_none() {
        return Err(CliError::usage("--since TIME or --from INDEX is needed: export what?"));
    }
    let mut query = Query::new();
    for (name, text) in [("since", &args.since), ("until", &args.until)] {
        query.extend(point::optional(app, text.as_ref())?.map(|time| (name, time)));
    }
    for (name, index) in [("from", args.from), ("to", args.to)] {
        query.extend(index.map(|index| (name, index.to_string())));
    }
    let asked: Vec<_> = query.iter().map(|(name, value)| format!("{name} {value}")).collect();
    app.ui.note(&format!("Records {}.", asked.join(" ")));
    let (client, _) = app.client(&args.connect)?;
    let response = client.send(Method::GET, "v1/export", &query, None).await?;
    let to_stdout = args.out.as_os_str() == "-";
    let mut file = if to_stdout { None } else { Some(files::create_new(&args.out)?) };
    let mut progress = app.ui.progress("Exporting bytes", response.content_length());
    let mut stream = response.bytes_stream();
    let mut bytes = 0;
    let mut lines = 0_u64;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| {
            CliError::failed(format!("the export broke off after {bytes} bytes: {e}"))
                .hint("the file is not complete; remove it and export again")
        })?;
        match &mut file {
            None => app.ui.raw(&chunk)?,
            Some(file) => file.write_all(&chunk).map_err(|e| {
                CliError::failed(format!("cannot write {}: {e}", args.out.display()))
            })?,
        }
        bytes += chunk.len() as u64;
        lines += chunk.iter().filter(|&&byte| byte == b'\n').count() as u64;
        progress.at(bytes);
    }
    drop(progress);
    if let Some(file) = file {
        file.sync_all()
            .map_err(|e| CliError::failed(format!("cannot write {}: {e}", args.out.display())))?;
        app.ui.note(&format!(
            "Wrote {} lines, {} bytes to {}.",
            grouped(lines),
            grouped(bytes),
            args.out.display()
        ));
        app.ui.note(&format!("Check it anywhere: stele verify {} --key KEY", args.out.display()));
    }
    Ok(Exit::Done)
}
