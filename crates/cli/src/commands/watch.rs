//! `stele watch`: the recorded sequence of changes from any point, into the present.
//!
//! A broken connection is taken up again behind the last event that was printed, so nothing is
//! printed twice and nothing is left out.

use std::time::Duration;

use clap::{Args, ValueEnum};
use futures::StreamExt;
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use stele_server::api::{HistoryItem, WatchItem};
use tokio::time::{sleep, timeout};

use crate::app::{App, ConnectArgs};
use crate::args::{ClusterArgs, NamespaceArgs};
use crate::client::{Client, Query, ask};
use crate::commands::diff::change_word;
use crate::error::{CliError, Exit, Outcome};
use crate::output;
use crate::point;
use crate::resolved::describe;
use crate::resources;
use crate::scope::Scope;
use crate::signals::Signals;
use crate::sse::{Event, Parser};
use crate::when::rfc3339;

/// Arguments of `stele watch`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  stele watch -A
  stele watch deploy/web -n shop -o jsonl
  stele watch pods --since 2h
  stele watch -A --from-index 812345 -o jsonl

With -o jsonl each line has the index of its record: after a stop, go on with --from-index.")]
pub(crate) struct WatchArgs {
    /// What to follow; default is everything
    #[arg(value_name = "TYPE[/NAME]")]
    what: Option<String>,
    /// Begin at this time instead of now (see `stele help time`)
    #[arg(long, value_name = "TIME", conflicts_with = "from_index")]
    since: Option<String>,
    /// Begin at this ledger index
    #[arg(long, value_name = "INDEX")]
    from_index: Option<u64>,
    #[command(flatten)]
    namespace: NamespaceArgs,
    /// Label selector
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Output format
    #[arg(long, short, value_enum, default_value_t, value_name = "FORMAT")]
    output: WatchOutput,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
enum WatchOutput {
    /// One line for each change.
    #[default]
    Table,
    /// One JSON object a line, with the object after the change.
    Jsonl,
}

/// Longest silence of a connection: the server sends a comment every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Pause before a broken connection is taken up again: at first, and at most.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_MAX: Duration = Duration::from_secs(10);

pub(crate) async fn run(app: &App, args: &WatchArgs) -> Outcome {
    // Before the first line is out: whoever has seen one may interrupt.
    let mut signals = Signals::new()?;
    let mut query = Query::new();
    let what = args.what.as_deref().map(resources::type_or_pair).transpose()?;
    let kind = what.map(|(kind, _)| kind);
    query.extend(kind.map(|kind| ("type", kind.to_owned())));
    query.extend(what.and_then(|(_, name)| name).map(|name| ("name", name.to_owned())));
    query.extend(args.selector.clone().map(|selector| ("selector", selector)));
    if args.output == WatchOutput::Jsonl {
        query.push(("objects", String::from("true")));
    }
    let since = point::optional(app, args.since.as_ref())?;
    let (client, context) = app.client(&args.connect)?;
    let scope = Scope { namespace: &args.namespace, cluster: &args.cluster, context: &context };
    scope.add(&client, kind, &mut query).await?;
    let begin = match (&since, args.from_index) {
        (Some(since), _) => since.clone(),
        (None, Some(index)) => format!("ledger index {index}"),
        (None, None) => String::from("now"),
    };
    app.ui.note(&format!("From {begin}."));
    let mut watch = Watch { app, args, client: &client, query, since, last_id: None };
    tokio::select! {
        ended = watch.follow() => ended,
        () = signals.stop() => {
            app.ui.note(&watch.resume_hint());
            Ok(Exit::Interrupted)
        }
    }
}

struct Watch<'a> {
    app: &'a App,
    args: &'a WatchArgs,
    client: &'a Client,
    query: Query,
    since: Option<String>,
    /// Id of the last event, `INDEX.ORDINAL`.
    last_id: Option<String>,
}

