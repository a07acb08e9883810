//! Templates: what a folder may hold, what is rendered, and that no error tells a variable's value.

use std::path::PathBuf;

use mailroom_actors::domain::failure::{Cause, Stage};
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::*;

const LIMIT: usize = 10_000;

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn load(files: &[(&str, &str)]) -> Result<Templates, String> {
    Templates::load(folder(files).path())
}

fn variables(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn render(templates: &Templates, name: &str, json: &str) -> Result<Rendered, String> {
    templates.render(name, Some(&variables(json)), Wanted::ALL, LIMIT).map_err(|failure| {
        assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::Render));
        assert!(!failure.spends_attempt);
        failure.reason
    })
}

#[test]
fn a_template_makes_subject_text_and_html_escaped_only_there() {
    let templates = load(&[
        ("welcome.subject.txt", "\n  Hello {{ name }} \n"),
        ("welcome.txt", "Hello {{ name }},\n{{ order.lines | length }} lines\n"),
        ("welcome.html", "<p>{{ name }}</p>\n"),
    ])
    .unwrap();
    let rendered =
        render(&templates, "welcome", r#"{"name":"A & <B>","order":{"lines":[1,2]},"extra":null}"#).unwrap();
    assert_eq!(rendered.subject.as_deref(), Some("Hello A & <B>"));
    assert_eq!(rendered.text.as_deref(), Some("Hello A & <B>,\n2 lines\n"));
    assert_eq!(rendered.html.as_deref(), Some("<p>A &amp; &lt;B&gt;</p>\n"));
    let names: Vec<_> = templates.names().collect();
    assert_eq!(names, ["otp", "welcome"]);
}

#[test]
fn what_is_not_wanted_is_not_rendered() {
    let templates =
        load(&[("a.subject.txt", "{{ missing }}"), ("a.txt", "text"), ("a.html", "{{ missing }}")]).unwrap();
    let wanted = Wanted { subject: false, text: true, html: false };
    let rendered = templates.render("a", None, wanted, LIMIT).unwrap();
    assert_eq!(rendered, Rendered { text: Some("text".into()), ..Rendered::default() });
}

#[test]
fn templates_include_and_extend_each_other() {
    let templates = load(&[
        ("_layout.html", "<body>{% block content %}{% endblock %}</body>"),
        (
            "a.html",
            "{% extends '_layout.html' %}{% block content %}{{ x }}{% include 'footer.txt' %}{% endblock %}",
        ),
        ("footer.txt", "<{{ x }}>"),
    ])
    .unwrap();
    let rendered = render(&templates, "a", r#"{"x":"&"}"#).unwrap();
    assert_eq!(rendered.html.as_deref(), Some("<body>&amp;<&></body>"));
}

#[test]
fn variables_are_any_json() {
    let templates = load(&[("a.txt", "{{ x }}")]).unwrap();
    let cases = [
        ("12345678901234567890", "12345678901234567890"),
        ("-1", "-1"),
        ("1.5", "1.5"),
        ("true", "True"),
        ("null", "None"),
        (r#""\u00e9 {{ y }}""#, "é {{ y }}"),
        ("[1, \"a\"]", "[1, 'a']"),
        (r#"{"b": 1, "a": 2}"#, "{'b': 1, 'a': 2}"),
    ];
    for (json, expected) in cases {
        let rendered = render(&templates, "a", &format!(r#"{{"x":{json}}}"#)).unwrap();
        assert_eq!(rendered.text.as_deref(), Some(expected), "{json}");
    }
    // A job is 128 levels deep at most, and its variables lie in it.
    let deep = format!(r#"{{"x":{}{}}}"#, "[".repeat(126), "]".repeat(126));
    assert!(render(&templates, "a", &deep).is_ok());
}

#[test]
fn the_built_in_otp_says_the_code_once_in_each_body_and_never_in_the_subject() {
    let templates = Templates::built_in();
    for extra in [None, Some(variables(r#"{"otp":"other","name":"x"}"#))] {
        let rendered = templates.render_otp("493021", extra.as_deref(), Wanted::ALL, LIMIT).unwrap();
        let [subject, text, html] = [rendered.subject, rendered.text, rendered.html].map(Option::unwrap);
        assert_eq!((text.matches("493021").count(), html.matches("493021").count()), (1, 1));
        assert!(!subject.contains("493021") && !subject.is_empty());
        // Nothing else can be taken for a code.
        assert_eq!(text.chars().filter(char::is_ascii_digit).count(), 6);
        assert_eq!(html.chars().filter(char::is_ascii_digit).count(), 6);
    }
    let same = render(&templates, "otp", r#"{"otp":"1"}"#).unwrap();
    assert_eq!(same, templates.render_otp("1", None, Wanted::ALL, LIMIT).unwrap());
}

#[test]
fn an_own_otp_replaces_the_whole_of_the_built_in_one() {
    let templates = load(&[("otp.txt", "{{ name }}: {{ otp }}")]).unwrap();
    let rendered =
        templates.render_otp("1", Some(&variables(r#"{"name":"Ada"}"#)), Wanted::ALL, LIMIT).unwrap();
    assert_eq!(rendered, Rendered { text: Some("Ada: 1".into()), ..Rendered::default() });
}

#[test]
fn what_is_missing_is_told_by_name_with_file_and_line() {
    let templates = load(&[
        (
            "a.txt",
            "{{ first }}\n{% if extra is defined %}{{ extra }}{% endif %}\n{{ order.id }} {{ other.x }}",
        ),
        ("b.html", "{% include 'a.txt' %}"),
    ])
    .unwrap();
    let cases = [
        ("a", r#"{}"#, "template a: missing variable first (a.txt, line 1)"),
        (
            "a",
            r#"{"first":1,"order":{},"other":{"x":1}}"#,
            "template a: missing variable order.id (a.txt, line 3)",
        ),
        ("a", r#"{"first":1,"other":{"x":1}}"#, "template a: missing variable order.id (a.txt, line 3)"),
        ("b", r#"{}"#, "template b: missing variable first (a.txt, line 1)"),
        ("c", r#"{}"#, "template: there is none called c"),
        ("../c", r#"{}"#, "template: is not the name of one (letters, digits, \"_\" and \"-\")"),
    ];
    for (name, json, expected) in cases {
        assert_eq!(render(&templates, name, json).unwrap_err(), expected);
    }
}

#[test]
fn no_error_tells_a_value() {
    let sources = [
        "{{ x + 1 }}",
        "{{ x.y.z }}",
        "{{ x() }}",
        "{{ x.upper2() }}",
        "{{ [1] | map(x) }}",
        "{{ 1 | int(x) }}{{ x | int }}",
        "{{ x | float }}",
        "{{ x | list | sum }}",
        "{{ x | abs }}",
        "{{ x | round }}",
        "{{ [1, 2] | sort(attribute=x) | first | upper + 1 }}",
        "{{ [1] | select(x) | list }}",
        "{{ x | batch(x) }}",
        "{{ x | indent(x) }}",
        "{{ range(x) }}",
        "{% include x %}",
        "{% extends x %}",
        "{% import x as y %}{{ y }}",
        "{% for a, b in [x] %}{% endfor %}",
        "{{ {x: x}[y] }}",
        "{{ x is divisibleby(x) }}",
        "{{ x[1:x] }}",
        "{{ -x }}",
        "{{ x * x }}",
        "{{ x // 0 }}",
        "{% for a in range(100000) %}{% for b in range(100000) %}{{ x }}{% endfor %}{% endfor %}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}{{ x }}",
        "{{ (x ~ ' ') | replace(' ', x * 10) * 100000 }}",
    ];
    let mut failures = 0;
    for source in sources {
        let Ok(templates) = load(&[("a.txt", source)]) else { continue };
        for json in
            [r#"{"x":"canary4711"}"#, r#"{"x":["canary4711"]}"#, r#"{"x":{"canary4711":"canary4711"}}"#]
        {
            if let Err(reason) = render(&templates, "a", json) {
                failures += 1;
                assert!(!reason.contains("canary"), "{source}: {reason}");
                assert!(reason.starts_with("template a: "), "{source}: {reason}");
            }
        }
    }
    assert!(failures > 40, "{failures}");
}

#[test]
fn no_template_runs_or_grows_without_end() {
    let templates = load(&[
        ("steps.txt", "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}"),
        ("bytes.txt", "{% for a in range(10000) %}0123456789{% endfor %}"),
    ])
    .unwrap();
    let reason = render(&templates, "steps", "{}").unwrap_err();
    assert!(reason.contains("too many steps"), "{reason}");
    let reason = render(&templates, "bytes", "{}").unwrap_err();
    assert!(reason.contains("more than 10000 bytes (limits.message_bytes)"), "{reason}");
}

#[test]
fn all_mistakes_of_a_folder_are_told_with_file_and_line() {
    let folder = folder(&[
        ("good.txt", "good"),
        ("broken.html", "<p>\n{% if x %}\n</p>"),
        ("half.subject.txt", "no body"),
        ("a b.txt", "x"),
        ("gone.txt", "\n{% include 'missing.txt' %}"),
        ("filter.txt", "{{ 'x' | shout }}"),
        ("test.txt", "{{ 1 is weird }}"),
        ("function.txt", "\n\n{{ now() }}"),
    ]);
    std::fs::write(folder.path().join("latin.txt"), b"one\ncaf\xe9").unwrap();
    let mistakes = Templates::load(folder.path()).unwrap_err();
    let lines: Vec<_> = mistakes.lines().collect();
    let expected = [
        "a b.txt: the name of a template is letters, digits, \"_\" and \"-\"",
        "latin.txt: line 2: the file is not UTF-8",
        "broken.html: line 2: ",
        "half.subject.txt: there is no body beside it: half.txt, half.html, or both",
        "filter.txt: line 1: ",
        "function.txt: line 3: ",
        "gone.txt: line 2: ",
        "test.txt: line 1: ",
    ];
    assert_eq!(lines.len(), expected.len(), "{mistakes}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(expected), "{line} should begin with {expected}");
    }
    assert!(
        mistakes.contains("missing.txt") && mistakes.contains("shout") && mistakes.contains("now"),
        "{mistakes}"
    );
    let gone = Templates::load(&PathBuf::from("/no/such/folder")).unwrap_err();
    assert!(gone.starts_with("the folder can't be read"), "{gone}");
}

#[test]
fn what_is_no_template_is_warned_of_and_hidden_files_are_passed_over() {
    let folder =
        folder(&[("a.txt", "x"), ("README.md", "x"), (".a.txt.swp", "x"), (".hidden.txt", "{% if %}")]);
    std::fs::create_dir(folder.path().join("more.txt")).unwrap();
    std::fs::create_dir(folder.path().join("..data")).unwrap();
    std::os::unix::fs::symlink(folder.path().join("a.txt"), folder.path().join("linked.txt")).unwrap();
    let templates = Templates::load(folder.path()).unwrap();
    assert_eq!(templates.names().collect::<Vec<_>>(), ["a", "linked", "otp"]);
    let warned: Vec<_> = templates.warnings().iter().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(warned, ["README.md", "more.txt"]);
}

#[test]
fn a_reload_is_all_or_nothing() {
    let folder = folder(&[("a.txt", "one")]);
    let store = TemplateStore::load(Some(folder.path())).unwrap();
    let text = || render(&store.current(), "a", "{}").unwrap().text;
    std::fs::write(folder.path().join("a.txt"), "two").unwrap();
    assert_eq!(text().as_deref(), Some("one"));
    assert_eq!(store.reload(), Ok(Some(2)));
    assert_eq!(text().as_deref(), Some("two"));
    std::fs::write(folder.path().join("a.txt"), "three").unwrap();
    std::fs::write(folder.path().join("b.txt"), "{% if %}").unwrap();
    assert!(store.reload().is_err_and(|mistakes| mistakes.starts_with("b.txt: line 1: ")));
    assert_eq!(text().as_deref(), Some("two"));
    assert_eq!(TemplateStore::built_in().reload(), Ok(None));
}
