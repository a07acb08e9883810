//! The configuration as a whole: where values come from, and everything that can be wrong with them.

mod every_key;
mod example;
mod layers;
mod mistakes;
mod secrecy;
mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::{Config, Problems, Sources, load};

/// Sources of a test: nothing of this process's environment or folder gets in.
#[derive(Default)]
struct Setup {
    folder: Option<tempfile::TempDir>,
    sources: Sources,
}

impl Setup {
    /// What must be set is set on the command line.
    fn valid() -> Setup {
        Setup::default().set("smtp.host=relay.example.com").set("smtp.from=noreply@example.com")
    }

    fn set(mut self, setting: &str) -> Setup {
        self.sources.settings.push(setting.to_owned());
        self
    }

    fn environment(mut self, name: &str, value: &str) -> Setup {
        self.sources.environment.push((OsString::from(name), OsString::from(value)));
        self
    }

    fn file(mut self, text: &str) -> Setup {
        let path = self.write("config.toml", text.as_bytes());
        self.sources.file = Some(path);
        self
    }

    /// Writes a file beside the configuration.
    fn write(&mut self, name: &str, content: &[u8]) -> PathBuf {
        let folder = self.folder.get_or_insert_with(|| tempfile::tempdir().expect("a folder"));
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("written");
        path
    }

    fn load(&self) -> Result<Config, Problems> {
        load(&self.sources)
    }

    fn good(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// The problems, one line each, with the test's own folder cut off.
    fn wrong(&self) -> Vec<String> {
        let problems = self.load().expect_err("something is wrong");
        let folder = self.folder.as_ref().map_or(Path::new("/nowhere"), |folder| folder.path());
        let text = problems.to_string().replace(&format!("{}/", folder.display()), "");
        text.lines().map(str::to_owned).collect()
    }
}
