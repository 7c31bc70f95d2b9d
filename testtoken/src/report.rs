//! What happened so far: counted while it happens, reported as JSON.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::function::Function;
use crate::lock;
use crate::pace::PaceReport;
use crate::schedule::{Effect, Extent, WrongSignature};
use crate::state::Memory;

/// Counts since the module was loaded, over every C_Initialize.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The token's label; empty before the first C_Initialize.
    pub label: String,
    /// Between C_Initialize and C_Finalize.
    pub initialized: bool,
    /// The token is in its slot.
    pub present: bool,
    /// Calls by function, those that failed included. Functions without a call are left out.
    pub calls: BTreeMap<String, u64>,
    /// Signatures handed out, wrong ones included.
    pub signatures: u64,
    /// How slow the token was.
    pub pace: PaceReport,
    /// Sessions open now.
    pub sessions_open: u64,
    /// Most sessions open at a time.
    pub sessions_most: u64,
    /// Calls of C_Login that were neither disturbed by a fault nor made by one who was logged in.
    pub logins: u64,
    /// Of these, the refused ones: wrong PIN, or PIN locked.
    pub logins_refused: u64,
    /// Calls that are hung now.
    pub hung: u64,
    /// Calls that ever hung.
    pub hangs: u64,
    /// Faults injected: by the code's name, or by `hang`, `sessions-lost`, `login-lost`,
    /// `handles-lost`, `removal`, `signature-wrong`, `signature-short`, `signature-long`,
    /// `extractable`.
    pub faults: BTreeMap<String, u64>,
    /// What the token remembers without power.
    pub memory: Memory,
    /// The last thing that was wrong with a configuration or a command.
    pub error: Option<String>,
}

impl Report {
    /// How often a function was called.
    pub fn calls(&self, function: &str) -> u64 {
        self.calls.get(function).copied().unwrap_or(0)
    }

    /// How often a fault was injected.
    pub fn faults(&self, name: &str) -> u64 {
        self.faults.get(name).copied().unwrap_or(0)
    }
}

/// The counters behind the report.
#[derive(Debug)]
pub(crate) struct Counters {
    calls: [AtomicU64; Function::ALL.len()],
    faults: Mutex<BTreeMap<String, u64>>,
    pub(crate) signatures: AtomicU64,
    pub(crate) sessions_most: AtomicU64,
    pub(crate) logins: AtomicU64,
    pub(crate) logins_refused: AtomicU64,
}

impl Default for Counters {
    fn default() -> Counters {
        Counters {
            calls: [const { AtomicU64::new(0) }; Function::ALL.len()],
            faults: Mutex::default(),
            signatures: AtomicU64::new(0),
            sessions_most: AtomicU64::new(0),
            logins: AtomicU64::new(0),
            logins_refused: AtomicU64::new(0),
        }
    }
}

impl Counters {
    pub(crate) fn call(&self, function: Function) {
        add(&self.calls[function.index()]);
    }

    /// Counts everything that an effect does.
    pub(crate) fn fault(&self, effect: &Effect) {
        let mut faults = lock(&self.faults);
        let mut count = |name: String| *faults.entry(name).or_default() += 1;
        if let Some(code) = effect.code {
            count(code.to_string());
        }
        let signature = effect.signature.map(|wrong| match wrong {
            WrongSignature::Wrong => "signature-wrong",
            WrongSignature::Short => "signature-short",
            WrongSignature::Long => "signature-long",
        });
        let sessions = effect.sessions.map(|extent| match extent {
            Extent::Lose | Extent::LoseAll => "sessions-lost",
        });
        let named = [
            signature,
            sessions,
            effect.hang.map(|_| "hang"),
            effect.logout.then_some("login-lost"),
            effect.handles.then_some("handles-lost"),
            effect.removal.then_some("removal"),
            effect.extractable.then_some("extractable"),
        ];
        for name in named.into_iter().flatten() {
            count(name.to_owned());
        }
    }

    /// Puts the counts into a report.
    pub(crate) fn fill(&self, report: &mut Report) {
        let called = Function::ALL
            .into_iter()
            .map(|function| (function, get(&self.calls[function.index()])))
            .filter(|(_, count)| *count > 0);
        report.calls = called
            .map(|(function, count)| (function.name().to_owned(), count))
            .collect();
        report.faults = lock(&self.faults).clone();
        report.signatures = get(&self.signatures);
        report.sessions_most = get(&self.sessions_most);
        report.logins = get(&self.logins);
        report.logins_refused = get(&self.logins_refused);
    }
}

pub(crate) fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
