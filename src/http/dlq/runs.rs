//! `/dlq/runs`: what is done to many letters at once, asked for, looked at, cancelled.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::LOCATION;
use chrono::Utc;
use mailroom_actors::domain::letters::run::{Standing, Tracked};
use serde::Serialize;

use super::new_run;
use super::query::Query;
use super::{BY, RUNS, bad, refusal};
use crate::dlq::archive::{Archive, Refused};
use crate::dlq::view::RunView;
use crate::http::errors::Refusal;

const DEFAULT_LIMIT: usize = 50;
/// Of each it is counted how many of its letters have come back.
const MAX_LIMIT: usize = 100;

/// A page of runs that is asked for.
pub(super) struct Asked {
    after: Option<String>,
    limit: usize,
}

impl Asked {
    /// Refuses with 400 what is no limit, and other parameters.
    pub(super) fn of(mut query: Query) -> Result<Asked, Refusal> {
        let asked = Asked { limit: query.take_limit(DEFAULT_LIMIT, MAX_LIMIT)?, after: query.take("after")? };
        query.is_empty()?;
        Ok(asked)
    }
}

/// The newest first.
///
/// Refuses with 400 a place that is none.
pub(super) fn list(archive: &Archive, asked: &Asked) -> Result<HttpResponse, Refusal> {
    #[derive(Serialize)]
    struct Page {
        runs: Vec<RunView>,
        /// For `after`; null where there are no more.
        next: Option<String>,
    }
    let mut runs = archive.shelf.runs();
    if let Some(after) = &asked.after {
        let place = runs.iter().position(|run| run.run.id == *after);
        let place =
            place.ok_or_else(|| bad("after is no place in the list", "give the next of the page before"))?;
        runs.drain(..=place);
    }
    let has_more = runs.len() > asked.limit;
    runs.truncate(asked.limit);
    let next = runs.last().filter(|_| has_more).map(|run| run.run.id.clone());
    let runs = runs.iter().map(|run| archive.show_run(run)).collect();
    Ok(HttpResponse::Ok().json(Page { runs, next }))
}

/// Refuses with 404 where there is none.
pub(super) fn show(archive: &Archive, id: &str) -> Result<HttpResponse, Refusal> {
    let run = find(archive, id)?;
    Ok(HttpResponse::Ok().json(archive.show_run(&run)))
}

/// Begins a run, or says what it would do. A run of the same key that was begun before is answered as it stands.
pub(super) async fn begin(archive: Archive, asked: new_run::Asked) -> Result<HttpResponse, Refusal> {
    let new_run::Asked { request, key, dry_run } = asked;
    if dry_run {
        let preview = archive.preview(&request, Utc::now()).map_err(refusal)?;
        return Ok(HttpResponse::Ok().json(preview));
    }
    let of = archive.clone();
    let run = to_its_end(async move { of.submit(&request, key.as_deref(), Utc::now()).await }).await?;
    let location = format!("{RUNS}/{}", run.run.id);
    Ok(HttpResponse::Accepted().insert_header((LOCATION, location)).json(archive.show_run(&run)))
}

/// Ends a run; one that is over is answered as it stands. 202 where the end is written and was not read again yet.
pub(super) async fn cancel(archive: Archive, id: String) -> Result<HttpResponse, Refusal> {
    find(&archive, &id)?;
    let of = archive.clone();
    let run = to_its_end(async move { of.cancel(&id, BY, Utc::now()).await }).await?;
    let status = match run.standing() {
        Standing::Running => StatusCode::ACCEPTED,
        Standing::Done | Standing::Cancelled | Standing::Stopped => StatusCode::OK,
    };
    Ok(HttpResponse::build(status).json(archive.show_run(&run)))
}

/// While the decisions are being read a run that is not there may yet come.
fn find(archive: &Archive, id: &str) -> Result<Tracked, Refusal> {
    archive.run(id).map_err(|missing| {
        if archive.shelf.is_complete() {
            return refusal(missing);
        }
        refusal(Refused::Failed("the runs are still being read: try again in a moment".into()))
    })
}

/// Also when the client goes away in the middle: what was written is told in the log.
async fn to_its_end<T: 'static>(
    act: impl Future<Output = Result<T, Refused>> + 'static,
) -> Result<T, Refusal> {
    match actix_rt::spawn(act).await {
        Ok(result) => result.map_err(refusal),
        Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request could not be carried out",
            "the worker's log says why; please report it",
        )),
    }
}
