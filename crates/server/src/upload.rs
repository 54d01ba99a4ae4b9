//! The body of an upload to a mirror of leaves, read piece by piece: it has no end that anybody knows.
//!
//! Not here: what is decided about its packages.
//! Invariant: what waits to be read is never more than one package and what one slice unpacks to.

use std::io::Write as _;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::write::GzDecoder;
use futures::StreamExt;
use stele_merkle::mirror::{Package, PackageRange, UploadHead};
use stele_merkle::witness::MessageError;
use tokio::time::{Instant, timeout_at};

use crate::body::drain_stream;
use crate::error::{ApiError, ErrorKind};
use crate::limits::{BODY_WAIT_MAX, UPLOAD_SLICE_BYTES, UPLOAD_TIME_MAX};

/// See the module.
pub(crate) struct Upload {
    stream: BodyDataStream,
    /// Received and not yet unpacked.
    chunk: Bytes,
    unpacked: Unpacked,
    /// Where the next part begins in what was unpacked.
    begin: usize,
    /// When it is over at the latest.
    until: Instant,
}

enum Unpacked {
    Plain(Vec<u8>),
    Gzip(Box<GzDecoder<Vec<u8>>>),
}

impl Unpacked {
    fn bytes(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Gzip(decoder) => decoder.get_mut(),
        }
    }

    fn write(&mut self, slice: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Plain(bytes) => bytes.write_all(slice),
            Self::Gzip(decoder) => decoder.write_all(slice).and_then(|()| decoder.flush()),
        }
    }
}

impl Upload {
    pub(crate) fn new(headers: &HeaderMap, body: Body) -> Result<Self, ApiError> {
        let unpacked = match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => Unpacked::Plain(Vec::new()),
            Some(value) if value.eq_ignore_ascii_case(b"gzip") => {
                Unpacked::Gzip(Box::new(GzDecoder::new(Vec::new())))
            }
            Some(_) => {
                let what = "the upload has another content encoding than gzip";
                return Err(ApiError::new(ErrorKind::UnsupportedType, what));
            }
        };
        let (stream, until) = (body.into_data_stream(), Instant::now() + UPLOAD_TIME_MAX);
        Ok(Self { stream, chunk: Bytes::new(), unpacked, begin: 0, until })
    }

    /// The begin of the upload; none if the body ends within it.
    pub(crate) async fn head(&mut self) -> Result<Option<UploadHead>, MessageError> {
        self.part(|bytes| Ok(UploadHead::parse(bytes)?.map(|(head, rest)| (head, rest.len()))))
            .await
    }

    /// The bytes of the package of this range, which they are known to hold; none if the body ends
    /// within it.
    pub(crate) async fn package(
        &mut self,
        range: PackageRange,
    ) -> Result<Option<Vec<u8>>, MessageError> {
        self.part(|bytes| {
            let rest = Package::parse(bytes, range)?.map(|(_, rest)| rest.len());
            Ok(rest.map(|rest| (bytes[..bytes.len() - rest].to_vec(), rest)))
        })
        .await
    }

    async fn part<T>(
        &mut self,
        parse: impl Fn(&[u8]) -> Result<Option<(T, usize)>, MessageError>,
    ) -> Result<Option<T>, MessageError> {
        loop {
            let bytes = self.unpacked.bytes();
            if let Some((part, rest)) = parse(&bytes[self.begin..])? {
                self.begin = bytes.len() - rest;
                return Ok(Some(part));
            }
            bytes.drain(..self.begin);
            self.begin = 0;
            if !self.more().await {
                return Ok(None);
            }
        }
    }

    /// Hears the sender out, within a limit, before it is answered.
    pub(crate) async fn drain(mut self) {
        drain_stream(&mut self.stream, 0).await;
    }

    /// Unpacks what comes next; false if nothing does: the body has ended, or broken off.
    async fn more(&mut self) -> bool {
        while self.chunk.is_empty() {
            let until = self.until.min(Instant::now() + BODY_WAIT_MAX);
            match timeout_at(until, self.stream.next()).await {
                Ok(Some(Ok(chunk))) => self.chunk = chunk,
                Ok(None | Some(Err(_))) | Err(_) => return false,
            }
        }
        let slice = self.chunk.split_to(self.chunk.len().min(UPLOAD_SLICE_BYTES));
        self.unpacked.write(&slice).is_ok()
    }
}
