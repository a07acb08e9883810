//! TLS towards the relay: whom to trust, built once, and the handshake.

use std::io;
use std::path::Path;
use std::sync::Arc;

use mailroom_actors::domain::failure::{Failure, Stage};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

/// How to make a connection to the relay a TLS one.
#[derive(Clone)]

pub struct Tls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl Tls {
    /// Trusts the certificates of `ca_file` and no others; without it those of the system. The relay must
    /// show a certificate for `host`.
    ///
    /// # Errors
    /// In words, with the key that is to be changed.
    pub fn new(host: &str, ca_file: Option<&Path>) -> Result<Tls, String> {
        let server_name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("smtp.host: {host:?} is no name that a certificate can have"))?;
        let roots = match ca_file {
            Some(path) => roots_of_file(path)?,
            None => roots_of_system()?,
        };
        let provider = Arc::new(crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring knows the default versions of TLS")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Tls { connector: TlsConnector::from(Arc::new(config)), server_name })
    }

    /// The handshake. It has no deadline of its own.
    ///
    /// # Errors
    /// Of stage `tls`: the connection was lost, or the relay can't be trusted, in words.
    pub async fn handshake(&self, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        self.connector.connect(self.server_name.clone(), tcp).await.map_err(|error| {
            if error.kind() == io::ErrorKind::InvalidData {
                Failure::unreachable(Stage::Tls, format!("TLS failed: {error}"))
            } else {
                Failure::lost(Stage::Tls, format!("Connection lost in the TLS handshake: {error}"))
            }
        })
    }
}

fn roots_of_file(path: &Path) -> Result<RootCertStore, String> {
    let shown = path.display();
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| format!("smtp.ca_file: {shown} can't be read: {error}"))?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("smtp.ca_file: {shown} is no PEM: {error}"))?;
        roots
            .add(certificate)
            .map_err(|error| format!("smtp.ca_file: a certificate of {shown} can't be used: {error}"))?;
    }
    if roots.is_empty() {
        return Err(format!("smtp.ca_file: {shown} holds no certificate"));
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("the system has no root certificates: install them, or set smtp.ca_file".into());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_file_that_is_missing_or_holds_no_certificate_is_named_with_its_key() {
        let folder = tempfile::tempdir().expect("a folder");
        let missing = folder.path().join("missing.pem");
        let empty = folder.path().join("empty.pem");
        std::fs::write(&empty, "not a certificate\n").expect("written");
        let broken = folder.path().join("broken.pem");
        let pem = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&broken, pem).expect("written");
        for path in [missing, empty, broken] {
            let why = Tls::new("localhost", Some(&path)).err().expect("refused");
            assert!(why.starts_with("smtp.ca_file: "), "{why}");
            assert!(why.contains(&path.display().to_string()), "{why}");
        }
    }
}
