//! The JSON Schemas of what lies on the two topics, generated from their types (`mailroom schema`).

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};

use crate::dead_letter;
use crate::job::form::Form;

/// The schema of a job: what the worker takes, as far as a schema can say it. JSON, indented, with a line end.
pub fn job() -> String {
    written::<Form>()
}

/// The schema of a dead letter: what the worker writes, and in which form. JSON, indented, with a line end.
pub fn dead_letter() -> String {
    written::<dead_letter::Value<'_>>()
}

fn written<T: JsonSchema>() -> String {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = false);
    let schema = SchemaGenerator::new(settings).into_root_schema_for::<T>();
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is JSON");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests;
