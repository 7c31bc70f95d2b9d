//! A process of a test's own, in which p11-kit's client finds the test's HSM.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use birthmark_hsm::{
    Pkcs11Options, Pkcs11Uri, PoolOptions, SigningPool, initialize_token, softhsm,
};

use crate::key::EcKey;
use crate::own_process;
use crate::proxy::Proxy;
use crate::test_token;
use crate::world::{Events, WATCHDOG};

/// The token beside the network, and the one behind it.
pub(crate) const LOCAL: usize = 0;
pub(crate) const REMOTE: usize = 1;
const LABELS: [&str; 2] = ["local", "remote"];

const PIN: &str = "the user's PIN";

/// How long a server without a connection lives on: it ends also when its test was killed.
const SERVER_IDLE_S: &str = "30";

/// A token behind p11-kit's server, a network, and p11-kit's client; and one of this process.
pub(crate) struct Scene {
    directory: PathBuf,
    server: Option<Child>,
    pub(crate) proxy: Proxy,
    pub(crate) client: PathBuf,
    pub(crate) events: Arc<Events>,
}

impl Scene {
    /// Runs the test of this name in a process of its own, and returns `None` once it has passed there; in that
    /// process, what it plays with.
    ///
    /// p11-kit's client learns where its server is from the environment, once per process.
    pub(crate) fn enter(test: &str) -> Option<Scene> {
        let directory = own_process::enter(test, |directory| {
            let address = format!("unix:path={}", directory.join("hsm").display());
            let softhsm = softhsm::configure(directory).unwrap();
            vec![
                ("P11_KIT_SERVER_ADDRESS", address.into()),
                (softhsm::CONFIGURATION_VARIABLE, softhsm.into()),
            ]
        });
        directory.as_deref().map(Scene::set)
    }

    fn set(directory: &Path) -> Scene {
        for label in LABELS {
            initialize_token(&test_token::module(), label, "the officer's PIN", PIN).unwrap();
        }
        fs::write(directory.join("pin"), PIN).unwrap();
        let mut scene = Scene {
            proxy: Proxy::start(&directory.join("hsm"), &directory.join("server")),
            directory: directory.to_owned(),
            server: None,
            client: programs().1,
            events: Arc::default(),
        };
        scene.start_server();
        scene
    }

    /// The HSM is there, and listens.
    pub(crate) fn start_server(&mut self) {
        let (program, socket) = (programs().0, self.directory.join("server"));
        let child = Command::new(&program)
            .args(["--foreground", "--timeout", SERVER_IDLE_S, "--name"])
            .arg(&socket)
            .arg("--provider")
            .arg(test_token::module())
            .arg(format!("pkcs11:token={}", LABELS[REMOTE]))
            // Where its other program is.
            .env("P11_KIT_PRIVATEDIR", program.parent().unwrap())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        self.server = Some(child);
        let started = Instant::now();
        while !listens(&socket) {
            assert!(started.elapsed() < WATCHDOG, "the server does not listen");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// The HSM is gone at once, with its connections.
    pub(crate) fn kill_server(&mut self) {
        if let Some(mut server) = self.server.take() {
            // It may have ended by itself, and removed its socket.
            let _ = server.kill();
            server.wait().unwrap();
            let _ = fs::remove_file(self.directory.join("server"));
        }
        // It had a process for each connection, which ends with it.
        self.proxy.cut();
    }

    /// A key of one of the tokens.
    pub(crate) fn uri(&self, token: usize, object: &str) -> Pkcs11Uri {
        let module = match token {
            LOCAL => test_token::module(),
            _ => self.client.clone(),
        };
        let pin = self.directory.join("pin");
        Pkcs11Uri::new(&module, LABELS[token], object, Some(&pin))
    }

    /// Puts one key on both tokens, and opens a pool over them.
    pub(crate) fn open(&self, options: PoolOptions) -> Arc<SigningPool> {
        let key = EcKey::generate();
        for label in LABELS {
            key.import(&test_token::module(), label, PIN, "k");
        }
        let uris = [LOCAL, REMOTE].map(|token| self.uri(token, "k"));
        Arc::new(SigningPool::pkcs11_tokens(&uris, options).unwrap())
    }

    /// One session per token, probes without delay.
    ///
    /// With several, a call that shares the connection of p11-kit 0.24 with another hangs now and then when
    /// the connection breaks within an answer: that answer's thread goes, and the other waits for it to be
    /// read (`rpc_socket_read` in `rpc-transport.c`). The pool gives such a call up, but cannot connect anew
    /// while it is inside.
    pub(crate) fn options(&self) -> PoolOptions {
        PoolOptions {
            tokens: Pkcs11Options {
                sessions: Some(1),
                ..Pkcs11Options::default()
            },
            probe_interval_max: Duration::from_millis(20),
            wait_limit: WATCHDOG,
            observer: Some(Arc::clone(&self.events) as _),
            ..PoolOptions::default()
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        self.kill_server();
    }
}

/// Whether the server takes connections; this one it takes for a client that went away.
fn listens(socket: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(socket).is_ok()
}

/// The server and the client's module, brought where they are not installed.
fn programs() -> (PathBuf, PathBuf) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tokens/p11-kit.sh");
    let output = Command::new(script).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "there is no p11-kit: {told}");
    let paths = String::from_utf8(output.stdout).unwrap();
    let (server, client) = paths.trim().split_once('\n').unwrap();
    (server.into(), client.into())
}
