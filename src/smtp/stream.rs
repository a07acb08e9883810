//! The bytes' way: TCP, or TLS over it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// One open connection.
#[derive(Debug)]
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    pub fn poll_read(&mut self, context: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(into);
        let polled = match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, &mut buffer),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(context, &mut buffer),
        };
        polled.map_ok(|()| buffer.filled().len())
    }

    /// Bytes that were taken: by the kernel, or by TLS, which may still hold them back until it is flushed.
    pub fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(context, bytes),
        }
    }

    pub fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(_) => Poll::Ready(Ok(())),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(context),
        }
    }

    pub fn poll_shutdown(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(context),
        }
    }

    /// Whether a write that fails may have sent some of it all the same.
    pub fn hides_what_it_sent(&self) -> bool {
        matches!(self, Stream::Tls(_))
    }

    /// Bytes of an e-mail in one write. Over TLS what fits one record (16 KiB) with some dots stuffed: a
    /// server can't read a part of a record, and of a failed write it is not known which records left.
    pub fn piece_bytes(&self) -> usize {
        match self {
            Stream::Plain(_) => 64 * 1024,
            Stream::Tls(_) => 15 * 1024,
        }
    }

    /// Sends the acknowledgement that the kernel holds back (TCP_QUICKACK), where there is such a thing. A
    /// server that writes its replies one by one with Nagle's algorithm on waits for it, 40 ms each.
    pub fn acknowledge_now(&self) {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        // It only makes things faster; without it they work too.
        let _ = tcp.set_quickack(true);
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let _ = tcp;
    }
}
