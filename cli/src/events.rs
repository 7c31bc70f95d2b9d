//! What happens to the tokens and in the engine while requests are issued, a line each on standard error.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use birthmark_engine::{EngineEvent, EngineObserver};
use birthmark_hsm::{PoolEvent, PoolEventKind, PoolObserver, TokenState};

/// Lines that may wait for standard error. The pool never waits for it: what comes while so many wait is
/// left out.
const LINES_MAX: usize = 256;

/// Hears of the events that a person should know of.
pub(crate) struct Events {
    lines: SyncSender<String>,
}

/// The lines that wait to be written.
pub(crate) struct EventLines(Receiver<String>);

impl Events {
    /// An observer, and the lines that it makes.
    pub(crate) fn new() -> (Events, EventLines) {
        let (sender, lines) = sync_channel(LINES_MAX);
        (Events { lines: sender }, EventLines(lines))
    }
}

impl EventLines {
    /// Writes them from now on, on a thread that ends with the observer. Not before the engine is open: what
    /// keeps it from opening is told as the error.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn write(self) -> io::Result<()> {
        let thread = thread::Builder::new().name("events".to_owned());
        thread.spawn(move || {
            for line in self.0 {
                // That it cannot be written is no reason to stop.
                let _ = writeln!(io::stderr().lock(), "{line}");
            }
        })?;
        Ok(())
    }
}

impl PoolObserver for Events {
    fn event(&self, event: &PoolEvent) {
        // That a token was opened at the start is what everybody expects.
        if let PoolEventKind::State(change) = &event.kind
            && (change.from, change.to) == (TokenState::Opening, TokenState::Up)
        {
            return;
        }
        let _ = self.lines.try_send(event.to_string());
    }
}

impl EngineObserver for Events {
    fn event(&self, event: &EngineEvent) {
        let _ = self.lines.try_send(event.to_string());
    }
}
