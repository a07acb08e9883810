//! Every request's way: path and method, token, size, body, and then the answer (contract, section 5).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use actix_web::body::{BodySize, BoxBody, MessageBody};
use actix_web::http::header::{ALLOW, CACHE_CONTROL, HeaderValue};
use actix_web::http::{Method, StatusCode};
use actix_web::web::{Bytes, Data, Payload};
use actix_web::{HttpRequest, HttpResponse};

use super::doors::{ArchiveDoor, Doors, ask};
use super::errors::Refusal;
use super::heartbeat::Heartbeat;
use super::lifetime::Lifetime;
use super::server::Limits;
use super::{body, consumer, dlq, health, metrics, pool, token};
use crate::config::Secret;

/// What every request may use.
pub(super) struct Shared {
    pub(super) doors: Arc<dyn Doors>,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) admin_token: Option<Secret>,
    pub(super) limits: Limits,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Endpoint {
    Metrics,
    Live,
    Ready,
    Health,
    Pool,
    ResizePool,
    PauseIntake,
    ResumeIntake,
    Dlq(dlq::Endpoint),
}

impl Endpoint {
    /// The endpoint of this path and method; 404 for another path, 405 with `Allow` for another method.
    fn of(path: &str, method: &Method) -> Result<Endpoint, Refusal> {
        let (read, change) = match path {
            "/metrics" => (Some(Endpoint::Metrics), None),
            "/health/live" => (Some(Endpoint::Live), None),
            "/health/ready" => (Some(Endpoint::Ready), None),
            "/health" => (Some(Endpoint::Health), None),
            "/pool" => (Some(Endpoint::Pool), Some((Method::PUT, Endpoint::ResizePool))),
            "/consumer/pause" => (None, Some((Method::POST, Endpoint::PauseIntake))),
            "/consumer/resume" => (None, Some((Method::POST, Endpoint::ResumeIntake))),
            _ => {
                let (read, change) = dlq::Endpoint::of(path).ok_or_else(|| {
                    Refusal::new(
                        StatusCode::NOT_FOUND,
                        "there is nothing at this path",
                        "there are /metrics, /health, /health/live, /health/ready, /pool, /consumer/pause, \
                         /consumer/resume, /dlq/groups, /dlq/letters and /dlq/runs",
                    )
                })?;
                (Some(Endpoint::Dlq(read)), change.map(|(method, change)| (method, Endpoint::Dlq(change))))
            }
        };
        let reads = read.is_some() && (method == Method::GET || method == Method::HEAD);
        let endpoint = match &change {
            Some((changing, change)) if changing == method => Some(*change),
            _ => read.filter(|_| reads),
        };
        endpoint.ok_or_else(|| {
            let allowed = match (read, change) {
                (Some(_), Some((Method::PUT, _))) => "GET, HEAD, PUT",
                (Some(_), Some((Method::DELETE, _))) => "GET, HEAD, DELETE",
                (Some(_), Some(_)) => "GET, HEAD, POST",
                (Some(_), None) => "GET, HEAD",
                (None, _) => "POST",
            };
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "this path does not take this method",
                format!("use one of: {allowed}"),
            )
            .with_header(ALLOW, allowed)
        })
    }

    /// It changes something, or shows what is masked elsewhere.
    fn needs_the_token(self, request: &HttpRequest) -> bool {
        match self {
            Endpoint::ResizePool | Endpoint::PauseIntake | Endpoint::ResumeIntake => true,
            Endpoint::Dlq(endpoint) => endpoint.needs_the_token(request),
            _ => false,
        }
    }

    fn reads_a_body(self) -> bool {
        match self {
            Endpoint::ResizePool | Endpoint::PauseIntake | Endpoint::ResumeIntake => true,
            Endpoint::Dlq(endpoint) => endpoint.reads_a_body(),
            _ => false,
        }
    }
}

/// The handler of all requests.
pub(super) async fn answer(
    request: HttpRequest,
    mut payload: Payload,
    shared: Data<Shared>,
) -> HttpResponse<AnswerBody> {
    let mut response = match respond(&request, &mut payload, &shared).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.map_body(|_, text| AnswerBody { text, _request: payload })
}

async fn respond(
    request: &HttpRequest,
    payload: &mut Payload,
    shared: &Shared,
) -> Result<HttpResponse, Refusal> {
    let Shared { doors, heartbeat, admin_token, limits } = shared;
    let doors = doors.as_ref();
    let lifetime = request.conn_data::<Lifetime>();
    if lifetime.is_some_and(|lifetime| !lifetime.head_came()) {
        // The answer has been given. Nobody reads this one, and nothing may come of the request.
        return Err(Refusal::too_late());
    }
    let endpoint = Endpoint::of(request.path(), request.method())?;
    let door = match endpoint {
        Endpoint::Dlq(_) => doors.archive(),
        _ => ArchiveDoor::Off,
    };
    if let Endpoint::Dlq(_) = endpoint {
        dlq::check_door(&door)?;
    }
    if endpoint.needs_the_token(request) {
        token::check(request, admin_token.as_ref()).await?;
    }
    body::check_announced_size(request, limits.body_bytes)?;
    let body = if endpoint.reads_a_body() {
        let accepted_at = lifetime.map_or_else(Instant::now, Lifetime::accepted_at);
        body::read(payload, limits.body_bytes, accepted_at + limits.arrival).await?
    } else {
        Bytes::new()
    };
    match endpoint {
        Endpoint::Metrics => metrics::answer(doors, limits.answer).await,
        Endpoint::Live => Ok(verdict(&heartbeat.live(limits.answer, limits.silence).await)),
        Endpoint::Ready => Ok(match ask(limits.answer, doors.status()).await {
            Some(status) => verdict(&health::ready(&status)),
            None => verdict(&health::Verdict::no_answer()),
        }),
        Endpoint::Health => {
            let status = ask(limits.answer, doors.status()).await;
            let report = health::report(status.as_ref(), env!("CARGO_PKG_VERSION"));
            Ok(health_json(report.passes(), &report))
        }
        Endpoint::Pool => pool::show(doors, limits.answer).await,
        Endpoint::ResizePool => pool::resize(doors, limits.answer, &body).await,
        Endpoint::PauseIntake => consumer::pause(doors, limits.answer, &body).await,
        Endpoint::ResumeIntake => consumer::resume(doors, limits.answer, &body).await,
        Endpoint::Dlq(endpoint) => dlq::answer(endpoint, request, door, &body).await,
    }
}

fn verdict(verdict: &health::Verdict) -> HttpResponse {
    health_json(verdict.passes(), verdict)
}

fn health_json(passes: bool, body: &impl serde::Serialize) -> HttpResponse {
    let status = if passes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).insert_header(("Content-Type", "application/health+json")).json(body)
}

/// An answer that keeps what is unread of its request until it is sent.
///
/// actix-web drains a dropped chunked body for as long as the client sends one. With the body still held it
/// closes instead: answer, then a few seconds in which what comes is thrown away (a close at once would be a
/// reset, and could cost the client the answer), then the end.
pub(super) struct AnswerBody {
    text: BoxBody,
    _request: Payload,
}

impl MessageBody for AnswerBody {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.text.size()
    }

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.text).poll_next(context)
    }
}
