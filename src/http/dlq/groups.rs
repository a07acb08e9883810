//! `GET /dlq/groups`: letters counted by what they have in common.

use actix_web::HttpResponse;
use mailroom_actors::domain::letters::filter::Filter;
use mailroom_actors::domain::letters::group::By;

use super::query::Query;
use super::{bad, searched_header};
use crate::dlq::archive::Archive;
use crate::http::errors::Refusal;

/// What is asked for.
pub(super) struct Asked {
    by: By,
    filter: Filter,
}

impl Asked {
    /// Refuses with 400 what is no filter; without `by` it is by cause.
    pub(super) fn of(mut query: Query) -> Result<Asked, Refusal> {
        let by = match query.take("by")? {
            None => By::Cause,
            Some(by) => by.parse().map_err(|()| {
                let names: Vec<&str> = By::ALL.iter().map(|by| by.as_str()).collect();
                bad(&format!("by must be one of {}", names.join(", ")), "such as /dlq/groups?by=cause")
            })?,
        };
        Ok(Asked { by, filter: query.filter("by")? })
    }
}

/// The groups, the largest first. What was looked through stands in a header: the body is the groups alone.
pub(super) fn answer(archive: &Archive, asked: &Asked) -> Result<HttpResponse, Refusal> {
    let groups = archive.groups(asked.by, &asked.filter);
    Ok(HttpResponse::Ok().insert_header(searched_header(&archive.searched())).json(groups))
}
