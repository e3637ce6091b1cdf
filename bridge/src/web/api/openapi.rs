//! `GET /api/v1/openapi.json`: what there is, for programs and those who write them. It is written by hand, and tests compare
//! it with the routes and with what is answered.

use std::sync::Arc;

use axum::{Router, http::header::CONTENT_TYPE, routing::get};

use crate::web::Web;

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn routes() -> Router<Arc<Web>> {
    Router::new()
        .route("/api/v1/openapi.json", get(|| async { ([(CONTENT_TYPE, "application/json")], DOCUMENT) }))
}
