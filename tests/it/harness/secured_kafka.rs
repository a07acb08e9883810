//! A real Kafka whose second listener wants a password (SASL/PLAIN), and where nobody may do what no ACL allows.
//!
//! On its first listener, where the tests look and prepare, one may do everything.

use super::{Kafka, Queue, Settings, process};

pub const USER: &str = "mailroom";
pub const PASSWORD: &str = "canary-9f31c7";

pub struct SecuredKafka {
    pub kafka: Kafka,
    port: u16,
}

impl SecuredKafka {
    pub fn start() -> SecuredKafka {
        let port = process::free_port();
        SecuredKafka { kafka: Kafka::start_with(|open| properties(open, port)), port }
    }

    /// A worker that logs in with `password`.
    pub fn settings(&self, queue: &Queue<'_>, relay_port: u16, password: &str) -> Settings {
        Settings::new(queue, relay_port)
            .set("kafka.brokers", format!("127.0.0.1:{}", self.port))
            .set("kafka.properties.security.protocol", "SASL_PLAINTEXT")
            .set("kafka.properties.sasl.mechanism", "PLAIN")
            .set("kafka.properties.sasl.username", USER)
            .set("kafka.properties.sasl.password", password)
    }

    /// Gives the user the right to `operations` on a resource (`--topic`, `--group`).
    pub fn allow(&self, operations: &[&str], resource: &str, name: &str) {
        self.change_rights(&["--add"], operations, resource, name);
    }

    /// Takes them away again.
    pub fn take_away(&self, operations: &[&str], resource: &str, name: &str) {
        self.change_rights(&["--remove", "--force"], operations, resource, name);
    }

    fn change_rights(&self, how: &[&str], operations: &[&str], resource: &str, name: &str) {
        let user = format!("User:{USER}");
        let mut arguments = how.to_vec();
        arguments.extend(["--allow-principal", &user, resource, name]);
        operations.iter().for_each(|operation| arguments.extend(["--operation", operation]));
        self.kafka.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }

    /// Restarts the broker, which from then on wants this password.
    pub fn change_password(&self, from: &str, to: &str) {
        let file = self.kafka.properties_file();
        let text = std::fs::read_to_string(&file).expect("the harness wrote it");
        assert!(text.contains(from), "the old password is in the file");
        std::fs::write(&file, text.replace(from, to)).expect("scratch is writable");
        self.kafka.restart("TERM");
    }
}

fn properties(open: u16, secured: u16) -> String {
    let controllers = process::free_port();
    format!(
        r#"
controller.quorum.voters=1@127.0.0.1:{controllers}
listeners=PLAINTEXT://127.0.0.1:{open},SECURED://127.0.0.1:{secured},CONTROLLER://127.0.0.1:{controllers}
advertised.listeners=PLAINTEXT://127.0.0.1:{open},SECURED://127.0.0.1:{secured}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURED:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.secured.sasl.enabled.mechanisms=PLAIN
listener.name.secured.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_{USER}="{PASSWORD}";
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
"#
    )
}
