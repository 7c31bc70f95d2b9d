//! Signatures that do not verify: the caller finds them out, the pool learns whose they are.

use std::sync::{Arc, mpsc};

use birthmark_hsm::{
    KeyAlgorithm, NotSignedAgain, SignCompletion, SignError, SignJob, Signature, SigningPool,
    SoftwareKey, TokenState,
};

use crate::test_token::verifies;
use crate::world::{WATCHDOG, World, assert_adds_up, states, wait_for, wait_for_state};

const UP: TokenState = TokenState::Up;
const OUT: TokenState = TokenState::WrongSignatures;

/// Every signature of the token is wrong from now on.
const ALL_WRONG: &str = "fault = { function = 'C_Sign', every = 1, signature = 'wrong' }";

type Answer = (u64, Result<Signature, SignError>);

struct Answers(mpsc::Sender<Answer>);

impl SignCompletion for Answers {
    fn signed(&self, ticket: u64, outcome: Result<Signature, SignError>) {
        let _ = self.0.send((ticket, outcome));
    }
}

/// A caller that checks what it gets, as the engine does.
struct Caller<'a> {
    pool: &'a SigningPool,
    completion: Arc<dyn SignCompletion>,
    answers: mpsc::Receiver<Answer>,
}

impl<'a> Caller<'a> {
    fn new(pool: &'a SigningPool) -> Caller<'a> {
        let (sender, answers) = mpsc::channel();
        Caller {
            pool,
            completion: Arc::new(Answers(sender)),
            answers,
        }
    }

    fn job(&self, ticket: u64) -> SignJob {
        SignJob {
            ticket,
            input: self.pool.input_for(&ticket.to_be_bytes()),
            completion: Arc::clone(&self.completion),
        }
    }

    fn answer(&self) -> Answer {
        self.answers.recv_timeout(WATCHDOG).expect("an answer")
    }

    fn is_right(&self, ticket: u64, signature: &Signature) -> bool {
        verifies(self.pool.public_key(), &ticket.to_be_bytes(), signature)
    }

    /// Submits so many jobs, and rejects what does not verify until nothing is left.
    fn run(&self, jobs: u64) -> Vec<Result<(), SignError>> {
        for ticket in 0..jobs {
            self.pool.submit(self.job(ticket));
        }
        let mut ended = Vec::new();
        while (ended.len() as u64) < jobs {
            let (ticket, outcome) = self.answer();
            match outcome {
                Err(error) => ended.push(Err(error)),
                Ok(signature) if self.is_right(ticket, &signature) => {
                    self.pool.accept(&signature);
                    ended.push(Ok(()));
                }
                Ok(signature) => self.pool.reject(signature, self.job(ticket)).unwrap(),
            }
        }
        ended
    }

    fn run_ok(&self, jobs: u64) {
        assert!(self.run(jobs).iter().all(Result::is_ok));
    }
}

#[test]
fn a_token_with_wrong_signatures_goes_out_and_returns_once_a_test_signature_verifies() {
    let world = World::two();
    let pool = world.open();
    let caller = Caller::new(&pool);
    caller.run_ok(50);
    world.command(0, ALL_WRONG);
    wait_for(&pool, "the first is out", || {
        caller.run_ok(20);
        pool.tokens()[0].state == OUT
    });
    let tokens = pool.tokens();
    assert_adds_up(&tokens);
    let wrong = tokens[0].wrong_signatures;
    assert!(wrong >= 3, "{tokens:#?}");
    assert_eq!((tokens[0].retries, tokens[0].failed), (wrong, 0));
    assert_eq!(pool.metrics().wrong_signatures, wrong);
    assert!(tokens[0].why.contains("'a'"), "{tokens:#?}");
    // It is asked, and stays out while it answers wrongly. No job comes near it.
    wait_for(&pool, "test signatures", || pool.tokens()[0].tests >= 2);
    caller.run_ok(20);
    let told = &pool.tokens()[0];
    assert_eq!((told.state, told.attempts), (OUT, tokens[0].attempts));
    world.command(0, "clear-faults");
    wait_for_state(&pool, 0, UP);
    wait_for(&pool, "it signs again", || {
        caller.run_ok(20);
        pool.tokens()[0].signatures > tokens[0].signatures
    });
    let tokens = pool.tokens();
    assert_eq!(states(&tokens[0]), [UP, OUT, UP]);
    assert_eq!(states(&tokens[1]), [UP]);
    assert_adds_up(&tokens);
    let asked = world.report(0).calls("C_SignInit");
    assert_eq!(asked, tokens[0].attempts + tokens[0].tests);
    let lines = world.events.lines();
    let wrong_ones = lines.iter().filter(|line| line.contains("does not verify"));
    assert_eq!(wrong_ones.count() as u64, wrong, "{lines:#?}");
}

/// The key is another one behind the same handle. The comparison has the first word.
#[test]
fn another_key_is_found_by_its_signatures() {
    let world = World::two();
    let pool = world.open();
    let caller = Caller::new(&pool);
    world.command(0, "key = 'wrong'");
    wait_for(&pool, "it is looked at", || {
        caller.run_ok(20);
        pool.tokens()[0].state == TokenState::WrongKey
    });
    let told = &pool.tokens()[0];
    assert_eq!(states(told), [UP, OUT, TokenState::WrongKey]);
    assert_eq!(told.tests, 0, "the comparison was enough");
    // That it is under suspicion is not forgotten over that.
    world.command(0, "key = 'right'");
    wait_for_state(&pool, 0, UP);
    assert_eq!(pool.tokens()[0].tests, 1);
    caller.run_ok(20);
}

/// A token that goes down while it is suspected has to show a signature all the same.
#[test]
fn a_suspected_token_that_was_removed_is_tested_too() {
    let world = World::two();
    let pool = world.open();
    let caller = Caller::new(&pool);
    world.command(0, ALL_WRONG);
    wait_for(&pool, "it is out", || {
        caller.run_ok(20);
        pool.tokens()[0].state == OUT
    });
    world.command(0, "remove");
    wait_for_state(&pool, 0, TokenState::Down);
    let tests = pool.tokens()[0].tests;
    world.command(0, "return");
    wait_for_state(&pool, 0, OUT);
    assert!(pool.tokens()[0].tests > tests);
    world.command(0, "clear-faults");
    wait_for_state(&pool, 0, UP);
    caller.run_ok(20);
}

#[test]
fn a_wrong_signature_now_and_then_costs_a_retry_and_no_token() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.tokens.sessions = Some(1);
    let pool = world.try_open(options).unwrap();
    let caller = Caller::new(&pool);
    world.command(
        0,
        "fault = { function = 'C_Sign', every = 2, signature = 'wrong' }",
    );
    for _ in 0..20 {
        // One at a time: each second call is wrong, and the next right.
        caller.run_ok(1);
    }
    let told = &pool.tokens()[0];
    assert_eq!((told.signatures, states(told)), (20, vec![UP]));
    assert_eq!((told.attempts, told.wrong_signatures), (39, 19));
    assert_adds_up(&pool.tokens());
}

