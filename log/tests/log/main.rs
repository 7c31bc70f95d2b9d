//! The whole log, on a simulated storage that crashes, fails and fills up, and on a real disk.

// The shared parts of the tests count as tests: an unwrap there fails the test that calls them.
#![allow(clippy::unwrap_used)]

mod clock;
mod commit;
mod crash;
mod damage;
mod fault;
mod index;
mod index_damage;
mod keep_archive;
mod keep_backup;
mod keep_mirror;
mod keep_restore;
mod prove;
mod rig;
mod sim;
mod space;
