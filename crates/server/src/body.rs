//! Request bodies, within limits: of each body, of all bodies together, and of time.

use axum::body::{Body, BodyDataStream};
use axum::extract::Request;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::error::{ApiError, ErrorKind};
use crate::limits::{BODY_WAIT_MAX, REFUSED_BODY_BYTES_MAX};

/// Unit in which the room for bodies is counted.
const ROOM_BYTES: usize = 1024;

/// The room for all bodies together.
#[derive(Debug)]
pub(crate) struct BodyRoom(Semaphore);

/// A body, and the room it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct RoomyBody<'a> {
    pub(crate) bytes: Bytes,
    _room: SemaphorePermit<'a>,
}

impl BodyRoom {
    /// Room for this many bytes.
    pub(crate) fn of(bytes: usize) -> Self {
        Self(Semaphore::new(bytes / ROOM_BYTES))
    }

    /// Bytes that may still come before requests have to wait.
    pub(crate) fn free_bytes(&self) -> usize {
        self.0.available_permits() * ROOM_BYTES
    }

    /// Reads a body of at most `limit` bytes.
    pub(crate) async fn read(
        &self,
        request: Request,
        limit: usize,
    ) -> Result<RoomyBody<'_>, ApiError> {
        let announced = content_length(request.headers());
        let expects = request.headers().contains_key(header::EXPECT);
        let body = request.into_body();
        if announced.is_some_and(|length| length > limit as u64) {
            // Who asks first is told before the body is sent; who does not is heard out.
            if !expects {
                drain(body, 0).await;
            }
            return Err(too_large(limit));
        }
        let expected = announced.map_or(limit, |length| length as usize);
        let units = u32::try_from(expected.div_ceil(ROOM_BYTES)).unwrap_or(u32::MAX);
        let room = timeout(BODY_WAIT_MAX, self.0.acquire_many(units))
            .await
            .map_err(|_| ApiError::unavailable("too many bodies at once", 5))?
            .map_err(ApiError::internal)?;
        let bytes = timeout(BODY_WAIT_MAX, collect(body, announced, limit))
            .await
            .map_err(|_| ApiError::invalid("the body did not arrive in time"))??;
        Ok(RoomyBody { bytes, _room: room })
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn collect(body: Body, announced: Option<u64>, limit: usize) -> Result<Bytes, ApiError> {
    let mut stream = body.into_data_stream();
    let mut bytes = BytesMut::with_capacity(announced.map_or(0, |length| length as usize));
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|e| {
            tracing::debug!(error = %e, "a body broke off");
            ApiError::invalid("the body broke off before its end")
        })?;
        if bytes.len() + chunk.len() > limit {
            drain(Body::from_stream(stream), bytes.len() + chunk.len()).await;
            return Err(too_large(limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Reads on, and throws away, so that the sender comes to listen.
async fn drain(body: Body, seen: usize) {
    drain_stream(&mut body.into_data_stream(), seen).await;
}

/// The same of what is left of a body.
pub(crate) async fn drain_stream(stream: &mut BodyDataStream, mut seen: usize) {
    let all = async {
        while let Some(Ok(chunk)) = stream.next().await {
            seen += chunk.len();
            if seen > REFUSED_BODY_BYTES_MAX {
                return;
            }
        }
    };
    // Too slow is as good as too long: the answer is sent now.
    let _ = timeout(BODY_WAIT_MAX, all).await;
}

fn too_large(limit: usize) -> ApiError {
    let message = format!("the body is over the limit of {limit} bytes");
    ApiError::new(ErrorKind::TooLarge, message).hint("send it in several requests")
}

/// The media type of the request, in lower case and without parameters.
pub(crate) fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or(value);
    Some(essence.trim().to_ascii_lowercase())
}
