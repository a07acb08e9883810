//! A certificate authority for one test run, and a server's certificate from it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::process;

pub const KEYSTORE_PASSWORD: &str = "keystore";

/// A server's certificate for `localhost` (and not for 127.0.0.1), with the authority that vouches for it.
pub struct Certificate {
    folder: PathBuf,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
}

impl Certificate {
    pub fn make() -> Certificate {
        Certificate::make_with(|_| {})
    }

    /// One that was good until yesterday.
    pub fn expired() -> Certificate {
        let yesterday = std::time::SystemTime::now() - std::time::Duration::from_secs(86_400);
        Certificate::make_with(|params| params.not_after = yesterday.into())
    }

    /// One that vouches for itself, as `openssl req -x509` makes it: it is an authority's, too.
    pub fn self_signed() -> Certificate {
        let key = KeyPair::generate().expect("keys can be made");
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("it is a name");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("it signs itself");
        let folder = process::scratch("certificate");
        std::fs::write(folder.join("ca.pem"), certificate.pem()).expect("scratch is writable");
        Certificate { folder, chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }

    fn make_with(change: impl FnOnce(&mut CertificateParams)) -> Certificate {
        let authority_key = KeyPair::generate().expect("keys can be made");
        let mut authority = CertificateParams::new(Vec::new()).expect("no names are fine");
        authority.distinguished_name.push(DnType::CommonName, "Mailroom's test authority");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_certificate =
            authority.self_signed(&authority_key).expect("the authority signs itself");
        let issuer = Issuer::new(authority, authority_key);

        let key = KeyPair::generate().expect("keys can be made");
        let mut server = CertificateParams::new(vec!["localhost".to_owned()]).expect("it is a name");
        server.distinguished_name.push(DnType::CommonName, "localhost");
        change(&mut server);
        let certificate = server.signed_by(&key, &issuer).expect("the authority signs");

        let folder = process::scratch("certificate");
        let file =
            |name: &str, text: String| std::fs::write(folder.join(name), text).expect("scratch is writable");
        file("ca.pem", authority_certificate.pem());
        file("server.pem", certificate.pem());
        file("server.key", key.serialize_pem());
        Certificate { folder, chain: vec![certificate.der().clone()], key: key.serialize_der() }
    }

    /// What a client has to trust, in PEM: the worker's `smtp.ca_file`.
    pub fn ca_file(&self) -> String {
        self.folder.join("ca.pem").display().to_string()
    }

    /// Certificate and key in PKCS #12, as Java reads them.
    pub fn keystore(&self) -> PathBuf {
        let keystore = self.folder.join("server.p12");
        let mut openssl = Command::new("openssl");
        openssl.args(["pkcs12", "-export", "-name", "server", "-passout"]);
        openssl.arg(format!("pass:{KEYSTORE_PASSWORD}"));
        let file = |name: &str| Path::new(&self.folder).join(name);
        openssl.arg("-in").arg(file("server.pem")).arg("-inkey").arg(file("server.key"));
        openssl.arg("-certfile").arg(file("ca.pem")).arg("-out").arg(&keystore);
        let made = process::run(openssl, b"");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        keystore
    }

    /// The same for a TLS server in Rust.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has the usual versions")
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), key)
            .expect("the key is the certificate's");
        Arc::new(config)
    }
}
