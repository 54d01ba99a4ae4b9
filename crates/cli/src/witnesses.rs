//! Asks the witnesses of a policy to cosign the ledger's checkpoints, in the background.
//!
//! Witnesses are asked in rounds: all about the same checkpoint, so that their cosignatures come
//! together on one. A round ends when its quorum is met; a slow or dead witness delays it for
//! [`ROUND_MAX`] at most, and only where the quorum needs it.
//!
//! Not here: what an answer means and what is published ([`Cosigning`]).
//! Invariant: nothing in the ledger waits for this. It may be stopped at any moment.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};
use stele_collect::Backoff;
use stele_ledger::Ledger;
use stele_ledger::cosigning::{Cosigning, Endpoint, Step};
use stele_merkle::witness::{ADD_CHECKPOINT_PATH, ANSWER_BYTES_MAX, AddCheckpoint, Answer};
use tokio::sync::watch;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use crate::client::causes;
use crate::error::CliError;

/// How long a witness may take to answer.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(10);

/// Shortest pause between two checkpoints that witnesses are asked about, unless told otherwise.
/// Public witnesses do not take a log that asks all the time.
pub(crate) const ROUND_PAUSE_DEFAULT: Duration = Duration::from_secs(1);

/// How long a round waits for its quorum before witnesses are asked about a newer checkpoint.
const ROUND_MAX: Duration = Duration::from_secs(30);

/// How old a cosignature becomes before it is asked for again, although nothing was recorded since.
const REFRESH: Duration = Duration::from_secs(300);

/// Pause after a witness has failed; it doubles up to the longest.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(60);

/// How often a witness is asked at once if it knows another tree each time.
const ASKS_MAX: usize = 4;

/// The running questions; they end when this is dropped.
#[derive(Debug)]
pub(crate) struct Witnesses {
    _tasks: JoinSet<()>,
}

impl Witnesses {
    /// Begins to ask, with this pause between two rounds.
    ///
    /// # Errors
    /// When a witness has no usable URL.
    pub(crate) fn start(
        ledger: &Ledger,
        cosigning: &Arc<Cosigning>,
        pause: Duration,
    ) -> Result<Self, CliError> {
        let http = Client::builder()
            .timeout(WITNESS_TIMEOUT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("stele/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| CliError::failed(format!("cannot set up HTTP: {}", causes(&e))))?;
        let (round, rounds) = watch::channel(0);
        let mut tasks = JoinSet::new();
        for endpoint in cosigning.endpoints() {
            let url = submission_url(&endpoint.url)?;
            let asking = Asking {
                cosigning: Arc::clone(cosigning),
                http: http.clone(),
                url,
                endpoint,
                rounds: rounds.clone(),
            };
            tasks.spawn(asking.run());
        }
        tasks.spawn(begin_rounds(ledger.clone(), Arc::clone(cosigning), pause, round));
        Ok(Self { _tasks: tasks })
    }
}

fn submission_url(prefix: &str) -> Result<Url, CliError> {
    let text = format!("{}/{ADD_CHECKPOINT_PATH}", prefix.trim_end_matches('/'));
    match Url::parse(&text) {
        Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => Ok(url),
        _ => {
            Err(CliError::usage(format!("witness policy: {prefix:?} is not an http or https URL")))
        }
    }
}

async fn begin_rounds(
    ledger: Ledger,
    cosigning: Arc<Cosigning>,
    pause: Duration,
    round: watch::Sender<u64>,
) {
    let mut sizes = ledger.subscribe();
    let mut published = cosigning.subscribe();
    loop {
        sizes.borrow_and_update();
        let (ledger, cosigning) = (ledger.clone(), Arc::clone(&cosigning));
        let begun = spawn_blocking(move || cosigning.begin(&ledger)).await;
        match begun {
            Ok(Ok(size)) => {
                round.send_modify(|number| *number += 1);
                // Met or not, the next round has a newer checkpoint.
                let _ = timeout(ROUND_MAX, published.wait_for(|at| *at >= size)).await;
            }
            Ok(Err(error)) => tracing::error!(%error, "no checkpoint to be cosigned"),
            Err(_) => return,
        }
        sleep(pause).await;
        // Without a writer there are no new sizes; what there is stays worth a cosignature.
        if let Ok(Err(_)) = timeout(REFRESH, sizes.changed()).await {
            sleep(REFRESH).await;
        }
    }
}

/// One place that is asked.
struct Asking {
    cosigning: Arc<Cosigning>,
    http: Client,
    url: Url,
    endpoint: Endpoint,
    rounds: watch::Receiver<u64>,
}

impl Asking {
    async fn run(mut self) {
        let mut backoff = Backoff::new(RETRY_FIRST, RETRY_MAX);
        let mut failing = false;
        while self.rounds.changed().await.is_ok() {
            loop {
                self.rounds.borrow_and_update();
                let Some(step) = self.ask().await else { return };
                let Step::Failed(fault) = step else { break };
                if !failing {
                    tracing::warn!(witness = %self.url, fault, "a witness does not cosign");
                }
                failing = true;
                sleep(backoff.pause()).await;
            }
            if std::mem::take(&mut failing) {
                tracing::info!(witness = %self.url, "the witness cosigns again");
            }
            backoff.reset();
        }
    }

    /// Asks about the newest checkpoint; nothing if the process is ending.
    async fn ask(&mut self) -> Option<Step> {
        for _ in 0..ASKS_MAX {
            let (cosigning, endpoint) = (Arc::clone(&self.cosigning), self.endpoint.clone());
            let request = spawn_blocking(move || cosigning.request(&endpoint)).await.ok()?;
            let request = match request {
                Ok(request) => request?,
                Err(error) => {
                    let fault = format!("the consistency proof cannot be made: {error}");
                    return Some(self.cosigning.failed(&self.endpoint, fault));
                }
            };
            let answer = match self.send(&request).await {
                Ok(answer) => answer,
                Err(fault) => return Some(self.cosigning.failed(&self.endpoint, fault)),
            };
            let (cosigning, mut endpoint) = (Arc::clone(&self.cosigning), self.endpoint.clone());
            let answered = spawn_blocking(move || {
                let step = cosigning.answer(&mut endpoint, &request, answer);
                (endpoint, step)
            });
            let (endpoint, step) = answered.await.ok()?;
            self.endpoint = endpoint;
            if step != Step::Again {
                return Some(step);
            }
        }
        let fault = "it names another size each time".to_owned();
        Some(self.cosigning.failed(&self.endpoint, fault))
    }

    async fn send(&self, request: &AddCheckpoint) -> Result<Answer, String> {
        let sent = self.http.post(self.url.clone()).body(request.encode()).send().await;
        let mut response = sent.map_err(|e| causes(&e.without_url()))?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| causes(&e.without_url()))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("its answer is over {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        Answer::parse(status, &body).map_err(|e| format!("its answer cannot be read: {e}"))
    }
}
