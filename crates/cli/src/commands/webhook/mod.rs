//! `stele webhook`: pushes the recorded sequence of changes to a receiver, signed, in batches.
//!
//! Invariant: batches come in the order of the log, and a batch is sent with the same id and the same
//! bytes until it is settled: a receiver that passes over ids which it knows has every change exactly
//! once, in order.

mod outbox;
mod signature;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde_json::Value;
use stele_collect::Backoff;
use stele_server::api::WatchItem;
use tokio::time::{Instant, sleep, timeout_at};

use crate::app::{App, ConnectArgs};
use crate::args::{ChangeArgs, ClusterArgs, NamespaceArgs};
use crate::client::{Client, Query, causes};
use crate::error::{CliError, Exit, Outcome};
use crate::point;
use crate::resources;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::subscription::Subscription;
use outbox::{Batch, Outbox};
use signature::Secret;

/// Longest time that a receiver may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// Pause before a batch is sent again: at first, and at most.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(300);
/// Largest batch, in bytes of JSON; one change over it is sent alone.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Arguments of `stele webhook`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele webhook https://hooks.example/stele --state hooks/example --secret-file hooks/secret
  stele webhook http://127.0.0.1:9000/ pods -A --since 2h --state s --secret-file k

Deliveries follow the Standard Webhooks specification: the headers webhook-id, webhook-timestamp and
webhook-signature. A batch is sent again, with the same id, until the receiver answers with a status of
2xx; whoever passes over ids that it knows gets every change once and in order, also after a crash of
either side. A batch that is not taken for --give-up-after is put into the folder `dead` of --state, and
the next one follows. A status of 410 ends the command.")]
pub(crate) struct WebhookArgs {
    /// Where to send
    #[arg(value_name = "URL")]
    url: String,
    /// What to follow; default is everything
    #[arg(value_name = "TYPE[/NAME]")]
    what: Option<String>,
    /// Folder in which is kept how far the receiver is; one for each receiver
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// File with the secret that signs deliveries; made if it is not there
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// Where to begin when the folder is new, instead of now (see `stele help time`)
    #[arg(long, value_name = "TIME", conflicts_with = "from_index")]
    since: Option<String>,
    /// Begin at this ledger index when the folder is new
    #[arg(long, value_name = "INDEX")]
    from_index: Option<u64>,
    /// Most changes of a batch
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// How long a batch waits for more changes, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(..=60_000))]
    linger_ms: u64,
    /// Give a batch up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 86_400)]
    give_up_after: u64,
    /// Send without TLS to another machine
    #[arg(long)]
    allow_plaintext: bool,
    #[command(flatten)]
    namespace: NamespaceArgs,
    #[command(flatten)]
    changes: ChangeArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

pub(crate) async fn run(app: &App, args: &WebhookArgs) -> Outcome {
    let mut signals = Signals::new()?;
    let url = receiver(args)?;
    let (secret, made) = Secret::load_or_make(&args.secret_file)?;
    if made {
        app.ui.note(&format!("Made a secret; the receiver needs {}.", args.secret_file.display()));
    }
    let mut query: Query = vec![("objects", String::from("true"))];
    let what = args.what.as_deref().map(resources::type_or_pair).transpose()?;
    let kind = what.map(|(kind, _)| kind);
    query.extend(kind.map(|kind| ("type", kind.to_owned())));
    query.extend(what.and_then(|(_, name)| name).map(|name| ("name", name.to_owned())));
    args.changes.add(&mut query);
    let mut begin = Query::new();
    begin.extend(point::optional(app, args.since.as_ref())?.map(|since| ("since", since)));
    begin.extend(args.from_index.map(|index| ("from_index", index.to_string())));
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, kind, &mut query).await?;
    let outbox = Outbox::open(&args.state)?;
    let note = |text: &str| app.ui.note(text);
    let cursor = outbox.cursor()?;
    let from = cursor.as_deref().map_or("the beginning that was asked for", |id| id);
    app.ui.note(&format!("Delivering to {url}, from behind {from}."));
    let http = reqwest::Client::builder()
        .timeout(ANSWER_MAX)
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("stele/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| CliError::failed(format!("cannot set up HTTP: {}", causes(&e))))?;
    let pending = outbox.pending()?;
    let last = pending.as_ref().map(|batch| batch.last.clone()).or(cursor);
    let changes = Subscription::new(&client, query, begin, last, &note);
    let mut sender = Sender { app, args, url, secret, outbox, http, client: &client, changes };
    tokio::select! {
        ended = sender.run(pending) => ended,
        () = signals.stop() => {
            app.ui.note("Stopped; the next start goes on where this one was.");
            Ok(Exit::Done)
        }
    }
}

/// The receiver's URL.
fn receiver(args: &WebhookArgs) -> Result<Url, CliError> {
    let url = Url::parse(&args.url)
        .map_err(|e| CliError::usage(format!("{:?} is not a URL: {e}", args.url)))?;
    let local = url.host_str().is_some_and(|host| {
        let host = host.trim_matches(['[', ']']);
        let address = host.parse::<std::net::IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    });
    match url.scheme() {
        "https" => Ok(url),
        "http" if local || args.allow_plaintext => Ok(url),
        "http" => Err(CliError::usage("the receiver is another machine and there is no TLS")
            .hint("changes hold whole objects; use https, or say --allow-plaintext")),
        _ => Err(CliError::usage(format!("{url} is not an http or https URL"))),
    }
}

struct Sender<'a> {
    app: &'a App,
    args: &'a WebhookArgs,
    url: Url,
    secret: Secret,
    outbox: Outbox,
    http: reqwest::Client,
    client: &'a Client,
    changes: Subscription<'a>,
}

