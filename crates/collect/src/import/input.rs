//! The input as plain bytes: unpacked, with its beginning at hand.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Compression, ImportError};

/// Bytes looked at to recognise the form.
const PREFIX_BYTES: usize = 64 * 1024;

const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

type Reader = Box<dyn Read + Send>;

pub(super) struct Input {
    prefix: Vec<u8>,
    rest: BufReader<Chain<Cursor<Vec<u8>>, Reader>>,
    compression: Compression,
}

impl Input {
    pub(super) fn open(reader: Reader, counter: Arc<AtomicU64>) -> Result<Self, ImportError> {
        let mut packed: Reader = Box::new(Counted { inner: reader, counter });
        let magic = read_up_to(&mut packed, 4).map_err(ImportError::Read)?;
        if magic.is_empty() {
            return Err(ImportError::Empty);
        }
        let whole = Cursor::new(magic.clone()).chain(packed);
        let (mut plain, compression): (Reader, _) = if magic == ZSTD_MAGIC {
            let decoder = zstd::stream::read::Decoder::new(whole).map_err(ImportError::Read)?;
            (Box::new(decoder), Compression::Zstd)
        } else if magic.starts_with(&GZIP_MAGIC) {
            (Box::new(flate2::read::MultiGzDecoder::new(whole)), Compression::Gzip)
        } else {
            (Box::new(whole), Compression::None)
        };
        let prefix = read_up_to(&mut plain, PREFIX_BYTES).map_err(ImportError::Read)?;
        if prefix.is_empty() {
            return Err(ImportError::Empty);
        }
        let rest = BufReader::with_capacity(256 * 1024, Cursor::new(prefix.clone()).chain(plain));
        Ok(Self { prefix, rest, compression })
    }

    pub(super) fn prefix(&self) -> &[u8] {
        &self.prefix
    }

    pub(super) fn compression(&self) -> Compression {
        self.compression
    }

    /// The bytes at hand; empty at the end.
    pub(super) fn fill(&mut self) -> io::Result<&[u8]> {
        loop {
            match self.rest.fill_buf() {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
                Ok(_) => break,
            }
        }
        self.rest.fill_buf()
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.rest.consume(bytes);
    }
}

/// Reads `limit` bytes, or fewer if the input ends. A failure after some bytes is left to the
/// next read.
fn read_up_to(reader: &mut Reader, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; limit];
    let mut len = 0;
    while len < limit {
        match reader.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if len > 0 => break,
            Err(e) => return Err(e),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

struct Counted {
    inner: Reader,
    counter: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.counter.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
