//! The command line as its users see it: files in, lines and exit codes out.

// Every function here runs in a test: what cannot be unwrapped fails it.
#![allow(clippy::unwrap_used)]

mod audit;
mod ceremony;
mod command_line;
mod independent;
mod issue;
mod permit;
mod receipts;
mod support;
mod token;
#[path = "../../../log/tests/tlog/verifiers.rs"]
mod verifiers;
