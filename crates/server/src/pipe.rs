//! From a thread that writes to a body that is read: bounded, and cut off when nobody reads.

use std::io::{self, Write};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use crate::limits::{EXPORT_CHUNK_BYTES, EXPORT_CHUNKS_MAX, EXPORT_SLOW_READER_MAX};

/// The end that is written to, from a blocking thread.
pub(crate) struct PipeWriter {
    runtime: Handle,
    chunk: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

/// A pipe: what is written comes out of the stream in chunks.
pub(crate) fn pipe(runtime: Handle) -> (PipeWriter, ReceiverStream<io::Result<Bytes>>) {
    let (sender, receiver) = mpsc::channel(EXPORT_CHUNKS_MAX);
    let chunk = Vec::with_capacity(EXPORT_CHUNK_BYTES);
    (PipeWriter { runtime, chunk, sender }, ReceiverStream::new(receiver))
}

impl PipeWriter {
    /// Ends the stream: as a whole, or broken, so that no reader takes a part for the whole.
    pub(crate) fn finish(mut self, result: io::Result<()>) {
        if let Err(error) = result.and_then(|()| self.flush()) {
            // If nobody reads any more, nobody needs to know.
            let _ = self.send(Err(error));
        }
    }

    fn send(&self, chunk: io::Result<Bytes>) -> io::Result<()> {
        let sent = timeout(EXPORT_SLOW_READER_MAX, self.sender.send(chunk));
        match self.runtime.block_on(sent) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the reader went away")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the reader is too slow")),
        }
    }
}

impl Write for PipeWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= EXPORT_CHUNK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(EXPORT_CHUNK_BYTES));
        self.send(Ok(chunk.into()))
    }
}
