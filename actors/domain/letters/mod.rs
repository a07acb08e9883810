//! Letters of the dead letter queue and what people do with them, as plain functions and data: no Kafka, clock or HTTP.
//!
//! In reading order: a letter has a [`name`]; what was decided of it is a [`decision`], and whether an act may touch it the
//! [`rules`] say; the [`index`] keeps a [`row`] of each in memory, in [`columns`], which a [`search`] finds by a [`filter`] and counts in
//! [`group`]s, its texts [`interned`], its reasons [`alike`]; a [`run`] is an act on many that goes on after a crash, over the frozen [`offsets`] of
//! what matched; all [`runs`] that are told of, and when they are forgotten; [`redrive`] replays by itself; the [`owner`] of a
//! partition carries all of it out, by the [`lessons`] of what was written before, without what met with a [`refusal`].

pub mod alike;
pub mod columns;
pub mod decision;
pub mod filter;
pub mod group;
pub mod index;
pub mod interned;
pub mod lessons;
pub mod name;
pub mod offsets;
pub mod owner;
pub mod redrive;
pub mod refusal;
pub mod row;
pub mod rules;
pub mod run;
pub mod runs;
pub mod search;
