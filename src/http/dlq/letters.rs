//! `GET /dlq/letters` and `GET /dlq/letters/{letter}`: a page of letters, and one with all that is known of it.

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse};
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::name::LetterName;
use mailroom_actors::domain::letters::search::Cursor;

use super::query::Query;
use super::{BY, bad, refusal};
use crate::dlq::archive::Archive;
use crate::dlq::full_view::FullView;
use crate::http::errors::Refusal;

const DEFAULT_LIMIT: usize = 50;
const MAX_LIMIT: usize = 1_000;

/// A page that is asked for.
pub(super) struct Asked {
    filter: Filter,
    after: Option<Cursor>,
    limit: usize,
}

impl Asked {
    /// Refuses with 400 what is no filter, no limit and no place.
    pub(super) fn of(mut query: Query) -> Result<Asked, Refusal> {
        let limit = query.take_limit(DEFAULT_LIMIT, MAX_LIMIT)?;
        let after = query.take("after")?.map(|after| {
            after
                .parse()
                .map_err(|()| bad("after is no place in the list", "give the next of the page before"))
        });
        Ok(Asked { after: after.transpose()?, limit, filter: query.filter("limit, after")? })
    }
}

/// The newest first.
pub(super) fn list(archive: &Archive, asked: &Asked) -> Result<HttpResponse, Refusal> {
    Ok(HttpResponse::Ok().json(archive.page(&asked.filter, asked.after, asked.limit)))
}

/// A letter that is asked for.
pub(super) struct One {
    name: LetterName,
    /// Its job too, and nothing masked.
    reveal: bool,
}

impl One {
    /// Refuses with 404 what names no letter, with 400 a wrong parameter.
    pub(super) fn of(name: &str, mut query: Query) -> Result<One, Refusal> {
        let name = name.parse().map_err(|_| {
            let hint =
                "a letter is named PARTITION-OFFSET, such as /dlq/letters/0-17; /dlq/letters lists them";
            Refusal::new(StatusCode::NOT_FOUND, "this names no letter", hint)
        })?;
        let reveal = match query.take("reveal")?.as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err(bad("reveal is true or false", "leave it out, or send reveal=true")),
        };
        query.is_empty()?;
        Ok(One { name, reveal })
    }
}

/// Also one that is too old to be in the list. Whoever had a job revealed is in the log.
pub(super) async fn show(
    archive: &Archive,
    asked: &One,
    request: &HttpRequest,
) -> Result<HttpResponse, Refusal> {
    let whole = archive.show(asked.name).await.map_err(refusal)?;
    if asked.reveal {
        let client = request.peer_addr().map(|client| client.to_string());
        tracing::info!(letter = %asked.name, by = BY, client, "a dead letter was revealed");
    }
    Ok(HttpResponse::Ok().json(FullView::of(&whole, asked.reveal)))
}
