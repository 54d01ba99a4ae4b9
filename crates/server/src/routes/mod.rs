//! The routes, by what a caller needs for them, and the OpenAPI document that is made from them.

#![allow(
    unused_qualifications,
    reason = "the code that utoipa derives qualifies the parameter types that it is given"
)]

mod events;
mod export;
mod health;
mod log;
mod objects;
mod questions;
mod records;
mod submissions;
mod tiles;
mod watch;

use utoipa::OpenApi as _;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::context::App;
use crate::error::ErrorBody;

pub(crate) use health::metrics_text;
pub use records::record_event;
pub(crate) use tiles::{absent, served as served_tile};

/// All routes.
pub(crate) struct Routes {
    /// Nothing is needed.
    pub(crate) open: OpenApiRouter<App>,
    /// Those of C2SP: public or not, as the server was told.
    pub(crate) tiles: OpenApiRouter<App>,
    /// A token that may read.
    pub(crate) read: OpenApiRouter<App>,
    /// A token that may append.
    pub(crate) append: OpenApiRouter<App>,
    /// A token that may deliver.
    pub(crate) deliver: OpenApiRouter<App>,
    /// A token that may mirror.
    pub(crate) mirror: OpenApiRouter<App>,
}

pub(crate) fn all() -> Routes {
    let open = OpenApiRouter::new()
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::openapi));
    let tiles =
        OpenApiRouter::new().routes(routes!(tiles::checkpoint)).routes(routes!(tiles::tile));
    let read = OpenApiRouter::new()
        .routes(routes!(health::metrics))
        .routes(routes!(log::info))
        .routes(routes!(log::keys))
        .routes(routes!(log::proof))
        .routes(routes!(log::consistency))
        .routes(routes!(log::receipt))
        .routes(routes!(records::record))
        .routes(routes!(export::export))
        .routes(routes!(questions::clusters))
        .routes(routes!(questions::resources))
        .routes(routes!(questions::objects))
        .routes(routes!(questions::history::history))
        .routes(routes!(questions::history::referrers))
        .routes(routes!(questions::diff))
        .routes(routes!(questions::ip))
        .routes(routes!(questions::batch::ip_batch))
        .routes(routes!(questions::coverage))
        .routes(routes!(watch::watch));
    let append = OpenApiRouter::new().routes(routes!(events::append));
    let deliver = OpenApiRouter::new().routes(routes!(submissions::submit));
    let mirror =
        OpenApiRouter::new().routes(routes!(objects::names)).routes(routes!(objects::object));
    Routes { open, tiles, read, append, deliver, mirror }
}

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "stele",
        description = "A write-once state ledger: what happened, what there was, and proof of it.",
    ),
    components(schemas(
        ErrorBody,
        crate::api::BatchQuestion,
        crate::api::BatchHead,
        crate::api::BatchAnswer,
        crate::api::BatchEnd,
        crate::api::HistoryItem,
        crate::api::GapSeen,
        crate::api::WatchCursor,
        crate::api::RawList,
    ))
)]
struct Document;

/// The OpenAPI document of the API.
pub fn openapi() -> OpenApi {
    let Routes { open, tiles, read, append, deliver, mirror } = all();
    let mut document = Document::openapi();
    document.merge(open.into_openapi());
    document.merge(tiles.into_openapi());
    for guarded in [read, append, deliver, mirror] {
        let mut part = guarded.into_openapi();
        for item in part.paths.paths.values_mut() {
            for operation in [&mut item.get, &mut item.post].into_iter().flatten() {
                operation.security =
                    Some(vec![SecurityRequirement::new("token", Vec::<String>::new())]);
            }
        }
        document.merge(part);
    }
    // OpenAPI has no sign for "the rest of the path".
    for path in ["/tile/{*path}", "/v1/log/objects/{*name}"] {
        if let Some(item) = document.paths.paths.remove(path) {
            document.paths.paths.insert(path.replace('*', ""), item);
        }
    }
    let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    document
        .components
        .get_or_insert_default()
        .add_security_scheme("token", SecurityScheme::Http(scheme));
    document
}
