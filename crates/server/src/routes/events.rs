//! Anybody's own events, appended through the server's own source.

use axum::Json;
use axum::extract::{Request, State};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::api::{API_VERSION, AppendAck, AppendedEvent};
use crate::append::{Appended, AppendedRecord};
use crate::body::content_type;
use crate::context::App;
use crate::error::{ApiError, ErrorBody};
use crate::intake;
use crate::limits::EVENT_BODY_BYTES_MAX;
use crate::params::{NoParams, Params};

/// Append events: CloudEvents 1.0 (one, or a batch), one JSON value per line, or lines of text.
///
/// All events of a request are recorded, or none. A CloudEvent's `time` becomes the record's event
/// time; it is the sender's claim and may lie in the future.
#[utoipa::path(
    post,
    path = "/v1/events",
    tag = "events",
    request_body(
        description = "the events",
        content(
            (Object = "application/cloudevents+json"),
            (Vec<Object> = "application/cloudevents-batch+json"),
            (String = "application/x-ndjson"),
            (String = "text/plain"),
        )
    ),
    responses(
        (status = 200, description = "durable and under a checkpoint", body = AppendAck),
        (status = 400, description = "an event is at fault; none was recorded", body = ErrorBody),
        (status = 413, description = "over a limit; none was recorded", body = ErrorBody),
        (status = 415, description = "no form that events come in", body = ErrorBody),
        (status = 503, description = "overloaded; none was recorded", body = ErrorBody)
    )
)]
pub(super) async fn append(
    State(app): State<App>,
    Params(NoParams {}): Params<NoParams>,
    request: Request,
) -> Result<Json<AppendAck>, ApiError> {
    let begin = app.clock.monotonic();
    let answer = record(&app, request).await;
    match &answer {
        Ok(_) => {
            let took = app.clock.monotonic().saturating_sub(begin);
            app.metrics.append_duration.observe(took.as_secs_f64());
        }
        Err(error) => app.metrics.rejected(error.kind),
    }
    answer.map(Json)
}

async fn record(app: &App, request: Request) -> Result<AppendAck, ApiError> {
    let media_type = content_type(request.headers());
    let body = app.bodies.read(request, EVENT_BODY_BYTES_MAX).await?;
    let appender =
        app.appender.as_ref().ok_or_else(|| ApiError::not_found("this server takes no events"))?;
    let events = intake::read(media_type.as_deref(), &body.bytes)?;
    let (ids, drafts): (Vec<_>, Vec<_>) = events.into_iter().map(|e| (e.id, e.draft)).unzip();
    let Appended { checkpoint, records } = appender.append(drafts).await?;
    Ok(AppendAck {
        api_version: API_VERSION.to_owned(),
        kind: "AppendAck".to_owned(),
        source: appender.source().to_string(),
        checkpoint: checkpoint.note.clone(),
        items: ids.into_iter().zip(records).map(|(id, record)| item(id, record)).collect(),
    })
}

fn item(id: Option<String>, record: AppendedRecord) -> AppendedEvent {
    AppendedEvent {
        index: record.index,
        id,
        leaf: STANDARD.encode(&record.header),
        salt: STANDARD.encode(record.salt.as_bytes()),
        proof: record.proof.iter().map(ToString::to_string).collect(),
    }
}
