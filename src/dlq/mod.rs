//! The dead letter queue as something to work with: read, shown, decided on.
//!
//! In reading order: a [`letter`] as it lies there and the job that it holds; the [`records`] of the decisions topic
//! (decisions, runs and their progress); the [`shelf`], which is all of it in memory, kept up to date by a [`reader`]; the
//! [`log`] is where letters are acted on, by a [`clerk`] who may block, each one's job made by [`replay`]; [`due`] looks for
//! those that the redriver is to act on.
//! People ask by a [`question`] and a [`request`], and are answered by a
//! [`view`] (one letter by its [`full_view`]), through the [`archive`].

pub mod archive;
mod clerk;
mod due;
pub mod full_view;
pub mod late;
pub mod letter;
pub mod log;
mod notice;
pub mod original;
pub mod question;
pub mod reader;
pub mod records;
pub mod replay;
pub mod request;
mod settled;
pub mod shelf;
pub mod view;
