//! STARTTLS in front of a plain SMTP server that has none, as GreenMail.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::certificate::Certificate;

/// Listens, offers STARTTLS and nothing else, and hands what comes over TLS on to `behind`. Returns its port.
pub fn start(certificate: &Certificate, behind: u16) -> u16 {
    let acceptor = TlsAcceptor::from(certificate.server_config());
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    let port = listener.local_addr().expect("a bound socket has an address").port();
    listener.set_nonblocking(true).expect("a socket can be non-blocking");
    std::thread::spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("the socket is non-blocking");
            let acceptor = Arc::new(acceptor);
            while let Ok((client, _)) = listener.accept().await {
                let acceptor = Arc::clone(&acceptor);
                tokio::spawn(async move {
                    // A client that goes away, or does not trust us, is its own test's business.
                    let _ = serve(client, &acceptor, SocketAddr::from(([127, 0, 0, 1], behind))).await;
                });
            }
        });
    });
    port
}

async fn serve(client: TcpStream, acceptor: &TlsAcceptor, behind: SocketAddr) -> std::io::Result<()> {
    let mut client = BufReader::new(client);
    client.write_all(b"220 front ESMTP\r\n").await?;
    let mut line = String::new();
    loop {
        line.clear();
        if client.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let command = line.trim_end().to_ascii_uppercase();
        if command == "STARTTLS" {
            break;
        }
        // Nothing is taken in the clear.
        let reply: &[u8] = if command.starts_with("EHLO") {
            b"250-front\r\n250 STARTTLS\r\n"
        } else {
            b"530 5.7.0 Must issue a STARTTLS command first\r\n"
        };
        client.write_all(reply).await?;
    }
    client.write_all(b"220 2.0.0 go on\r\n").await?;
    let mut client = acceptor.accept(client.into_inner()).await?;
    let mut server = BufReader::new(TcpStream::connect(behind).await?);
    // Its greeting was ours; what follows is between the two.
    server.read_line(&mut line).await?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
