//! A subscription to the changes of a server that survives broken connections.
//!
//! Invariant: what is given out follows what was given out before, with nothing left out and nothing
//! twice, however often the connection breaks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use stele_server::api::WatchItem;
use tokio::time::{sleep, timeout};

use crate::client::{Client, Query, ask};
use crate::error::{CliError, Exit};
use crate::sse::{Event, Parser};

/// Longest silence of a connection: the server sends a comment every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Pause before a broken connection is taken up again: at first, and at most.
const RECONNECT_FIRST: Duration = Duration::from_millis(200);
const RECONNECT_MAX: Duration = Duration::from_secs(10);

/// Something of a subscription.
pub(crate) struct Received {
    /// `INDEX.ORDINAL`: behind this the subscription goes on. Not every item has one.
    pub(crate) id: Option<String>,
    /// What it is.
    pub(crate) item: WatchItem,
}

type Chunks = Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>;

/// See the module.
pub(crate) struct Subscription<'a> {
    client: &'a Client,
    /// What is subscribed to.
    query: Query,
    /// Where it begins, until something was received.
    begin: Query,
    last_id: Option<String>,
    /// Received and not given out.
    waiting: VecDeque<Event>,
    connection: Option<(Chunks, Parser)>,
    connected: bool,
    pause: Duration,
    note: &'a (dyn Fn(&str) + Send + Sync),
}

impl<'a> Subscription<'a> {
    /// A subscription that begins as `begin` says, or behind `last_id` if there is one. `note` is
    /// told when a connection breaks.
    pub(crate) fn new(
        client: &'a Client,
        query: Query,
        begin: Query,
        last_id: Option<String>,
        note: &'a (dyn Fn(&str) + Send + Sync),
    ) -> Self {
        Self {
            client,
            query,
            begin,
            last_id,
            waiting: VecDeque::new(),
            connection: None,
            connected: false,
            pause: RECONNECT_FIRST,
            note,
        }
    }

    /// Id of the last thing that was given out and had one.
    pub(crate) fn last_id(&self) -> Option<&str> {
        self.last_id.as_deref()
    }

    /// The next item; connects and connects again as needed. May be given up at any await and called
    /// again.
    ///
    /// # Errors
    /// What the server answers to the first connection, or that it sends what can't be read. Later it
    /// is tried again for ever.
    pub(crate) async fn next(&mut self) -> Result<Received, CliError> {
        loop {
            while let Some(event) = self.waiting.pop_front() {
                let item = WatchItem::read(&event.name, &event.data)
                    .map_err(|e| CliError::failed(format!("an event can't be read: {e}")))?;
                if event.id.is_some() {
                    self.last_id.clone_from(&event.id);
                }
                // An event of a later version is passed over.
                let Some(item) = item else { continue };
                return Ok(Received { id: event.id, item });
            }
            self.receive().await?;
        }
    }

    /// Takes in the next chunk, or connects.
    async fn receive(&mut self) -> Result<(), CliError> {
        let Some((chunks, parser)) = &mut self.connection else {
            match self.connect().await {
                Ok(response) => {
                    self.connected = true;
                    let chunks = Box::pin(response.bytes_stream());
                    self.connection = Some((chunks, Parser::default()));
                    return Ok(());
                }
                // Before the first connection an error is the answer; later it is an outage.
                Err(error) if !self.connected || error.exit() != Exit::Failed => return Err(error),
                Err(error) => return self.broken(&error.to_string()).await,
            }
        };
        let reason = match timeout(SILENCE_MAX, chunks.next()).await {
            Err(_) => "it went silent".to_owned(),
            Ok(None) => "the server ended it".to_owned(),
            Ok(Some(Err(error))) => error.to_string(),
            Ok(Some(Ok(chunk))) => {
                let events = parser.push(&chunk);
                let events =
                    events.map_err(|e| CliError::failed(format!("the server's events: {e}")))?;
                if !events.is_empty() {
                    self.pause = RECONNECT_FIRST;
                }
                self.waiting.extend(events);
                return Ok(());
            }
        };
        self.connection = None;
        self.broken(&reason).await
    }

    async fn broken(&mut self, reason: &str) -> Result<(), CliError> {
        (self.note)(&format!("The connection broke ({reason}); taking it up again."));
        let pause = self.pause;
        self.pause = (pause * 2).min(RECONNECT_MAX);
        sleep(pause).await;
        Ok(())
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
            None => query.extend(self.begin.clone()),
        }
        let request = self.client.request(Method::GET, "v1/watch", &query, None)?;
        let response =
            ask(request.headers(headers)).await.map_err(|e| self.client.unreachable(&e))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.client.refused(response).await)
    }
}
