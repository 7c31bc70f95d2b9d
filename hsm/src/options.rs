//! How a pool over tokens behaves: limits, and who hears of changes.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::event::PoolObserver;
use crate::pkcs11::Pkcs11Options;

/// Most tokens of one pool. The largest clusters that vendors support hold 16 to 32 HSMs, and show
/// those of one kind as one token.
pub const TOKENS_MAX: usize = 16;

/// How a signing pool over one or several tokens behaves.
#[derive(Clone)]
pub struct PoolOptions {
    /// How the key is used on each token. `sessions` counts per token.
    pub tokens: Pkcs11Options,
    /// Find the number of sessions of each token while it works: more while that raises its rate,
    /// fewer when it refuses more, 1 to [`SESSIONS_MAX`](crate::SESSIONS_MAX).
    /// `tokens.sessions` is where it begins.
    pub adaptive: bool,
    /// How long one call may last before it is given up and its job signed elsewhere. At least
    /// 10 ms. Default: 10 s, several times what the slowest HSM takes for RSA-4096.
    pub call_limit: Duration,
    /// How long jobs wait while every token is down. Default: 30 s, within which a network or a
    /// proxy is usually back.
    pub wait_limit: Duration,
    /// Longest time between two probes of a token that is down. Default: 300 s.
    pub probe_interval_max: Duration,
    /// How long a session may be idle before a call keeps it alive. Default: 20 s; `YubiHSM` drops
    /// sessions after 30 s.
    pub keep_alive: Duration,
    /// Most calls of one token that may hang, given up, at a time; `None` for as many as the token
    /// has sessions.
    pub abandoned_max: Option<usize>,
    /// Where the marks of a refused PIN and of a login under way are kept, so that no later process
    /// sends the PIN again. No PIN is sent while this directory cannot be written. `None` keeps a
    /// refusal in this process alone, until it ends.
    pub state_directory: Option<PathBuf>,
    /// Who hears of changes.
    pub observer: Option<Arc<dyn PoolObserver>>,
}

impl Default for PoolOptions {
    fn default() -> PoolOptions {
        PoolOptions {
            tokens: Pkcs11Options::default(),
            adaptive: false,
            call_limit: Duration::from_secs(10),
            wait_limit: Duration::from_secs(30),
            probe_interval_max: Duration::from_secs(300),
            keep_alive: Duration::from_secs(20),
            abandoned_max: None,
            state_directory: None,
            observer: None,
        }
    }
}

impl From<Pkcs11Options> for PoolOptions {
    fn from(tokens: Pkcs11Options) -> PoolOptions {
        PoolOptions {
            tokens,
            ..PoolOptions::default()
        }
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolOptions")
            .field("tokens", &self.tokens)
            .field("adaptive", &self.adaptive)
            .field("call_limit", &self.call_limit)
            .field("wait_limit", &self.wait_limit)
            .field("probe_interval_max", &self.probe_interval_max)
            .field("keep_alive", &self.keep_alive)
            .field("abandoned_max", &self.abandoned_max)
            .field("state_directory", &self.state_directory)
            .field("observer", &self.observer.is_some())
            .finish()
    }
}
