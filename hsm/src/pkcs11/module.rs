//! Loaded PKCS#11 modules: one `C_Initialize` per module and process, however many pools use it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{
    Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    TryLockError,
};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::slot::{Slot, TokenInfo};

use super::raw::SignFunctions;
use super::uri::Pkcs11Uri;
use crate::ckr::CallError;
use crate::error::{CloseError, ModuleError};

/// Directories searched for a `module-name`, in this order: where Debian, Fedora and Homebrew
/// put modules.
pub const MODULE_DIRECTORIES: &[&str] = &[
    "/usr/lib/x86_64-linux-gnu/pkcs11",
    "/usr/lib/aarch64-linux-gnu/pkcs11",
    "/usr/lib64/pkcs11",
    "/usr/lib/pkcs11",
    "/usr/lib/softhsm",
    "/usr/local/lib",
    "/opt/homebrew/lib",
];

/// A module that is loaded and stays so until the process ends: unloading would run its and its
/// libraries' destructors while others of the process may still use them.
pub(super) struct Module {
    path: PathBuf,
    context: Pkcs11,
    sign: SignFunctions,
    /// Read while slots are listed and sessions opened, written while a token is initialized: that
    /// gives SoftHSM another slot. Nobody who signs initializes tokens, so nobody waits for a call
    /// that hangs.
    slots: RwLock<()>,
    /// The set-up locks of the slots in use.
    setups: Mutex<HashMap<u64, SetupLock>>,
    usage: Mutex<Usage>,
    /// It said that it is not initialized, though it was: nothing of it can be used.
    lost: AtomicBool,
}

/// Held while a slot's token is opened, closed or given keys, and while a session copies its key. Some modules (SoftHSM among them) race
/// when a token's last session closes while another opens, and when a search runs while a key is
/// made. A lock for each slot: a call that hangs holds up no other token behind the same library.
pub(super) type SetupLock = Arc<Mutex<()>>;

/// Keeps a module initialized. The last one of a module to go finalizes it.
pub(super) struct ModuleUser {
    module: Arc<Module>,
    released: bool,
}

/// Who uses a module. C_Initialize and C_Finalize are called under this lock and nowhere else: two
/// at a time crash.
#[derive(Default)]
struct Usage {
    users: usize,
    /// False when other code of this process had initialized the module: it finalizes it too.
    ours: bool,
}

/// Every module ever loaded, by its canonical path.
static MODULES: LazyLock<Mutex<HashMap<PathBuf, Arc<Module>>>> = LazyLock::new(Mutex::default);

/// Held while any module is initialized or finalized: modules share libraries that are not all
/// made for two at a time.
static TURN: Mutex<()> = Mutex::new(());

/// How long a module waits for its turn. One that hangs in C_Initialize, because its HSM is away,
/// must not keep the others out: then it is better to take no turns.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3);

/// How often it looks whether it is its turn.
const TURN_LOOK: Duration = Duration::from_millis(1);

impl ModuleUser {
    /// Loads and initializes the module that the URI names, unless that is done already.
    pub(super) fn acquire(uri: &Pkcs11Uri) -> Result<ModuleUser, ModuleError> {
        ModuleUser::acquire_path(&find(uri)?)
    }

    /// Loads and initializes the module in the file at `path`, unless that is done already.
    pub(super) fn acquire_path(path: &Path) -> Result<ModuleUser, ModuleError> {
        let missing = |source| ModuleError::Missing {
            path: path.to_owned(),
            source,
        };
        // Two names of one file are one module to the system's loader, and so they are here.
        let path = fs::canonicalize(path).map_err(missing)?;
        let module = Module::loaded(&path)?;
        let mut usage = lock(&module.usage);
        if usage.users == 0 {
            usage.ours = module.initialize()?;
            module.lost.store(false, Ordering::Release);
        } else if module.is_lost() {
            // A thread may be inside: to initialize beside it may crash.
            return Err(ModuleError::Lost { path });
        }
        usage.users += 1;
        drop(usage);
        Ok(ModuleUser {
            module,
            released: false,
        })
    }

    /// Gives the module up, and finalizes it when nobody else uses it. No session of it may be
    /// open any more on this user's behalf. A second call does nothing.
    pub(super) fn release(&mut self) -> Result<(), CloseError> {
        if std::mem::replace(&mut self.released, true) {
            return Ok(());
        }
        let mut usage = lock(&self.module.usage);
        usage.users = usage.users.saturating_sub(1);
        if usage.users > 0 || !usage.ours {
            return Ok(());
        }
        self.module.finalize()
    }
}

impl Drop for ModuleUser {
    fn drop(&mut self) {
        // Who wants to know calls `release`.
        let _ = self.release();
    }
}

impl std::ops::Deref for ModuleUser {
    type Target = Module;

    fn deref(&self) -> &Module {
        &self.module
    }
}

