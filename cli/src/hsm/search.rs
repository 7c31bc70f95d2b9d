//! Which PKCS#11 modules this machine has: those that p11-kit's configuration names, and those that lie where
//! vendors put them. Each is asked in a process of its own, because a module that hangs or crashes takes its
//! process with it.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use birthmark_hsm::{MODULE_DIRECTORIES, PIN_VARIABLE, softhsm};
use serde_json::Value;

use super::HsmError;

/// Where p11-kit's configuration is (pkcs11.conf(5)). A file in a later directory changes the one of the same
/// name in an earlier one.
const P11_KIT_DIRECTORIES: [&str; 2] = ["/usr/share/p11-kit/modules", "/etc/pkcs11/modules"];

/// Where vendors' client software puts its module. One that is not there is not installed, and not worth a word.
const WELL_KNOWN: [&str; 16] = [
    // Thales Luna, and ProtectServer.
    "/usr/safenet/lunaclient/lib/libCryptoki2_64.so",
    "/opt/safenet/protecttoolkit7/ptk/lib/libcryptoki.so",
    "/opt/safenet/protecttoolkit5/ptk/lib/libcryptoki.so",
    // Entrust nShield.
    "/opt/nfast/toolkits/pkcs11/libcknfast.so",
    // AWS CloudHSM.
    "/opt/cloudhsm/lib/libcloudhsm_pkcs11.so",
    // Utimaco.
    "/opt/utimaco/lib/libcs_pkcs11_R3.so",
    "/usr/lib/libcs_pkcs11_R3.so",
    // Securosys Primus.
    "/usr/local/primus/lib/libprimusP11.so",
    // YubiHSM 2.
    "/usr/lib/x86_64-linux-gnu/pkcs11/yubihsm_pkcs11.so",
    "/usr/lib64/pkcs11/yubihsm_pkcs11.so",
    "/usr/local/lib/pkcs11/yubihsm_pkcs11.so",
    // OpenSC: smart cards, SmartCard-HSM, Nitrokey HSM.
    "/usr/lib/x86_64-linux-gnu/opensc-pkcs11.so",
    "/usr/lib64/opensc-pkcs11.so",
    // IBM's openCryptoki.
    "/usr/lib/x86_64-linux-gnu/opencryptoki/libopencryptoki.so",
    "/usr/lib64/opencryptoki/libopencryptoki.so",
    // kryoptic.
    "/usr/lib64/pkcs11/libkryoptic_pkcs11.so",
];

/// Most modules asked. Machines have a handful.
const MODULES_MAX: usize = 64;

/// Most files looked at in one directory.
const FILES_MAX: usize = 256;

/// Largest file of p11-kit's configuration that is read, in bytes. Real ones have some hundred.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// Most bytes read of what one module's process tells: some hundred slots with all their mechanisms.
const TOLD_BYTES_MAX: u64 = 4 << 20;

/// Longest reason shown, in characters.
const REASON_CHARS_MAX: usize = 500;

/// How often is looked whether a process has ended.
const LOOK: Duration = Duration::from_millis(5);

/// How long is waited for the rest of what a process told that has ended: it is in the pipe already, unless
/// a process that it left behind holds that open.
const REST: Duration = Duration::from_secs(1);

/// A module of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its file; as it is written when there is none.
    pub(super) path: PathBuf,
    /// Who names it: a file of p11-kit's configuration, or nobody.
    pub(super) named_by: Option<PathBuf>,
}

/// What became of asking a module.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) candidate: Candidate,
    /// What the command printed for it, or why there is nothing.
    pub(super) told: Result<String, String>,
}

