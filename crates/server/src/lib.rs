//! The HTTP face of stele: routes, authentication, metrics.
//!
//! What this crate is not: it knows no command line, no terminal and no file; whoever starts it
//! hands over an open ledger, a state and the tokens. It decides nothing about truth either: what
//! it answers comes from the ledger and from the views, with the place in the log it stands at.
//!
//! Invariants: without a token a ledger's server answers only health, the OpenAPI document and, where
//! they are public, checkpoint and tiles; every queue, body and wait has a limit named in [`limits`];
//! an answer about state carries the gaps that it touches.

pub mod api;
mod append;
mod auth;
mod blocking;
mod body;
pub mod columns;
mod context;
mod convert;
mod error;
mod filter;
mod intake;
mod kube;
mod leaf_mirror;
mod ledger_error;
pub mod limits;
mod metered;
mod metrics;
mod params;
mod pipe;
mod points;
mod recent;
mod routes;
mod server;
mod serving;
mod signal;
mod tls;
mod upload;
mod views;
mod witness;

pub use auth::{AuthError, Scope, Token, TokenEntry, TokenFile, Tokens};
pub use error::{ApiError, ErrorBody, ErrorKind};
pub use kube::{Kubeconfig, path_of as kube_path};
pub use leaf_mirror::LeafMirrorServer;
pub use metered::MeteredStore;
pub use routes::{openapi, record_event};
pub use server::{Server, ServerOptions, ServerParts};
pub use serving::ServeError;
pub use tls::{TlsError, TlsIdentity};
pub use witness::WitnessServer;
