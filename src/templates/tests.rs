//! Templates as a whole: what is made of variables, and how mistakes are told.

mod bounds;
mod folders;
mod mistakes;
mod reasons;

use mailroom_actors::domain::failure::{Cause, Stage};
use serde_json::value::RawValue;

use super::folder::Folder;
use super::*;

const ALL: Wanted = Wanted { subject: true, text: true, html: true };
const LIMIT: usize = 1 << 20;

/// The set that a folder with these files makes.
fn compile(files: &[(&str, &str)]) -> Result<Templates, Mistakes> {
    let files = files.iter().map(|(file, source)| ((*file).to_owned(), (*source).to_owned()));
    Templates::compile(Folder { files: files.collect(), ..Folder::default() })
}

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn render(files: &[(&str, &str)], variables: &str) -> Result<Rendered, String> {
    let templates = compile(files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
    let (name, _) = folder::part_of(files[0].0).unwrap();
    let rendered = templates.render(name, Some(&raw(variables)), ALL, LIMIT);
    rendered.map_err(|failure| {
        assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::Render));
        failure.reason
    })
}

fn text(source: &str, variables: &str) -> String {
    render(&[("t.txt", source)], variables).unwrap().text.unwrap()
}

fn html(source: &str, variables: &str) -> String {
    render(&[("t.html", source)], variables).unwrap().html.unwrap()
}

#[test]
fn the_built_in_otp_has_the_code_once_in_each_body_and_never_in_the_subject() {
    let templates = TemplateStore::built_in().current();
    let rendered = templates.render_otp("493021", None, ALL, LIMIT).unwrap();
    let (text, html) = (rendered.text.unwrap(), rendered.html.unwrap());
    assert_eq!(rendered.subject.as_deref(), Some("Your verification code"));
    for body in [&text, &html] {
        let digits: String = body.chars().filter(char::is_ascii_digit).collect();
        assert_eq!(digits, "493021", "no other digit beside the code");
        assert!(body.contains("493021") && body.ends_with('\n'));
    }
    assert!(html.contains("<strong>493021</strong>") && !text.contains('<'));
}

#[test]
fn a_code_is_escaped_in_html_only() {
    let templates = TemplateStore::built_in().current();
    let rendered = templates.render_otp("<b>&", None, ALL, LIMIT).unwrap();
    assert!(rendered.text.unwrap().contains("    <b>&\n"));
    assert!(rendered.html.unwrap().contains("<strong>&lt;b&gt;&amp;</strong>"));
}

