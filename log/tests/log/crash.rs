//! Crashes: images of what a power cut could leave, at any operation of a run and of a recovery.

use std::path::Path;
use std::sync::{Arc, Mutex};

use birthmark_log::tlog::{Checkpoint, CheckpointSigner, TreeBuilder, leaf_hash};
use birthmark_log::{Committed, Log, OpenError, RecordIndex};

use crate::rig::{
    Acknowledged, Answers, DIR, Random, all_records, append, check, issue_all, new_sim, open_sim,
    open_with, report, reservation, signer, sim_options, verify_sim,
};
use crate::sim::{FaultKind, Sim};

/// One possible state after a crash, and what had been acknowledged by then.
struct Image {
    sim: Sim,
    acknowledged: Acknowledged,
    operation: u64,
    /// What anybody could have fetched by then, durable or not.
    checkpoint: Option<Vec<u8>>,
}

/// Reserves and appends in chunks of random size, and leaves some reservations open for a while.
/// Ends early when the log stops.
fn work(log: &Log, answers: &Answers, random: &mut Random, tickets: std::ops::Range<u64>) {
    let mut open = Vec::new();
    let mut next = tickets.start;
    while next < tickets.end {
        let chunk = (1 + random.below(7)).min(tickets.end - next);
        let sizes: Vec<u64> = (0..chunk)
            .map(|_| {
                if random.below(20) == 0 {
                    60_000
                } else {
                    60 + random.below(3000)
                }
            })
            .collect();
        let chunk_tickets: Vec<u64> = (next..next + chunk).collect();
        next += chunk;
        let reserve = |(&ticket, &bytes)| reservation(ticket, bytes as u32);
        log.reserve(chunk_tickets.iter().zip(&sizes).map(reserve).collect());
        for (&ticket, &bytes) in chunk_tickets.iter().zip(&sizes) {
            let Ok(Committed::Reserved(id)) = answers.wait(ticket, 0) else {
                return;
            };
            open.push((ticket, id, bytes as usize));
        }
        let finish = random.below(open.len() as u64 + 1) as usize;
        let appends: Vec<_> = (0..finish)
            .map(|_| open.swap_remove(random.below(open.len() as u64) as usize))
            .collect();
        log.append(
            appends
                .iter()
                .map(|&(t, id, bytes)| append(t, id, bytes))
                .collect(),
        );
        for (ticket, ..) in appends {
            if answers.wait(ticket, 1).is_err() {
                return;
            }
        }
    }
}

/// Takes an image before every `every`th operation.
fn capture(sim: &Sim, answers: &Arc<Answers>, seed: u64, every: u64) -> Arc<Mutex<Vec<Image>>> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (taken, answers) = (Arc::clone(&images), Arc::clone(answers));
    let mut random = Random(seed);
    sim.set_hook(Box::new(move |world, operation| {
        if operation % every == 0 {
            // Acknowledged before the image is taken: a crash afterwards keeps it.
            let acknowledged = answers.acknowledged();
            let sim = world.crash(&mut random);
            let checkpoint = world.visible(Path::new("/log/public/checkpoint"));
            taken.lock().unwrap().push(Image {
                sim,
                acknowledged,
                operation,
                checkpoint,
            });
        }
    }));
    images
}

/// Recovers an image, checks it, and goes on working in it.
fn recover(image: &Image, context: &str) {
    let (log, answers) = match open_with(sim_options(&image.sim)) {
        Ok(opened) => opened,
        Err(error) => panic!("{context}: {error}"),
    };
    check(&log, &image.acknowledged, context);
    check_history(&log, image.checkpoint.as_deref(), context);
    let records = log.len();
    issue_all(&log, &answers, 1_000_000..1_000_003, 500);
    log.close().unwrap();

    let report = verify_sim(&image.sim);
    let report = report.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert!(
        report.clean && report.torn_tail.is_none(),
        "{context}: {report:?}"
    );
    assert_eq!(report.records, records + 3, "{context}");
    image.sim.assert_no_violations();
}

/// What was signed before is the beginning of what the log holds now: history never changes.
fn check_history(log: &Log, checkpoint: Option<&[u8]>, context: &str) {
    let Some(bytes) = checkpoint else {
        return;
    };
    let seen = Checkpoint::from_note(bytes, signer().verifier_key()).unwrap();
    assert!(
        seen.size <= log.len(),
        "{context}: {} was signed",
        seen.size
    );
    let mut tree = TreeBuilder::new();
    for index in 0..seen.size {
        let record = log.read(RecordIndex(index)).unwrap();
        tree.append(leaf_hash(&record), &mut |_, _| {});
    }
    assert_eq!(tree.root(), seen.root, "{context}: another history");
    let published = log.publish().unwrap();
    assert!(
        published >= seen.size,
        "{context}: the checkpoint went back"
    );
}

