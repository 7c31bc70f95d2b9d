//! Every job is answered exactly once, whatever happens first: the session's call returns, or the
//! watch gives it up. The file that decides it is compiled against loom's mutex, and loom runs
//! every interleaving of the threads.

#![allow(
    clippy::unwrap_used,
    reason = "a failure of the set-up is the test's failure"
)]

use loom::sync::atomic::{AtomicUsize, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

/// What the file locks with.
mod sync {
    pub(super) use loom::sync::{Mutex, MutexGuard};
}

#[allow(dead_code, reason = "the model takes what it needs")]
#[path = "../src/pkcs11/handover.rs"]
mod handover;
use handover::{GivenUp, Seat};

/// A job, by its number.
type Job = usize;

/// Attempts begun, signed, retried elsewhere.
#[derive(Clone, Copy, Default)]
struct Record {
    attempts: usize,
    signed: usize,
    given_up: usize,
}

/// The channel and the answers.
struct World {
    queue: Mutex<Vec<Job>>,
    answers: Vec<AtomicUsize>,
}

impl World {
    fn new(jobs: usize) -> Arc<World> {
        Arc::new(World {
            queue: Mutex::new((0..jobs).rev().collect()),
            answers: (0..jobs).map(|_| AtomicUsize::new(0)).collect(),
        })
    }

    fn take(&self) -> Option<Job> {
        self.queue.lock().unwrap().pop()
    }

    fn answer(&self, job: Job) {
        self.answers[job].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes jobs and signs them until there are none, as a worker does. Returns whether it was
    /// given up.
    fn work(&self, seat: &Seat<Job, Record>) -> bool {
        while let Some(job) = self.take() {
            seat.enter(Some(job), 0, |record| record.attempts += 1);
            // Here the module is called.
            thread::yield_now();
            match seat.leave(|record| record.signed += 1) {
                Ok(Some(job)) => self.answer(job),
                Ok(None) => panic!("the job is gone, and nobody gave it up"),
                Err(GivenUp) => return true,
            }
        }
        false
    }

    /// Gives up what is inside and puts its job back, as the watch does.
    fn watch(&self, seat: &Seat<Job, Record>) {
        if let Some(job) = seat.give_up(1, |record| record.given_up += 1) {
            self.queue.lock().unwrap().push(job.unwrap());
        }
    }

    fn check(&self) {
        for (job, count) in self.answers.iter().enumerate() {
            assert_eq!(count.load(Ordering::Relaxed), 1, "answers of job {job}");
        }
    }
}

fn add_up(seats: &[&Seat<Job, Record>]) {
    let (mut attempts, mut ended) = (0, 0);
    for seat in seats {
        let record = seat.read(|record| *record);
        attempts += record.attempts;
        ended += record.signed + record.given_up;
    }
    assert_eq!(attempts, ended, "every attempt is counted once");
}

/// One session, the watch, and a session that comes after both: what was given up is signed by it.
#[test]
fn an_answer_races_with_giving_up() {
    loom::model(|| {
        let world = World::new(2);
        let seat = Arc::new(Seat::new(Record::default()));
        let worker = {
            let (world, seat) = (Arc::clone(&world), Arc::clone(&seat));
            thread::spawn(move || world.work(&seat))
        };
        world.watch(&seat);
        let given_up = worker.join().unwrap();
        assert_eq!(given_up, seat.is_given_up());
        let elsewhere = Seat::new(Record::default());
        assert!(!world.work(&elsewhere));
        world.check();
        add_up(&[&seat, &elsewhere]);
    });
}

/// Two sessions side by side while the watch gives up whatever it finds inside.
#[test]
fn two_sessions_and_the_watch() {
    loom::model(|| {
        let world = World::new(2);
        let seats = [(); 2].map(|()| Arc::new(Seat::new(Record::default())));
        let workers = seats.clone().map(|seat| {
            let world = Arc::clone(&world);
            thread::spawn(move || world.work(&seat))
        });
        for seat in &seats {
            world.watch(seat);
        }
        for worker in workers {
            worker.join().unwrap();
        }
        let elsewhere = Seat::new(Record::default());
        assert!(!world.work(&elsewhere));
        world.check();
        add_up(&[&seats[0], &seats[1], &elsewhere]);
    });
}

/// A call that is not over the limit is left alone, and one is given up once.
#[test]
fn two_watches_give_a_call_up_once() {
    loom::model(|| {
        let world = World::new(1);
        let seat = Arc::new(Seat::new(Record::default()));
        let job = world.take().unwrap();
        seat.enter(Some(job), 5, |record| record.attempts += 1);
        assert!(seat.give_up(5, |_| ()).is_none(), "it began at the limit");
        let other = {
            let (world, seat) = (Arc::clone(&world), Arc::clone(&seat));
            thread::spawn(move || {
                if let Some(job) = seat.give_up(6, |record| record.given_up += 1) {
                    world.answer(job.unwrap());
                }
            })
        };
        if let Some(job) = seat.give_up(6, |record| record.given_up += 1) {
            world.answer(job.unwrap());
        }
        other.join().unwrap();
        assert!(matches!(seat.leave(|_| ()), Err(GivenUp)));
        world.check();
        add_up(&[&seat]);
    });
}

/// A session's thread that unwinds takes its job off the seat, or finds that it was given up: then it
/// counts itself out of those that hang, and somebody else has the job.
#[test]
fn a_panic_races_with_giving_up() {
    loom::model(|| {
        let world = World::new(1);
        let inside = Arc::new(Mutex::new(0_isize));
        let seat = Arc::new(Seat::new(Record::default()));
        let worker = {
            let (world, seat, inside) =
                (Arc::clone(&world), Arc::clone(&seat), Arc::clone(&inside));
            thread::spawn(move || {
                let job = world.take().unwrap();
                seat.enter(Some(job), 0, |record| record.attempts += 1);
                // Here it panics in the call.
                match seat.leave(|record| record.given_up += 1) {
                    Ok(job) => world.queue.lock().unwrap().extend(job),
                    Err(GivenUp) => *inside.lock().unwrap() -= 1,
                }
            })
        };
        {
            // As the watch does, so that who returns right now is counted out after he was counted in.
            let mut inside = inside.lock().unwrap();
            if let Some(job) = seat.give_up(1, |record| record.given_up += 1) {
                *inside += 1;
                world.queue.lock().unwrap().extend(job);
            }
        }
        worker.join().unwrap();
        assert_eq!(*inside.lock().unwrap(), 0);
        let elsewhere = Seat::new(Record::default());
        assert!(!world.work(&elsewhere));
        world.check();
        add_up(&[&seat, &elsewhere]);
    });
}
