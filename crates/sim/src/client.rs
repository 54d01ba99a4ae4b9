//! Sources that deliver: again and again until acknowledged, to any process, to two at once, in
//! pieces, and now and then with another story under the same numbers.

use bytes::Bytes;
use stele_ledger::Receipt;
use stele_merkle::{Hash, leaf_hash};
use stele_record::{
    Boot, Commitment, Epoch, EpochSecret, Header, Kind, ObservedTime, PayloadType, Seq, SourceId,
    Submission, SubmittedRecord,
};
use xtask::random::Random;

/// A record that was acknowledged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Acknowledged {
    pub(crate) source: SourceId,
    pub(crate) seq: Seq,
    pub(crate) leaf: Hash,
    pub(crate) index: u64,
}

/// One source.
#[derive(Debug)]
pub(crate) struct Client {
    id: SourceId,
    secret: EpochSecret,
    /// Records before this are acknowledged.
    done: u64,
    /// What is to be delivered next, and a second story of it.
    current: [Submission; 2],
    past: Vec<Submission>,
}

const BOOT: Boot = Boot(1);
const EPOCH: Epoch = Epoch(1);
/// Records of a submission at most.
const RECORDS_MAX: u64 = 36;

impl Client {
    pub(crate) fn new(number: u8, random: &mut Random) -> Self {
        let id = SourceId::from_bytes([number + 1; 32]);
        let secret = EpochSecret::from_bytes([number; 32]);
        let current = stories(id, &secret, 0, random);
        Self { id, secret, done: 0, current, past: Vec::new() }
    }

    /// What it delivers now: mostly what is next, sometimes another story, a repeat, or a repeat
    /// with what is next behind it.
    pub(crate) fn delivers(&self, random: &mut Random) -> Submission {
        match random.below(12) {
            0 => self.current[1].clone(),
            1 => random.choose(&self.past).unwrap_or(&self.current[0]).clone(),
            2 => {
                let mut both = self.past.last().unwrap_or(&self.current[0]).clone();
                if !self.past.is_empty() {
                    both.records.extend(self.current[0].records.iter().cloned());
                }
                both
            }
            3 => {
                let mut part = self.current[0].clone();
                let keep = 1 + random.below(part.records.len() as u64);
                part.records.truncate(usize::try_from(keep).unwrap_or(1));
                part
            }
            _ => self.current[0].clone(),
        }
    }

    /// It was acknowledged; gives what that says.
    pub(crate) fn acknowledge(
        &mut self,
        submission: &Submission,
        receipt: &Receipt,
        random: &mut Random,
    ) -> Vec<Acknowledged> {
        let first = first_seq(submission);
        let records = submission.records.iter().zip(receipt.indices()).zip(first..);
        let said = records.map(|((record, index), seq)| Acknowledged {
            source: self.id,
            seq: Seq(seq),
            leaf: leaf_hash(&record.header),
            index: index.0,
        });
        let said = said.collect();
        let end = first + submission.records.len() as u64;
        if end > self.done {
            // Only whole submissions are repeated later; a part leaves the rest to be delivered.
            let whole = self.current.iter().find(|story| {
                let count = story.records.len() as u64;
                first_seq(story) + count == end && story.records.last() == submission.records.last()
            });
            if let Some(whole) = whole.cloned() {
                self.done = end;
                self.past.push(whole);
                self.current = stories(self.id, &self.secret, end, random);
            }
        }
        said
    }

    /// The story it told was contradicted: the other one stands.
    pub(crate) fn contradicted(&mut self, submission: &Submission) {
        if submission.records.last() == self.current[0].records.last() {
            self.current.swap(0, 1);
        }
    }
}

fn first_seq(submission: &Submission) -> u64 {
    let header = submission.records.first().map(|record| Header::decode(&record.header));
    header.and_then(Result::ok).map_or(0, |header| header.seq.0)
}

fn stories(id: SourceId, secret: &EpochSecret, first: u64, random: &mut Random) -> [Submission; 2] {
    let count = 1 + random.below(RECORDS_MAX);
    [0, 1].map(|story| {
        let records = (first..first + count).map(|seq| record(id, secret, seq, story)).collect();
        Submission { epoch: EPOCH, secret: secret.clone(), records }
    })
}

fn record(source: SourceId, secret: &EpochSecret, seq: u64, story: u8) -> SubmittedRecord {
    let payload = Bytes::from(vec![story; usize::try_from(seq % 40).unwrap_or(0)]);
    let seq = Seq(seq);
    let header = Header {
        source,
        boot: BOOT,
        seq,
        epoch: EPOCH,
        kind: Kind::EVENT,
        event_time: None,
        observed_time: ObservedTime::from_unix_ns(i64::from(story)),
        origin_counter: None,
        payload_len: payload.len() as u64,
        payload_type: PayloadType::BYTES,
        commitment: Commitment::new(&secret.salt(BOOT, seq), &payload),
    };
    SubmittedRecord { header: header.encode().into(), payload }
}
