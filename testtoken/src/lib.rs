//! A PKCS#11 module for tests, benches and demonstrations. It plays a network HSM: slow, capped,
//! with few sessions, and failing on demand. It protects nothing.
//!
//! As a `cdylib` it is the module. As a library it is [`TestHsm`], the tests' way to a copy of the
//! module with a configuration of its own: commands go in, a [`Report`] comes out. The
//! configuration is described in the crate's README.
//!
//! Nothing here answers a panic with a return code: a fault of this tool must not look like one
//! that it injected. A panic inside a call ends the process.

mod backend;
mod call;
mod code;
mod command;
mod configuration;
mod ffi;
mod function;
mod hangs;
mod harness;
mod key;
mod module;
mod object;
mod pace;
mod random;
mod removals;
mod report;
mod schedule;
mod session;
mod state;
mod token;

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub use configuration::{Configuration, ConfigurationError};
pub use harness::{HarnessError, TestHsm, module_file};
pub use module::CONFIGURATION_VARIABLE;
pub use pace::PaceReport;
pub use report::Report;
pub use schedule::{HANG_MAX, RULES_MAX};
pub use state::Memory;

/// Locks, also when a thread panicked with the lock held: nothing here is left half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
