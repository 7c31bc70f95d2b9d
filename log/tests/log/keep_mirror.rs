//! A follower's copy: what a hostile server and a wrong directory can do to it.

use std::cell::{Cell, RefCell};
use std::path::Path;
use std::sync::Arc;

use birthmark_log::keep::{MirrorError, MirrorReport, SourceError, TreeSource, mirror_on};
use birthmark_log::tlog::CheckpointSigner;
use birthmark_log::{Storage, Verification, verify_on};

use crate::rig::{issue_all, new_sim, open_sim, signer};
use crate::sim::Sim;

const COPY: &str = "/copy";

/// Serves what a log publishes, some of it changed.
struct Server {
    sim: Sim,
    /// Tiles are changed from this read on.
    lies_from: Cell<usize>,
    reads: RefCell<Vec<String>>,
}

impl Server {
    fn of(sim: &Sim, lies_from: usize) -> Server {
        Server {
            sim: sim.clone(),
            lies_from: Cell::new(lies_from),
            reads: RefCell::default(),
        }
    }
}

impl TreeSource for Server {
    fn read(&self, path: &str, _bytes_max: u64) -> Result<Option<Vec<u8>>, SourceError> {
        let file = Path::new("/log/public").join(path);
        if !self.sim.files().contains(&file) {
            return Ok(None);
        }
        let mut bytes = self.sim.content(&file);
        if path.starts_with("tile/0/") {
            let tiles = self.reads.borrow();
            let before = tiles.iter().filter(|path| path.starts_with("tile/0/"));
            if before.count() >= self.lies_from.get() {
                bytes[40] ^= 1;
            }
        }
        self.reads.borrow_mut().push(path.to_owned());
        Ok(Some(bytes))
    }

    fn location(&self) -> String {
        "https://logs.example".to_owned()
    }
}

fn follow(sim: &Sim, server: &Server) -> Result<MirrorReport, MirrorError> {
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    let signer = signer();
    mirror_on(
        &storage,
        server,
        Path::new(COPY),
        signer.verifier_key(),
        &|_| {},
    )
}

fn published(records: u64) -> Sim {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..records, 300);
    log.publish().unwrap();
    log.close().unwrap();
    sim
}

#[test]
fn nothing_is_fetched_or_written_before_the_tiles_are_proved() {
    let sim = published(1_000);
    let server = Server::of(&sim, 0);
    let refused = follow(&sim, &server);
    assert!(matches!(refused, Err(MirrorError::Copy(_))), "{refused:?}");
    let reads = server.reads.take();
    assert!(reads.iter().any(|path| path.starts_with("tile/0/")));
    assert!(
        !reads.iter().any(|path| path.starts_with("tile/entries/")),
        "{reads:?}"
    );
    let copied = |part: &str| {
        let dir = Path::new(COPY).join(part);
        sim.files()
            .iter()
            .filter(|path| path.starts_with(&dir))
            .count()
    };
    assert_eq!(copied("public"), 0);

    // Other tiles after the proof: refused at the first one, and no bundle of it is asked for.
    let server = Server::of(&sim, 4);
    let refused = follow(&sim, &server);
    assert!(
        refused
            .as_ref()
            .is_err_and(|error| error.to_string().contains("served before")),
        "{refused:?}"
    );
    assert_eq!(copied("public/tile"), 0);

    // And the honest server is followed.
    let report = follow(&sim, &Server::of(&sim, usize::MAX)).unwrap();
    assert_eq!(report.records_new, 1_000);
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    verify_on(&storage, Path::new(COPY), &Verification::default()).unwrap();
}

#[test]
fn a_directory_with_other_files_is_no_copy() {
    let sim = published(10);
    let storage: Arc<dyn Storage> = Arc::new(sim.clone());
    storage.create_dir(Path::new(COPY)).unwrap();
    let photo = Path::new(COPY).join("cat");
    storage.create(&photo).unwrap();
    let refused = follow(&sim, &Server::of(&sim, usize::MAX));
    assert!(
        matches!(refused, Err(MirrorError::NotACopy { .. })),
        "{refused:?}"
    );
    storage.remove(&photo).unwrap();
    follow(&sim, &Server::of(&sim, usize::MAX)).unwrap();
    assert_eq!(
        follow(&sim, &Server::of(&sim, usize::MAX))
            .unwrap()
            .records_new,
        0
    );
}
