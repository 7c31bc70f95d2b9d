//! Full disks and failing disks under a running engine.

use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::{Duration, Instant};

use birthmark_engine::{
    CloseError, Engine, Fault, IssueError, IssueStatus, Issued, Request, SubmitError,
};
use birthmark_log::AppendError;

use crate::faulty_storage::{CommitFault, FaultyStorage};
use crate::requests::device;
use crate::station::{Factory, Signer, fault};

on_every_signer!(
    a_full_disk_refuses_before_signing_and_service_resumes,
    a_failed_commit_ends_the_engine_and_releases_nothing,
);

/// So small that a few certificates fill it: the smallest there is.
const SMALL_SEGMENT_BYTES: u64 = 128 << 10;

/// The engine retries making room every 10 ms; this is for a machine that stands still.
const RESUME_WAIT_MAX: Duration = Duration::from_secs(60);

fn issue(engine: &Engine, number: u64) -> Result<Issued, IssueError> {
    engine.issue(Request::new(device(number), "idevid"))
}

fn a_full_disk_refuses_before_signing_and_service_resumes(signer: Signer) {
    let factory = Factory::new(signer);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| {
        station.log_options.storage = storage;
        station.log_options.segment_bytes = SMALL_SEGMENT_BYTES;
    });
    let before = issue(&engine, 0).unwrap();
    faults.disk_full.store(true, Ordering::SeqCst);

    let mut issued = vec![before];
    let refused = fill(&engine, &mut issued);
    assert_eq!(engine.log().len(), issued.len() as u64);
    let signatures = engine.signing_pool().metrics().signatures;
    assert_eq!(
        signatures,
        issued.len() as u64,
        "nothing was signed for those refused"
    );
    assert_eq!(engine.metrics().lost, 0);
    // Retries of what is there are answered from a full disk, too.
    let again = issue(&engine, 0).unwrap();
    assert_eq!(
        (again.status, &again.certificate),
        (IssueStatus::Existing, &issued[0].certificate)
    );

    // Space is back: service resumes by itself.
    faults.disk_full.store(false, Ordering::SeqCst);
    let deadline = Instant::now() + RESUME_WAIT_MAX;
    for number in refused {
        issued.push(issue_when_there_is_room(&engine, number, deadline));
    }
    engine.close().unwrap();
    let entries = factory.assert_sound();
    assert_eq!(entries.len(), issued.len());
    for issued in &issued {
        let entry = &entries[issued.certificate.index() as usize];
        assert_eq!(entry.certificate(), Some(issued.certificate.as_der()));
    }
}

/// Issues in batches until the room that was prepared is used up. Adds what was issued and gives
/// the devices that were refused.
fn fill(engine: &Engine, issued: &mut Vec<Issued>) -> Vec<u64> {
    let mut refused = Vec::new();
    let mut next = 1;
    while refused.is_empty() {
        assert!(
            next < 2_000,
            "two segments of 128 KiB cannot hold {next} certificates"
        );
        let numbers = next..next + 16;
        next += 16;
        let requests = numbers
            .clone()
            .map(|number| Request::new(device(number), "idevid"));
        for (number, result) in numbers.zip(engine.issue_batch(requests.collect())) {
            match result {
                Ok(certificate) => issued.push(certificate),
                Err(error) => {
                    let fault = fault(Err(error));
                    assert!(
                        matches!(fault, Fault::NoSpace(_)),
                        "device {number}: {fault}"
                    );
                    assert_eq!(fault.number(), 903);
                    refused.push(number);
                }
            }
        }
    }
    refused
}

fn issue_when_there_is_room(engine: &Engine, number: u64, deadline: Instant) -> Issued {
    loop {
        match issue(engine, number) {
            Ok(issued) => {
                assert_eq!(issued.status, IssueStatus::Issued);
                return issued;
            }
            Err(error) => {
                assert!(matches!(fault(Err(error)), Fault::NoSpace(_)));
                assert!(
                    Instant::now() < deadline,
                    "the space is back, the service is not"
                );
                sleep(Duration::from_millis(10));
            }
        }
    }
}

fn a_failed_commit_ends_the_engine_and_releases_nothing(signer: Signer) {
    for fault in CommitFault::ALL {
        // Commit 1 is the reservation of the request after the fault is armed, 2 its record.
        for commit in [1, 2] {
            fail_one_commit(signer, fault, commit);
        }
    }
}

fn fail_one_commit(signer: Signer, commit_fault: CommitFault, commit: u64) {
    let context = format!("{commit_fault:?} of commit {commit}");
    let factory = Factory::new(signer);
    let (storage, faults) = FaultyStorage::new();
    let engine = factory.open_with(|station| station.log_options.storage = storage);
    let before = issue(&engine, 0).unwrap();
    let signatures = || engine.signing_pool().metrics().signatures;
    let signed_before = signatures();
    faults.fail_commit(commit_fault, commit);

    let failed = fault(issue(&engine, 1));
    assert!(matches!(failed, Fault::Log(_)), "{context}: {failed}");
    assert_eq!(failed.number(), 902);
    assert_eq!(
        signatures() - signed_before,
        commit - 1,
        "{context}: nothing is signed unreserved"
    );
    // Nothing more is taken, nothing more is tried.
    assert!(
        matches!(engine.log().status(), Err(AppendError::Poisoned { .. })),
        "{context}"
    );
    let request = Request::new(device(2), "idevid");
    let Err(SubmitError::Closed(back, why)) = engine.submit(request.clone()) else {
        panic!("{context}: a dead log takes requests");
    };
    assert_eq!(back, request, "{context}: the request comes back");
    assert!(matches!(why, Fault::Log(_)));
    assert!(matches!(fault(issue(&engine, 2)), Fault::Log(_)));
    assert_eq!(
        faults.commits_after_fault.load(Ordering::SeqCst),
        0,
        "{context}: it was retried"
    );
    assert!(
        matches!(engine.close(), Err(CloseError::Log(_))),
        "{context}"
    );

    // After a restart on a sound disk: what was acknowledged is there, what was not is either
    // there whole or recorded as lost.
    let engine = factory.open();
    let recovery = engine.log().recovery().clone();
    assert!(!recovery.clean, "{context}");
    let reserved = commit == 2 || commit_fault == CommitFault::SyncPersisted;
    let recorded = commit == 2 && commit_fault == CommitFault::SyncPersisted;
    assert_eq!(
        recovery.lost_written,
        u64::from(reserved && !recorded),
        "{context}"
    );
    let again = issue(&engine, 0).unwrap();
    assert_eq!(
        (again.status, &again.certificate),
        (IssueStatus::Existing, &before.certificate)
    );
    let second = issue(&engine, 1).unwrap();
    let status = if recorded {
        IssueStatus::Existing
    } else {
        IssueStatus::Issued
    };
    assert_eq!(second.status, status, "{context}");
    engine.close().unwrap();
    let entries = factory.assert_sound();
    let lost = entries.iter().filter(|entry| entry.is_lost()).count();
    assert_eq!(lost as u64, recovery.lost_written, "{context}");
    assert_eq!(entries.len(), 2 + lost, "{context}");
}