impl Module {
    /// The module's file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The wrapper's handle of the module.
    pub(super) fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// The calls that sign.
    pub(super) fn sign_functions(&self) -> &SignFunctions {
        &self.sign
    }

    /// The module said that it is not initialized. It is initialized anew once nobody uses it.
    pub(super) fn mark_lost(&self) {
        self.lost.store(true, Ordering::Release);
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The slots stay as they are meanwhile.
    pub(super) fn keep_slots(&self) -> RwLockReadGuard<'_, ()> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the right to initialize a token, which changes the slots.
    pub(super) fn change_slots(&self) -> RwLockWriteGuard<'_, ()> {
        self.slots.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The set-up lock of a slot. There are as many as slots in use.
    pub(super) fn setup_lock(&self, slot: Slot) -> SetupLock {
        let mut setups = lock(&self.setups);
        setups.retain(|_, setup| Arc::strong_count(setup) > 1);
        Arc::clone(setups.entry(slot.id()).or_default())
    }

    /// Every slot that has a token, initialized or not.
    pub(super) fn tokens(&self) -> Result<Vec<(Slot, TokenInfo)>, ModuleError> {
        let slots = self
            .context
            .get_slots_with_token()
            .map_err(|error| ModuleError::Call {
                path: self.path.clone(),
                call: CallError::from_wrapper("C_GetSlotList", &error),
            })?;
        // A token that is just being removed has no information and is none to sign with.
        let info = |slot| Some((slot, self.context.get_token_info(slot).ok()?));
        Ok(slots.into_iter().filter_map(info).collect())
    }

    /// The module in the file at the canonical `path`, loaded once per process.
    fn loaded(path: &Path) -> Result<Arc<Module>, ModuleError> {
        let mut modules = lock(&MODULES);
        if let Some(module) = modules.get(path) {
            return Ok(Arc::clone(module));
        }
        let module = Arc::new(Module::load(path)?);
        modules.insert(path.to_owned(), Arc::clone(&module));
        Ok(module)
    }

    fn load(path: &Path) -> Result<Module, ModuleError> {
        // Tell "cannot be read" from "is no module".
        File::open(path).map_err(|source| ModuleError::Missing {
            path: path.to_owned(),
            source,
        })?;
        let context = Pkcs11::new(path).map_err(|error| ModuleError::NotAModule {
            path: path.to_owned(),
            source: Box::new(error),
        })?;
        let sign = SignFunctions::load(path).map_err(|error| ModuleError::NotAModule {
            path: path.to_owned(),
            source: Box::new(error),
        })?;
        Ok(Module {
            path: path.to_owned(),
            context,
            sign,
            slots: RwLock::new(()),
            setups: Mutex::default(),
            usage: Mutex::default(),
            lost: AtomicBool::new(false),
        })
    }

    /// Returns whether it is ours to finalize.
    fn initialize(&self) -> Result<bool, ModuleError> {
        let _turn = turn();
        // Without OS_LOCKING_OK a module may assume one thread and leave out its locks.
        match self
            .context
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        {
            Ok(()) => Ok(true),
            Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => Ok(false),
            Err(error) => Err(ModuleError::Initialize {
                path: self.path.clone(),
                call: CallError::from_wrapper("C_Initialize", &error),
            }),
        }
    }

    fn finalize(&self) -> Result<(), CloseError> {
        let _turn = turn();
        let finalized = self.context.clone().finalize();
        finalized.map_err(|error| CloseError::Finalize {
            path: self.path.clone(),
            call: CallError::from_wrapper("C_Finalize", &error),
        })
    }
}

/// Waits for the turn to initialize or finalize a module, but not for ever.
fn turn() -> Option<MutexGuard<'static, ()>> {
    let deadline = Instant::now() + TURN_WAIT_MAX;
    loop {
        match TURN.try_lock() {
            Ok(turn) => return Some(turn),
            Err(TryLockError::Poisoned(turn)) => return Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(TURN_LOOK),
            Err(TryLockError::WouldBlock) => return None,
        }
    }
}

/// The file of the module that the URI names.
fn find(uri: &Pkcs11Uri) -> Result<PathBuf, ModuleError> {
    if let Some(path) = &uri.module_path {
        return Ok(path.clone());
    }
    let name = uri.module_name.as_ref().ok_or(ModuleError::NotNamed)?;
    MODULE_DIRECTORIES
        .iter()
        .flat_map(|directory| {
            [
                format!("{directory}/{name}.so"),
                format!("{directory}/lib{name}.so"),
            ]
        })
        .map(PathBuf::from)
        .find(|path| path.is_file())
        .ok_or_else(|| ModuleError::NameNotFound {
            name: name.clone(),
            searched: MODULE_DIRECTORIES.to_vec(),
        })
}

/// Locks, also when a thread panicked with the lock held: nothing here is left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
