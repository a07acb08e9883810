//! `GET /metrics`: the Prometheus text of this moment.

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::CONTENT_TYPE;

use super::doors::{Doors, ask};
use super::errors::Refusal;

/// The text; 503 when nobody answers within `limit`, 500 when the metrics can't be written down.
pub(super) async fn answer(doors: &dyn Doors, limit: Duration) -> Result<HttpResponse, Refusal> {
    match ask(limit, doors.scrape()).await {
        Some(Ok(text)) => Ok(HttpResponse::Ok()
            .insert_header((CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"))
            .body(text)),
        Some(Err(problem)) => {
            tracing::error!(problem, "metrics can not be encoded");
            Err(Refusal::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics can't be encoded",
                "the worker's log says why; please report it",
            ))
        }
        None => Err(Refusal::no_answer("the metrics actor")),
    }
}
