//! Mutations of inputs, the same for the same seed: what a fuzzer does without watching coverage.

use xtask::random::Random;

/// Bytes that stand at the edges of encodings: CBOR heads, lengths, separators of text formats.
const EDGES: [u8; 20] = [
    0x00, 0x01, 0x17, 0x18, 0x19, 0x1b, 0x40, 0x58, 0x5f, 0x7f, 0x80, 0x9f, 0xd2, 0xf6, 0xff,
    b'\n', b' ', b'+', b'0', b'=',
];

/// Makes inputs out of others.
#[derive(Debug, Clone)]
pub(crate) struct Mutator(Random);

impl Mutator {
    /// A sequence of mutations that depends on nothing but the seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(Random::new(seed))
    }

    /// A number below `end`; 0 if there is none.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0.below(end as u64) as usize
    }

    /// `input` with one to four changes, some of them parts of `other`.
    pub(crate) fn mutate(&mut self, input: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = input.to_vec();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, other);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let at = self.below(bytes.len() + 1);
        let length = 1 + self.below(16);
        let end = bytes.len().min(at + length);
        match self.below(8) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = EDGES[self.below(EDGES.len())],
            2 => bytes.insert(at, EDGES[self.below(EDGES.len())]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let copied = bytes[at..end].to_vec();
                let to = self.below(bytes.len() + 1);
                bytes.splice(to..to, copied);
            }
            5 => bytes.truncate(at),
            6 => {
                let from = self.below(other.len());
                let taken = &other[from..other.len().min(from + 2 * length)];
                bytes.splice(at..end, taken.iter().copied());
            }
            // A number as it stands in fields of 8 bytes.
            _ => {
                let number = [u64::MAX, 1 << 63, 1 << 32, 65_536, 256, 0][self.below(6)];
                let end = bytes.len().min(at + 8);
                bytes.splice(at..end, number.to_be_bytes());
            }
        }
    }
}