/// One change on its way.
#[derive(Serialize)]
struct Item {
    id: String,
    /// `change` or `gap`.
    event: &'static str,
    data: Value,
}

/// What is sent.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'b> {
    api_version: &'static str,
    kind: &'static str,
    /// A signed checkpoint of the log: it covers the items whose index is below its size.
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<String>,
    items: &'b [Item],
}

/// What became of one try.
enum Answer {
    Taken,
    /// The receiver wants no more.
    Gone,
    /// Not now: why, and when to try again if it says so.
    Later(String, Option<Duration>),
}

impl Sender<'_> {
    async fn run(&mut self, pending: Option<Batch>) -> Outcome {
        if let Some(batch) = pending {
            self.deliver(batch).await?;
        }
        loop {
            let batch = self.gather().await?;
            self.outbox.keep(&batch)?;
            self.deliver(batch).await?;
        }
    }

    /// Gathers the next batch; waits for the first change as long as it takes.
    async fn gather(&mut self) -> Result<Batch, CliError> {
        let (mut items, mut bytes): (Vec<Item>, usize) = (Vec::new(), 0);
        let mut until: Option<Instant> = None;
        while items.len() < usize::from(self.args.batch) && bytes < BATCH_BYTES_MAX {
            let received = match until {
                None => self.changes.next().await?,
                Some(until) => match timeout_at(until, self.changes.next()).await {
                    Ok(received) => received?,
                    Err(_) => break,
                },
            };
            let wanted = matches!(received.item, WatchItem::Change(_) | WatchItem::Gap(_));
            let (event, data) = received.item.write().map_err(CliError::failed)?;
            let Some(id) = received.id.filter(|_| wanted) else { continue };
            bytes += data.len();
            let data = serde_json::from_str(&data).map_err(CliError::failed)?;
            items.push(Item { id, event, data });
            let linger = Duration::from_millis(self.args.linger_ms);
            until.get_or_insert(Instant::now() + linger);
        }
        let (first, last) = match (items.first(), items.last()) {
            (Some(first), Some(last)) => (first.id.clone(), last.id.clone()),
            _ => return Err(CliError::failed("a batch without changes")),
        };
        let checkpoint = self.client.bytes("checkpoint", &Query::new()).await;
        let checkpoint = checkpoint.ok().and_then(|note| String::from_utf8(note.into()).ok());
        let body = Body { api_version: "stele/v1", kind: "ChangeBatch", checkpoint, items: &items };
        let body = serde_json::to_string(&body).map_err(CliError::failed)?;
        Ok(Batch { id: format!("stele-{first}-{last}"), last, body })
    }

    /// Sends a batch until it is settled.
    async fn deliver(&self, batch: Batch) -> Result<(), CliError> {
        let give_up = Instant::now() + Duration::from_secs(self.args.give_up_after);
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        loop {
            let (reason, wanted) = match self.send(&batch).await {
                Answer::Taken => return self.outbox.settle(&batch.last),
                Answer::Gone => {
                    return Err(CliError::failed("the receiver wants no more deliveries (410)")
                        .hint("the batch stays; the next start sends it again"));
                }
                Answer::Later(reason, wanted) => (reason, wanted),
            };
            let pause = backoff.pause().max(wanted.unwrap_or_default());
            if Instant::now() + pause > give_up {
                let file = self.outbox.give_up(&batch)?;
                let what = format!("{} was not taken ({reason}) and is given up", batch.id);
                self.app.ui.note(&format!("{what}: {}", file.display()));
                return Ok(());
            }
            let seconds = pause.as_secs_f64();
            self.app.ui.note(&format!("{}: {reason}; again in {seconds:.1} s.", batch.id));
            sleep(pause).await;
        }
    }

    async fn send(&self, batch: &Batch) -> Answer {
        let seconds = self.app.now_ns() / 1_000_000_000;
        let request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &batch.id)
            .header("webhook-timestamp", seconds)
            .header(
                "webhook-signature",
                self.secret.sign(&batch.id, seconds, batch.body.as_bytes()),
            )
            .body(batch.body.clone());
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => return Answer::Later(causes(&error), None),
        };
        let status = response.status();
        if status.is_success() {
            return Answer::Taken;
        }
        if status == StatusCode::GONE {
            return Answer::Gone;
        }
        let wanted =
            response.headers().get(RETRY_AFTER).and_then(|v| v.to_str().ok()?.parse().ok());
        Answer::Later(format!("it answered {status}"), wanted.map(Duration::from_secs))
    }
}
