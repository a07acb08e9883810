//! Who may change something, or see what is masked elsewhere: whoever has the admin token (contract, section 5).

use actix_web::HttpRequest;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use subtle::ConstantTimeEq;

use super::errors::Refusal;
use crate::config::Secret;

/// Lets a change pass when the request carries `http.admin_token`. A token file is read at each change, so
/// that it can be rotated.
///
/// Refuses with 403 when no token is set, 401 when the request's is missing or wrong, and 503 when the token
/// file can't be read.
pub(super) async fn check(request: &HttpRequest, token: Option<&Secret>) -> Result<(), Refusal> {
    let Some(token) = token else {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "no admin token is set: changes are off, and nothing is revealed",
            "set http.admin_token, or http.admin_token_file, and restart; then send it as \
             \"Authorization: Bearer TOKEN\"",
        ));
    };
    let presented = bearer(request).ok_or_else(unauthorized)?.to_vec();
    let expected = match token {
        Secret::Value(value) => value.clone(),
        Secret::File(_) => read_file(token.clone()).await?,
    };
    if bool::from(presented.ct_eq(expected.as_bytes())) { Ok(()) } else { Err(unauthorized()) }
}

/// The request's bearer token (RFC 6750, section 2.1): none unless there is exactly one, and not empty.
fn bearer(request: &HttpRequest) -> Option<&[u8]> {
    let mut values = request.headers().get_all(AUTHORIZATION);
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        return None;
    }
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, token) = value.split_at(space);
    let token = token.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token)
}

async fn read_file(token: Secret) -> Result<String, Refusal> {
    let read = actix_web::web::block(move || token.read()).await;
    let problem = match read {
        Ok(Ok(token)) => return Ok(token),
        Ok(Err(problem)) => problem,
        Err(error) => error.to_string(),
    };
    tracing::warn!(problem, "admin token file can not be read");
    Err(Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "the admin token can't be read",
        "make the file that http.admin_token_file names readable for the worker, and not empty",
    ))
}

fn unauthorized() -> Refusal {
    Refusal::new(
        StatusCode::UNAUTHORIZED,
        "the admin token is missing or wrong",
        "send \"Authorization: Bearer TOKEN\" with the value of http.admin_token",
    )
    .with_header(WWW_AUTHENTICATE, "Bearer")
}
