use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use parking_lot::Mutex;

use super::*;

const LONG: Duration = Duration::from_secs(60);
const MAIL: &str = "MAIL FROM:<no-reply@example.com> BODY=8BITMIME SIZE=99\r\n";
const BODY: &str = "Subject: Hi\r\nmessage-id: <a@example.com>\r\n\r\nMessage-ID: no\r\n..dots\r\n.\r\n";

struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: &SmtpServer) -> Client {
        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut client = Client(BufReader::new(stream));
        assert!(client.reply().starts_with("220 "));
        assert!(client.ask("EHLO test.example\r\n").contains("250-PIPELINING\r\n250-8BITMIME\r\n"));
        client
    }

    /// One whole reply, several lines joined; empty at the end of the stream.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            self.0.read_line(&mut reply).unwrap();
            if reply.as_bytes()[start..].get(3) != Some(&b'-') {
                return reply;
            }
        }
    }

    fn write(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).unwrap();
    }

    fn ask(&mut self, command: &str) -> String {
        self.write(command);
        self.reply()
    }
}

type Book = Arc<Mutex<Vec<(String, String)>>>;

fn server() -> (SmtpServer, Book) {
    let book = Book::default();
    let entries = Arc::clone(&book);
    let on_delivery = move |recipient: &str, id: &str| entries.lock().push((recipient.into(), id.into()));
    (SmtpServer::start(Arc::new(on_delivery)).unwrap(), book)
}

#[test]
fn a_pipelined_e_mail_is_taken_and_told_for_each_recipient_with_its_message_id() {
    let (server, book) = server();
    let mut client = Client::connect(&server);
    let rcpts = "RCPT TO:<user-000001@example.com>\r\nRCPT TO:<user-000002@example.com>\r\n";
    client.write(&format!("{MAIL}{rcpts}DATA\r\n"));
    let replies: Vec<String> = (0..4).map(|_| client.reply()[..3].to_owned()).collect();
    assert_eq!(replies, ["250", "250", "250", "354"]);
    assert!(client.ask(BODY).starts_with("250 "));
    let expected = ["user-000001@example.com", "user-000002@example.com"];
    assert_eq!(*book.lock(), expected.map(|recipient| (recipient.into(), "<a@example.com>".into())));
    assert!(client.ask("QUIT\r\n").starts_with("221 "));
    assert_eq!(client.reply(), "");
}

#[test]
fn the_dot_of_one_e_mail_and_the_next_one_may_come_in_one_write() {
    let (server, book) = server();
    let mut client = Client::connect(&server);
    let rcpt = "RCPT TO:<user-000001@example.com>\r\nDATA\r\n";
    client.write(&format!("{MAIL}{rcpt}"));
    let _ = (client.reply(), client.reply(), client.reply());
    client.write(&format!("{BODY}{MAIL}{rcpt}"));
    let replies: Vec<String> = (0..4).map(|_| client.reply()[..3].to_owned()).collect();
    assert_eq!(replies, ["250", "250", "250", "354"]);
    assert!(client.ask(BODY).starts_with("250 "));
    assert_eq!(book.lock().len(), 2);
}

#[test]
fn nobody_and_limited_are_refused_at_rcpt_each_time() {
    let (server, book) = server();
    let mut client = Client::connect(&server);
    for _ in 0..3 {
        client.ask(MAIL);
        assert_eq!(client.ask("RCPT TO:<nobody-000004@example.com>\r\n"), "550 5.1.1 No such user\r\n");
        assert_eq!(client.ask("RCPT TO:<limited-000013@example.com>\r\n"), "451 4.7.1 Too many requests\r\n");
        assert_eq!(client.ask("DATA\r\n"), "554 5.5.1 No valid recipients\r\n");
        assert!(client.ask("RSET\r\n").starts_with("250"));
    }
    assert!(book.lock().is_empty());
}

#[test]
fn a_slow_recipient_gets_no_answer_and_others_are_served_meanwhile() {
    let (server, book) = server();
    let mut slow = Client::connect(&server);
    slow.write(&format!("{MAIL}RCPT TO:<slow-000028@example.com>\r\nDATA\r\n"));
    assert!(slow.reply().starts_with("250 2.1.0"));
    assert!(Client::connect(&server).ask(MAIL).starts_with("250"));
    // The server closes only when it sees the end of our side, so all that it had to say comes before that.
    slow.0.get_mut().shutdown(Shutdown::Write).unwrap();
    let mut rest = String::new();
    slow.0.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "");
    assert!(book.lock().is_empty());
}

#[tokio::test]
async fn a_server_that_is_down_drops_its_connections_and_refuses_new_ones_until_it_is_back() {
    let (server, book) = server();
    for _ in 0..3 {
        let mut idle = Client::connect(&server);
        let mut before_the_dot = Client::connect(&server);
        before_the_dot.write(&format!("{MAIL}RCPT TO:<user-000001@example.com>\r\nDATA\r\n"));
        let _ = (before_the_dot.reply(), before_the_dot.reply(), before_the_dot.reply());
        server.go_down().await;
        assert!(!server.is_up());
        assert_eq!(idle.reply(), "");
        assert_eq!(before_the_dot.reply(), "");
        assert_eq!(TcpStream::connect(server.address()).unwrap_err().kind(), ErrorKind::ConnectionRefused);
        server.come_up().await;
        assert!(server.is_up());
        assert!(Client::connect(&server).ask("NOOP\r\n").starts_with("250"));
    }
    assert!(book.lock().is_empty());
}

#[test]
fn commands_out_of_order_are_refused() {
    let (server, _) = server();
    let rcpt = "RCPT TO:<user-000001@example.com>\r\n";
    for (commands, expected) in [
        (vec![rcpt], "503"),
        (vec!["DATA\r\n"], "503"),
        (vec![MAIL, MAIL], "503"),
        (vec![MAIL, "DATA\r\n"], "554"),
        (vec![MAIL, rcpt, "RSET\r\n", rcpt], "503"),
        (vec![MAIL, "RCPT TO:<>\r\n"], "501"),
        (vec!["MAIL FROM:ada\r\n"], "501"),
        (vec!["mail from:<>\r\n", "rcpt to:<user-000001@example.com>\r\n"], "250"),
        (vec!["STARTTLS\r\n"], "500"),
        (vec!["\r\n"], "500"),
    ] {
        let mut client = Client::connect(&server);
        let last = commands.iter().map(|command| client.ask(command)).last().unwrap();
        assert!(last.starts_with(expected), "{commands:?}: {last}");
    }
}
