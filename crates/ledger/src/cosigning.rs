//! What a ledger knows of the witnesses of its policy (C2SP tlog-witness, from the log's side): which
//! checkpoint they are asked about, what they have answered, and the newest checkpoint whose
//! cosignatures make the quorum.
//!
//! Not here: HTTP, waiting, and when to ask. Appending never waits for any of this.
//! Invariants: no line of a witness is kept that was not verified with the key of the policy; what is
//! published meets the quorum, and never has fewer records than what was published before.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use stele_merkle::note::SIGNATURE_LINES_MAX;
use stele_merkle::witness::{AddCheckpoint, Answer};
use stele_merkle::{Checkpoint, LogVerifier, Note, NoteError, Policy, Signature, TreeSize};
use stele_record::LedgerTime;
use stele_store::ObjectName;
use tokio::sync::watch;

use crate::info::fixed;
use crate::{Ledger, ReadError, Reader, SignedCheckpoint};

/// Checkpoints for which late answers are still taken.
const ROUNDS_KEPT: usize = 8;

/// Most witnesses of a policy that a ledger asks: their lines and the log's fit into one note.
pub const WITNESSES_MAX: usize = SIGNATURE_LINES_MAX / 2;

/// Why a ledger cannot follow a policy. Correct the policy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CosigningError {
    /// The policy accepts other logs than this one.
    #[error("the policy lists logs, but none with a key of this log, {origin}")]
    OtherLog {
        /// The log.
        origin: String,
    },
    /// A witness cannot be asked.
    #[error("witness {witness:?} has no URL in the policy, so it cannot be asked")]
    NoUrl {
        /// The witness's name in the policy.
        witness: String,
    },
    /// There are too many.
    #[error("the policy has more than {WITNESSES_MAX} witnesses")]
    TooMany,
}

/// How it stands with a witness.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WitnessStatus {
    /// Size of the largest tree it has cosigned, as far as this process knows; 0 if none.
    pub cosigned_size: u64,
    /// The time in its latest cosignature, in seconds since the Unix epoch; 0 if none.
    pub cosigned_at_s: u64,
    /// Failures since it last cosigned.
    pub failures: u64,
    /// Why it did not cosign the last time it was asked; none if it did.
    pub fault: Option<String>,
}

/// A place where witnesses are asked: several keys of one operator share a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Submission prefix.
    pub url: String,
    /// Positions among the witnesses of the policy.
    witnesses: Vec<usize>,
    /// Size of the tree it cosigned last, as far as is known.
    known: TreeSize,
}

/// What an answer means for whoever asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The witness has cosigned.
    Cosigned,
    /// The witness knows another tree than was thought: ask again at once.
    Again,
    /// It has not cosigned, for this reason: ask again later.
    Failed(String),
}

/// The witnesses of one ledger.
pub struct Cosigning {
    reader: Reader,
    log: LogVerifier,
    policy: Policy,
    state: Mutex<State>,
    published: watch::Sender<TreeSize>,
}

#[derive(Debug, Default)]
struct State {
    rounds: VecDeque<Round>,
    statuses: Vec<WitnessStatus>,
}

/// A checkpoint that the witnesses are asked about.
#[derive(Debug)]
struct Round {
    checkpoint: Arc<SignedCheckpoint>,
    note: Note,
    /// By position among the witnesses of the policy.
    cosignatures: BTreeMap<usize, Signature>,
}

