//! A list of byte slices to be written one after the other: small ones are copied together, large
//! ones are kept as they are.

use bytes::Bytes;

/// Slices from this size on are not copied.
const COPY_BELOW: usize = 8 * 1024;

#[derive(Debug, Default)]
pub(crate) struct Parts {
    done: Vec<Bytes>,
    tail: Vec<u8>,
    len: u64,
}

impl Parts {
    pub(crate) fn push(&mut self, bytes: &Bytes) {
        self.len += bytes.len() as u64;
        if bytes.len() < COPY_BELOW {
            self.tail.extend_from_slice(bytes);
        } else {
            self.flush();
            self.done.push(bytes.clone());
        }
    }

    fn flush(&mut self) {
        if !self.tail.is_empty() {
            self.done.push(std::mem::take(&mut self.tail).into());
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn finish(mut self) -> Vec<Bytes> {
        self.flush();
        self.done
    }
}