impl Watch<'_> {
    async fn follow(&mut self) -> Outcome {
        let mut pause = RECONNECT_FIRST;
        let mut connected = false;
        loop {
            let before = self.last_id.clone();
            let reason = match self.connect().await {
                Ok(response) => {
                    connected = true;
                    self.read(response).await?
                }
                // Before the first connection an error is the answer; later it is an outage.
                Err(error) if !connected || error.exit() != Exit::Failed => return Err(error),
                Err(error) => error.to_string(),
            };
            if self.last_id != before {
                pause = RECONNECT_FIRST;
            }
            self.app.ui.note(&format!("The connection broke ({reason}); taking it up again."));
            sleep(pause).await;
            pause = (pause * 2).min(RECONNECT_MAX);
        }
    }

    async fn connect(&self) -> Result<Response, CliError> {
        let mut query = self.query.clone();
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        match &self.last_id {
            Some(id) => {
                let value = HeaderValue::from_str(id)
                    .map_err(|_| CliError::failed("the server sent an event id that is no id"))?;
                headers.insert(HeaderName::from_static("last-event-id"), value);
            }
            None => {
                query.extend(self.since.clone().map(|since| ("since", since)));
                query.extend(self.args.from_index.map(|index| ("from_index", index.to_string())));
            }
        }
        let request = self.client.request(Method::GET, "v1/watch", &query, None)?;
        let response =
            ask(request.headers(headers)).await.map_err(|e| self.client.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.client.refused(response).await)
    }

    /// Prints events until the connection breaks, and says why it did.
    async fn read(&mut self, response: Response) -> Result<String, CliError> {
        let mut stream = response.bytes_stream();
        let mut parser = Parser::default();
        loop {
            let chunk = match timeout(SILENCE_MAX, stream.next()).await {
                Err(_) => return Ok(String::from("it went silent")),
                Ok(None) => return Ok(String::from("the server ended it")),
                Ok(Some(Err(error))) => return Ok(error.to_string()),
                Ok(Some(Ok(chunk))) => chunk,
            };
            let events = parser
                .push(&chunk)
                .map_err(|e| CliError::failed(format!("the server's events: {e}")))?;
            for event in events {
                self.event(event)?;
            }
        }
    }

    /// Prints an event and remembers how far it leads.
    fn event(&mut self, event: Event) -> Result<(), CliError> {
        let item = WatchItem::read(&event.name, &event.data)
            .map_err(|e| CliError::failed(format!("an event can't be read: {e}")))?;
        match item {
            Some(WatchItem::Change(change)) => self.change(&change)?,
            Some(WatchItem::Gap(gap)) => match self.args.output {
                WatchOutput::Table => self.app.ui.line(&describe(&gap))?,
                WatchOutput::Jsonl => {
                    output::json_line(&self.app.ui, &serde_json::json!({"gap": gap}))?;
                }
            },
            _ => {}
        }
        if event.id.is_some() {
            self.last_id = event.id;
        }
        Ok(())
    }

    fn change(&self, item: &HistoryItem) -> Result<(), CliError> {
        if self.args.output == WatchOutput::Jsonl {
            return output::json_line(&self.app.ui, item);
        }
        let of = &item.of;
        let word = change_word(item.change);
        let code = match word {
            "added" | "listed" => "32",
            "deleted" | "vanished" | "replaced" => "31",
            _ => "33",
        };
        let word = self.app.ui.paint(code, &format!("{word:<8}"));
        let slash = if of.namespace.is_empty() { "" } else { "/" };
        let dot = if of.group.is_empty() { "" } else { "." };
        self.app.ui.line(&format!(
            "{}  {word}  {}{dot}{}/{}{slash}{}  rv:{}  #{}",
            rfc3339(item.seen.0),
            of.resource,
            of.group,
            of.namespace,
            of.name,
            item.resource_version,
            item.index
        ))
    }

    fn resume_hint(&self) -> String {
        match self.last_id.as_deref().and_then(|id| id.split('.').next()) {
            Some(index) => format!("Go on with --from-index {index}."),
            None => String::from("Nothing was received."),
        }
    }
}
