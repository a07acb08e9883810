//! The dead letter queue as something to work with: read, shown, decided on.
//!
//! In reading order: a [`letter`] as it lies there and the job that it holds; the [`records`] of the decisions topic
//! (decisions, runs and their progress); the [`shelf`], which is all of it in memory, kept up to date by a [`reader`].

pub mod letter;
pub mod original;
pub mod reader;
pub mod records;
pub mod shelf;
