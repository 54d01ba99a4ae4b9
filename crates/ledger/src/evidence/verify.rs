//! Checking an evidence file, line by line, with the log's public keys and nothing else.

use std::io::{BufRead, Read};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use stele_merkle::{Checkpoint, Hash, LeafIndex, LogVerifier, leaf_hash, verify_inclusion};
use stele_record::{Commitment, Gap, Header, Kind, Salt, SourceId};

use super::chain::Chains;
use super::history::follow_manifest;
use super::{EvidenceError, FORMAT, Manifest, RecordLine};

/// Longest line that is read: the largest payload in base64, and what stands beside it.
pub const LINE_BYTES_MAX: u64 = stele_record::PAYLOAD_BYTES_MAX / 3 * 4 + 1024 * 1024;

/// Faults after which a file is read no further.
const ERRORS_MAX: usize = 1000;

/// One kind of check and how often it was made with success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// What was checked, in words.
    pub name: &'static str,
    /// How often.
    pub count: u64,
}

/// A fault or a remark, with the line of the file that it is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Line of the file, from 1.
    pub line: u64,
    /// What was found.
    pub what: String,
}

/// A gap that a source recorded: a stretch in which it was blind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GapFound {
    /// Line of the file, from 1.
    pub line: u64,
    /// Where the gap record is in the log.
    pub index: LeafIndex,
    /// The source that was blind.
    pub source: SourceId,
    /// What it says.
    pub gap: Gap,
}

/// What checking an evidence file gave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The log's name, as signed.
    pub origin: String,
    /// The checkpoint, a signed note, with lines of others than the log; empty if it is not believed.
    pub checkpoint: String,
    /// Size of the tree that the checkpoint signs.
    pub size: u64,
    /// Root of that tree, base64.
    pub root: String,
    /// Keys that signed the checkpoint: name, id and algorithm.
    pub signed_by: Vec<String>,
    /// Latest time that was signed along with the checkpoint, in seconds since the Unix epoch.
    pub signed_at: Option<u64>,
    /// Records in the file.
    pub records: u64,
    /// The checks that were made with success.
    pub checks: Vec<Check>,
    /// Gaps that the sources recorded; each is also a warning.
    pub gaps: Vec<GapFound>,
    /// What the checkpoint was believed by: the keys that were given, through the history in the
    /// file. `None` if the history is not believed.
    pub verifier: Option<LogVerifier>,
    /// What the records do not show.
    pub warnings: Vec<Finding>,
    /// What is wrong; empty means that the evidence holds.
    pub errors: Vec<Finding>,
}

impl Report {
    /// Whether everything that was checked holds.
    pub fn holds(&self) -> bool {
        self.errors.is_empty()
    }
}

/// Checks an evidence file against the log's public keys. `verifier` must come from elsewhere than
/// the file.
///
/// # Errors
/// [`EvidenceError::Io`] if the file cannot be read. Faults in it are in the report.
pub fn verify(input: &mut dyn BufRead, verifier: &LogVerifier) -> Result<Report, EvidenceError> {
    let mut verify = Verify { line: 0, report: Report::default(), counts: Counts::default() };
    let mut text = Vec::new();
    let Some(manifest) = verify.manifest(input, &mut text)? else {
        return Ok(verify.report);
    };
    let Some(checkpoint) = verify.checkpoint(&manifest, verifier) else {
        return Ok(verify.report);
    };
    let mut chains = Chains::default();
    let mut last = None;
    while verify.next_line(input, &mut text)? {
        let index = verify.record(&text, &checkpoint, &mut chains, last);
        last = index.or(last);
        verify.report.records += 1;
        if verify.report.errors.len() >= ERRORS_MAX {
            verify.error("too many faults; the rest was not read");
            break;
        }
    }
    let found = verify.report.records;
    if found != manifest.count {
        let wanted = manifest.count;
        verify.error(format!("the manifest says {wanted} records, the file has {found}"));
    }
    verify.counts.enter(&mut verify.report.checks);
    Ok(verify.report)
}

