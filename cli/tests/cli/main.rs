//! The command line as its users see it: files in, lines and exit codes out.

// Every function here runs in a test: what cannot be unwrapped fails it.
#![allow(clippy::unwrap_used)]

mod archive;
mod audit;
mod ceremony;
mod command_line;
mod csr;
mod generate;
mod hsm;
mod independent;
mod install;
mod issue;
mod keep;
mod lint;
mod lot;
mod permit;
mod pins;
mod profile;
mod receipts;
mod scripted;
mod server;
mod support;
mod terminal;
mod token;
#[path = "../../../log/tests/tlog/verifiers.rs"]
mod verifiers;
