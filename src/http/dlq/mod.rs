//! The dead letter queue by HTTP: groups, letters, and runs over them (contract, section 9).

mod groups;
mod letters;
mod new_run;
mod query;
mod runs;

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::{HttpRequest, HttpResponse};

use self::query::Query;
use super::doors::ArchiveDoor;
use super::errors::Refusal;
use crate::dlq::archive::{Archive, Refused};
use crate::dlq::view::{AT_LEAST_ONCE, SearchedView};
use crate::mask::mask_text;

/// Who acts, as decisions and the log say it.
const BY: &str = "http";

/// The paths that begin with `/dlq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endpoint {
    Groups,
    Letters,
    Letter,
    Runs,
    NewRun,
    Run,
    CancelRun,
}

const LETTERS: &str = "/dlq/letters";
const RUNS: &str = "/dlq/runs";

impl Endpoint {
    /// What the path is read by, and what changes something there; none where there is nothing at this path.
    pub(super) fn of(path: &str) -> Option<(Endpoint, Option<(Method, Endpoint)>)> {
        Some(match path {
            "/dlq/groups" => (Endpoint::Groups, None),
            LETTERS => (Endpoint::Letters, None),
            RUNS => (Endpoint::Runs, Some((Method::POST, Endpoint::NewRun))),
            _ if named(path, LETTERS).is_some() => (Endpoint::Letter, None),
            _ if named(path, RUNS).is_some() => (Endpoint::Run, Some((Method::DELETE, Endpoint::CancelRun))),
            _ => return None,
        })
    }

    /// It changes something, or shows what is masked elsewhere.
    pub(super) fn needs_the_token(self, request: &HttpRequest) -> bool {
        match self {
            Endpoint::NewRun | Endpoint::CancelRun => true,
            Endpoint::Letter => Query::of(request).asks_for("reveal", "true"),
            Endpoint::Groups | Endpoint::Letters | Endpoint::Runs | Endpoint::Run => false,
        }
    }

    pub(super) fn reads_a_body(self) -> bool {
        self == Endpoint::NewRun
    }
}

/// What lies behind `folder/` in the path, where that is one name.
fn named<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    let name = path.strip_prefix(folder)?.strip_prefix('/')?;
    (!name.is_empty() && !name.contains('/')).then_some(name)
}

/// Refuses where the worker keeps no index.
pub(super) fn check_door(door: &ArchiveDoor) -> Result<(), Refusal> {
    match door {
        ArchiveDoor::Off => Err(Refusal::new(
            StatusCode::NOT_FOUND,
            "this worker does not browse dead letters",
            "set dlq.index_letters to more than 0 and restart, or ask a worker where it is",
        )),
        ArchiveDoor::NotYet | ArchiveDoor::Open(_) => Ok(()),
    }
}

/// Answers a request that may be answered; `body` is empty where none is read. Where `dlq.transactions` is off every answer
/// that is no error says so in a header.
pub(super) async fn answer(
    endpoint: Endpoint,
    request: &HttpRequest,
    door: ArchiveDoor,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let is_at_least_once = matches!(&door, ArchiveDoor::Open(archive) if !archive.is_transactional());
    let mut answer = answer_of(endpoint, request, door, body).await?;
    if is_at_least_once {
        let guarantee = HeaderValue::from_static(AT_LEAST_ONCE);
        answer.headers_mut().insert(HeaderName::from_static("x-mailroom-guarantee"), guarantee);
    }
    Ok(answer)
}

async fn answer_of(
    endpoint: Endpoint,
    request: &HttpRequest,
    door: ArchiveDoor,
    body: &[u8],
) -> Result<HttpResponse, Refusal> {
    let (path, query) = (request.path(), Query::of(request));
    let name = |folder| named(path, folder).unwrap_or_default();
    // What is wrong with a request is wrong before brokers answer, too.
    match endpoint {
        Endpoint::Groups => {
            let asked = groups::Asked::of(query)?;
            groups::answer(&open(door)?, &asked)
        }
        Endpoint::Letters => {
            let asked = letters::Asked::of(query)?;
            letters::list(&open(door)?, &asked)
        }
        Endpoint::Letter => {
            let asked = letters::One::of(name(LETTERS), query)?;
            letters::show(&open(door)?, &asked, request).await
        }
        Endpoint::Runs => {
            let asked = runs::Asked::of(query)?;
            runs::list(&open(door)?, &asked)
        }
        Endpoint::NewRun => {
            query.is_empty()?;
            let asked = new_run::Asked::of(request, body)?;
            runs::begin(open(door)?, asked).await
        }
        Endpoint::Run => {
            query.is_empty()?;
            runs::show(&open(door)?, name(RUNS))
        }
        Endpoint::CancelRun => {
            query.is_empty()?;
            runs::cancel(open(door)?, name(RUNS).to_owned()).await
        }
    }
}

fn open(door: ArchiveDoor) -> Result<Archive, Refusal> {
    match door {
        ArchiveDoor::Open(archive) => Ok(*archive),
        ArchiveDoor::NotYet | ArchiveDoor::Off => Err(Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "no broker has answered yet",
            "ask again in a moment; /health says how Kafka is",
        )),
    }
}

fn bad(error: &str, hint: impl Into<std::borrow::Cow<'static, str>>) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, mask_text(error).into_owned(), hint)
}

fn refusal(refused: Refused) -> Refusal {
    match refused {
        Refused::Wrong(mistakes) => bad(&mistakes.join("; "), new_run::HINT),
        Refused::Missing(what) => {
            Refusal::new(StatusCode::NOT_FOUND, what, "/dlq/letters and /dlq/runs list what there is")
        }
        Refused::Failed(error) => Refusal::new(
            StatusCode::SERVICE_UNAVAILABLE,
            mask_text(&error).into_owned(),
            "ask again in a moment; /health says how Kafka is",
        ),
    }
}

/// For an answer that has no place for it: what was looked through, and whether that is all there is.
fn searched_header(searched: &SearchedView) -> (&'static str, String) {
    let mut value = if searched.complete { "complete".to_owned() } else { "incomplete".to_owned() };
    if let (Some(from), Some(to)) = (&searched.from, &searched.to) {
        value += &format!("; from=\"{from}\"; to=\"{to}\"");
    }
    ("X-Mailroom-Searched", value)
}