#[derive(Debug, Default)]
struct Counts {
    signatures: u64,
    rotations: u64,
    inclusions: u64,
    commitments: u64,
    follows: u64,
    seals: u64,
    chains: u64,
}

impl Counts {
    fn enter(&self, checks: &mut Vec<Check>) {
        let all = [
            ("signatures of the checkpoint", self.signatures),
            ("records in the signed tree", self.inclusions),
            ("payloads that are what their record commits to", self.commitments),
            ("records that follow the source's one before without a hole", self.follows),
            ("seals signed by their source", self.seals),
            ("seals over exactly the records before them", self.chains),
        ];
        checks.extend(all.map(|(name, count)| Check { name, count }));
        if self.rotations > 0 {
            let name = "replacements of the log's keys, signed by old and new";
            checks.push(Check { name, count: self.rotations });
        }
    }
}

struct Verify {
    line: u64,
    report: Report,
    counts: Counts,
}

impl Verify {
    fn error(&mut self, what: impl Into<String>) {
        self.report.errors.push(Finding { line: self.line, what: what.into() });
    }

    fn warn(&mut self, what: impl Into<String>) {
        self.report.warnings.push(Finding { line: self.line, what: what.into() });
    }

    /// Reads the next line; `false` at the end of the file.
    fn next_line(
        &mut self,
        input: &mut dyn BufRead,
        text: &mut Vec<u8>,
    ) -> Result<bool, EvidenceError> {
        text.clear();
        let read = input.take(LINE_BYTES_MAX + 1).read_until(b'\n', text)?;
        if read == 0 {
            return Ok(false);
        }
        self.line += 1;
        if text.len() as u64 > LINE_BYTES_MAX {
            self.error(format!("the line is longer than {LINE_BYTES_MAX} bytes"));
            // What follows is the rest of this line: nothing more can be read.
            return Ok(false);
        }
        Ok(true)
    }

    fn manifest(
        &mut self,
        input: &mut dyn BufRead,
        text: &mut Vec<u8>,
    ) -> Result<Option<Manifest>, EvidenceError> {
        if !self.next_line(input, text)? {
            self.line = 1;
            self.error("the file is empty");
            return Ok(None);
        }
        match serde_json::from_slice::<Manifest>(text) {
            Ok(manifest) if manifest.format == FORMAT => return Ok(Some(manifest)),
            Ok(manifest) => {
                self.error(format!("format {:?}, this program reads {FORMAT}", manifest.format));
            }
            Err(error) => self.error(format!("not the manifest of an evidence file: {error}")),
        }
        Ok(None)
    }

    fn checkpoint(&mut self, manifest: &Manifest, verifier: &LogVerifier) -> Option<Checkpoint> {
        let verifier = match follow_manifest(manifest, verifier) {
            Ok(following) => following,
            Err(error) => {
                self.error(error.to_string());
                return None;
            }
        };
        self.report.verifier = Some(verifier.clone());
        self.counts.rotations = manifest.rotations.len() as u64;
        let opened = match verifier.open_signed(manifest.checkpoint.as_bytes()) {
            Ok(opened) => opened,
            Err(error) => {
                self.error(format!("checkpoint: {error}"));
                return None;
            }
        };
        let checkpoint = &opened.checkpoint;
        if checkpoint.origin != manifest.origin {
            let (signed, stated) = (&checkpoint.origin, &manifest.origin);
            self.error(format!("the manifest says log {stated:?}, signed is {signed:?}"));
        }
        self.report.origin.clone_from(&checkpoint.origin);
        self.report.checkpoint.clone_from(&manifest.checkpoint);
        self.report.size = checkpoint.size.0;
        self.report.root = checkpoint.root.to_string();
        self.report.signed_at = opened.time();
        let signed_by = opened.signatures.iter();
        self.report.signed_by =
            signed_by.map(|s| format!("{} ({}, {})", s.name, s.id, s.algorithm)).collect();
        self.counts.signatures = opened.signatures.len() as u64;
        Some(opened.checkpoint)
    }