/// The modules that p11-kit's files in these directories name; without directories those of the system, and
/// the well-known ones that are installed. Each file once, at most [`MODULES_MAX`].
///
/// # Errors
/// A directory that was asked for cannot be read, or no module is there.
pub(super) fn candidates(directories: &[PathBuf]) -> Result<Vec<Candidate>, HsmError> {
    let mut found = Vec::new();
    if directories.is_empty() {
        let system = P11_KIT_DIRECTORIES.map(PathBuf::from);
        // Without p11-kit they are not there.
        let there = system.iter().filter(|directory| directory.is_dir());
        found.extend(named_by_p11_kit(there)?);
        let installed = softhsm::INSTALLED.iter().chain(&WELL_KNOWN);
        let installed = installed.map(PathBuf::from).filter(|path| path.is_file());
        found.extend(installed.map(|path| Candidate {
            path,
            named_by: None,
        }));
    } else {
        found.extend(named_by_p11_kit(directories)?);
    }
    let mut seen = HashSet::new();
    found.retain(|candidate| {
        let path = &candidate.path;
        seen.insert(fs::canonicalize(path).unwrap_or_else(|_| path.clone()))
    });
    found.truncate(MODULES_MAX);
    if found.is_empty() {
        return Err(HsmError::NoModule);
    }
    Ok(found)
}

/// Reads the files `*.module` of the directories.
fn named_by_p11_kit<'a>(
    directories: impl IntoIterator<Item = &'a PathBuf>,
) -> Result<Vec<Candidate>, HsmError> {
    let mut named = BTreeMap::<OsString, Candidate>::new();
    for directory in directories {
        let failed = |source| HsmError::Search {
            path: directory.clone(),
            source,
        };
        for entry in fs::read_dir(directory).map_err(failed)?.take(FILES_MAX) {
            let path = entry.map_err(failed)?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let (Some(name), Some("module"), true) = (path.file_name(), extension, path.is_file())
            else {
                continue;
            };
            let text = read_limited(&path).map_err(|source| HsmError::Search {
                path: path.clone(),
                source,
            })?;
            if let Some(module) = setting(&text, "module") {
                let candidate = Candidate {
                    path: locate(module),
                    named_by: Some(path.clone()),
                };
                named.insert(name.to_owned(), candidate);
            }
        }
    }
    Ok(named.into_values().collect())
}

fn read_limited(path: &Path) -> io::Result<String> {
    let mut text = Vec::new();
    File::open(path)?
        .take(FILE_BYTES_MAX)
        .read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The value of a name: `name: value`, a line each, `#` before comments.
fn setting<'a>(text: &'a str, wanted: &str) -> Option<&'a str> {
    let lines = text.lines().map(str::trim);
    let settings = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split_once(':'));
    let mut values = settings.filter(|(name, _)| name.trim() == wanted);
    values
        .next_back()
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

/// A module without a directory is in p11-kit's own.
fn locate(module: &str) -> PathBuf {
    if module.contains('/') {
        return PathBuf::from(module);
    }
    let directories = MODULE_DIRECTORIES.iter().map(Path::new);
    let mut there = directories.map(|directory| directory.join(module));
    there
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(module))
}

/// Asks one module by `birthmark hsm list --module`, for at most so long.
///
/// # Errors
/// The process cannot be started. What goes wrong in it is the module's answer.
pub(super) fn ask(candidate: Candidate, json: bool, limit: Duration) -> Result<Answer, HsmError> {
    let told = if candidate.path.is_file() {
        ask_file(&candidate.path, json, limit)?
    } else {
        Err("there is no such file".to_owned())
    };
    Ok(Answer { candidate, told })
}

fn ask_file(path: &Path, json: bool, limit: Duration) -> Result<Result<String, String>, HsmError> {
    let program = std::env::current_exe().map_err(HsmError::Process)?;
    let mut command = Command::new(program);
    command.args(["hsm", "list", "--module"]).arg(path);
    if json {
        command.arg("--json");
    }
    let mut child = command
        // Nobody logs in.
        .env_remove(PIN_VARIABLE)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(HsmError::Process)?;
    let (out, err) = (collect(child.stdout.take())?, collect(child.stderr.take())?);
    let Some(status) = wait(&mut child, limit).map_err(HsmError::Process)? else {
        let seconds = limit.as_secs();
        return Ok(Err(format!("it did not answer within {seconds} s")));
    };
    let text = |told: &Receiver<Vec<u8>>| {
        let bytes = told.recv_timeout(REST).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    };
    Ok(if status.success() {
        Ok(text(&out))
    } else {
        Err(reason(status, &text(&err)))
    })
}

