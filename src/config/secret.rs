//! A secret, given as such or as a file; it is in no debug output and in no error.

use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};

/// More is no password, and no token: the longest there are have a few KiB.
const MAX_BYTES: u64 = 64 * 1024;

/// A secret given as such, or a file that is read again each time it is needed, so that it can be rotated.
#[derive(Clone)]
pub enum Secret {
    Value(String),
    File(PathBuf),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Secret::Value(_) => f.write_str("***"),
            Secret::File(path) => write!(f, "file {}", path.display()),
        }
    }
}

impl Secret {
    /// The secret as it is now: of a file its content, one trailing newline cut. Reads a file on the calling
    /// thread.
    ///
    /// # Errors
    /// When the file can't be read, is empty, or larger than 64 KiB; the text names the file and never the
    /// secret.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Secret::Value(value) => Ok(value.clone()),
            Secret::File(path) => read_file(path).map_err(|what| format!("{}: {what}", path.display())),
        }
    }
}

/// What is in the file of a secret, one trailing newline cut.
///
/// # Errors
/// As [`Secret::read`], but the file is not named: who puts the secret itself where its file is meant must not
/// find it in an error.
pub(super) fn read_file(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text))
        .map_err(|error| format!("the file can't be read: {error}"))?;
    if text.len() as u64 > MAX_BYTES {
        return Err("the file is larger than 64 KiB".into());
    }
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() { Err("the file is empty".into()) } else { Ok(text.to_owned()) }
}

/// The value of a librdkafka property; never shown, since it may be a secret whatever its name.
#[derive(Clone)]
pub struct Secretive(pub String);

impl fmt::Debug for Secretive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANARY: &str = "canary-4711";

    fn file(content: &[u8]) -> (tempfile::TempDir, Secret) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("secret");
        std::fs::write(&path, content).expect("written");
        (folder, Secret::File(path))
    }

    #[test]
    fn one_trailing_newline_is_cut_off_a_file_and_no_more() {
        for (content, expected) in
            [("a", "a"), ("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a\n"), (" a ", " a "), ("a\nb\n", "a\nb")]
        {
            assert_eq!(file(content.as_bytes()).1.read().as_deref(), Ok(expected), "{content:?}");
        }
    }

    #[test]
    fn a_file_is_read_anew_each_time() {
        let (_folder, secret) = file(b"old\n");
        assert_eq!(secret.read().as_deref(), Ok("old"));
        let Secret::File(path) = &secret else { panic!("it is a file") };
        std::fs::write(path, "new\n").expect("written");
        assert_eq!(secret.read().as_deref(), Ok("new"));
    }

    #[test]
    fn a_useless_file_is_named_and_its_content_is_not() {
        let mut not_utf8 = CANARY.as_bytes().to_vec();
        not_utf8.push(0xff);
        let endless = CANARY.repeat(10_000).into_bytes();
        for (content, what) in [
            (b"".as_slice(), "is empty"),
            (b"\n", "is empty"),
            (&not_utf8, "can't be read"),
            (&endless, "larger than 64 KiB"),
        ] {
            let error = file(content).1.read().expect_err(what);
            assert!(error.contains(what) && error.contains("secret"), "{error}");
            assert!(!error.contains(CANARY), "{error}");
        }
        let error = Secret::File("/no/such/file".into()).read().expect_err("there is none");
        assert!(error.starts_with("/no/such/file: the file can't be read"), "{error}");
    }

    #[test]
    fn neither_kind_of_secret_is_in_its_debug_output() {
        let shown = format!("{:?} {:?}", Secret::Value(CANARY.into()), Secretive(CANARY.into()));
        assert_eq!(shown, "*** ***");
    }
}
