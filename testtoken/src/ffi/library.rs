//! The two functions of a loaded copy of the module that are not PKCS#11's.

use std::ffi::{CString, c_char, c_int};
use std::path::Path;

use libloading::Library;

/// Most bytes of a report that are read: far more than one has.
const REPORT_LEN_MAX: usize = 1 << 20;

/// A copy of the module, for commands and reports.
#[derive(Debug)]
pub(crate) struct ControlLibrary {
    command: CommandFunction,
    report: ReportFunction,
    /// Keeps the copy loaded, and so the two functions where they are.
    _library: Library,
}

type CommandFunction = unsafe extern "C" fn(*const c_char) -> c_int;
type ReportFunction = unsafe extern "C" fn(*mut c_char, usize) -> usize;

impl ControlLibrary {
    /// Loads the copy in the file at `path`. The system loads a file once, so it is the same one
    /// that a pool loads from there.
    pub(crate) fn load(path: &Path) -> Result<ControlLibrary, libloading::Error> {
        // SAFETY: the file is a copy of this crate's own module, whose initializers do nothing.
        let library = unsafe { Library::new(path) }?;
        // SAFETY: the type is that of the function in this crate.
        let command =
            *unsafe { library.get::<CommandFunction>(b"birthmark_test_token_command\0") }?;
        // SAFETY: likewise.
        let report = *unsafe { library.get::<ReportFunction>(b"birthmark_test_token_report\0") }?;
        Ok(ControlLibrary {
            command,
            report,
            _library: library,
        })
    }

    /// Gives a command. False when it was refused; the report says why.
    pub(crate) fn command(&self, line: &str) -> bool {
        let Ok(line) = CString::new(line) else {
            return false;
        };
        // SAFETY: the string ends with a zero and lives through the call.
        unsafe { (self.command)(line.as_ptr()) == 0 }
    }

    /// The report, as JSON.
    pub(crate) fn report(&self) -> Vec<u8> {
        let mut buffer = vec![0_u8; 16 * 1024];
        loop {
            // SAFETY: the function writes at most as many bytes as the buffer has.
            let len = unsafe { (self.report)(buffer.as_mut_ptr().cast(), buffer.len()) };
            if len <= buffer.len() {
                buffer.truncate(len);
                return buffer;
            }
            // Counts grow while they are read: some room more.
            buffer.resize((2 * len).min(REPORT_LEN_MAX), 0);
        }
    }
}
