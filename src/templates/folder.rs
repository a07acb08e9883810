//! The files of `templates.dir`: which of them are parts of templates, and what they hold.

use std::fs;
use std::path::Path;

/// The most that one file may hold.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The most files in a folder.
const MAX_FILES: usize = 10_000;

/// What a file is to an e-mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Subject,
    Text,
    Html,
}

/// One file of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// `welcome`
    pub template: String,
    pub part: Part,
    /// `welcome.subject.txt`: what other templates include it by.
    pub name: String,
    pub source: String,
}

/// What was found in a folder.
#[derive(Debug, Default)]
pub struct Folder {
    pub files: Vec<File>,
    /// What is not understood and does no harm, a line each.
    pub warnings: Vec<String>,
    /// What must be put right, a line each.
    pub mistakes: Vec<String>,
}

/// Reads the files of the folder, in the order of their names. Names that begin with a dot are passed over: they are
/// an editor's, or those by which Kubernetes swaps a mounted folder.
pub fn read(path: &Path) -> Folder {
    let mut folder = Folder::default();
    let mut names: Vec<_> = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(error) => {
            folder.mistakes.push(format!("the folder can't be read: {error}"));
            return folder;
        }
    };
    names.sort();
    if names.len() > MAX_FILES {
        folder.mistakes.push(format!("the folder holds more than {MAX_FILES} files"));
        return folder;
    }
    for name in names {
        let shown = name.to_string_lossy().into_owned();
        if shown.starts_with('.') {
            continue;
        }
        let Some((template, part)) = split(&shown).filter(|_| !path.join(&name).is_dir()) else {
            folder.warnings.push(format!(
                "{shown}: is no part of a template and is passed over (NAME.subject.txt, NAME.txt or NAME.html)"
            ));
            continue;
        };
        if !is_name(template) {
            folder
                .mistakes
                .push(format!("{shown}: the name of a template is letters, digits, \"_\" and \"-\""));
            continue;
        }
        match read_file(&path.join(&name)) {
            Ok(source) => folder.files.push(File { template: template.into(), part, name: shown, source }),
            Err(what) => folder.mistakes.push(format!("{shown}: {what}")),
        }
    }
    folder
}

/// `welcome.subject.txt` is the subject of `welcome`; none where it is no part of a template.
fn split(name: &str) -> Option<(&str, Part)> {
    let endings = [(".subject.txt", Part::Subject), (".txt", Part::Text), (".html", Part::Html)];
    endings.iter().find_map(|(ending, part)| Some((name.strip_suffix(ending)?, *part)))
}

/// Whether a template may be called so.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn read_file(path: &Path) -> Result<String, String> {
    let is_large = fs::metadata(path).is_ok_and(|file| file.len() > MAX_FILE_BYTES);
    if is_large {
        return Err(format!("the file is larger than {MAX_FILE_BYTES} bytes"));
    }
    let bytes = fs::read(path).map_err(|error| format!("the file can't be read: {error}"))?;
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        format!("line {line}: the file is not UTF-8")
    })
}
