//! What a check found, line by line: passed, warned or failed, and what to do.

use serde::Serialize;
use serde_json::json;

use crate::cli::{DONE, FAILED, table};

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Line {
    /// The key, or the part, that it is about: `kafka.topic`, `smtp.tls`.
    pub name: String,
    pub status: Status,
    /// What was seen.
    pub output: String,
    /// What to do; none where there is nothing to do.
    pub action: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) enum Status {
    #[serde(rename = "pass")]
    Passed,
    #[serde(rename = "warn")]
    Warned,
    #[serde(rename = "fail")]
    Failed,
}

impl Status {
    fn word(self) -> &'static str {
        match self {
            Status::Passed => "passed",
            Status::Warned => "warned",
            Status::Failed => "failed",
        }
    }
}

impl Line {
    pub fn passed(name: &str, output: impl Into<String>) -> Line {
        Line { name: name.into(), status: Status::Passed, output: output.into(), action: None }
    }

    pub fn warned(name: &str, output: impl Into<String>, action: impl Into<String>) -> Line {
        let action = Some(action.into());
        Line { name: name.into(), status: Status::Warned, output: output.into(), action }
    }

    pub fn failed(name: &str, output: impl Into<String>, action: impl Into<String>) -> Line {
        let action = Some(action.into());
        Line { name: name.into(), status: Status::Failed, output: output.into(), action }
    }
}

/// All of them, in the order in which they are told.
#[derive(Debug, Default)]
pub(super) struct Report(pub Vec<Line>);

impl Report {
    /// 0 also with warnings.
    pub fn exit_code(&self) -> u8 {
        if self.worst() == Status::Failed { FAILED } else { DONE }
    }

    /// A table with a line below it that counts.
    pub fn in_columns(&self) -> String {
        let rows = self.0.iter().map(|line| {
            let action = line.action.iter().map(|action| format!("\n-> {action}"));
            let told = action.fold(line.output.clone(), |told, action| told + &action);
            [line.status.word().to_owned(), line.name.clone(), told]
        });
        let count = |status| self.0.iter().filter(|line| line.status == status).count();
        format!(
            "{}\n\n{} failed, {} warned, {} passed",
            table::lines(None, rows),
            count(Status::Failed),
            count(Status::Warned),
            count(Status::Passed)
        )
    }

    /// In the words of `/health`.
    pub fn in_json(&self) -> String {
        format!("{:#}", json!({"status": self.worst(), "checks": self.0}))
    }

    fn worst(&self) -> Status {
        self.0.iter().map(|line| line.status).max().unwrap_or(Status::Passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_told_with_their_remedy_and_are_no_failure() {
        let mut report = Report(vec![Line::passed("a", "fine"), Line::warned("b.c", "odd", "look at it")]);
        let expected = "passed  a    fine\nwarned  b.c  odd\n             -> look at it\n\n\
                        0 failed, 1 warned, 1 passed";
        assert_eq!(report.in_columns(), expected);
        assert_eq!(report.exit_code(), DONE);
        assert!(report.in_json().contains("\"status\": \"warn\""));
        report.0.push(Line::failed("d", "no", "mend it"));
        assert_eq!(report.exit_code(), FAILED);
        let json: serde_json::Value = serde_json::from_str(&report.in_json()).expect("JSON");
        assert_eq!(json["status"], "fail");
        assert_eq!(
            json["checks"][2],
            serde_json::json!({"name": "d", "status": "fail", "output": "no", "action": "mend it"})
        );
    }
}
