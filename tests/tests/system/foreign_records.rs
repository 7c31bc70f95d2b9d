//! Records that this version does not know: passing over one could free a key and an identity that
//! it holds, so the engine does not start.
//!
//! None of this depends on the signer: a software key serves for all.

use std::error::Error;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use birthmark_engine::{Engine, IssueStatus, OpenError, Request};
use birthmark_log::{
    Append, Commit, CommitSink, Committed, ExtractError, Log, Options, RecordIndex, RecordKeys,
    Reservation,
};

use crate::requests::device;
use crate::station::{Factory, SEGMENT_BYTES, Signer};

/// Passes answers on.
struct Answers(Mutex<Sender<Commit>>);

impl CommitSink for Answers {
    fn committed(&self, commits: &mut Vec<Commit>) {
        let sender = self.0.lock().unwrap();
        for commit in commits.drain(..) {
            let _ = sender.send(commit);
        }
    }
}

/// A record of any kind and version with one more item: `[kind, version, time_ms, 0]`.
fn record(kind: u8, version: u8) -> Vec<u8> {
    let mut bytes = vec![0x84, kind, version, 0x1b];
    bytes.extend([0; 8]);
    bytes.push(0);
    bytes
}

/// Appends a record with a log that takes everything.
fn write(factory: &Factory, record: Vec<u8>) {
    let any = |_: &[u8]| -> Result<RecordKeys, ExtractError> { Ok(RecordKeys::default()) };
    let (sender, answers) = channel();
    let options = Options {
        segment_bytes: SEGMENT_BYTES,
        ..Options::default()
    };
    let sink = Arc::new(Answers(Mutex::new(sender)));
    let log = Log::open(
        &factory.log(),
        options,
        Arc::new(any),
        factory.log_key(),
        sink,
    )
    .unwrap();
    log.reserve(vec![Reservation {
        ticket: 1,
        lost_record: record.clone(),
        record_bytes_max: record.len() as u32,
    }]);
    let Committed::Reserved(reservation) = answers.recv().unwrap().outcome.unwrap() else {
        panic!("a reservation is answered first")
    };
    log.append(vec![Append {
        ticket: 2,
        reservation,
        record,
    }]);
    let appended = answers.recv().unwrap().outcome.unwrap();
    assert!(matches!(appended, Committed::Appended(_)));
    log.close().unwrap();
}

/// An error and its causes, in one text.
fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

#[test]
fn a_record_of_a_later_version_stops_the_start() {
    // Kinds 1 to 3 are known, each in version 1; the officer's acts, kind 3, hold no keys.
    for (kind, version) in [(1, 2), (1, 0), (2, 2), (0, 1), (4, 1), (9, 1), (23, 2)] {
        let factory = Factory::new(Signer::P256);
        let engine = factory.open();
        engine.issue(Request::new(device(0), "idevid")).unwrap();
        engine.close().unwrap();
        write(&factory, record(kind, version));
        for _ in 0..2 {
            let error = match Engine::open(factory.station()) {
                Err(error) => error,
                Ok(_) => panic!("kind {kind}, version {version}: this should not start"),
            };
            let text = whole(&error);
            assert!(
                matches!(
                    &error,
                    OpenError::Log(birthmark_log::OpenError::Extract {
                        record: RecordIndex(1),
                        ..
                    })
                ),
                "kind {kind}, version {version}: {text}"
            );
            assert!(text.contains(&format!("kind {kind}")), "{text}");
            assert!(text.contains("use the version that wrote it"), "{text}");
        }
        // Not starting has changed nothing.
        assert_eq!(factory.entries().len(), 2);
    }
}

/// The same record with a kind and version that are known stops nothing: it is what they say that
/// matters.
#[test]
fn an_officers_act_does_not_stop_the_start() {
    let factory = Factory::new(Signer::P256);
    write(&factory, record(3, 1));
    let engine = factory.open();
    let issued = engine.issue(Request::new(device(0), "idevid")).unwrap();
    assert_eq!(issued.status, IssueStatus::Issued);
    assert_eq!(issued.certificate.index(), 1);
    engine.close().unwrap();
}