/// Reads what a process tells, on a thread of its own.
fn collect(stream: Option<impl Read + Send + 'static>) -> Result<Receiver<Vec<u8>>, HsmError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let read = move || {
        let mut told = Vec::new();
        if let Some(stream) = stream {
            // What was read before an error is told.
            let _ = stream.take(TOLD_BYTES_MAX).read_to_end(&mut told);
        }
        let _ = sender.send(told);
    };
    thread::Builder::new()
        .name("hsm-list".to_owned())
        .spawn(read)
        .map_err(HsmError::Thread)?;
    Ok(receiver)
}

/// How the process ended; `None`: it did not in time, and was killed.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK);
    }
}

/// Why there is no answer: the command's error line, or how the process ended.
fn reason(status: ExitStatus, told: &str) -> String {
    let mut lines = told.lines().rev();
    match lines.find_map(|line| line.strip_prefix("error: ")) {
        Some(error) => {
            let shown = error.chars().filter(|c| !c.is_control());
            shown.take(REASON_CHARS_MAX).collect()
        }
        None => format!("it ended its process ({status})"),
    }
}

/// The module's part of what the command printed as JSON.
pub(super) fn module_of(told: &str) -> Option<Value> {
    let mut value: Value = serde_json::from_str(told).ok()?;
    value
        .get_mut("modules")?
        .get_mut(0)
        .map(Value::take)
        .filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_value_of_a_setting_counts_and_comments_do_not() {
        let text =
            "# module: a.so\n module : /x/b.so \nx-init-reserved: module: c.so\nmodule:d.so\n";
        assert_eq!(setting(text, "module"), Some("d.so"));
        assert_eq!(setting(text, "x-init-reserved"), Some("module: c.so"));
        assert_eq!(setting("module:\n", "module"), None);
        assert_eq!(setting("remote: |ssh hsm\n", "module"), None);
    }

    #[test]
    fn later_directories_change_earlier_ones_and_each_file_comes_once() {
        let outer = tempfile::tempdir().unwrap();
        let directory = |name: &str, files: &[(&str, &str)]| {
            let path = outer.path().join(name);
            fs::create_dir(&path).unwrap();
            for (file, text) in files {
                fs::write(path.join(file), text).unwrap();
            }
            path
        };
        let system = [
            ("a.module", "module: /a.so\npriority: 1\n"),
            ("b.module", "module: /b.so\n"),
            ("c.module", "module: /a.so\n"),
            ("ignored.txt", "module: /e.so\n"),
        ];
        let admin = [
            ("b.module", "module: /other/b.so\n"),
            ("a.module", "enable-in: x\n"),
        ];
        let directories = [directory("system", &system), directory("admin", &admin)];
        let found = candidates(&directories).unwrap();
        let paths: Vec<&str> = found
            .iter()
            .map(|candidate| candidate.path.to_str().unwrap())
            .collect();
        assert_eq!(paths, ["/a.so", "/other/b.so"]);
        assert_eq!(found[1].named_by, Some(directories[1].join("b.module")));
        let empty = directory("empty", &[]);
        assert!(matches!(candidates(&[empty]), Err(HsmError::NoModule)));
        let missing = outer.path().join("missing");
        assert!(matches!(
            candidates(&[missing]),
            Err(HsmError::Search { .. })
        ));
    }

    #[test]
    fn the_reason_is_the_error_line_or_how_the_process_ended() {
        use std::os::unix::process::ExitStatusExt;
        let status = ExitStatus::from_raw(2 << 8);
        assert_eq!(reason(status, "note\nerror: no\u{7} module\n"), "no module");
        let crashed = reason(ExitStatus::from_raw(11), "noise\n");
        assert!(crashed.contains("signal: 11"), "{crashed}");
        let long = format!("error: {}", "x".repeat(REASON_CHARS_MAX * 2));
        assert_eq!(reason(status, &long).len(), REASON_CHARS_MAX);
    }
}
