//! What stands behind the `?` of a request: filters by their names, and each endpoint's own parameters.

use actix_web::HttpRequest;
use actix_web::web;
use chrono::Utc;
use mailroom_actors::domain::letters::filter::Filter;

use super::bad;
use crate::dlq::question;
use crate::http::errors::Refusal;

/// Names and values, in order.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn of(request: &HttpRequest) -> Query {
        Query::read(request.query_string())
    }

    fn read(text: &str) -> Query {
        // Any text can be read as pairs of texts.
        let pairs = web::Query::<Vec<(String, String)>>::from_query(text);
        pairs.map_or_else(|_| Query(Vec::new()), |pairs| Query(pairs.into_inner()))
    }

    pub(super) fn asks_for(&self, name: &str, value: &str) -> bool {
        self.0.iter().any(|(of, is)| of == name && is == value)
    }

    /// The value of that parameter, which is no longer in here; none where it is not given.
    ///
    /// Refuses with 400 what is given twice.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        let mut values = self.0.extract_if(.., |(of, _)| of == name).map(|(_, value)| value);
        let value = values.next();
        if values.next().is_some() {
            return Err(bad(&format!("{name} is given twice"), "give each parameter once"));
        }
        drop(values);
        Ok(value)
    }

    /// A whole number from 1 to `max`, named `limit`; `default` where it is not given.
    pub(super) fn take_limit(&mut self, default: usize, max: usize) -> Result<usize, Refusal> {
        let Some(value) = self.take("limit")? else { return Ok(default) };
        let digits = value.bytes().all(|byte| byte.is_ascii_digit());
        let limit = value.parse().ok().filter(|limit| digits && (1..=max).contains(limit));
        limit.ok_or_else(|| {
            bad(
                &format!("limit must be from 1 to {max}"),
                "leave it out, or ask for the next page with after",
            )
        })
    }

    /// All that is left, as filters; `own` are the names of the endpoint's own parameters.
    pub(super) fn filter(self, own: &str) -> Result<Filter, Refusal> {
        let now = Utc::now();
        let mut filter = Filter::default();
        let mut seen: Vec<&str> = Vec::new();
        for (name, value) in &self.0 {
            let hint = || format!("parameters are {own}, {}; each at most once", question::NAMES);
            if seen.contains(&name.as_str()) {
                return Err(bad("a parameter is given twice", hint()));
            }
            seen.push(name);
            question::add(&mut filter, name, value, now).map_err(|error| bad(&error, hint()))?;
        }
        Ok(filter)
    }

    /// Refuses with 400 whatever is left.
    pub(super) fn is_empty(&self) -> Result<(), Refusal> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err(bad("there is a parameter that this path does not take", "leave out what stands behind the ?"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use mailroom_actors::domain::failure::Cause;

    use super::*;

    #[test]
    fn a_query_is_taken_apart_into_parameters_and_filters() {
        let mut query = Query::read("limit=7&cause=quota&tag.team=red%20one&q=a+b%40c.d&tag.other=1");
        assert_eq!(query.take_limit(50, 1_000).unwrap(), 7);
        assert_eq!(query.take("after").unwrap(), None);
        let filter = query.filter("limit").unwrap();
        let tags = vec![("team".to_owned(), "red one".to_owned()), ("other".to_owned(), "1".to_owned())];
        let expected =
            Filter { cause: Some(Cause::Quota), tags, q: Some("a b@c.d".into()), ..Filter::default() };
        assert_eq!(filter, expected);
        assert_eq!(Query::read("").take_limit(50, 1_000).unwrap(), 50);
    }

    #[test]
    fn a_parameter_that_is_unknown_wrong_empty_or_there_twice_is_refused() {
        for text in [
            "size=1",
            "cause=quotas",
            "cause=",
            "cause",
            "cause=quota&cause=quota",
            "tag.a=1&tag.a=2",
            "=1",
            "%ff=1",
            "Cause=quota",
        ] {
            assert!(Query::read(text).filter("limit").is_err(), "{text}");
        }
        for text in
            ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=%2B5", "limit=1&limit=1"]
        {
            assert!(Query::read(text).take_limit(50, 1_000).is_err(), "{text}");
        }
        assert!(Query::read("x").is_empty().is_err() && Query::read("&").is_empty().is_ok());
    }
}
