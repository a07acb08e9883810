//! No template runs or grows without bound, and none ends the process.

use super::*;

/// What a job's attempt has for a stack at the least: tokio's blocking threads have twice as much.
const STACK_BYTES: usize = 1 << 20;

fn on_a_small_stack(files: &'static [(&'static str, &'static str)], variables: &'static str) -> String {
    on_a_stack(move || render(files, variables)).unwrap_err()
}

fn on_a_stack<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
    std::thread::Builder::new().stack_size(STACK_BYTES).spawn(act).unwrap().join().unwrap()
}

/// Sources that the engine reads by recursion, as deep as `n` says.
fn deep(n: usize) -> [String; 17] {
    [
        format!("{{% set x = [] %}}{}", "{% set x=[x] %}".repeat(n)),
        format!("{{{{ {}1{} }}}}", "(".repeat(n), ")".repeat(n)),
        format!("{{{{ a{} }}}}", ".b".repeat(n)),
        format!("{{{{ a{} }}}}", "[1]".repeat(n)),
        format!("{{{{ 1{} }}}}", "+1".repeat(n)),
        format!("{{{{ 1{} }}}}", "~1".repeat(n)),
        format!("{{{{ 1{} }}}}", "**1".repeat(n)),
        format!("{{{{ 1{} }}}}", " and 1".repeat(n)),
        format!("{{{{ 'x'{} }}}}", "|e".repeat(n)),
        format!("{{{{ {}1 }}}}", "not ".repeat(n)),
        format!("{{{{ {}1 }}}}", "-".repeat(n)),
        format!("{{{{ a{} }}}}", "()".repeat(n)),
        format!("{{{{ {}1 }}}}", "1 if 1 else ".repeat(n)),
        format!("{{{{ {}{} }}}}", "[".repeat(n), "]".repeat(n)),
        format!("{{{{ {}1{} }}}}", "{1:".repeat(n), "}".repeat(n)),
        format!("{{% if 1 %}}{}{{% endif %}}", "{% elif 1 %}".repeat(n)),
        format!("{}{}", "{% if 1 %}".repeat(n), "{% endif %}".repeat(n)),
    ]
}

#[test]
fn a_source_of_any_depth_is_rendered_or_a_mistake_and_never_ends_the_process() {
    // Below the limits of ours, at them, and far beyond.
    for n in [50, 200, 249, 332, 499, 996, 997, 4999, 60_000] {
        on_a_stack(move || {
            for source in deep(n) {
                match compile(&[("t.txt", &source)]) {
                    Ok(templates) => drop(templates.render("t", None, ALL, LIMIT)),
                    Err(mistakes) => assert!(!mistakes.0.is_empty()),
                }
            }
        });
    }
    let mistakes = |source: &str| compile(&[("t.txt", source)]).unwrap_err().to_string();
    let [_, _, _, _, sum, ..] = deep(600);
    assert_eq!(mistakes(&format!("\n{sum}")), "t.txt:2: a tag of more than 1000 words and signs");
    let [.., elifs, _] = deep(201);
    assert_eq!(mistakes(&elifs), "t.txt:1: more than 200 elifs in one file");
    let [sets, ..] = deep(5000);
    assert_eq!(mistakes(&sets), "t.txt:1: more than 5000 opening brackets in the tags of one file");
}

proptest::proptest! {
    #[test]
    fn any_source_compiles_or_is_a_mistake(source in "([{][{%#]|[%#}][}]|raw|endraw|include|is|not|[|'\"\\\\(). \n-]|[a-zé]){0,40}") {
        let _ = compile(&[("t.txt", &source)]);
    }
}

#[test]
fn an_endless_loop_runs_out_of_steps() {
    let loops = "{% for a in range(10000) %}{% for b in range(10000) %}{{ x }}{% endfor %}{% endfor %}";
    let reason = render(&[("t.txt", loops)], r#"{"x": ""}"#).unwrap_err();
    assert_eq!(reason, "t.txt:1: takes more than the 1000000 steps that are allowed");
}

#[test]
fn a_string_that_doubles_runs_out_of_steps_before_memory() {
    let doubling =
        "{% macro m(s, n) %}{% if n %}{{ m(s ~ s, n - 1) }}{% endif %}{% endmacro %}{{ m('canary', 60) }}";
    for source in
        [doubling, "{{ 'canary' * 1000000000 }}", "{{ [1] * 1000000000 }}", "{{ range(1000000000)|list }}"]
    {
        let reason = render(&[("t.txt", source)], "{}").unwrap_err();
        assert!(reason.starts_with("t.txt:1: "), "{reason}");
        assert!(!reason.contains("canary"), "{reason}");
    }
}

#[test]
fn the_functions_that_could_show_all_variables_or_end_the_process_are_not_there() {
    for function in ["debug", "namespace"] {
        let mistakes = compile(&[("t.txt", &format!("{{% set x = {function}() %}}"))]).unwrap_err();
        assert_eq!(mistakes.to_string(), format!("t.txt:1: there is no function {function}"));
    }
}

#[test]
fn what_is_over_the_limit_is_a_reason_with_the_file() {
    let templates = compile(&[("t.txt", "ok"), ("t.html", "{{ x }}")]).unwrap();
    let x = raw(r#"{"x": "canary"}"#);
    assert!(templates.render("t", Some(&x), ALL, 6).is_ok());
    let failure = templates.render("t", Some(&x), ALL, 5).unwrap_err();
    assert_eq!((failure.stage, failure.cause), (Stage::Render, Cause::Render));
    assert_eq!(failure.reason, "t.html: makes more than 5 bytes, which is the limit");
}

#[test]
fn files_that_include_each_other_for_ever_end_in_a_reason() {
    let reason = on_a_small_stack(
        &[("t.txt", "a\n{% include \"u.txt\" %}"), ("u.txt", "{% include \"t.txt\" %}")],
        "{}",
    );
    assert!(reason.ends_with("files, macros or loops call each other too deep"), "{reason}");
}

#[test]
fn a_macro_that_calls_itself_for_ever_ends_in_a_reason() {
    let reason = on_a_small_stack(&[("t.txt", "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}")], "{}");
    assert_eq!(reason, "t.txt:1: files, macros or loops call each other too deep");
}

#[test]
fn a_loop_that_recurses_for_ever_ends_in_a_reason() {
    let reason =
        on_a_small_stack(&[("t.txt", "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}")], "{}");
    assert_eq!(reason, "t.txt:1: files, macros or loops call each other too deep");
}
