//! Whether the server lives, is ready, and how it fares.

use std::fmt::Write as _;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use stele_ledger::invariant::Invariant;
use utoipa::IntoParams;

use crate::context::{App, Context};
use crate::error::ApiError;
use crate::limits::FOLD_LAG_READY_MAX;
use crate::params::{NoParams, Params, flag};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ReadyParams {
    /// List the checks.
    #[serde(default, deserialize_with = "flag")]
    verbose: bool,
}

/// Whether the process answers.
#[utoipa::path(get, path = "/livez", tag = "operation", responses((status = 200, body = String)))]
pub(super) async fn livez(Params(NoParams {}): Params<NoParams>) -> &'static str {
    "ok\n"
}

/// Whether the server can do its work: the log takes records, and the views keep up.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "operation",
    params(ReadyParams),
    responses((status = 200, body = String), (status = 503, body = String))
)]
pub(super) async fn readyz(
    State(app): State<App>,
    Params(ReadyParams { verbose }): Params<ReadyParams>,
) -> Response {
    let checks = checks(&app);
    let ready = checks.iter().all(|check| check.ok);
    let mut text = String::new();
    for check in checks.iter().filter(|check| verbose || !check.ok) {
        let mark = if check.ok { '+' } else { '-' };
        // Writing to a string does not fail.
        let _ = writeln!(text, "[{mark}]{} {}", check.name, check.detail);
    }
    text.push_str(if ready { "ok\n" } else { "not ready\n" });
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}

struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

fn checks(app: &Context) -> Vec<Check> {
    let lag = fold_lag(app);
    let witnesses = app.cosigning.as_deref().map(|cosigning| {
        let size = cosigning.checkpoint().map_or(0, |checkpoint| checkpoint.size.0);
        let lag = app.ledger.checkpoint().size.0.saturating_sub(size);
        // Records are taken and signed for without the witnesses: they are no reason to be unready.
        Check { name: "witnesses", ok: true, detail: format!("{lag} records not cosigned") }
    });
    let stopped = app.ledger.stopped();
    let violations: u64 = Invariant::ALL.iter().map(|invariant| invariant.violations()).sum();
    let own = [
        Check {
            name: "log",
            ok: stopped.is_none(),
            detail: stopped.map_or_else(|| "ok".to_owned(), |_| "does not write".to_owned()),
        },
        Check {
            name: "checkpoint",
            ok: true,
            detail: format!("{:.1} s old", checkpoint_age(app).as_secs_f64()),
        },
        Check {
            name: "state",
            ok: lag <= FOLD_LAG_READY_MAX && app.views.is_following(),
            detail: if app.views.is_following() {
                format!("{lag} records behind")
            } else {
                "does not follow the log".to_owned()
            },
        },
        Check { name: "invariants", ok: violations == 0, detail: format!("{violations} broken") },
    ];
    own.into_iter().chain(witnesses).collect()
}

fn fold_lag(app: &Context) -> u64 {
    app.ledger.checkpoint().size.0.saturating_sub(app.views.next_index())
}

fn checkpoint_age(app: &Context) -> Duration {
    let signed = app.ledger.checkpoint().time.unix_ns();
    Duration::from_nanos(u64::try_from(app.now_ns().saturating_sub(signed)).unwrap_or(0))
}

/// Metrics in the text format of Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "operation",
    responses((status = 200, content_type = "text/plain", body = String))
)]
pub(super) async fn metrics(
    State(app): State<App>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Response, ApiError> {
    let metrics = &app.metrics;
    let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    metrics.tree_size.set(gauge(app.ledger.checkpoint().size.0));
    metrics.checkpoint_age.set(checkpoint_age(&app).as_secs_f64());
    metrics.fold_lag.set(gauge(fold_lag(&app)));
    metrics.queue_free.set(gauge(app.ledger.queue_bytes_free() as u64));
    metrics.bodies_free.set(gauge(app.bodies.free_bytes() as u64));
    if let Some(cosigning) = &app.cosigning {
        metrics.witnesses(cosigning, app.clock.now().unix_seconds());
    }
    for invariant in Invariant::ALL {
        metrics.invariant(invariant.id(), invariant.violations());
    }
    Ok(metrics_text(metrics.encode().map_err(ApiError::internal)?))
}

/// Metrics as an answer.
pub(crate) fn metrics_text(text: String) -> Response {
    let content_type = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "operation",
    responses((status = 200, description = "OpenAPI 3.1", body = Object))
)]
pub(super) async fn openapi(Params(NoParams {}): Params<NoParams>) -> Response {
    Json(super::openapi()).into_response()
}