impl std::fmt::Debug for Cosigning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cosigning").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Cosigning {
    /// Follows a policy. A cosigned checkpoint that was published earlier is published again, if it
    /// still is one of this log and meets the policy.
    ///
    /// # Errors
    /// [`CosigningError`].
    pub fn new(ledger: &Ledger, policy: Policy) -> Result<Self, CosigningError> {
        let log = ledger.verifier().clone();
        let is_ours = policy.logs().iter().any(|listed| log.knows(&listed.key));
        if !policy.logs().is_empty() && !is_ours {
            return Err(CosigningError::OtherLog { origin: ledger.origin().to_owned() });
        }
        if policy.witnesses().len() > WITNESSES_MAX {
            return Err(CosigningError::TooMany);
        }
        if let Some(witness) = policy.witnesses().iter().find(|witness| witness.url.is_none()) {
            return Err(CosigningError::NoUrl { witness: witness.name.clone() });
        }
        let reader = ledger.reader().clone();
        let statuses = vec![WitnessStatus::default(); policy.witnesses().len()];
        let state = Mutex::new(State { rounds: VecDeque::new(), statuses });
        let published = watch::Sender::new(TreeSize::EMPTY);
        let cosigning = Self { reader, log, policy, state, published };
        cosigning.take_up_earlier();
        Ok(cosigning)
    }

    /// The policy.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// How it stands with each witness, in the order of the policy.
    pub fn statuses(&self) -> Vec<WitnessStatus> {
        self.state().statuses.clone()
    }

    /// The newest checkpoint that meets the quorum, with its cosignatures.
    pub fn checkpoint(&self) -> Option<Arc<SignedCheckpoint>> {
        self.reader.cosigned_checkpoint()
    }

    /// Tells of the size of each checkpoint that is published; 0 as long as there is none.
    pub fn subscribe(&self) -> watch::Receiver<TreeSize> {
        self.published.subscribe()
    }

    /// The places to ask, each once.
    pub fn endpoints(&self) -> Vec<Endpoint> {
        let mut endpoints: Vec<Endpoint> = Vec::new();
        for (at, witness) in self.policy.witnesses().iter().enumerate() {
            let Some(url) = &witness.url else { continue };
            match endpoints.iter_mut().find(|endpoint| endpoint.url == *url) {
                Some(endpoint) => endpoint.witnesses.push(at),
                None => endpoints.push(Endpoint {
                    url: url.clone(),
                    witnesses: vec![at],
                    known: TreeSize::EMPTY,
                }),
            }
        }
        endpoints
    }

    /// Takes the ledger's newest checkpoint as the one to be cosigned, and gives its size.
    ///
    /// # Errors
    /// [`NoteError`] if the ledger's own checkpoint is no note, which would be a fault of the program.
    pub fn begin(&self, ledger: &Ledger) -> Result<TreeSize, NoteError> {
        let checkpoint = ledger.checkpoint();
        let note = Note::parse(checkpoint.note.as_bytes())?;
        let size = checkpoint.size;
        let mut state = self.state();
        if state.rounds.back().is_none_or(|round| round.checkpoint.size != size) {
            state.rounds.push_back(Round { checkpoint, note, cosignatures: BTreeMap::new() });
        }
        while state.rounds.len() > ROUNDS_KEPT {
            state.rounds.pop_front();
        }
        self.publish_if_met(&state, size)?;
        Ok(size)
    }

    /// The request that asks an endpoint about the newest checkpoint; none before [`Self::begin`].
    ///
    /// # Errors
    /// [`ReadError`] if the consistency proof cannot be made.
    pub fn request(&self, endpoint: &Endpoint) -> Result<Option<AddCheckpoint>, ReadError> {
        let (size, note) = match self.state().rounds.back() {
            None => return Ok(None),
            Some(round) => (round.checkpoint.size, round.note.clone()),
        };
        let proof = self.reader.consistency_proof(endpoint.known, size)?;
        Ok(Some(AddCheckpoint { old: endpoint.known, proof, note }))
    }

    /// Takes in what an endpoint answered to `request`.
    pub fn answer(&self, endpoint: &mut Endpoint, request: &AddCheckpoint, answer: Answer) -> Step {
        let size = match Checkpoint::parse(request.note.text()) {
            Ok(checkpoint) => checkpoint.size,
            Err(error) => return self.failed(endpoint, error.to_string()),
        };
        match answer {
            Answer::Cosigned(lines) => match self.enter(endpoint, request, size, &lines) {
                Ok(()) => {
                    endpoint.known = size;
                    Step::Cosigned
                }
                Err(fault) => self.failed(endpoint, fault),
            },
            Answer::OtherSize(other) if other > self.reader.size() => {
                let size = self.reader.size();
                self.failed(endpoint, format!(
                    "it has cosigned {other} records of this log, which has only {size}: the log was rolled back, or its key is used elsewhere"
                ))
            }
            Answer::OtherSize(other) if other != request.old => {
                endpoint.known = other;
                if other > size {
                    let fault = format!("it has cosigned {other} records already");
                    return self.failed(endpoint, fault);
                }
                Step::Again
            }
            Answer::OtherSize(other) => self.failed(
                endpoint,
                format!("it refuses: its tree of {other} records is another one than this log's"),
            ),
            Answer::Refused { status, reason } => {
                // Perhaps what is thought of it is wrong: begin anew, it says what it has.
                endpoint.known = TreeSize::EMPTY;
                let meaning = match status {
                    403 => ": it does not trust the keys of this log",
                    404 => ": it does not know this log, or is no witness",
                    422 => ": it says that this log does not continue what it cosigned",
                    429 => ": it is asked too often",
                    _ => "",
                };
                let reason = if reason.is_empty() { reason } else { format!(" ({reason})") };
                self.failed(endpoint, format!("it answers {status}{meaning}{reason}"))
            }
            other => self.failed(endpoint, format!("it answers {other:?}")),
        }
    }

    /// Notes that an endpoint gave no answer that could be read.
    pub fn failed(&self, endpoint: &Endpoint, fault: String) -> Step {
        let mut state = self.state();
        for at in &endpoint.witnesses {
            let status = &mut state.statuses[*at];
            status.failures += 1;
            status.fault = Some(fault.clone());
        }
        Step::Failed(fault)
    }

    /// Verifies the lines of an endpoint, and publishes the checkpoint if it now meets the quorum.
    fn enter(
        &self,
        endpoint: &Endpoint,
        request: &AddCheckpoint,
        size: TreeSize,
        lines: &[Signature],
    ) -> Result<(), String> {
        let mut verified = Vec::new();
        for at in &endpoint.witnesses {
            let witness = &self.policy.witnesses()[*at];
            let own: Vec<_> =
                lines.iter().filter(|line| line.is_by(&witness.key)).cloned().collect();
            if own.is_empty() {
                return Err(format!("it answers without a signature of {}", witness.name));
            }
            let checked = Note::new(request.note.text().to_owned(), own.clone())
                .and_then(|note| note.verify(std::slice::from_ref(&witness.key)))
                .map_err(|error| format!("its answer is wrong: {error}"))?;
            let time = checked.iter().filter_map(|by| by.time).max().unwrap_or(0);
            if time == 0 {
                return Err("its answer names no time".to_owned());
            }
            verified.push((*at, own[0].clone(), time));
        }
        let mut state = self.state();
        for (at, line, time) in verified {
            state.statuses[at] = WitnessStatus {
                cosigned_size: state.statuses[at].cosigned_size.max(size.0),
                cosigned_at_s: time,
                failures: 0,
                fault: None,
            };
            if let Some(round) = state.rounds.iter_mut().find(|r| r.checkpoint.size == size) {
                round.cosignatures.insert(at, line);
            }
        }
        self.publish_if_met(&state, size).map_err(|error| error.to_string())
    }

    fn publish_if_met(&self, state: &State, size: TreeSize) -> Result<(), NoteError> {
        let Some(round) = state.rounds.iter().find(|round| round.checkpoint.size == size) else {
            return Ok(());
        };
        let mut note = round.note.clone();
        for line in round.cosignatures.values() {
            note = note.with(line.clone())?;
        }
        let published = self.checkpoint().map_or(TreeSize::EMPTY, |checkpoint| checkpoint.size);
        if size < published || !self.policy.verdict(&note)?.quorum_met {
            return Ok(());
        }
        let note = note.to_string();
        // Losing it means that after a restart nothing is published until the witnesses have answered.
        if let Err(error) = self.reader.store().put_hint(&hint(), note.as_bytes()) {
            tracing::warn!(%error, "the cosigned checkpoint cannot be stored beside the log");
        }
        self.publish(SignedCheckpoint { note, ..(*round.checkpoint).clone() });
        Ok(())
    }

    fn publish(&self, checkpoint: SignedCheckpoint) {
        let size = checkpoint.size;
        self.reader.set_cosigned(Arc::new(checkpoint));
        self.published.send_replace(size);
    }

    fn take_up_earlier(&self) {
        let Some(earlier) = stored(&self.reader, &self.log) else { return };
        let meets = Note::parse(earlier.note.as_bytes())
            .and_then(|note| self.policy.verdict(&note))
            .is_ok_and(|verdict| verdict.quorum_met);
        if meets {
            self.publish(earlier);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn hint() -> ObjectName {
    fixed("cosigned-checkpoint")
}

/// The cosigned checkpoint that lies beside a log, if the log signed it and still has its records.
/// Whether the cosignatures in it are worth anything is for whoever has the policy to say.
pub(crate) fn stored(reader: &Reader, log: &LogVerifier) -> Option<SignedCheckpoint> {
    let bytes = reader.store().read_hint(&hint()).ok()??;
    let opened = log.open_signed(&bytes).ok()?;
    let time = i64::try_from(opened.time()?).ok()?.checked_mul(1_000_000_000)?;
    let checkpoint = opened.checkpoint;
    let is_ours = checkpoint.origin == reader.origin()
        && checkpoint.size <= reader.size()
        && reader.root(checkpoint.size).is_ok_and(|root| root == checkpoint.root);
    let note = String::from_utf8(bytes.to_vec()).ok()?;
    let (size, root, time) = (checkpoint.size, checkpoint.root, LedgerTime::from_unix_ns(time));
    is_ours.then_some(SignedCheckpoint { size, root, note, time })
}
