//! `stele log append`: own events, a line each, acknowledged with index, checkpoint and proof.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::{Args, ValueEnum};
use stele_merkle::{Checkpoint, TreeSize};
use stele_record::{Commitment, Header, PAYLOAD_BYTES_MAX, Salt};
use stele_server::api::{AppendAck, LogInfo};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, BufReader};
use tokio::time::{sleep, timeout};

use super::WhereArgs;
use crate::app::App;
use crate::client::{Body, Client, Query};
use crate::data_dir::DataDir;
use crate::error::{CliError, Exit, Outcome};
use crate::node::Node;
use crate::output;
use crate::receipts::{self, Acknowledged};

/// Arguments of `stele log append`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  echo 'deployed web 1.4.2' | stele log append
  stele log append --as json < events.jsonl
  journalctl -f -o json | stele log append --as json -o jsonl

Each line is one event. A JSON line that is a CloudEvent (it has `specversion`) is taken as one. An
event is acknowledged when it is durable and under a signed checkpoint.")]
pub(super) struct AppendArgs {
    /// Files to read; `-` or none reads standard input
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What the lines are
    #[arg(long = "as", value_enum, default_value_t, value_name = "FORM")]
    form: Form,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: AppendOutput,
    /// Wait until witnesses have cosigned a checkpoint over the events (see `stele help witnesses`)
    #[arg(long, conflicts_with = "data")]
    cosigned: bool,
    #[command(flatten)]
    place: WhereArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum Form {
    /// JSON if the first line is a JSON object, else text.
    #[default]
    Auto,
    /// Text in UTF-8.
    Text,
    /// JSON, among it CloudEvents.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum AppendOutput {
    /// The index of each event.
    #[default]
    Table,
    /// For each request one JSON document with leaves, salts, proofs and checkpoint.
    Json,
    /// The same, one a line.
    Jsonl,
}

/// Most events that are sent together.
const BATCH_EVENTS_MAX: usize = 1_000;
/// Bytes that are sent together, unless one line alone has more.
const BATCH_BYTES_TARGET: usize = 4 * 1024 * 1024;
/// How long the witnesses' quorum is waited for, and how often it is asked whether it is met.
const COSIGNED_WAIT_MAX: Duration = Duration::from_secs(60);
const COSIGNED_PAUSE: Duration = Duration::from_millis(200);
/// How long a line waits for others to be sent with.
const BATCH_WAIT: Duration = Duration::from_millis(50);

pub(super) async fn run(app: &App, args: &AppendArgs) -> Outcome {
    let Some(data) = &args.place.data else {
        let (client, _) = app.client(&args.place.connect)?;
        return Appending { app, args, client }.run().await;
    };
    // With no server, one is started for as long as it takes.
    let node = Node::open(app, &DataDir::existing(data)?)?;
    let serving = node.serve_for_oneself().await?;
    let outcome = Appending { app, args, client: serving.client()? }.run().await;
    serving.stop().await?;
    outcome
}

struct Appending<'a> {
    app: &'a App,
    args: &'a AppendArgs,
    client: Client,
}

#[derive(Debug, Default)]
struct Sum {
    events: u64,
    checkpoint: Option<Checkpoint>,
}

