//! Templates as files on disk, and reloads.

use std::fs;

use super::*;

struct Disk(tempfile::TempDir);

impl Disk {
    fn with(files: &[(&str, &str)]) -> Disk {
        let disk = Disk(tempfile::tempdir().unwrap());
        for (file, content) in files {
            disk.write(file, content.as_bytes());
        }
        disk
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, file: &str, content: &[u8]) {
        fs::write(self.path().join(file), content).unwrap();
    }

    fn load(&self) -> Result<TemplateStore, Mistakes> {
        TemplateStore::load(Some(self.path()))
    }
}

fn told(result: Result<TemplateStore, Mistakes>) -> Vec<String> {
    result.expect_err("something is wrong").to_string().lines().map(str::to_owned).collect()
}

#[test]
fn strangers_are_passed_over_with_a_warning_and_hidden_ones_without() {
    let disk = Disk::with(&[
        ("a.txt", "x"),
        ("README.md", ""),
        ("x.htm", ""),
        ("a.txt~", ""),
        (".a.txt.swp", ""),
        (".txt", ""),
    ]);
    fs::create_dir(disk.path().join("old")).unwrap();
    fs::create_dir(disk.path().join("folder.txt")).unwrap();
    fs::create_dir(disk.path().join("..data")).unwrap();
    let templates = disk.load().unwrap().current();
    assert_eq!(templates.names().collect::<Vec<_>>(), ["a", "otp"]);
    assert_eq!(
        templates.warnings(),
        [
            "README.md is passed over: it ends with none of .subject.txt, .txt, .html",
            "a.txt~ is passed over: it ends with none of .subject.txt, .txt, .html",
            "folder.txt is passed over: it is no file",
            "old is passed over: it is a folder",
            "x.htm is passed over: it ends with none of .subject.txt, .txt, .html",
        ]
    );
}

#[test]
fn links_to_files_are_followed_as_kubernetes_lays_them() {
    let disk = Disk::with(&[]);
    fs::create_dir(disk.path().join("..2026")).unwrap();
    disk.write("..2026/a.txt", b"linked");
    std::os::unix::fs::symlink("..2026", disk.path().join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/a.txt", disk.path().join("a.txt")).unwrap();
    let store = disk.load().unwrap();
    assert_eq!(store.current().render("a", None, ALL, LIMIT).unwrap().text.as_deref(), Some("linked"));
    assert!(store.current().warnings().is_empty());
}

#[test]
fn all_that_is_wrong_with_files_is_told_beside_what_is_wrong_in_them() {
    let disk = Disk::with(&[
        ("order.subject.html", ""),
        ("ünder.txt", ""),
        ("c.subject.txt", "alone"),
        ("d.txt", "{% nope %}"),
    ]);
    disk.write("latin.txt", b"one\ntwo\nb\xe9b\xe9");
    disk.write("large.html", &vec![b'a'; (1 << 20) + 1]);
    std::os::unix::fs::symlink("nowhere", disk.path().join("lost.txt")).unwrap();
    let mut found = told(disk.load());
    found.sort();
    let bad_name =
        "the name of a template has letters, digits, _ and - only (before .subject.txt, .txt or .html)";
    assert_eq!(found.len(), 7, "{found:#?}");
    assert_eq!(found[0], "c.subject.txt: is a subject without a body: c.txt or c.html is missing");
    assert!(found[1].starts_with("d.txt:1: syntax error: "), "{found:?}");
    assert_eq!(found[2], "large.html: is larger than 1 MiB");
    assert_eq!(found[3], "latin.txt:3: is not UTF-8");
    assert!(found[4].starts_with("lost.txt: can't be read: "), "{found:?}");
    assert_eq!(found[5], format!("order.subject.html: {bad_name}"));
    assert_eq!(found[6], format!("ünder.txt: {bad_name}"));
}

#[test]
fn a_byte_order_mark_is_not_mailed() {
    let disk = Disk::with(&[("a.txt", "\u{feff}hello")]);
    let rendered = disk.load().unwrap().current().render("a", None, ALL, LIMIT).unwrap();
    assert_eq!(rendered.text.as_deref(), Some("hello"));
}

#[test]
fn a_folder_that_is_not_there_or_is_a_file_is_a_mistake() {
    let disk = Disk::with(&[("file", "")]);
    for name in ["nowhere", "file"] {
        let found = told(TemplateStore::load(Some(&disk.path().join(name))));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("the folder can't be read: "), "{found:?}");
    }
}

#[test]
fn a_folder_of_too_many_entries_is_a_mistake() {
    let disk = Disk::with(&[("a.txt", ""), ("b.txt", ""), (".c", "")]);
    assert!(folder::read_up_to(3, disk.path()).mistakes.is_empty());
    let mistakes = folder::read_up_to(2, disk.path()).mistakes;
    assert_eq!(Mistakes(mistakes).to_string(), "the folder has more than 2 entries");
}

#[test]
fn an_empty_folder_leaves_the_built_in_otp() {
    let store = Disk::with(&[]).load().unwrap();
    assert!(store.current().render_otp("1", None, ALL, LIMIT).is_ok());
}

#[test]
fn a_reload_takes_all_or_nothing() {
    let disk = Disk::with(&[("a.txt", "old"), ("b.txt", "old")]);
    let store = disk.load().unwrap();
    let old = store.current();
    let text = |templates: &Templates, name| templates.render(name, None, ALL, LIMIT).unwrap().text.unwrap();

    disk.write("a.txt", b"new");
    disk.write("b.txt", b"{{ broken");
    let mistakes = store.reload().expect_err("b.txt is broken");
    assert!(mistakes.to_string().starts_with("b.txt:1: "), "{mistakes}");
    assert_eq!(text(&store.current(), "a"), "old", "nothing is taken of a set with a mistake");

    disk.write("b.txt", b"new");
    disk.write("c.txt", b"new");
    assert_eq!(store.reload().unwrap().unwrap().names().count(), 4);
    assert_eq!(text(&store.current(), "a"), "new");
    assert_eq!(text(&store.current(), "c"), "new");
    assert_eq!(text(&old, "a"), "old", "whoever holds the old set goes on with it");

    fs::remove_dir_all(disk.path()).unwrap();
    assert!(store.reload().is_err());
    assert_eq!(text(&store.current(), "c"), "new");
}

#[test]
fn without_a_folder_there_is_nothing_to_reload() {
    assert!(TemplateStore::built_in().reload().unwrap().is_none());
}
