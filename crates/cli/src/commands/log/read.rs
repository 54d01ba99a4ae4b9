//! `stele log info` and `get`.

use clap::{Args, ValueEnum};
use serde::Serialize;
use stele_merkle::leaf_hash;
use stele_record::Header;
use stele_server::api::Witnessing;

use super::WhereArgs;
use crate::app::App;
use crate::error::{CliError, Exit, Outcome};
use crate::log_view::RecordView;
use crate::output::{self, Plain};
use crate::when::{grouped, relative, rfc3339};

/// Arguments of `stele log info`.
#[derive(Debug, Args)]
pub(super) struct InfoArgs {
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: Plain,
    #[command(flatten)]
    place: WhereArgs,
}

/// What `stele log info -o json` prints.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info {
    api_version: &'static str,
    kind: &'static str,
    origin: String,
    size: u64,
    root: String,
    checkpoint_time: Option<String>,
    verified: bool,
    checkpoint: String,
    verifier_keys: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    witnessing: Option<Witnessing>,
}

pub(super) async fn info(app: &App, args: &InfoArgs) -> Outcome {
    let view = args.place.view(app)?;
    let (note, witnessing) = view.newest().await?;
    let opened = view.open_checkpoint(&note).await?;
    let checkpoint = opened.signed.checkpoint;
    let time = opened.signed.signatures.iter().filter_map(|s| s.time).max();
    let time_ns = time.and_then(|s| i64::try_from(s).ok()?.checked_mul(1_000_000_000));
    let info = Info {
        api_version: stele_server::api::API_VERSION,
        kind: "LogInfo",
        origin: checkpoint.origin.clone(),
        size: checkpoint.size.0,
        root: checkpoint.root.to_string(),
        checkpoint_time: time_ns.map(rfc3339),
        verified: opened.pinned,
        checkpoint: note,
        verifier_keys: opened.keys.texts(),
        witnessing,
    };
    match args.output {
        Plain::Table => {
            let signed =
                time_ns.map(|ns| format!("{} ({})", rfc3339(ns), relative(ns, app.now_ns())));
            let against = if opened.pinned {
                "with the pinned key"
            } else {
                "with the log's own key, not pinned"
            };
            app.ui.line(&format!("Origin:      {}", info.origin))?;
            app.ui.line(&format!("Size:        {}", grouped(info.size)))?;
            app.ui.line(&format!("Root:        {}", info.root))?;
            app.ui.line(&format!("Signed at:   {}", signed.unwrap_or_default()))?;
            app.ui.line(&format!("Verified:    {against}"))?;
            for signature in &opened.signed.signatures {
                app.ui.line(&format!("Signature:   {}+{}", signature.name, signature.id))?;
            }
            if let Some(witnessing) = &info.witnessing {
                witnesses(app, witnessing, info.size)?;
            }
        }
        Plain::Json => output::json(&app.ui, &info)?,
        Plain::Jsonl => output::json_line(&app.ui, &info)?,
        Plain::Yaml => output::yaml(&app.ui, &info)?,
    }
    Ok(Exit::Done)
}

fn witnesses(app: &App, witnessing: &Witnessing, size: u64) -> Result<(), CliError> {
    let quorum = &witnessing.quorum;
    let cosigned = match witnessing.cosigned_size {
        Some(cosigned) => format!("{} of {} records", grouped(cosigned), grouped(size)),
        None => "nothing yet".to_owned(),
    };
    app.ui.line(&format!("Cosigned:    {cosigned}, by quorum {quorum}"))?;
    for witness in &witnessing.witnesses {
        let seen = match &witness.cosigned_at {
            Some(at) => {
                let age = relative(at.0, app.now_ns());
                format!("{} records, {age}", grouped(witness.cosigned_size))
            }
            None => "has not cosigned since the server started".to_owned(),
        };
        let fault = witness.fault.as_ref().map_or_else(String::new, |fault| {
            format!("; failing ({}): {fault}", grouped(witness.failures))
        });
        app.ui.line(&format!("Witness:     {}  {seen}{fault}", witness.name))?;
    }
    Ok(())
}

/// Arguments of `stele log get`.
#[derive(Debug, Args)]
pub(super) struct GetArgs {
    /// Index of the record
    #[arg(value_name = "INDEX", value_parser = index)]
    index: u64,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: RecordOutput,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum RecordOutput {
    /// For people.
    #[default]
    Table,
    /// A CloudEvents 1.0 event in JSON.
    Json,
    /// The same in YAML.
    Yaml,
    /// The payload's bytes, as they were recorded.
    Payload,
    /// The leaf's bytes: the encoded header.
    Leaf,
}

/// `812345` or `#812345`.
pub(super) fn index(text: &str) -> Result<u64, String> {
    text.strip_prefix('#')
        .unwrap_or(text)
        .parse()
        .map_err(|_| String::from("an index is a whole number, for example 812345 or #812345"))
}

pub(super) async fn get(app: &App, args: &GetArgs) -> Outcome {
    let view = args.place.view(app)?;
    let record = view.record(args.index).await?;
    match args.output {
        RecordOutput::Table => table(app, &record)?,
        RecordOutput::Json => output::json(&app.ui, &record.event)?,
        RecordOutput::Yaml => output::yaml(&app.ui, &record.event)?,
        RecordOutput::Leaf => app.ui.raw(&record.leaf()?)?,
        RecordOutput::Payload => match record.payload()? {
            Some(payload) => app.ui.raw(&payload)?,
            None => return Err(CliError::not_found("the payload of this record was erased")),
        },
    }
    Ok(Exit::Done)
}

/// Longest part of a payload that the table shows.
const PAYLOAD_SHOWN_BYTES_MAX: usize = 2_000;

fn table(app: &App, record: &RecordView) -> Result<(), CliError> {
    let event = &record.event;
    let leaf = record.leaf()?;
    let header = Header::decode(&leaf)
        .map_err(|e| CliError::tampered(format!("the record's header can't be read: {e}")))?;
    let mut lines = vec![
        format!("Index:        {}", event.steleindex),
        format!("Kind:         {}", event.stelekind),
        format!(
            "Source:       {} boot {} seq {}",
            event.stelesource, event.steleboot, event.steleseq
        ),
        format!("Observed:     {}", rfc3339(event.steleobservedtime.0)),
        format!("Ledger time:  {}", rfc3339(event.steleledgertime.0)),
    ];
    if let Some(time) = event.steleeventtime {
        lines.push(format!("Event time:   {} (the origin's claim)", rfc3339(time.0)));
    }
    if let Some(counter) = &event.steleorigincounter {
        lines.push(format!("Counter:      {counter}"));
    }
    lines.push(format!("Payload:      {} bytes, {}", header.payload_len, event.datacontenttype));
    lines.push(format!("Leaf hash:    {}", leaf_hash(&leaf)));
    lines.iter().try_for_each(|line| app.ui.line(line))?;
    let Some(payload) = record.payload()? else {
        return app.ui.line("\nThe payload was erased.");
    };
    let shown = &payload[..payload.len().min(PAYLOAD_SHOWN_BYTES_MAX)];
    let text = String::from_utf8_lossy(shown);
    let text: String =
        text.chars().map(|c| if c.is_control() && c != '\n' { '.' } else { c }).collect();
    app.ui.line(&format!("\n{}", text.trim_end()))?;
    if shown.len() < payload.len() {
        app.ui.note(&format!(
            "{} of {} bytes are shown; -o payload gives all.",
            shown.len(),
            payload.len()
        ));
    }
    Ok(())
}
