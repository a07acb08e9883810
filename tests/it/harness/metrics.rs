//! The Prometheus text of a worker, as a map.

use std::collections::BTreeMap;

/// One scrape: `name{label="value",…}`, labels sorted, to the sample's value.
#[derive(Clone, Debug, Default)]
pub struct Metrics(BTreeMap<String, f64>);

impl Metrics {
    pub fn parse(text: &str) -> Metrics {
        let samples = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Metrics(samples.map(sample).collect())
    }

    /// The sample of exactly these labels.
    ///
    /// # Panics
    /// Where there is none: every known label value is to start at 0.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let series =
            series(name, labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())));
        *self.0.get(&series).unwrap_or_else(|| panic!("{series} is missing in {:?}", self.0))
    }

    /// The sum over all label values; 0 where there is no such series.
    pub fn sum(&self, name: &str) -> f64 {
        let labelled = format!("{name}{{");
        let of = self.0.iter().filter(|(series, _)| *series == name || series.starts_with(&labelled));
        of.map(|(_, value)| value).sum()
    }
}

fn series(name: &str, labels: impl Iterator<Item = (String, String)>) -> String {
    let labels: BTreeMap<_, _> = labels.collect();
    if labels.is_empty() {
        return name.to_owned();
    }
    let labels: Vec<_> = labels.into_iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
    format!("{name}{{{}}}", labels.join(","))
}

fn sample(line: &str) -> (String, f64) {
    // Label values of ours come from closed lists and topic names: none has a quote or a space in it.
    let (named, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
    let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
    let Some((name, labels)) = named.split_once('{') else {
        return (named.to_owned(), value);
    };
    let labels = labels.strip_suffix('}').unwrap_or_else(|| panic!("labels don't end: {line}"));
    let labels = labels.split("\",").filter(|label| !label.is_empty()).map(|label| {
        let (label, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label: {line}"));
        (label.to_owned(), value.trim_end_matches('"').to_owned())
    });
    (series(name, labels), value)
}
