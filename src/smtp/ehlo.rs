//! What the relay offers: the keywords of its last EHLO reply (RFC 5321, section 4.1.1.1).

use super::reply::RawReply;

/// The extensions that matter here. Only the last EHLO reply counts: those before TLS are forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// RFC 2920.
    pub pipelining: bool,
    /// RFC 1870: offered, and the most bytes it takes; 0 where it names no limit.
    pub size: Option<u64>,
    /// RFC 6531.
    pub smtputf8: bool,
    /// RFC 6152.
    pub eight_bit_mime: bool,
    /// RFC 3207.
    pub starttls: bool,
    /// RFC 4954: the mechanisms, in capitals; none where AUTH is not offered.
    pub auth: Option<Vec<String>>,
}

impl Extensions {
    /// Reads the lines of a 250 to EHLO; the first names the server. Unknown keywords are ignored.
    pub fn of(reply: &RawReply<'_>) -> Extensions {
        let mut extensions = Extensions::default();
        for line in reply.lines().skip(1) {
            let line = String::from_utf8_lossy(line).to_ascii_uppercase();
            let mut words = line.split_ascii_whitespace();
            match words.next().unwrap_or_default() {
                "PIPELINING" => extensions.pipelining = true,
                "SIZE" => {
                    let limit = words.next().and_then(|number| number.parse().ok());
                    extensions.size = Some(limit.unwrap_or(0));
                }
                "SMTPUTF8" => extensions.smtputf8 = true,
                "8BITMIME" => extensions.eight_bit_mime = true,
                "STARTTLS" => extensions.starttls = true,
                "AUTH" => extensions.offer_auth(words),
                // The form before RFC 2554, which some servers still send beside the other.
                keyword if keyword.starts_with("AUTH=") => {
                    extensions.offer_auth(keyword["AUTH=".len()..].split_ascii_whitespace().chain(words));
                }
                _ => {}
            }
        }
        extensions
    }

    fn offer_auth<'a>(&mut self, mechanisms: impl Iterator<Item = &'a str>) {
        let offered = self.auth.get_or_insert_default();
        for mechanism in mechanisms {
            if !offered.iter().any(|known| known == mechanism) {
                offered.push(mechanism.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::reply::Inbox;

    fn offered(reply: &str) -> Extensions {
        let mut inbox = Inbox::default();
        inbox.push(reply.as_bytes());
        let reply = inbox.next_reply().expect("a reply").expect("complete");
        Extensions::of(&reply)
    }

    #[test]
    fn keywords_are_read_without_case_and_the_servers_name_is_none() {
        let all = offered(
            "250-pipelining.example\r\n250-size 1000\r\n250-Pipelining\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n\
             250-STARTTLS\r\n250-AUTH=LOGIN\r\n250-AUTH PLAIN login\r\n250 HELP\r\n",
        );
        let expected = Extensions {
            pipelining: true,
            size: Some(1000),
            smtputf8: true,
            eight_bit_mime: true,
            starttls: true,
            auth: Some(vec!["LOGIN".into(), "PLAIN".into()]),
        };
        assert_eq!(all, expected);
        assert_eq!(offered("250 PIPELINING\r\n"), Extensions::default());
    }

    #[test]
    fn a_size_without_a_readable_number_is_no_limit() {
        for line in ["SIZE", "SIZE 0", "SIZE many", "SIZE 99999999999999999999999"] {
            assert_eq!(offered(&format!("250-x\r\n250 {line}\r\n")).size, Some(0), "{line}");
        }
    }
}