impl Appending<'_> {
    async fn run(&self) -> Outcome {
        let stdin = [PathBuf::from("-")];
        let files = if self.args.files.is_empty() { &stdin } else { self.args.files.as_slice() };
        let mut sum = Sum::default();
        for file in files {
            if file.as_os_str() == "-" {
                self.lines(BufReader::new(tokio::io::stdin()), &mut sum).await?;
            } else {
                let open = tokio::fs::File::open(file).await.map_err(|e| {
                    CliError::failed(format!("cannot read {}: {e}", file.display()))
                })?;
                self.lines(BufReader::new(open), &mut sum).await?;
            }
        }
        let Some(checkpoint) = sum.checkpoint else {
            self.app.ui.note("Nothing to append: the input has no lines.");
            return Ok(Exit::Done);
        };
        let verified =
            if self.client.keys().is_empty() { "not verified: no key" } else { "proofs verified" };
        let plural = if sum.events == 1 { "" } else { "s" };
        self.app.ui.note(&format!(
            "Appended {} event{plural}, under checkpoint {} ({verified}).",
            sum.events, checkpoint.size
        ));
        if self.args.cosigned {
            let cosigned = timeout(COSIGNED_WAIT_MAX, self.cosigned(checkpoint.size)).await;
            let cosigned = cosigned.unwrap_or_else(|_| {
                let waited = COSIGNED_WAIT_MAX.as_secs();
                Err(CliError::failed(format!(
                    "the events are recorded, but after {waited} s no checkpoint over them is cosigned"
                ))
                .hint("`stele log info` says which witness does not answer"))
            })?;
            self.app.ui.note(&format!("Checkpoint {cosigned} is cosigned."));
        }
        Ok(Exit::Done)
    }

    /// Waits until a tree of at least `size` is cosigned; its size.
    async fn cosigned(&self, size: TreeSize) -> Result<u64, CliError> {
        loop {
            let info: LogInfo = self.client.json("v1/log", &Query::new()).await?;
            let Some(witnessing) = info.witnessing else {
                return Err(CliError::failed(
                    "the events are recorded, but no witnesses are asked",
                )
                .hint("the log has no policy: stele up --witness-policy FILE"));
            };
            match witnessing.cosigned_size {
                Some(cosigned) if cosigned >= size.0 => return Ok(cosigned),
                _ => sleep(COSIGNED_PAUSE).await,
            }
        }
    }

    async fn lines(
        &self,
        mut input: impl AsyncBufRead + Unpin,
        sum: &mut Sum,
    ) -> Result<(), CliError> {
        let mut form = self.args.form;
        let mut line = Vec::new();
        let mut batch: Vec<Bytes> = Vec::new();
        let mut bytes = 0;
        loop {
            let wait = if batch.is_empty() { Duration::MAX } else { BATCH_WAIT };
            let read = match timeout(wait, input.read_until(b'\n', &mut line)).await {
                // The line so far stays in `line`; reading goes on after what there is was sent.
                Err(_) => None,
                Ok(Err(e)) => return Err(CliError::failed(format!("cannot read the input: {e}"))),
                Ok(Ok(_)) => Some(std::mem::take(&mut line)),
            };
            let ended = read.as_ref().is_some_and(|line| !line.ends_with(b"\n"));
            let mut full = read.is_none() || ended;
            if let Some(event) = read.as_deref().map(event).filter(|event| !event.is_empty()) {
                if event.len() as u64 > PAYLOAD_BYTES_MAX {
                    return Err(CliError::usage(format!(
                        "a line has {} bytes; the limit is {PAYLOAD_BYTES_MAX}",
                        event.len()
                    )));
                }
                if form == Form::Auto {
                    form = recognise(event);
                }
                bytes += event.len();
                batch.push(Bytes::copy_from_slice(event));
                full |= batch.len() >= BATCH_EVENTS_MAX || bytes >= BATCH_BYTES_TARGET;
            }
            if full && !batch.is_empty() {
                self.send(&std::mem::take(&mut batch), form, sum).await?;
                bytes = 0;
            }
            if ended {
                return Ok(());
            }
        }
    }

    async fn send(&self, batch: &[Bytes], form: Form, sum: &mut Sum) -> Result<(), CliError> {
        let content_type = if form == Form::Json { "application/x-ndjson" } else { "text/plain" };
        let body = Body { content_type, bytes: batch.join(&b'\n').into() };
        let ack: AppendAck = self.client.post("v1/events", &Query::new(), body).await?;
        let checkpoint = self.check(batch, &ack).await?;
        sum.events += ack.items.len() as u64;
        sum.checkpoint = Some(checkpoint);
        match self.args.output {
            AppendOutput::Table => {
                let mut items = ack.items.iter();
                items.try_for_each(|item| self.app.ui.line(&format!("#{}", item.index)))
            }
            AppendOutput::Json => output::json(&self.app.ui, &ack),
            AppendOutput::Jsonl => output::json_line(&self.app.ui, &ack),
        }
    }

    /// Checks that what was acknowledged is what was sent, and that the log signed for it.
    async fn check(&self, batch: &[Bytes], ack: &AppendAck) -> Result<Checkpoint, CliError> {
        if ack.items.len() != batch.len() {
            return Err(CliError::tampered("the server acknowledged another number of events"));
        }
        let mut leaves = Vec::with_capacity(batch.len());
        for (item, payload) in ack.items.iter().zip(batch) {
            let leaf = receipts::bytes(&item.leaf, "a leaf")?;
            let salt = receipts::bytes(&item.salt, "a salt")?;
            if !commits(&leaf, &salt, payload) {
                return Err(CliError::tampered(format!(
                    "record {} was acknowledged, but is not of the event that was sent",
                    item.index
                )));
            }
            leaves.push(leaf);
        }
        if self.client.keys().is_empty() {
            let note = stele_merkle::Note::parse(ack.checkpoint.as_bytes());
            let checkpoint = note.ok().and_then(|note| Checkpoint::parse(note.text()).ok());
            return checkpoint.ok_or_else(|| CliError::failed("the server sent no checkpoint"));
        }
        let records = ack.items.iter().zip(&leaves).map(|(item, leaf)| Acknowledged {
            index: item.index,
            leaf,
            proof: &item.proof,
        });
        let verifier = self.client.verifier_for(&ack.checkpoint).await?;
        receipts::verify(&verifier, &ack.checkpoint, records)
    }
}

fn event(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn recognise(line: &[u8]) -> Form {
    let object = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(line);
    if object.is_ok() { Form::Json } else { Form::Text }
}

fn commits(leaf: &[u8], salt: &[u8], payload: &[u8]) -> bool {
    let Ok(salt) = salt.try_into().map(Salt::from_bytes) else { return false };
    Header::decode(leaf).is_ok_and(|header| header.commitment == Commitment::new(&salt, payload))
}
