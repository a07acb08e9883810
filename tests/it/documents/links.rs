//! Links from one document to another lead to a file that is there, and to a heading in it.

use std::path::{Path, PathBuf};

use super::{documents, read, root};

/// As GitHub makes a heading's anchor.
fn anchor(heading: &str) -> String {
    let words = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = words.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with('#') && line.contains("# ")).map(anchor).collect()
}

/// The targets of `[text](target)`, outside of code.
fn targets(text: &str) -> Vec<&str> {
    let mut in_a_fence = false;
    let mut found = Vec::new();
    for line in text.lines() {
        in_a_fence ^= line.trim_start().starts_with("```");
        if !in_a_fence && !line.starts_with("    ") {
            found.extend(line.split("](").skip(1).filter_map(|rest| rest.split(')').next()));
        }
    }
    found
}

/// `docs/runbooks/../producers.md` without the detour.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part.as_os_str().to_str() {
            Some("..") => drop(plain.pop()),
            Some(".") | None => {}
            Some(part) => plain.push(part),
        }
    }
    plain
}

/// Why a link in this document leads nowhere.
fn broken(document: &Path, text: &str, target: &str) -> Option<String> {
    if target.starts_with("https://") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let there = if file.is_empty() {
        text.to_owned()
    } else {
        let file = plain(&document.parent().expect("a document lies in a folder").join(file));
        if !root().join(&file).exists() {
            return Some(format!("{}: there is no {target}", document.display()));
        }
        if heading.is_empty() {
            return None;
        }
        read(&file.to_string_lossy())
    };
    let is_there = anchors(&there).iter().any(|anchor| anchor == heading);
    (!is_there).then(|| format!("{}: no heading makes {target}", document.display()))
}

#[test]
fn each_link_inside_the_documents_leads_to_a_file_and_a_heading_that_are_there() {
    let documents = documents();
    let links: Vec<_> = documents
        .iter()
        .flat_map(|(document, text)| targets(text).into_iter().map(move |target| (document, text, target)))
        .collect();
    assert!(links.len() > 40, "{}", links.len());
    let broken: Vec<_> =
        links.iter().filter_map(|(document, text, target)| broken(document, text, target)).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn each_document_is_reached_from_the_readme() {
    let documents = documents();
    let mut reached = vec![PathBuf::from("README.md")];
    let mut next = 0;
    while let Some(document) = reached.get(next).cloned() {
        let Some((_, text)) = documents.iter().find(|(file, _)| plain(file) == document) else {
            next += 1;
            continue;
        };
        for target in targets(text).into_iter().filter(|target| !target.starts_with("https://")) {
            let file = target.split('#').next().expect("one part at least");
            let file = plain(&document.parent().expect("a folder").join(file));
            if !file.as_os_str().is_empty() && !reached.contains(&file) {
                reached.push(file);
            }
        }
        next += 1;
    }
    for (file, _) in &documents {
        assert!(reached.contains(&plain(file)), "nothing leads to {}", file.display());
    }
}

#[test]
fn a_link_that_leads_nowhere_is_seen() {
    let text = "# A heading, with `code`\n\n[a](#a-heading-with-code) [b](#no) [c](../nosuch.md)\n\n    [d](in-code)\n";
    assert_eq!(targets(text), ["#a-heading-with-code", "#no", "../nosuch.md"]);
    let document = Path::new("docs/x.md");
    assert_eq!(broken(document, text, "#a-heading-with-code"), None);
    assert!(broken(document, text, "#no").is_some());
    assert!(broken(document, text, "../nosuch.md").is_some());
    assert_eq!(broken(document, text, "../README.md#the-demo"), None);
}