    /// Checks one record; gives its index if the line could be read at all.
    fn record(
        &mut self,
        text: &[u8],
        checkpoint: &Checkpoint,
        chains: &mut Chains,
        last: Option<u64>,
    ) -> Option<u64> {
        let line: RecordLine = match serde_json::from_slice(text) {
            Ok(line) => line,
            Err(error) => {
                self.error(format!("not a record: {error}"));
                return None;
            }
        };
        let index = line.index;
        if last.is_some_and(|last| last >= index) {
            self.error(format!("record {index} is not in ascending order"));
        }
        match self.check(&line, checkpoint, chains) {
            Ok(()) => {}
            Err(what) => self.error(format!("record {index}: {what}")),
        }
        Some(index)
    }

    fn check(
        &mut self,
        line: &RecordLine,
        checkpoint: &Checkpoint,
        chains: &mut Chains,
    ) -> Result<(), String> {
        let bytes = base64(&line.record, "record")?;
        let header = Header::decode(&bytes).map_err(|e| e.to_string())?;
        let leaf = leaf_hash(&bytes);
        let proof = hashes(&line.proof)?;
        let index = LeafIndex(line.index);
        verify_inclusion(leaf, index, checkpoint.size, &proof, checkpoint.root)
            .map_err(|e| e.to_string())?;
        self.counts.inclusions += 1;
        let payload = self.payload(line, &header)?;
        let shown = chains.add(&header, &leaf, payload.as_deref());
        self.counts.follows += u64::from(shown.follows);
        self.counts.seals += u64::from(shown.seal);
        self.counts.chains += u64::from(shown.chain);
        if shown.unknown_key {
            let source = header.source;
            self.warn(format!("seals of source {source}: its declaration is not in the file"));
        }
        if header.kind == Kind::GAP {
            self.gap(index, &header, payload.as_deref());
        }
        shown.fault.map_or(Ok(()), Err)
    }

    fn payload(&mut self, line: &RecordLine, header: &Header) -> Result<Option<Vec<u8>>, String> {
        let payload = opened(line, header)?;
        match &payload {
            Some(_) => self.counts.commitments += 1,
            None => self.warn(format!("record {}: the payload is not in the file", line.index)),
        }
        Ok(payload)
    }

    fn gap(&mut self, index: LeafIndex, header: &Header, payload: Option<&[u8]>) {
        let Some(Ok(gap)) = payload.map(Gap::decode) else {
            return self.warn("a gap record that cannot be read");
        };
        let kind = if gap.recovered { "saw late" } else { "was blind" };
        let what = gap.resource.as_deref().unwrap_or("everything");
        self.warn(format!("source {} {kind}, for {what}: {}", header.source, gap.detail));
        self.report.gaps.push(GapFound { line: self.line, index, source: header.source, gap });
    }
}

/// The payload of a line, found to be what its record commits to; `None` if it is not in the file.
pub(super) fn opened(line: &RecordLine, header: &Header) -> Result<Option<Vec<u8>>, String> {
    let (Some(payload), Some(salt)) = (&line.payload, &line.salt) else { return Ok(None) };
    let payload = base64(payload, "payload")?;
    let salt: [u8; 32] =
        base64(salt, "salt")?.try_into().map_err(|_| "salt: expected 32 bytes".to_owned())?;
    if payload.len() as u64 != header.payload_len {
        return Err("the payload does not have the length in the record".to_owned());
    }
    if Commitment::new(&Salt::from_bytes(salt), &payload) != header.commitment {
        return Err("the payload is not what the record commits to".to_owned());
    }
    Ok(Some(payload))
}

pub(super) fn hashes(texts: &[String]) -> Result<Vec<Hash>, String> {
    texts.iter().map(|hash| hash.parse().map_err(|e| format!("proof: {e}"))).collect()
}

pub(super) fn base64(text: &str, field: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|e| format!("{field}: {e}"))
}
