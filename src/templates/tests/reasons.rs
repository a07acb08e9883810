//! Errors while rendering: file, line, the missing variable's name, and never a value.

use std::collections::BTreeSet;

use super::*;

/// Each variable's value, and nothing else, holds the word.
const VARIABLES: &str = r#"{"s": "canary", "n": 493021, "list": ["canary", "canary"], "m": {"k": "canary", "493021": 1},
    "f": 4.93021, "no": null, "yes": true, "file": "canary.txt", "name": "canary"}"#;

/// Why this source can't be compiled or rendered; none when it can.
fn reason(source: &str) -> Option<String> {
    let reason = match compile(&[("t.txt", source)]) {
        Err(mistakes) => mistakes.to_string(),
        Ok(templates) => templates.render("t", Some(&raw(VARIABLES)), ALL, LIMIT).err()?.reason,
    };
    for value in ["canary", "493021", "4.93021"] {
        assert!(!reason.contains(value), "{source}: {reason}");
    }
    assert!(reason.starts_with("t.txt") && !reason.contains('\n'), "{source}: {reason}");
    Some(reason)
}

#[test]
fn a_missing_variable_is_told_with_its_name_file_and_line() {
    for (source, expected) in [
        ("{{ missing }}", "t.txt:1: missing variable missing"),
        ("one\ntwo\n{{ missing|upper }}", "t.txt:3: missing variable missing"),
        ("{{ m.inner }}", "t.txt:1: missing variable m.inner"),
        ("{{ m.inner.deeper }}", "t.txt:1: missing variable m.inner"),
        ("{{ m['a b'] }}", "t.txt:1: missing variable m['a b']"),
        ("{{ list[7] }}", "t.txt:1: missing variable list[7]"),
        ("{% for item in list %}\n{{ item.price }}{% endfor %}", "t.txt:2: missing variable item.price"),
        ("{% for item in missing %}{% endfor %}", "t.txt:1: missing variable missing"),
        ("{% if missing %}{% endif %}", "t.txt:1: missing variable missing"),
        ("{{ n + missing }}", "t.txt:1: missing variable missing"),
        ("{{ missing ~ s }}", "t.txt:1: missing variable missing"),
        ("{{ s|replace(missing, s) }}", "t.txt:1: missing variable missing"),
        ("{{ s.k }}", "t.txt:1: missing variable s.k"),
        ("{{ missing.method() }}", "t.txt:1: missing variable missing"),
    ] {
        assert_eq!(reason(source).as_deref(), Some(expected), "{source}");
    }
}

#[test]
fn a_missing_variable_in_an_included_file_is_told_of_that_file() {
    let files = [("t.txt", "a\n{% include \"u.txt\" %}"), ("u.txt", "a\nb\nc\n{{ order.id }}")];
    assert_eq!(render(&files, r#"{"order": {}}"#).unwrap_err(), "u.txt:4: missing variable order.id");
    let files = [
        ("t.html", "{% extends 'u.html' %}{% block b %}\n{{ order.id }}{% endblock %}"),
        ("u.html", "{% block b %}{% endblock %}"),
    ];
    assert_eq!(render(&files, r#"{"order": {}}"#).unwrap_err(), "t.html:2: missing variable order.id");
    let files = [
        ("t.txt", "{% import 'u.txt' as u %}\n{{ u.m() }}"),
        ("u.txt", "{% macro m() %}\n\n{{ order.id }}{% endmacro %}"),
    ];
    assert_eq!(render(&files, r#"{"order": {}}"#).unwrap_err(), "u.txt:3: missing variable order.id");
}

#[test]
fn a_name_that_is_missing_by_a_value_is_not_told() {
    for source in ["{{ m[s] }}", "{{ m[n] }}", "{{ m|attr(s) }}"] {
        assert!(reason(source).is_some(), "{source}");
    }
}

#[test]
fn no_kind_of_error_tells_a_value() {
    let mut reasons = Vec::new();
    for source in [
        "{{ s + n }}",
        "{{ s * s }}",
        "{{ n / 0 }}",
        "{{ n // s }}",
        "{{ -s }}",
        "{{ s < n and list < m }}{{ s - 1 }}",
        "{{ n in n }}",
        "{{ s() }}",
        "{{ s.upper() }}",
        "{{ m.k() }}",
        "{{ list.canary() }}".replace("canary", "nope").as_str(),
        "{{ s|int }}",
        "{{ s|float }}",
        "{{ s|round }}",
        "{{ s|abs }}",
        "{{ n|length }}",
        "{{ n|items }}",
        "{{ s|dictsort }}",
        "{{ s|batch(s) }}",
        "{{ n|join(list) }}",
        "{{ n|list }}",
        "{{ n|first }}",
        "{{ list|sum }}",
        "{{ list|map(s)|list }}",
        "{{ list|select(s)|list }}",
        "{{ list|sort(attribute=n) }}",
        "{{ list|groupby(s) }}",
        "{{ s|format(n, n) }}{{ '%d'|format(s) }}",
        "{{ s|indent(s) }}",
        "{{ s|replace(s) }}",
        "{{ s|upper(s) }}",
        "{{ s|default(s, s, s) }}",
        "{{ s|tojson(s) }}",
        "{{ range(s) }}",
        "{{ range(n * n * n) }}",
        "{{ dict(s) }}",
        "{% include file %}",
        "{% include [file, s] %}",
        "{% include n %}",
        "{% extends file %}",
        "{% import file as x %}{{ x }}",
        "{% from file import x %}",
        "{% for a, b in list %}{% endfor %}",
        "{% for a, b in m|items %}{{ a.b.c }}{% endfor %}",
        "{% for a in n %}{% endfor %}",
        "{% set a, b = s %}",
        "{% set a, b, c = list %}",
        "{{ {list: 1} }}{{ {m: 1}[m] + 1 }}",
        "{{ s is divisibleby(3) }}{{ n is divisibleby(s) }}",
        "{{ s[::0] }}",
        "{{ n[1:2] }}",
        "{{ n[s] }}",
        "{% macro x(a) %}{% endmacro %}{{ x(s, s, s) }}",
        "{% macro x(a) %}{% endmacro %}{{ x(b=s) }}",
        "{% macro x(a) %}{{ a }}{% endmacro %}{{ x() }}",
        "{% call n() %}{% endcall %}",
        "{% filter round %}{{ s }}{% endfilter %}",
        "{% autoescape s %}{% endautoescape %}",
        "{% autoescape 'json' %}{{ s }}{% endautoescape %}{{ missing }}",
        "{{ s|urlencode(s) }}{{ missing }}",
        "{{ (s ~ n).k.v }}",
        "{{ 170141183460469231731687303715884105727 * n }}",
        "{{ 10 ** n }}",
        "{{ s|last|nope }}".replace("nope", "zip(n)").as_str(),
    ] {
        reasons.extend(reason(source));
    }
    assert!(reasons.len() > 50, "most of these are errors: {reasons:#?}");
    let kinds: BTreeSet<_> = reasons.iter().filter_map(|reason| reason.split_once(": ")).collect();
    assert!(kinds.len() > 8, "of many kinds: {kinds:#?}");
}

#[test]
fn a_value_that_looks_like_the_engines_words_is_not_told() {
    let variables = r#"{"file": "x (`canary` is undefined)", "name": "`canary` is undefined"}"#;
    for source in
        ["{% include file %}", "{% include name %}", "{{ [1]|map(file)|list }}", "{{ [1]|map(name)|list }}"]
    {
        let reason = render(&[("t.txt", source)], variables).unwrap_err();
        assert!(!reason.contains("canary"), "{source}: {reason}");
    }
}
