//! The relay of the configuration: opens connections that are ready for MAIL.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use mailroom_actors::domain::failure::{Failure, Stage};
use mailroom_actors::ports;

use super::answers::Answers;
use super::connection::SmtpConnection;
use super::dial::dial;
use super::login::Goal;
use super::sasl::Sasl;
use super::tls::Tls;
use crate::config::{Pipelining, Secret, Security, Smtp};

/// `[smtp]` of the configuration, made ready: certificates are read once, the password at each connect.
#[derive(Clone)]
pub struct SmtpRelay {
    shared: Arc<Shared>,
}

struct Shared {
    smtp: Smtp,
    /// None with `plain` only.
    tls: Option<Tls>,
    answers: Answers,
}

impl SmtpRelay {
    /// Reads the certificates to trust; nothing is connected yet.
    ///
    /// # Errors
    /// In words, with the key that is to be changed: a CA file that can't be used, a host that no
    /// certificate can name, a name for EHLO that is none.
    pub fn new(smtp: &Smtp) -> Result<SmtpRelay, String> {
        if smtp.helo_name.is_empty() || !smtp.helo_name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(format!("smtp.helo_name: {:?} is no name that EHLO can have", smtp.helo_name));
        }
        let tls = match smtp.security {
            Security::Plain => None,
            Security::Tls | Security::Starttls => Some(Tls::new(&smtp.host, smtp.ca_file.as_deref())?),
        };
        Ok(SmtpRelay { shared: Arc::new(Shared { smtp: smtp.clone(), tls, answers: Answers::default() }) })
    }

    /// A connection that is ready for MAIL, or why there is none: a failure of stage `connect`, `greeting`,
    /// `ehlo`, `tls` or `auth`. Each step keeps its limit of `smtp.timeouts`. Where the relay seems to refuse
    /// only because it has enough connections, the class is limited; to know that it may take up to the
    /// greeting's limit more.
    ///
    /// # Errors
    /// See above.
    pub async fn open(&self) -> Result<SmtpConnection, Failure> {
        let Shared { smtp, answers, .. } = &*self.shared;
        let before = answers.heard();
        match self.try_to_open().await {
            Ok(connection) => Ok(connection),
            Err(failure) => Err(answers.judge(before, failure, smtp.timeouts.greeting).await),
        }
    }

    async fn try_to_open(&self) -> Result<SmtpConnection, Failure> {
        let Shared { smtp, tls, answers } = &*self.shared;
        let _awaited = answers.await_one();
        let goal = Goal {
            helo_name: smtp.helo_name.clone(),
            starttls: smtp.security == Security::Starttls,
            encrypted: smtp.security == Security::Tls,
            sasl: self.sasl().await?,
            allow_plaintext_auth: smtp.allow_plaintext_auth,
        };
        let tcp = dial(&smtp.host, smtp.port, smtp.timeouts.connect).await?;
        let pipelining = smtp.pipelining != Pipelining::Off;
        SmtpConnection::open(tcp, tls.as_ref(), goal, smtp.timeouts, pipelining, answers).await
    }

    async fn sasl(&self) -> Result<Option<Sasl>, Failure> {
        let Some(login) = &self.shared.smtp.login else { return Ok(None) };
        // A file may lie on a disk that does not answer: not on the thread that all mailers share.
        let secret = login.password.clone();
        let read = match &login.password {
            Secret::Value(_) => secret.read(),
            Secret::File(_) => match tokio::task::spawn_blocking(move || secret.read()).await {
                Ok(read) => read,
                Err(_) => Err("reading it panicked".into()),
            },
        };
        let password = read.map_err(|why| {
            Failure::unreachable(Stage::Auth, format!("the SMTP password can't be read: {why}"))
        })?;
        Ok(Some(Sasl::new(login.username.clone(), password, login.mechanism)))
    }
}

impl ports::Relay for SmtpRelay {
    fn connect(&self) -> LocalBoxFuture<'static, Result<Box<dyn ports::Connection>, Failure>> {
        let relay = self.clone();
        async move {
            let connection = relay.open().await?;
            Ok(Box::new(connection) as Box<dyn ports::Connection>)
        }
        .boxed_local()
    }
}
