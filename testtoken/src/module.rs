//! The module as it is loaded: what holds over every C_Initialize, and the way of each call.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::backend::Backend;
use crate::call::Call;
use crate::code::{Code, Outcome};
use crate::command::{Command, ControlFile, Settings};
use crate::configuration::{Configuration, KeyChoice, Mode};
use crate::ffi::RealModule;
use crate::function::Function;
use crate::hangs::Hangs;
use crate::pace::{LatencySetting, Pace};
use crate::report::{Counters, Report};
use crate::schedule::{Effect, Extent, Schedule};
use crate::state::Remembered;
use crate::token::Token;
use crate::{lock, read, write};

/// Environment variable that names the configuration where none lies beside the module.
pub const CONFIGURATION_VARIABLE: &str = "BIRTHMARK_TEST_TOKEN";

/// One loaded copy of the module.
#[derive(Default)]
pub(crate) struct Module {
    schedule: Schedule,
    pace: Pace,
    pub(crate) remembered: Remembered,
    hangs: Hangs,
    control_file: ControlFile,
    pub(crate) counters: Counters,
    /// Set by command, in place of what the configuration says.
    overrides: Mutex<Overrides>,
    /// Taken away by command or by a fault, and not brought back.
    away: AtomicBool,
    departures: AtomicU64,
    running: RwLock<Option<Arc<Running>>>,
    /// Held by C_Initialize and C_Finalize.
    lifecycle: Mutex<()>,
    label: Mutex<String>,
    error: Mutex<Option<String>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Overrides {
    latency: Option<LatencySetting>,
    rate_cap: Option<f64>,
    key: Option<KeyChoice>,
}

/// From a C_Initialize to its C_Finalize.
pub(crate) struct Running {
    configuration: Configuration,
    backend: Backend,
    started: Instant,
    finalized: AtomicBool,
    /// The departures of the token that cost it its sessions already. Changed under the lock.
    departures: AtomicU64,
    departing: Mutex<()>,
}

/// What a function needs to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Neither token nor session.
    Anything,
    Token,
    Session(CK_SESSION_HANDLE),
}