#[test]
fn every_crash_image_recovers() {
    let mut images_checked = 0;
    for seed in 0..12 {
        let sim = new_sim();
        let (log, answers) = open_sim(&sim);
        let images = capture(&sim, &answers, seed, 3);
        work(&log, &answers, &mut Random(seed), 0..120);
        sim.clear_hook();
        drop(log);
        for image in images.lock().unwrap().iter() {
            recover(
                image,
                &format!("seed {seed}, operation {}", image.operation),
            );
            images_checked += 1;
        }
    }
    report(format_args!("{images_checked} crash images of the log"));
    assert!(
        images_checked > 300,
        "only {images_checked} images: the run is too short"
    );
}

#[test]
fn a_crash_leaves_the_published_tiles_alone() {
    // More than one tile: those above the lowest level stay as they are from round to round.
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..300, 100);
    log.publish().unwrap();
    let images = capture(&sim, &answers, 77, 1);
    for ticket in 300..310 {
        issue_all(&log, &answers, ticket..ticket + 1, 100);
        log.publish().unwrap();
    }
    sim.clear_hook();
    drop(log);
    let images = images.lock().unwrap();
    assert!(images.len() > 50, "only {} images", images.len());
    for image in images.iter() {
        recover(image, &format!("operation {}", image.operation));
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    let mut second_crashes = 0;
    for seed in 100..106 {
        let sim = new_sim();
        let (log, answers) = open_sim(&sim);
        let images = capture(&sim, &answers, seed, 11);
        work(&log, &answers, &mut Random(seed), 0..60);
        sim.clear_hook();
        drop(log);
        for image in images.lock().unwrap().iter() {
            // The second process acknowledges nothing while it opens, so what the first one
            // acknowledged must still be there whenever it crashes.
            let again = Arc::new(Answers::default());
            let copy = image.sim.copy();
            let crashes = capture(&copy, &again, seed + 1, 1);
            let opened = open_with(sim_options(&copy));
            copy.clear_hook();
            assert!(opened.is_ok(), "seed {seed}: {:?}", opened.err());
            drop(opened);
            for crash in crashes.lock().unwrap().iter_mut() {
                crash.acknowledged = image.acknowledged.clone();
                let at = (image.operation, crash.operation);
                recover(crash, &format!("seed {seed}, operations {at:?}"));
                second_crashes += 1;
            }
        }
    }
    report(format_args!("{second_crashes} crash images of a recovery"));
    assert!(second_crashes > 200, "only {second_crashes} second crashes");
}

/// Rebuilding the index reads records whose keys it has seen: here from the tail, before recovery
/// puts a copy in its place. What is appended afterwards stands in the copy only.
#[test]
fn records_after_recovery_are_read_from_the_copied_tail() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 1..2, 700);
    let image = sim.crash(&mut Random(1));
    let (log, answers) = open_sim(&image);
    issue_all(&log, &answers, 1..2, 700);
    let image = image.crash(&mut Random(2));
    let (log, answers) = open_sim(&image);
    issue_all(&log, &answers, 2..5, 700);
    let tickets: Vec<u64> = all_records(&log).iter().map(|seen| seen.ticket).collect();
    assert_eq!(tickets, [1, 1, 2, 3, 4]);
}

#[test]
fn recovering_twice_changes_nothing_more() {
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    issue_all(&log, &answers, 0..10, 700);
    log.reserve(vec![reservation(10, 700), reservation(11, 700)]);
    answers.reserved(10);
    answers.reserved(11);
    let image = sim.crash(&mut Random(1));
    let (first, _) = open_sim(&image);
    assert_eq!((first.len(), first.recovery().lost_written), (12, 2));
    assert!(!first.recovery().clean);
    let records = all_records(&first);
    let image = image.crash(&mut Random(2));
    let (second, _) = open_sim(&image);
    assert_eq!((second.len(), second.recovery().lost_written), (12, 0));
    assert_eq!(all_records(&second), records);
    second.close().unwrap();
    let (third, _) = open_sim(&image);
    assert!(third.recovery().clean);
    assert_eq!(all_records(&third), records);
}

