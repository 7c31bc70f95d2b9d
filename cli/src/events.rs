//! What happens to the tokens while requests are issued, a line each on standard error.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use birthmark_hsm::{PoolEvent, PoolEventKind, PoolObserver, TokenState};

/// Lines that may wait for standard error. The pool never waits for it: what comes while so many wait is
/// left out.
const LINES_MAX: usize = 256;

/// Writes the events that a person should know of.
pub(crate) struct TokenEvents {
    lines: SyncSender<String>,
}

impl TokenEvents {
    /// Starts the thread that writes. It ends with the last holder of the observer.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(crate) fn start() -> io::Result<Arc<TokenEvents>> {
        let (sender, lines) = sync_channel::<String>(LINES_MAX);
        thread::Builder::new()
            .name("token-events".to_owned())
            .spawn(move || {
                for line in lines {
                    // That it cannot be written is no reason to stop.
                    let _ = writeln!(io::stderr().lock(), "{line}");
                }
            })?;
        Ok(Arc::new(TokenEvents { lines: sender }))
    }
}

impl PoolObserver for TokenEvents {
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
