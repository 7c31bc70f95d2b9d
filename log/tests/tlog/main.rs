//! The transparency log's files, judged by tools that others wrote.

// The shared parts of the tests count as tests: an unwrap there fails the test that calls them.
#![allow(clippy::unwrap_used)]

mod sample;
mod verdicts;
mod verifiers;
