//! The network in front of an HSM: a socket that delays, stalls and breaks.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

/// Parts of answers on their way through the network. What comes faster waits before it.
const ON_THE_WAY_MAX: usize = 64;

/// Passes what a client and a server say to each other on, what the server says late.
///
/// It knows nothing of what passes. A call is late once, and calls that are under way together are not late
/// one after the other: this is a long line, not a slow one.
pub(crate) struct Proxy(Arc<Shared>);

struct Shared {
    server: PathBuf,
    line: Mutex<Line>,
    changed: Condvar,
}

#[derive(Default)]
struct Line {
    delay: Duration,
    /// Answers are held back.
    stalled: bool,
    /// Both ends of every connection since the last cut.
    open: Vec<UnixStream>,
}

impl Proxy {
    /// Listens at `socket` and passes on to `server`. Its threads end with the process.
    pub(crate) fn start(socket: &Path, server: &Path) -> Proxy {
        let listener = UnixListener::bind(socket).unwrap();
        let shared = Arc::new(Shared {
            server: server.to_owned(),
            line: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming() {
                // Where there is no server the client's connection ends here.
                if let Ok(server) = UnixStream::connect(&accepting.server) {
                    connect(&accepting, client.unwrap(), server);
                }
            }
        });
        Proxy(shared)
    }

    /// Every answer comes so much later from now on.
    pub(crate) fn delay(&self, delay: Duration) {
        self.0.line().delay = delay;
    }

    /// Answers are held back from now on, or come again.
    pub(crate) fn stall(&self, stalled: bool) {
        self.0.line().stalled = stalled;
        self.0.changed.notify_all();
    }

    /// Ends every connection. New ones are taken.
    pub(crate) fn cut(&self) {
        for stream in self.0.line().open.drain(..) {
            // The other end may have gone first.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Shared {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap()
    }

    /// Waits until what the server said then may arrive.
    fn wait(&self, said: Instant) {
        let mut line = self.line();
        loop {
            let wait = line.delay.saturating_sub(said.elapsed());
            line = if line.stalled {
                self.changed.wait(line).unwrap()
            } else if !wait.is_zero() {
                self.changed.wait_timeout(line, wait).unwrap().0
            } else {
                return;
            };
        }
    }
}

fn connect(shared: &Arc<Shared>, client: UnixStream, server: UnixStream) {
    let again = |stream: &UnixStream| stream.try_clone().unwrap();
    shared.line().open.extend([again(&client), again(&server)]);
    let (mut asked, mut asks) = (again(&server), again(&client));
    thread::spawn(move || {
        read_all(&mut asks, |part| asked.write_all(part).is_ok());
        close([&asks, &asked]);
    });
    let (say, said) = sync_channel::<(Instant, Vec<u8>)>(ON_THE_WAY_MAX);
    let (mut tells, shared) = (server, Arc::clone(shared));
    thread::spawn(move || {
        read_all(&mut tells, |part| {
            say.send((Instant::now(), part.to_vec())).is_ok()
        });
    });
    let mut hears = client;
    thread::spawn(move || {
        for (at, part) in said {
            shared.wait(at);
            if hears.write_all(&part).is_err() {
                break;
            }
        }
        close([&hears]);
    });
}

/// Hands on what is read, until the connection ends or nobody wants more.
fn read_all(from: &mut UnixStream, mut take: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        if !take(&buffer[..len]) {
            break;
        }
    }
}

fn close<const N: usize>(streams: [&UnixStream; N]) {
    for stream in streams {
        // It may be closed already.
        let _ = stream.shutdown(Shutdown::Both);
    }
}
