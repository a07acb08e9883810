//! A folder of templates on disk: which of its files are templates, and their text.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry, File};
use std::io::{self, Read};
use std::path::Path;

use super::mistake::Mistake;

/// More entries are a mistake: the folder is none of templates.
const MAX_ENTRIES: usize = 10_000;

/// A larger file is a mistake: it is no template.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What a file is to its template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Subject,
    Text,
    Html,
}

/// What has been found.
#[derive(Debug, Default)]
pub(super) struct Folder {
    /// The text of each file, by the file's name.
    pub files: BTreeMap<String, String>,
    /// Of what is passed over.
    pub warnings: Vec<String>,
    pub mistakes: Vec<Mistake>,
}

/// The template and the part that a file of this name is; none when it is no template. The template's name may still
/// be a bad one: see [`is_name`].
pub(super) fn part_of(file: &str) -> Option<(&str, Part)> {
    let endings = [(".subject.txt", Part::Subject), (".txt", Part::Text), (".html", Part::Html)];
    endings.into_iter().find_map(|(ending, part)| Some((file.strip_suffix(ending)?, part)))
}

/// Letters, digits, `_` and `-`.
pub(super) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

/// Reads all files of templates that lie right in `dir`, symbolic links to files included. Hidden entries (editors'
/// files, Kubernetes' links) are passed over without a word, other strangers with a warning.
pub(super) fn read(dir: &Path) -> Folder {
    read_up_to(MAX_ENTRIES, dir)
}

/// See [`read`]; more entries than `max_entries` are a mistake.
pub(super) fn read_up_to(max_entries: usize, dir: &Path) -> Folder {
    let mut folder = Folder::default();
    match fs::read_dir(dir) {
        Ok(entries) => folder.take_all(entries, max_entries),
        Err(error) => folder.mistakes.push(Mistake::in_folder(format!("the folder can't be read: {error}"))),
    }
    // The order of a folder's entries is anything.
    folder.warnings.sort();
    folder
}

impl Folder {
    fn take_all(&mut self, entries: impl Iterator<Item = io::Result<DirEntry>>, max_entries: usize) {
        for (index, entry) in entries.enumerate() {
            if index == max_entries {
                let what = format!("the folder has more than {max_entries} entries");
                return self.mistakes.push(Mistake::in_folder(what));
            }
            match entry {
                Ok(entry) => self.take(&entry),
                Err(error) => {
                    let what = format!("the folder can't be read to its end: {error}");
                    return self.mistakes.push(Mistake::in_folder(what));
                }
            }
        }
    }

    fn take(&mut self, entry: &DirEntry) {
        let os_name = entry.file_name();
        let file = os_name.to_string_lossy();
        if file.starts_with('.') {
            return;
        }
        let Some((name, _)) = part_of(&file) else {
            let is_folder = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_dir());
            let what = if is_folder { "is a folder" } else { "ends with none of .subject.txt, .txt, .html" };
            return self.warn(&file, what);
        };
        match fs::metadata(entry.path()) {
            // A pipe would be waited for.
            Ok(metadata) if !metadata.is_file() => return self.warn(&file, "is no file"),
            Ok(_) => {}
            Err(error) => return self.wrong(&file, None, format!("can't be read: {error}")),
        }
        if !is_name(name) {
            let what = "the name of a template has letters, digits, _ and - only (before .subject.txt, .txt or .html)";
            return self.wrong(&file, None, what);
        }
        match read_file(&entry.path()) {
            Err(error) => self.wrong(&file, None, format!("can't be read: {error}")),
            Ok(bytes) if bytes.len() as u64 > MAX_FILE_BYTES => {
                self.wrong(&file, None, "is larger than 1 MiB");
            }
            Ok(bytes) => match String::from_utf8(bytes) {
                Ok(text) => {
                    // Some editors write a byte order mark; nobody means it to be mailed.
                    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
                    self.files.insert(file.into_owned(), text);
                }
                Err(error) => {
                    let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
                    let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
                    self.wrong(&file, Some(line), "is not UTF-8");
                }
            },
        }
    }

    fn warn(&mut self, file: &str, what: &str) {
        self.warnings.push(format!("{} is passed over: it {what}", file.escape_debug()));
    }

    fn wrong(&mut self, file: &str, line: Option<usize>, what: impl Into<String>) {
        self.mistakes.push(Mistake::in_file(file, line, what));
    }
}

fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
