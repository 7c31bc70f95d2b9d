//! The Birthmark command line, as a library: what the binary `birthmark` does, and what tests
//! and tools that set up a CA use.
//!
//! | module | subject |
//! | --- | --- |
//! | [`ceremony`] | make a root and an issuing CA, the log, the configuration |
//! | [`hsm`] | list HSMs, make a key on one, check and measure it |
//! | `csr` | what is wrong with a request, without issuing |
//! | [`issue`] | requests in, one line of JSON per request out |
//! | [`lint`] | what is wrong with certificates, anybody's |
//! | [`lot`] | the station's lots, and how much of each is used |
//! | [`officer`] | officers' keys and permits |
//! | [`profile`] | list, show, check and explain profiles |
//! | [`records`] | verify, show and export a log, prove what it holds |
//! | [`keep`] | back a log up, restore it, follow it, have it witnessed, archive it |
//! | [`demo`] | the whole job once, measured |
//! | [`subject`] | distinguished names as they are written |
//! | [`input`], [`pem`], [`devices`] | where requests come from |
//! | [`key`] | generated keys that wait for their acknowledgement |
//! | [`version`] | what the processor gives |
//! | [`args`], [`command`], [`console`] | arguments, exit codes, output streams |
//!
//! Exit codes: 0 all done, 1 some requests rejected, 2 usage or configuration, 3 system fault,
//! 4 the log was rolled back or forked, 128 + n ended by signal n.

#![forbid(unsafe_code)]

pub mod args;
pub mod ceremony;
pub mod command;
pub mod console;
mod csr;
pub mod demo;
pub mod devices;
mod events;
pub mod hex;
pub mod hsm;
pub mod input;
pub mod interrupt;
pub mod issue;
pub mod keep;
pub mod key;
pub mod lint;
pub mod lot;
pub mod officer;
pub mod pem;
pub mod profile;
pub mod records;
pub mod subject;
pub mod text;
pub mod version;

pub use args::Arguments;
pub use command::{Exit, run};
pub use console::Console;
