//! Reads files that are small, or no use: a device without an end does not take all memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What is in the file, of at most `limit` bytes, a whole number of MiB.
///
/// # Errors
/// When it can't be read, or is larger.
pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let why = format!("it is larger than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
    }
    Ok(bytes)
}
