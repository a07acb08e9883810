//! That nothing a client does, or leaves undone, costs more than its share.

use std::time::Instant;

use super::*;

fn server(limits: Limits) -> TestServer {
    TestServer::start_with(FakeDoors::healthy(), Some(Secret::Value(TOKEN.into())), limits)
}

/// A server that gives a request 200 ms to arrive, and an early answer as much to be read.
fn impatient() -> TestServer {
    let short = Duration::from_millis(200);
    let lifetime = Duration::from_secs(600);
    server(Limits { arrival: short, linger: short, lifetime, ..Limits::default() })
}

fn chunked_head() -> [&'static str; 4] {
    let [line, host, token, _] = put_head(0);
    [line, host, token, "Transfer-Encoding: chunked"]
}

/// Why what can't be read as a request at all has no JSON body.
const NO_HOOK: &str =
    "actix-http answers it itself, with a status and nothing else: there is no hook for a body";

/// `{"size": 5}` with white space, `length` bytes in all.
fn padded(length: usize) -> Vec<u8> {
    let mut body = b"{\"size\": 5}".to_vec();
    body.resize(length, b' ');
    body
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

#[test]
fn a_body_of_64_kib_is_taken_and_one_byte_more_is_not() {
    let server = server(Limits::default());
    assert_eq!(server.put(&padded(65_536)).status, 200);
    server.put(&padded(65_537)).refused(413);
    let whole = |length| [chunk(&padded(length)), chunk(b"")].concat();
    assert_eq!(server.ask(&chunked_head(), &whole(65_536)).status, 200);
    server.ask(&chunked_head(), &whole(65_537)).refused(413);
    let small: Vec<u8> = padded(65_537).chunks(1_000).flat_map(chunk).collect();
    server.ask(&chunked_head(), &small).refused(413);
    assert_eq!(server.resizes(), 2);
}

#[test]
fn a_client_that_sends_all_of_a_refused_body_still_gets_its_answer() {
    let server = server(Limits::default());
    server.put(&padded(4_000_000)).refused(413);
    let [line, host, _, _] = put_head(0);
    server.ask(&[line, host, "Content-Length: 4000000"], &padded(4_000_000)).refused(401);
    server.ask(&[line, host, "Transfer-Encoding: chunked"], &chunk(&padded(4_000_000))).refused(401);
}

#[test]
fn an_absurd_length_is_too_large_and_one_that_is_no_number_a_bad_request() {
    let server = server(Limits::default());
    let [line, host, token, _] = put_head(0);
    for (length, status) in
        [("18446744073709551615", 413), ("99999999999999999999999", 400), ("-1", 400), ("x", 400)]
    {
        let length = format!("Content-Length: {length}");
        let answer = server.ask(&[line, host, token, &length], b"");
        assert_eq!(answer.status, status, "{length}");
        match status {
            413 => drop(answer.refused(413)),
            _ => assert_eq!(answer.body, "", "{length}: {NO_HOOK}"),
        }
    }
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_body_shorter_or_longer_than_announced_changes_nothing() {
    let server = server(Limits::default());
    let mut client = server.connect();
    client.send(&put_head(40), b"{\"size\": 5}");
    client.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    client.answer().refused(400);
    server.ask(&put_head(6), b"{\"size\": 5}").refused(400);
    server.ask(&chunked_head(), b"zz\r\n").refused(400);
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_body_that_does_not_come_in_time_ends_the_request() {
    let server = impatient();
    for (head, part) in
        [(put_head(11), b"{\"size\"".to_vec()), (put_head(11), vec![]), (chunked_head(), chunk(b"{\"size\""))]
    {
        let begin = Instant::now();
        let mut client = server.connect();
        client.send(&head, &part);
        client.answer().refused(408);
        assert!(begin.elapsed() >= Duration::from_millis(200));
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(server.resizes(), 0);
}

#[test]
fn a_head_that_does_not_come_in_time_ends_the_connection() {
    let server = impatient();
    for part in ["", "GET /hea", "GET /health HTTP/1.1\r\nHost: mailroom\r\nX-Slow: "] {
        let begin = Instant::now();
        let mut client = server.connect();
        client.send_raw(part.as_bytes());
        let answer = client.answer();
        answer.refused(408);
        assert_eq!((answer.header("connection"), answer.header("cache-control")), ("close", "no-store"));
        assert!(answer.header("date").ends_with(" GMT"), "{answer:?}");
        assert_eq!(client.rest(), b"");
        assert!(begin.elapsed() >= Duration::from_millis(200));
    }
}

#[test]
fn a_request_that_goes_on_after_its_time_was_over_changes_nothing() {
    let server = server(Limits {
        arrival: Duration::from_millis(200),
        linger: Duration::from_secs(60),
        lifetime: Duration::from_secs(600),
        ..Limits::default()
    });
    let mut client = server.connect();
    // No body is to come that could be late as well.
    let [_, host, token, _] = put_head(0);
    client.send_raw(["POST /consumer/resume HTTP/1.1", host, token].join("\r\n").as_bytes());
    client.answer().refused(408);
    client.send_raw(b"\r\n\r\n");
    client.stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"");
    // What another request is answered comes after what became of the first.
    assert_eq!(server.get("/pool").status, 200);
    assert_eq!(server.doors.resumes.load(Ordering::SeqCst), 0);
}

#[test]
fn a_second_request_on_a_connection_gets_neither_time_nor_answer() {
    let server = server(Limits::default());
    let mut client = server.connect();
    client.send_raw(b"GET /health/live HTTP/1.1\r\nHost: mailroom\r\n\r\nGET /health/li");
    let answer = client.answer();
    assert_eq!((answer.status, answer.header("connection")), (200, "close"));
    assert_eq!(client.rest(), b"", "it is not waited for");
}

#[test]
fn an_endless_body_ends_with_its_answer() {
    let server = impatient();
    let get = ["GET /health/live HTTP/1.1", "Host: mailroom", "Transfer-Encoding: chunked"];
    let no_token = ["PUT /pool HTTP/1.1", "Host: mailroom", "Transfer-Encoding: chunked"];
    let announced = ["PUT /pool HTTP/1.1", "Host: mailroom", "Content-Length: 999999999999"];
    for (head, status) in [(get, 200), (no_token, 401), (announced, 401)] {
        let mut client = server.connect();
        client.send(&head, &chunk(&[b'x'; 1_000]));
        assert_eq!(client.answer().status, status);
        // An endless drain would take all of it.
        let stream = client.stream.get_mut();
        let begin = Instant::now();
        while stream.write_all(&chunk(&[b'x'; 1_000])).is_ok() {
            assert!(begin.elapsed() < Duration::from_secs(60), "not ended");
        }
    }
}

#[test]
fn a_connection_ends_when_its_time_is_over_whatever_the_client_does() {
    let server = server(Limits { lifetime: Duration::from_millis(200), ..Limits::default() });
    let begin = Instant::now();
    let mut client = server.connect();
    client.send_raw(b"GET /health HTTP/1.1\r\n");
    assert_eq!(client.rest(), b"");
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn too_large_a_head_is_refused() {
    let server = server(Limits::default());
    let mut client = server.connect();
    let mut head = b"GET /health HTTP/1.1\r\nHost: mailroom\r\nX-Long: ".to_vec();
    head.resize(131_072, b'x');
    client.send_raw(&head);
    let answer = client.answer();
    assert_eq!((answer.status, answer.body.as_str()), (431, ""), "{NO_HOOK}");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn what_is_no_http_request_is_a_bad_request() {
    let server = server(Limits::default());
    for garbage in [
        "EHLO mailroom\r\n\r\n",
        "GET /health HTTP/1.1\r\n\r\n",
        "PUT /pool HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let mut client = server.connect();
        client.send_raw(garbage.as_bytes());
        let answer = client.answer();
        assert_eq!((answer.status, answer.body.as_str()), (400, ""), "{garbage:?}: {NO_HOOK}");
        assert_eq!(client.rest(), b"", "{garbage:?}");
    }
}

#[test]
fn connections_over_the_limit_wait_until_there_is_room() {
    let server = server(Limits { connections: 2, ..Limits::default() });
    let (first, second) = (server.connect(), server.connect());
    let mut third = server.connect();
    third.send(&["GET /health/live HTTP/1.1", "Host: mailroom"], b"");
    third.stream.get_ref().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let early = third.stream.fill_buf().map(<[u8]>::len);
    assert_eq!(early.map_err(|error| error.kind()), Err(std::io::ErrorKind::WouldBlock));
    third.stream.get_ref().set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    drop((first, second));
    assert_eq!(third.answer().status, 200);
}
