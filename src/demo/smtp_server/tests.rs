use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::mood::{MOST_A_SECOND, SLOWNESS};
use super::session::{Session, Step};
use super::*;

const LONG: Duration = Duration::from_secs(60);

struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut client = Client { lines: BufReader::new(stream) };
        assert!(client.reply().starts_with("220 "));
        client
    }

    fn ready(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        assert!(client.ask("EHLO test.example\r\n").starts_with("250-"));
        client
    }

    fn write(&mut self, text: &str) {
        self.lines.get_mut().write_all(text.as_bytes()).unwrap();
    }

    /// One whole reply, its lines joined; empty at the end of the stream.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            self.lines.read_line(&mut reply).unwrap();
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                return reply;
            }
        }
    }

    fn ask(&mut self, command: &str) -> String {
        self.write(command);
        self.reply()
    }

    /// Ends our side and returns all that still comes.
    fn rest(mut self) -> String {
        self.lines.get_mut().shutdown(Shutdown::Write).unwrap();
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).unwrap();
        rest
    }
}

type Book = Arc<Mutex<Vec<Delivery>>>;

fn server() -> (SmtpServer, Book) {
    let book = Book::default();
    let deliveries = Arc::clone(&book);
    (SmtpServer::start(Arc::new(move |delivery| deliveries.lock().push(delivery))).unwrap(), book)
}

const MAIL: &str = "MAIL FROM:<no-reply@shop.example> BODY=8BITMIME SIZE=99\r\n";
const BODY: &str = "Message-ID: <a@shop.example>\r\nSubject: Hi\r\n\r\n..dots\r\n.\r\n";

