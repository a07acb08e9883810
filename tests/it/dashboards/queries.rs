//! Reads PromQL just as far as to tell which metrics a query names, and fills in Grafana's variables.

/// What follows these in brackets are labels.
const BEFORE_LABELS: [&str; 6] = ["by", "without", "on", "ignoring", "group_left", "group_right"];
const WORDS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];

/// The query as Grafana would send it with all workers chosen, with windows that a test has the patience for.
pub fn filled_in(query: &str) -> String {
    let query = query.replace("$__rate_interval", "30s").replace("$__range", "1h");
    query.replace("$job", ".*").replace("$instance", ".*")
}

/// Every metric that the query names.
pub fn metrics(query: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = query;
    let mut before = "";
    while let Some(first) = rest.chars().next() {
        let ends = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':');
        let word = rest.split(ends).next().unwrap_or("");
        if word.is_empty() {
            let skipped = match first {
                '{' => past(rest, '}'),
                '[' => past(rest, ']'),
                '"' => 1 + past(&rest[1..], '"'),
                '(' if BEFORE_LABELS.contains(&before) => past(rest, ')'),
                other => other.len_utf8(),
            };
            if !first.is_whitespace() {
                before = "";
            }
            rest = &rest[skipped..];
            continue;
        }
        rest = &rest[word.len()..];
        let is_function = ["(", "by (", "without ("].iter().any(|next| rest.trim_start().starts_with(next));
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        if !is_function && !is_number && !WORDS.contains(&word) && !BEFORE_LABELS.contains(&word) {
            names.push(word.to_owned());
        }
        before = word;
    }
    names
}

/// The family that a series belongs to: of a histogram's, the histogram.
pub fn family(name: &str) -> &str {
    let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    histogram.unwrap_or(name)
}

fn past(text: &str, end: char) -> usize {
    text.find(end).unwrap_or_else(|| panic!("{text} has no {end}")) + 1
}

#[test]
fn only_metrics_are_taken_for_metrics() {
    let query = r#"sum by (job) (rate(a_total{x="b_total", y=~"$job"}[5m] offset 2d)) / on (job) c > 0.1 or vector(0)"#;
    assert_eq!(metrics(query), ["a_total", "c"]);
}