#[test]
fn a_killed_process_and_a_power_cut_later_lose_nothing() {
    // The first process is killed: everything it wrote is in the page cache and little of it on
    // the disk. The second one sees it all, goes on, and acknowledges more; then the power fails.
    for seed in 200..203 {
        let sim = new_sim();
        let images = copies(&sim, &Arc::new(Answers::default()));
        let (log, answers) = open_sim(&sim);
        let later_images = copies(&sim, &answers);
        work(&log, &answers, &mut Random(seed), 0..40);
        sim.clear_hook();
        drop(log);
        for images in [images, later_images] {
            for image in images.lock().unwrap().iter() {
                go_on_until_power_cut(image, false, seed);
                // On a full disk no segment is prepared any more, so nothing happens to make
                // names durable that the second process only saw.
                go_on_until_power_cut(image, true, seed);
            }
        }
    }
}

/// Takes a copy before every operation: what a killed process leaves.
fn copies(sim: &Sim, answers: &Arc<Answers>) -> Arc<Mutex<Vec<Image>>> {
    let images = Arc::new(Mutex::new(Vec::new()));
    let (taken, answers) = (Arc::clone(&images), Arc::clone(answers));
    sim.set_hook(Box::new(move |world, operation| {
        let acknowledged = answers.acknowledged();
        let sim = world.copy();
        taken.lock().unwrap().push(Image {
            sim,
            acknowledged,
            operation,
            checkpoint: None,
        });
    }));
    images
}

/// Opens a copy of the image, issues as long as there is room, and cuts the power.
fn go_on_until_power_cut(image: &Image, full: bool, seed: u64) {
    let context = format!("seed {seed}, operation {}, full {full}", image.operation);
    let sim = image.sim.copy();
    if full {
        sim.fill_for_good();
    }
    let (log, answers) = match open_with(sim_options(&sim)) {
        // The tail has to be copied, and there is nowhere to copy it to.
        Err(OpenError::Storage { .. }) if full => return,
        opened => opened.unwrap(),
    };
    check(&log, &image.acknowledged, &context);
    for ticket in 500..520 {
        log.reserve(vec![reservation(ticket, 9000)]);
        let Ok(Committed::Reserved(id)) = answers.wait(ticket, 0) else {
            break;
        };
        log.append(vec![append(ticket, id, 9000)]);
        answers.appended(ticket);
    }
    let mut all = answers.acknowledged();
    all.reserved.extend(&image.acknowledged.reserved);
    all.appended.extend(&image.acknowledged.appended);
    let (log, _) = open_sim(&sim.crash(&mut Random(image.operation)));
    check(&log, &all, &context);
}

#[test]
fn a_log_whose_creation_was_cut_off_is_whole_or_absent() {
    for seed in 0..200 {
        let sim = Sim::default();
        let images = capture(&sim, &Arc::new(Answers::default()), seed, 1);
        Log::create_on(&sim, Path::new(DIR)).unwrap();
        sim.clear_hook();
        for image in images.lock().unwrap().iter() {
            if open_with(sim_options(&image.sim)).is_err() {
                Log::create_on(&image.sim, Path::new(DIR)).unwrap();
                open_sim(&image.sim).0.close().unwrap();
            }
        }
    }
}

#[test]
fn pages_lost_by_a_failed_sync_never_count_as_durable() {
    for operation in 0..40 {
        let sim = new_sim();
        let (log, answers) = open_sim(&sim);
        sim.fail_at(operation, FaultKind::Failed(std::io::ErrorKind::Other));
        work(&log, &answers, &mut Random(7), 0..40);
        drop(log);
        restart_and_cut_power(&sim, &answers, &format!("operation {operation}"));
    }
}

#[test]
fn a_segment_whose_filling_a_sync_of_the_volume_lost_is_not_used() {
    // Publication syncs the whole volume beside the thread that fills segments.
    let sim = new_sim();
    let (log, answers) = open_sim(&sim);
    sim.fail_volume_in_fill();
    // More than the room of the prepared segments: it ends with the one that is lost.
    work(&log, &answers, &mut Random(7), 0..400);
    drop(log);
    assert!(!sim.volume_fails_still(), "no segment was filled");
    restart_and_cut_power(&sim, &answers, "a volume's failed sync");
}

/// The process restarts, not the machine: the page cache shows what a failed sync lost, the disk
/// does not have it. What is acknowledged after the restart must survive a power cut.
fn restart_and_cut_power(sim: &Sim, answers: &Answers, after: &str) {
    sim.heal();
    let mut acknowledged = answers.acknowledged();
    let (log, answers) = open_sim(sim);
    check(&log, &acknowledged, &format!("restart after {after}"));
    issue_all(&log, &answers, 500..505, 900);
    let added = answers.acknowledged();
    acknowledged.reserved.extend(added.reserved);
    acknowledged.appended.extend(added.appended);
    for seed in 0..4 {
        let image = sim.crash(&mut Random(seed));
        let (log, _) = open_sim(&image);
        check(&log, &acknowledged, &format!("power cut after {after}"));
    }
    sim.assert_no_violations();
}
