//! Documents that the API server gave about itself, as of the point: its version and the schemas of its
//! types. Where none is recorded, one that says so.
//!
//! Not here: discovery, which is made from what is recorded of objects.

use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};
use stele_state::Point;

use super::status::Failure;
use crate::context::App;

const VERSION: &str = "/version";
const SCHEMAS: &str = "/openapi/v3/";

/// `/version`.
pub(super) async fn version(app: &App, cluster: String, at: Point) -> Result<Response, Failure> {
    Ok(match text(app, cluster, VERSION.to_owned(), at).await? {
        Some(text) => json_text(text),
        None => Json(unknown_version()).into_response(),
    })
}

/// `/openapi/v3`: which schemas there were. Clients keep a schema by its address, so that another text
/// has another one.
pub(super) async fn schemas(app: &App, cluster: String, at: Point) -> Result<Response, Failure> {
    let found = app.views.ask(move |state| state.documents(&cluster, SCHEMAS, &at)).await?;
    let mut paths = Map::new();
    for document in found {
        let url = format!("{}?hash={}", document.path, document.index);
        let name = document.path[SCHEMAS.len()..].to_owned();
        paths.insert(name, json!({"serverRelativeURL": url}));
    }
    Ok(Json(json!({"paths": paths})).into_response())
}

/// `/openapi/v3/NAME`.
pub(super) async fn schema(
    app: &App,
    cluster: String,
    at: Point,
    name: &str,
) -> Result<Response, Failure> {
    let text = text(app, cluster, format!("{SCHEMAS}{name}"), at).await?;
    text.map(json_text).ok_or_else(Failure::no_such_path)
}

async fn text(
    app: &App,
    cluster: String,
    path: String,
    at: Point,
) -> Result<Option<Vec<u8>>, Failure> {
    Ok(app.views.ask(move |state| state.document(&cluster, &path, &at)).await?)
}

fn json_text(text: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// This is stele; which version of Kubernetes the cluster ran is not recorded.
fn unknown_version() -> Value {
    json!({
        "major": "",
        "minor": "",
        "gitVersion": concat!("v0.0.0-stele.", env!("CARGO_PKG_VERSION")),
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "",
        "goVersion": "",
        "compiler": "",
        "platform": "",
    })
}

/// `/openapi/v2`: the schemas in their old form are not recorded, so the document has none.
pub(super) fn openapi_v2() -> Response {
    let document = json!({
        "swagger": "2.0",
        "info": {
            "title": "A recorded cluster; its schemas are under /openapi/v3",
            "version": env!("CARGO_PKG_VERSION"),
        },
        "paths": {},
        "definitions": {},
    });
    Json(document).into_response()
}