#[test]
fn with_no_other_token_jobs_are_told_at_once() {
    let world = World::new([("a", "")]);
    let mut options = world.options();
    options.probe_interval_max = WATCHDOG;
    let pool = world.try_open(options).unwrap();
    let caller = Caller::new(&pool);
    world.command(0, ALL_WRONG);
    for outcome in caller.run(10) {
        let error = outcome.unwrap_err();
        assert!(matches!(error, SignError::WrongSignature { .. }), "{error}");
    }
    let told = &pool.tokens()[0];
    assert_eq!((told.state, told.signatures), (OUT, 0));
    assert_eq!((told.retries, told.failed), (told.wrong_signatures, 0));
    assert_adds_up(&pool.tokens());
}

#[test]
fn a_job_has_so_many_attempts_and_no_more() {
    let world = World::new([("a", "")]);
    let pool = world.open();
    let caller = Caller::new(&pool);
    pool.submit(caller.job(0));
    let right = caller.answer().1.unwrap();
    world.command(0, ALL_WRONG);
    pool.submit(caller.job(1));
    let mut rejected = 0;
    let last = loop {
        let (ticket, outcome) = caller.answer();
        // As if others were signed rightly all the time: the token stays.
        pool.accept(&right);
        rejected += 1;
        if let Err(why) = pool.reject(outcome.unwrap(), caller.job(ticket)) {
            break why;
        }
    };
    // Four, and three for the token.
    assert_eq!(last, NotSignedAgain::AttemptsUsedUp { attempts: 7 });
    assert_eq!(rejected, 7);
    let told = &pool.tokens()[0];
    assert_eq!((told.retries, told.failed, told.signatures), (6, 1, 1));
    assert_eq!(states(told), [UP]);
    assert_adds_up(&pool.tokens());
}

/// Whoever checked against something else must not cost a token.
#[test]
fn a_right_signature_is_not_rejected() {
    let world = World::two();
    let pool = world.open();
    let caller = Caller::new(&pool);
    for ticket in 0..10 {
        pool.submit(caller.job(ticket));
        let (ticket, outcome) = caller.answer();
        let refused = pool.reject(outcome.unwrap(), caller.job(ticket));
        assert_eq!(refused, Err(NotSignedAgain::Verifies));
    }
    assert_eq!(pool.metrics().wrong_signatures, 0);
    for token in pool.tokens() {
        assert_eq!((states(&token), token.wrong_signatures), (vec![UP], 0));
    }
}

#[test]
fn a_software_key_does_not_sign_again() {
    let pool = SigningPool::software(SoftwareKey::generate(KeyAlgorithm::EcP256).unwrap());
    let caller = Caller::new(&pool);
    pool.submit(caller.job(1));
    let signature = caller.answer().1.unwrap();
    let right = pool.reject(signature.clone(), caller.job(1));
    assert_eq!(right, Err(NotSignedAgain::Verifies));
    let wrong = pool.reject(signature, caller.job(2));
    assert_eq!(wrong, Err(NotSignedAgain::NoToken));
    let metrics = pool.metrics();
    assert_eq!((metrics.signatures, metrics.wrong_signatures), (1, 1));
    assert!(caller.answers.try_recv().is_err());
}
