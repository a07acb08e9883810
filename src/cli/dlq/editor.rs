//! A text changed by somebody in an editor of their own.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::Command;

/// What has become of `text`; the same where nothing was changed. The file that the editor is given only we can read, and
/// it is gone afterwards.
///
/// # Errors
/// In words: no file, no editor, or one that ended with a failure.
pub(super) fn edit(text: &[u8]) -> Result<Vec<u8>, String> {
    let named = ["VISUAL", "EDITOR"].into_iter().filter_map(|name| std::env::var(name).ok());
    let editor = named.into_iter().find(|name| !name.trim().is_empty()).unwrap_or_else(|| "vi".to_owned());
    edit_with(&editor, text)
}

fn edit_with(editor: &str, text: &[u8]) -> Result<Vec<u8>, String> {
    let file = Draft::new(text).map_err(|error| format!("no file to edit in: {error}"))?;
    // With the shell, as others do: an editor may come with options.
    let status = Command::new("sh").args(["-c", &format!("{editor} \"$@\""), editor]).arg(&file.0).status();
    match status {
        Ok(status) if status.success() => {}
        Ok(status) => {
            return Err(format!(
                "the editor ended with {status}: nothing is done ($VISUAL or $EDITOR says which)"
            ));
        }
        Err(error) => return Err(format!("the editor can't be started: {error}")),
    }
    let edited = fs::read(&file.0).map_err(|error| format!("what was edited can't be read: {error}"))?;
    Ok(without_the_editors_line_end(text, edited))
}

/// Most editors end a file with a line end.
fn without_the_editors_line_end(text: &[u8], mut edited: Vec<u8>) -> Vec<u8> {
    if !text.ends_with(b"\n") && edited.ends_with(b"\n") {
        edited.pop();
    }
    edited
}

struct Draft(PathBuf);

impl Draft {
    fn new(text: &[u8]) -> std::io::Result<Draft> {
        let path = std::env::temp_dir().join(format!("mailroom-letter-{:016x}.json", fastrand::u64(..)));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let draft = Draft(path);
        file.write_all(text)?;
        Ok(draft)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_the_editor_leaves_is_what_it_is_changed_to() {
        assert_eq!(edit_with("sed -i s/a/b/", b"{\"a\"}").unwrap(), b"{\"b\"}");
        assert_eq!(edit_with("true", b"{}").unwrap(), b"{}");
        assert_eq!(edit_with("echo >>", b"{}").unwrap(), b"{}", "a line end at the end is the editor's");
        assert!(edit_with("false", b"{}").unwrap_err().contains("nothing is done"));
        assert!(edit_with("no-such-editor-anywhere", b"{}").is_err());
    }

    #[test]
    fn the_file_is_only_ours_and_gone_afterwards() {
        let draft = Draft::new(b"secret").unwrap();
        let path = draft.0.clone();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(draft);
        assert!(!path.exists());
    }
}
