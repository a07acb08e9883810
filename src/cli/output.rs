//! Data on stdout, everything else on stderr; a reader that has gone away is no failure.

use std::fmt::Display;
use std::io::{self, Write};

use super::{DONE, FAILED};

/// Writes one line to stderr. Where that can't be written there is nobody to tell.
pub(super) fn tell(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// The exit code of a command whose last act was to write its data to stdout.
pub(super) fn written(result: io::Result<()>) -> u8 {
    match result {
        Ok(()) => DONE,
        Err(error) => failed(format_args!("stdout can't be written: {error}")),
    }
}

/// Tells why a command failed; its exit code.
pub(super) fn failed(reason: impl Display) -> u8 {
    tell(reason);
    FAILED
}

/// Stdout, line by line.
pub(super) struct Lines<W = io::Stdout> {
    out: W,
    reader_is_gone: bool,
}

impl Lines {
    pub fn stdout() -> Lines {
        Lines::to(io::stdout())
    }
}

impl<W: Write> Lines<W> {
    fn to(out: W) -> Lines<W> {
        Lines { out, reader_is_gone: false }
    }

    /// Writes one line, at once. Once the reader has closed its end (`| head -1`) nothing is written.
    ///
    /// # Errors
    /// Any other failure, such as a full disk.
    pub fn write(&mut self, line: impl Display) -> io::Result<()> {
        self.write_bytes(format!("{line}\n").as_bytes())
    }

    /// As [`Lines::write`], without a line end of ours.
    ///
    /// # Errors
    /// As [`Lines::write`].
    pub fn write_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.reader_is_gone {
            return Ok(());
        }
        match self.out.write_all(bytes).and_then(|()| self.out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.reader_is_gone = true;
                Ok(())
            }
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Failing(io::ErrorKind, usize);

    impl Write for Failing {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            self.1 += 1;
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_has_gone_away_is_no_failure_and_is_not_written_to_again() {
        let mut lines = Lines::to(Failing(io::ErrorKind::BrokenPipe, 0));
        for _ in 0..3 {
            assert!(lines.write("data").is_ok());
        }
        assert_eq!(lines.out.1, 1);
    }

    #[test]
    fn a_full_disk_is_a_failure() {
        let error = Lines::to(Failing(io::ErrorKind::StorageFull, 0)).write("data").expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
}
