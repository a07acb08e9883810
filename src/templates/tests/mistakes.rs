//! What is found wrong before anything is rendered.

use super::*;

fn mistakes(files: &[(&str, &str)]) -> Vec<String> {
    let mistakes = compile(files).expect_err("something is wrong");
    mistakes.to_string().lines().map(str::to_owned).collect()
}

#[test]
fn all_mistakes_of_all_files_are_told_with_file_and_line() {
    let found = mistakes(&[
        ("a.txt", "fine\n{{ open"),
        ("b.html", "{% if x %}\n\n{% endfor %}"),
        ("c.subject.txt", "alone"),
        ("d.txt", "{% include 'a.txt' %}\n{{ x|uper }}{{ perhaps_of_a() }}"),
    ]);
    assert_eq!(found.len(), 4, "{found:?}");
    assert!(found[0].starts_with("a.txt:2: syntax error: "), "{found:?}");
    assert!(found[1].starts_with("b.html:3: syntax error: "), "{found:?}");
    assert_eq!(found[2], "c.subject.txt: is a subject without a body: c.txt or c.html is missing");
    assert_eq!(found[3], "d.txt:2: there is no filter uper");
}

#[test]
fn a_file_that_is_not_there_is_found_where_it_is_named() {
    let found = mistakes(&[
        ("a.txt", "\n{% include \"nope.txt\" %}\n{%- include 'nope.txt' -%}"),
        ("b.html", "{% extends \"nope.html\" %}"),
        ("c.txt", "{% import \"nope\" as n %}{% from \"nope\" import m with context %}"),
    ]);
    assert_eq!(
        found,
        [
            "a.txt:2: there is no file nope.txt",
            "a.txt:3: there is no file nope.txt",
            "b.html:1: there is no file nope.html",
            "c.txt:1: there is no file nope",
            "c.txt:1: there is no file nope",
        ]
    );
}

#[test]
fn a_file_that_may_be_missing_or_whose_name_is_a_variable_is_no_mistake() {
    let files = [(
        "a.txt",
        "{% include \"nope.txt\" ignore missing %}{% include x %}{% include \"a\" ~ x %}{% include [\"a\", \"b\"] %}\
         {# {% include \"nope.txt\" %} #}{% raw %}{% include \"nope.txt\" %}{{ a|nope }}{% endraw %}",
    )];
    assert!(compile(&files).is_ok(), "{:?}", compile(&files).err());
}

#[test]
fn unknown_filters_tests_and_functions_are_found_in_branches_that_never_run() {
    let found = mistakes(&[(
        "a.txt",
        "{% if false %}{{ x|uper }}\n{{ x is emty }}\n{{ x is not emty }}\n{{ now() }}\n{% filter nope %}{% endfilter %}\n\
         {{ {'a': {'b': x|upper|nope2}} }}\n{{ x|default(y|nope3(1)) }}{% endif %}",
    )]);
    assert_eq!(
        found,
        [
            "a.txt:1: there is no filter uper",
            "a.txt:2: there is no test emty",
            "a.txt:3: there is no test emty",
            "a.txt:4: there is no function now",
            "a.txt:5: there is no filter nope",
            "a.txt:6: there is no filter nope2",
            "a.txt:7: there is no filter nope3",
        ]
    );
}

#[test]
fn everything_that_the_engine_knows_is_no_mistake() {
    let files = [
        (
            "a.html",
            "{% from \"m.html\" import one as uno, two %}{% import \"m.html\" as m %}\
             {{ uno(1) }}{{ two(2) }}{{ m.one(3) }}{{ range(3)|list|tojson }}{{ dict(a=1).a }}\
             {% macro own(a, b=range(2)) %}{{ caller() }}{% endmacro %}{% call own(1) %}x{% endcall %}\
             {% for i in range(2) recursive %}{{ cycle is undefined }}{{ loop.cycle(1, 2) }}{% endfor %}\
             {% block b %}{{ super is defined }}{% endblock %}{{ self.b() }}\
             {{ 'a | nope and is nope(' }}{{ \"it's\" ~ '\\'|nope' }}{{ x is defined and x is not none }}\
             {{ 4 is divisibleby(2) }}{{ (1 is odd) and not (2 is even) }}{{ x|default('b')|replace('a', 'b')|e }}\
             {% set f = m.one %}{{ f(1) }}{% with g = m.two %}{{ g(1) }}{% endwith %}\
             {%- filter upper|trim %}a{% endfilter -%}{{ loop is defined }}{{ 'a' if x is defined else 'b' }}",
        ),
        (
            "m.html",
            "{% macro one(a) %}{{ a }}{% endmacro %}{% macro two(a) %}{{ one(a)|urlencode }}{% endmacro %}",
        ),
    ];
    compile(&files).unwrap_or_else(|mistakes| panic!("{mistakes}"));
}

#[test]
fn a_partial_may_call_what_the_file_around_it_defines() {
    let files =
        [("a.txt", "{% macro hello() %}hi{% endmacro %}{% include \"b.txt\" %}"), ("b.txt", "{{ hello() }}")];
    assert_eq!(render(&files, "{}").unwrap().text.as_deref(), Some("hi"));
}

#[test]
fn a_text_that_html_includes_is_warned_of() {
    let files =
        [("a.html", "\n{% include \"b.txt\" %}{% include \"c.html\" %}"), ("b.txt", ""), ("c.html", "")];
    let templates = compile(&files).unwrap();
    assert_eq!(templates.warnings(), ["a.html:2: what b.txt writes is not escaped for HTML: name it .html"]);
}