impl Module {
    /// The way of every call but C_Initialize and C_Finalize.
    pub(crate) fn run(
        &self,
        function: Function,
        target: Target,
        perform: impl FnOnce(&Call<'_>) -> Outcome<()>,
    ) -> Outcome<()> {
        self.counters.call(function);
        let running = read(&self.running).clone();
        let running = running.ok_or(Code(CKR_CRYPTOKI_NOT_INITIALIZED))?;
        self.obey_control_file(&running);
        let effect = self.admit(function, target, &running)?;
        let performed = perform(&Call {
            module: self,
            running: &running,
            effect,
        });
        effect.answer(performed)
    }

    /// Reads the configuration and starts the token. `own_path` is the module's own file.
    pub(crate) fn initialize(
        &self,
        own_path: Option<&Path>,
        initialize_real: impl FnOnce(&RealModule) -> Outcome<()>,
    ) -> Outcome<()> {
        self.counters.call(Function::C_Initialize);
        let _lifecycle = lock(&self.lifecycle);
        if read(&self.running).is_some() {
            return Err(Code(CKR_CRYPTOKI_ALREADY_INITIALIZED));
        }
        let running = self.start(own_path).map_err(|error| {
            *lock(&self.error) = Some(error);
            Code(CKR_GENERAL_ERROR)
        })?;
        let effect = self
            .schedule
            .decide(Function::C_Initialize, || Duration::ZERO)
            .unwrap_or_default();
        self.apply(effect, Target::Anything, &running)?;
        if let Backend::Forward(real) = &running.backend {
            initialize_real(real)?;
        }
        *write(&self.running) = Some(Arc::new(running));
        effect.answer(Ok(()))
    }

    /// Stops the token and writes the report file.
    pub(crate) fn finalize(
        &self,
        finalize_real: impl FnOnce(&RealModule) -> Outcome<()>,
    ) -> Outcome<()> {
        self.counters.call(Function::C_Finalize);
        let _lifecycle = lock(&self.lifecycle);
        let running = read(&self.running).clone();
        let running = running.ok_or(Code(CKR_CRYPTOKI_NOT_INITIALIZED))?;
        let effect = self
            .schedule
            .decide(Function::C_Finalize, || running.elapsed())
            .unwrap_or_default();
        self.apply(effect, Target::Anything, &running)?;
        *write(&self.running) = None;
        running.finalized.store(true, Ordering::Release);
        let ended = match &running.backend {
            Backend::Own(token) => {
                token.lose_sessions();
                Ok(())
            }
            Backend::Forward(real) => finalize_real(real),
        };
        self.write_report(&running.configuration);
        effect.answer(ended)
    }

    /// Does what a command says.
    ///
    /// # Errors
    /// What is wrong with it, for a person; the report holds it too.
    pub(crate) fn command(&self, line: &str) -> Result<(), String> {
        let done = Command::parse(line).and_then(|command| self.obey(command));
        if let Err(error) = &done {
            *lock(&self.error) = Some(error.clone());
        }
        done
    }

    /// What happened so far.
    pub(crate) fn report(&self) -> Report {
        let running = read(&self.running).clone();
        if let Some(running) = &running {
            self.settle(running);
        }
        let mut report = Report {
            label: lock(&self.label).clone(),
            initialized: running.is_some(),
            present: match &running {
                Some(running) => self.is_present(running),
                None => !self.away.load(Ordering::Acquire),
            },
            pace: self.pace.report(),
            sessions_open: running.map_or(0, |running| running.backend.sessions().0),
            memory: self.remembered.read().unwrap_or_default(),
            error: lock(&self.error).clone(),
            ..Report::default()
        };
        (report.hung, report.hangs) = self.hangs.counts();
        self.counters.fill(&mut report);
        report
    }

    fn start(&self, own_path: Option<&Path>) -> Result<Running, String> {
        let path = configuration_path(own_path).ok_or_else(|| {
            format!(
                "there is no configuration: put it beside the module, under the module's name and \
                 .toml, or name it in {CONFIGURATION_VARIABLE}"
            )
        })?;
        let mut configuration =
            Configuration::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let overrides = *lock(&self.overrides);
        self.pace.seed(configuration.seed);
        self.pace
            .set_latency(overrides.latency.unwrap_or(configuration.latency))?;
        self.pace
            .set_rate_cap(overrides.rate_cap.unwrap_or(configuration.rate_cap))?;
        self.remembered
            .use_file(configuration.state_file.as_deref());
        self.remembered
            .read()
            .map_err(|error| format!("cannot use the state file: {error}"))?;
        let choice = overrides.key.unwrap_or(configuration.keys.choice);
        let backend = match (
            configuration.mode,
            &configuration.module,
            &configuration.pin,
        ) {
            (Mode::Forward, Some(module), _) => {
                let init_string = configuration.init_string.clone();
                Backend::Forward(RealModule::load(module, init_string)?)
            }
            (_, _, Some(pin)) => {
                let token = Token::start(&configuration, pin.clone(), choice);
                Backend::Own(token.map_err(|error| error.to_string())?)
            }
            _ => return Err("the configuration names neither PIN nor module".to_owned()),
        };
        let faults = std::mem::take(&mut configuration.faults);
        self.schedule.configure(faults, configuration.seed);
        self.control_file.rewind();
        lock(&self.label).clone_from(&configuration.label);
        *lock(&self.error) = None;
        Ok(Running {
            configuration,
            backend,
            started: Instant::now(),
            finalized: AtomicBool::new(false),
            departures: AtomicU64::new(self.departures.load(Ordering::Acquire)),
            departing: Mutex::new(()),
        })
    }

    /// Decides what becomes of a call, and lets it wait as long as it has to.
    fn admit(&self, function: Function, target: Target, running: &Running) -> Outcome<Effect> {
        self.require_present(target, running)?;
        let effect = self.schedule.decide(function, || running.elapsed());
        let effect = effect.unwrap_or_default();
        self.apply(effect, target, running)?;
        if function == Function::C_Sign {
            self.pace.wait();
            // It may have gone meanwhile.
            self.require_present(target, running)?;
        }
        Ok(effect)
    }

    fn apply(&self, effect: Effect, target: Target, running: &Running) -> Outcome<()> {
        if effect == Effect::default() {
            return Ok(());
        }
        self.counters.fault(&effect);
        match (effect.sessions, target) {
            (Some(Extent::Lose), Target::Session(session)) => running.backend.lose_session(session),
            (Some(_), _) => running.backend.lose_sessions(),
            (None, _) => {}
        }
        if effect.logout {
            running.backend.log_out();
        }
        if effect.handles {
            running.backend.lose_handles();
        }
        if effect.removal {
            self.remove();
        }
        if let Some(time) = effect.hang {
            self.hangs.hang(time, || self.obey_control_file(running));
            if running.finalized.load(Ordering::Acquire) {
                return Err(Code(CKR_CRYPTOKI_NOT_INITIALIZED));
            }
            self.require_present(target, running)?;
        }
        match effect.code {
            Some(code) if !effect.after => Err(code),
            _ => Ok(()),
        }
    }

    pub(crate) fn is_present(&self, running: &Running) -> bool {
        !self.away.load(Ordering::Acquire)
            && !running.configuration.removals.is_away(|| running.elapsed())
    }

    /// Takes sessions and login from a token that went away since the last look.
    fn settle(&self, running: &Running) {
        let by_clock = running
            .configuration
            .removals
            .departures(|| running.elapsed());
        let departures = self.departures.load(Ordering::Acquire) + by_clock;
        // Less and not other: another thread may have seen more meanwhile.
        if running.departures.load(Ordering::Acquire) < departures {
            let _departing = lock(&running.departing);
            if running.departures.load(Ordering::Acquire) < departures {
                running.backend.lose_sessions();
                running.departures.store(departures, Ordering::Release);
            }
        }
    }

    /// Refuses a call that needs the token while it is away.
    fn require_present(&self, target: Target, running: &Running) -> Outcome<()> {
        self.settle(running);
        if self.is_present(running) {
            return Ok(());
        }
        match target {
            Target::Anything => Ok(()),
            Target::Token => Err(Code(CKR_TOKEN_NOT_PRESENT)),
            Target::Session(_) => Err(Code(CKR_DEVICE_REMOVED)),
        }
    }

    fn remove(&self) {
        if !self.away.swap(true, Ordering::AcqRel) {
            self.departures.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn obey(&self, command: Command) -> Result<(), String> {
        let running = read(&self.running).clone();
        let with_backend = |work: fn(&Backend)| {
            if let Some(running) = &running {
                work(&running.backend);
            }
        };
        match command {
            Command::Remove => self.remove(),
            Command::Return => self.away.store(false, Ordering::Release),
            Command::ReleaseHangs => self.hangs.release(),
            Command::LoseSessions => with_backend(Backend::lose_sessions),
            Command::LoseLogin => with_backend(Backend::log_out),
            Command::LoseHandles => with_backend(Backend::lose_handles),
            Command::ClearFaults => self.schedule.clear(),
            Command::UnlockPin => self
                .remembered
                .update(|memory| memory.wrong_pins_in_a_row = 0)
                .map_err(|error| format!("cannot use the state file: {error}"))?,
            Command::WriteReport => {
                let running = running.ok_or("write-report needs a token that is initialized")?;
                self.write_report(&running.configuration);
            }
            Command::Set(settings) => self.set(settings, running.as_deref())?,
        }
        Ok(())
    }

    fn set(&self, settings: Settings, running: Option<&Running>) -> Result<(), String> {
        let mut overrides = lock(&self.overrides);
        if let Some(latency) = settings.latency {
            self.pace.set_latency(latency)?;
            overrides.latency = Some(latency);
        }
        if let Some(rate_cap) = settings.rate_cap {
            self.pace.set_rate_cap(rate_cap)?;
            overrides.rate_cap = Some(rate_cap);
        }
        if let Some(key) = settings.key {
            overrides.key = Some(key);
            match running.map(|running| &running.backend) {
                Some(Backend::Own(token)) => token.choose_key(key),
                Some(Backend::Forward(_)) => {
                    return Err("key = … is not for mode = \"forward\"".into());
                }
                None => {}
            }
        }
        match settings.fault {
            Some(rule) => self.schedule.add(rule),
            None => Ok(()),
        }
    }

    fn obey_control_file(&self, running: &Running) {
        let Some(path) = &running.configuration.control_file else {
            return;
        };
        for line in self.control_file.new_lines(path, Instant::now()) {
            // A wrong command is in the report: nobody waits for an answer here.
            let _ = self.command(&line);
        }
    }

    fn write_report(&self, configuration: &Configuration) {
        let Some(path) = &configuration.report_file else {
            return;
        };
        let name = path.to_string_lossy();
        let path = PathBuf::from(name.replace("{pid}", &std::process::id().to_string()));
        let written = serde_json::to_vec_pretty(&self.report())
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&path, text));
        if let Err(error) = written {
            *lock(&self.error) = Some(format!("cannot write {}: {error}", path.display()));
        }
    }
}

impl Running {
    pub(crate) fn backend(&self) -> &Backend {
        &self.backend
    }

    pub(crate) fn configuration(&self) -> &Configuration {
        &self.configuration
    }

    fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

fn configuration_path(own_path: Option<&Path>) -> Option<PathBuf> {
    let beside = own_path.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".toml");
        PathBuf::from(name)
    });
    beside
        .filter(|path| path.is_file())
        .or_else(|| std::env::var_os(CONFIGURATION_VARIABLE).map(PathBuf::from))
}

#[cfg(test)]
mod tests;