#[tokio::test]
async fn a_pipelined_e_mail_is_taken_and_told_with_its_message_id() {
    let (server, book) = server();
    let mut client = Client::connect(server.address());
    let offers = client.ask("EHLO test.example\r\n");
    for keyword in ["PIPELINING", "8BITMIME", "SIZE 10485760"] {
        assert!(offers.contains(keyword), "{offers}");
    }
    client.write(&format!("{MAIL}RCPT TO:<customer-1@customers.example>\r\nDATA\r\n"));
    assert_eq!(client.reply(), "250 2.1.0 Ok\r\n");
    assert_eq!(client.reply(), "250 2.1.5 Ok\r\n");
    assert!(client.reply().starts_with("354 "));
    assert!(client.ask(BODY).starts_with("250 "));
    let delivery =
        Delivery { recipient: "customer-1@customers.example".into(), message_id: "<a@shop.example>".into() };
    assert_eq!(*book.lock(), [delivery]);
    assert!(client.ask("QUIT\r\n").starts_with("221 "));
    assert_eq!(client.rest(), "");
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn an_invalid_address_and_a_rate_limit_are_refused_at_rcpt() {
    let (server, book) = server();
    let mut client = Client::ready(server.address());
    client.ask(MAIL);
    for _ in 0..3 {
        assert_eq!(client.ask("RCPT TO:<nobody-1@customers.example>\r\n"), "550 5.1.1 No such user\r\n");
        assert_eq!(client.ask("RCPT TO:<busy-2@customers.example>\r\n"), "451 4.7.1 Too many requests\r\n");
    }
    assert_eq!(client.ask("DATA\r\n"), "554 5.5.1 No valid recipients\r\n");
    assert!(book.lock().is_empty());
    // Who was sent away three times, and so is a dead letter, is served when it is replayed.
    assert!(client.ask("RCPT TO:<busy-2@customers.example>\r\n").starts_with("250 "));
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn who_is_limited_once_gets_the_e_mail_at_the_second_attempt() {
    let (server, book) = server();
    for expected in ["451", "250"] {
        let mut client = Client::ready(server.address());
        client.ask(MAIL);
        assert!(client.ask("RCPT TO:<hasty-3@customers.example>\r\n").starts_with(expected));
        if expected == "250" {
            client.ask("DATA\r\n");
            client.ask(BODY);
        }
    }
    assert_eq!(book.lock().len(), 1);
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn who_meets_silence_gets_no_answer_at_all_and_others_are_served() {
    let (server, book) = server();
    let mut at_rcpt = Client::ready(server.address());
    at_rcpt.write(&format!("{MAIL}RCPT TO:<silent-4@customers.example>\r\nDATA\r\n"));
    assert!(at_rcpt.reply().starts_with("250 2.1.0"));
    let mut at_data = Client::ready(server.address());
    at_data.write(&format!("{MAIL}RCPT TO:<mute-5@customers.example>\r\nDATA\r\n"));
    assert!(at_data.reply().starts_with("250 2.1.0"));
    assert!(at_data.reply().starts_with("250 2.1.5"));
    let mut other = Client::ready(server.address());
    assert!(other.ask(MAIL).starts_with("250"));
    // The server sees the end of our side, and only then closes: it had nothing to say before.
    assert_eq!(at_rcpt.rest(), "");
    assert_eq!(at_data.rest(), "");
    assert!(book.lock().is_empty());
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn a_server_that_is_down_drops_its_connections_and_refuses_new_ones_until_it_is_back() {
    let (server, book) = server();
    let address = server.address();
    for _ in 0..3 {
        let mut idle = Client::ready(address);
        let mut before_the_dot = Client::ready(address);
        before_the_dot.write(&format!("{MAIL}RCPT TO:<customer-6@customers.example>\r\nDATA\r\n"));
        for _ in 0..3 {
            before_the_dot.reply();
        }
        before_the_dot.write("Subject: half of i");
        server.go_down().await.unwrap();
        server.go_down().await.unwrap();
        assert!(server.is_down());
        assert_eq!(idle.reply(), "");
        assert_eq!(before_the_dot.reply(), "");
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        server.come_up().await.unwrap();
        server.come_up().await.unwrap();
        assert!(!server.is_down());
        assert!(Client::ready(address).ask("NOOP\r\n").starts_with("250"));
    }
    assert!(book.lock().is_empty());
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn a_slow_server_lets_each_e_mail_wait_and_takes_it() {
    let (server, book) = server();
    server.be_slow(true);
    let mut client = Client::ready(server.address());
    let asked = std::time::Instant::now();
    client.write(&format!("{MAIL}RCPT TO:<customer-1@customers.example>\r\nDATA\r\n"));
    assert!(client.reply().starts_with("250 2.1.0"));
    assert!(asked.elapsed() >= SLOWNESS);
    client.reply();
    client.reply();
    assert!(client.ask(BODY).starts_with("250"));
    assert_eq!(book.lock().len(), 1);
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn a_strict_server_takes_a_few_e_mails_a_second_and_tells_the_others_that_it_is_too_much() {
    let (server, _) = server();
    server.be_strict(true);
    let mut client = Client::ready(server.address());
    let began = std::time::Instant::now();
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..60 {
        match &client.ask(MAIL)[..3] {
            "250" => taken += 1,
            "454" => refused += 1,
            other => panic!("{other}"),
        }
        client.ask("RSET\r\n");
    }
    assert!(taken >= 1 && refused >= 1, "{taken} taken, {refused} refused");
    assert!(f64::from(taken) <= 1.0 + began.elapsed().as_secs_f64() * f64::from(MOST_A_SECOND));
    server.be_strict(false);
    for _ in 0..20 {
        assert!(client.ask(MAIL).starts_with("250"));
        client.ask("RSET\r\n");
    }
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn an_endless_line_ends_the_connection_and_nothing_else() {
    let (server, _) = server();
    let mut client = Client::ready(server.address());
    let endless = "x".repeat(1024);
    let written = (0..10_000).try_for_each(|_| client.lines.get_mut().write_all(endless.as_bytes()));
    assert!(written.is_err());
    assert!(Client::ready(server.address()).ask("NOOP\r\n").starts_with("250"));
    assert!(server.stop(LONG).await);
}

#[tokio::test]
async fn a_stopped_server_is_gone_whatever_was_going_on() {
    let (server, _) = server();
    let address = server.address();
    let mut client = Client::ready(address);
    client.write(&format!("{MAIL}RCPT TO:<silent-4@customers.example>\r\n"));
    client.reply();
    assert!(server.stop(LONG).await);
    assert_eq!(client.reply(), "");
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

fn session(book: &Book) -> Session {
    let deliveries = Arc::clone(book);
    let on_delivery: OnDelivery = Arc::new(move |delivery| deliveries.lock().push(delivery));
    Session::new(Arc::new(Mailboxes::new(on_delivery, Arc::default())))
}

#[test]
fn commands_out_of_order_are_refused() {
    let rcpt = "RCPT TO:<customer-1@customers.example>";
    let mail = "MAIL FROM:<>";
    for (commands, expected) in [
        (vec![mail], "503"),
        (vec!["EHLO"], "501"),
        (vec!["EHLO x", rcpt], "503"),
        (vec!["EHLO x", "DATA"], "503"),
        (vec!["EHLO x", mail, mail], "503"),
        (vec!["EHLO x", mail, "DATA"], "554"),
        (vec!["EHLO x", mail, rcpt, "RSET", rcpt], "503"),
        (vec!["EHLO x", mail, "RCPT TO:<>"], "501"),
        (vec!["EHLO x", "MAIL FROM:ada"], "501"),
        (vec!["EHLO x", "MAIL FROM:<a@b.example> SIZE=10485761"], "552"),
        (vec!["helo x", "mail from:<a@b.example> SIZE=10485760"], "250"),
        (vec!["STARTTLS"], "500"),
        (vec![""], "500"),
    ] {
        let mut session = session(&Book::default());
        let last = commands.iter().map(|command| session.command(command.as_bytes())).last();
        let Some(Step::Reply(reply)) = last else { panic!("{commands:?}: {last:?}") };
        assert!(reply.starts_with(expected), "{commands:?}: {reply}");
    }
}

#[test]
fn an_e_mail_over_the_size_is_refused_at_the_dot_and_not_told() {
    let book = Book::default();
    let mut session = session(&book);
    for command in ["EHLO x", "MAIL FROM:<>", "RCPT TO:<customer-1@customers.example>"] {
        session.command(command.as_bytes());
    }
    assert_eq!(session.command(b"DATA"), Step::ReadMessage);
    assert!(session.message(None).starts_with("552"));
    assert!(book.lock().is_empty());
}

proptest! {
    #[test]
    fn no_line_makes_the_conversation_panic(lines in proptest::collection::vec(any::<Vec<u8>>(), 0..20)) {
        let mut session = session(&Book::default());
        for line in lines {
            let step = session.command(&line);
            prop_assert!(step != Step::ReadMessage);
        }
    }
}