#[test]
fn an_own_otp_replaces_the_built_in_one_as_a_whole() {
    let templates = compile(&[("otp.txt", "Code {{ otp }} for {{ app }}")]).unwrap();
    let rendered = templates.render_otp("493021", Some(&raw(r#"{"app": "Shop"}"#)), ALL, LIMIT).unwrap();
    assert_eq!(rendered, Rendered { subject: None, text: Some("Code 493021 for Shop".into()), html: None });
    assert_eq!(templates.names().collect::<Vec<_>>(), ["otp"]);
}

#[test]
fn the_code_wins_over_a_variable_of_its_name() {
    let templates = compile(&[("otp.txt", "{{ otp }}")]).unwrap();
    let rendered = templates.render_otp("493021", Some(&raw(r#"{"otp": "000000"}"#)), ALL, LIMIT).unwrap();
    assert_eq!(rendered.text.as_deref(), Some("493021"));
}

#[test]
fn template_otp_is_the_same_as_otp() {
    let templates = TemplateStore::built_in().current();
    let by_name = templates.render("otp", Some(&raw(r#"{"otp": "493021"}"#)), ALL, LIMIT).unwrap();
    assert_eq!(by_name, templates.render_otp("493021", None, ALL, LIMIT).unwrap());
}

#[test]
fn subject_text_and_html_come_from_files_of_one_name() {
    let files = [
        ("order.subject.txt", "\n  Order {{ id }}  \n"),
        ("order.txt", "Hello {{ name }}\n"),
        ("order.html", "<p>Hello {{ name }}</p>\n"),
    ];
    let rendered = render(&files, r#"{"id": 7, "name": "Ada & Bob", "extra": [1]}"#).unwrap();
    assert_eq!(rendered.subject.as_deref(), Some("Order 7"), "trimmed");
    assert_eq!(rendered.text.as_deref(), Some("Hello Ada & Bob\n"), "kept as written");
    assert_eq!(rendered.html.as_deref(), Some("<p>Hello Ada &amp; Bob</p>\n"));
}

#[test]
fn what_is_not_wanted_is_not_rendered() {
    let files = [("t.subject.txt", "{{ missing }}"), ("t.txt", "{{ missing }}"), ("t.html", "there")];
    let templates = compile(&files).unwrap();
    let wanted = Wanted { subject: false, text: false, html: true };
    let rendered = templates.render("t", None, wanted, LIMIT).unwrap();
    assert_eq!(rendered, Rendered { subject: None, text: None, html: Some("there".into()) });
}

#[test]
fn files_include_extend_and_import_each_other_by_name() {
    let files = [
        (
            "t.html",
            "{% extends \"_base.html\" %}{% from \"_macros.html\" import b %}{% block body %}{{ b(x) }}{% endblock %}",
        ),
        ("_base.html", "<body>{% block body %}{% endblock %}{% include \"_foot.html\" %}</body>"),
        ("_macros.html", "{% macro b(text) %}<b>{{ text }}</b>{% endmacro %}"),
        ("_foot.html", "<i>{{ x }}</i>"),
    ];
    let rendered = render(&files, r#"{"x": "<>"}"#).unwrap();
    assert_eq!(rendered.html.as_deref(), Some("<body><b>&lt;&gt;</b><i>&lt;&gt;</i></body>"));
}

#[test]
fn numbers_keep_their_form() {
    for number in [
        "0",
        "-1",
        "9007199254740993",
        "18446744073709551615",
        "18446744073709551616",
        "-170141183460469231731687303715884105728",
        "340282366920938463463374607431768211455",
        "19.9",
        "0.1",
    ] {
        assert_eq!(text("{{ n }}", &format!("{{\"n\": {number}}}")), number);
        assert_eq!(text("{{ a[0].n }}", &format!("{{\"a\": [{{\"n\": {number}}}]}}")), number);
    }
}

#[test]
fn beside_a_long_number_all_is_as_without() {
    let json =
        r#"{"long": 99999999999999999999999, "b": "é\n\"x\"", "a": [true, null, 1.5, {"k": [], "b": {}}]}"#;
    let expected = "[True, None, 1.5, {'k': [], 'b': {}}]";
    assert_eq!(text("{{ b }} {{ a }}", json), format!("é\n\"x\" {expected}"));
    assert_eq!(
        text("{{ b }} {{ a }}", &json.replace("99999999999999999999999", "1")),
        format!("é\n\"x\" {expected}")
    );
    assert_eq!(
        text("{% for k in m %}{{ k }}{% endfor %}", r#"{"m": {"z": 1, "a": 11111111111111111111111}}"#),
        "za"
    );
}

#[test]
fn variables_that_can_not_be_read_are_a_reason_without_their_values() {
    for (json, expected) in [
        (r#"{"canary": 1e999}"#, "variables: a number is out of range (line 1, column 16)"),
        (r#"{"canary": "\ud800 canary"}"#, "variables: a lone surrogate (line 1, column 19)"),
        (r#"["canary"]"#, "variables: must be an object"),
        (r#""canary""#, "variables: must be an object"),
    ] {
        let reason = render(&[("t.txt", "")], json).unwrap_err();
        assert!(!reason.contains("canary"), "{reason}");
        assert_eq!(reason, expected);
    }
}

#[test]
fn variables_nested_without_end_are_refused() {
    let deep = format!("{{\"a\": {}11111111111111111111111{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(render(&[("t.txt", "")], &deep).unwrap_err().starts_with("variables: "));
}

#[test]
fn variables_are_escaped_in_html_and_not_in_text() {
    assert_eq!(html("{{ x }}", r#"{"x": "<a href='/'>"}"#), "&lt;a href=&#x27;&#x2f;&#x27;&gt;");
    assert_eq!(text("{{ x }}", r#"{"x": "<a href='/'>"}"#), "<a href='/'>");
    assert_eq!(html("{{ x|safe }}", r#"{"x": "<b>"}"#), "<b>");
}

#[test]
fn a_list_of_line_items_is_written_out() {
    let source = "{% for item in items %}{{ loop.index }}. {{ item.name }}: {{ \"%.2f\"|format(item.price) }}\n{% else %}none{% endfor %}";
    let variables = r#"{"items": [{"name": "Tea", "price": 19.9}, {"name": "Cup", "price": 5}]}"#;
    assert_eq!(text(source, variables), "1. Tea: 19.90\n2. Cup: 5.00\n");
    assert_eq!(text(source, r#"{"items": []}"#), "none");
}

#[test]
fn an_unknown_template_lists_those_there_are_and_does_not_repeat_the_name() {
    let templates = compile(&[("b.txt", ""), ("a.html", "")]).unwrap();
    let failure = templates.render("canary", None, ALL, LIMIT).unwrap_err();
    assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::Render));
    assert_eq!(failure.reason, "template: there is none of that name; there are: a, b, otp");
    let many: Vec<_> = (0..30).map(|n| (format!("t{n:02}.txt"), String::new())).collect();
    let many: Vec<_> = many.iter().map(|(file, source)| (file.as_str(), source.as_str())).collect();
    let reason = compile(&many).unwrap().render("t99", None, ALL, LIMIT).unwrap_err().reason;
    assert!(reason.ends_with("t18 and 11 more"), "{reason}");
}
