//! Where the requests of a run come from, and the thread that reads them.

use std::ops::ControlFlow;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::IssuePlan;
use crate::devices::{DeviceData, DeviceItem, DeviceLists};
use crate::input::{InputError, InputItem, InputRejection, Inputs};

/// Requests read ahead of the engine. Enough that a slow disk does not show, and at 64 KiB each
/// still only 16 MiB in the worst case.
const READ_AHEAD: usize = 256;

/// What the one device of `--generate` without a list is called in the results.
const ONE_DEVICE: &str = "device";

/// Where the run's requests come from.
pub(super) enum Source {
    Requests(Inputs),
    Devices(DeviceLists),
    /// The one that `--data` describes.
    OneDevice,
}

/// What an input asks for.
#[derive(Clone)]
pub(super) enum Asked {
    Csr(Vec<u8>),
    /// A key that the engine makes, for a device with these values besides the run's.
    Key(DeviceData),
}

/// One request as it was found.
pub(super) struct Item {
    pub(super) name: String,
    pub(super) asked: Result<Asked, InputRejection>,
}

/// Starts the thread that reads the inputs. It ends when the receiver is dropped.
pub(super) fn read_ahead(source: Source) -> Receiver<Item> {
    let (sender, receiver) = mpsc::sync_channel(READ_AHEAD);
    thread::spawn(move || {
        let send = |name, asked| match sender.send(Item { name, asked }) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        };
        let _ = match source {
            Source::Requests(inputs) => {
                inputs.read(&mut |InputItem { name, request }| send(name, request.map(Asked::Csr)))
            }
            Source::Devices(lists) => {
                lists.read(&mut |DeviceItem { name, data }| send(name, data.map(Asked::Key)))
            }
            Source::OneDevice => send(ONE_DEVICE.to_owned(), Ok(Asked::Key(DeviceData::default()))),
        };
    });
    receiver
}

impl Source {
    pub(super) fn open(plan: &IssuePlan) -> Result<Source, InputError> {
        Ok(match (plan.generate, plan.inputs.as_slice()) {
            (false, inputs) => Source::Requests(Inputs::open(inputs)?),
            (true, []) => Source::OneDevice,
            (true, lists) => Source::Devices(DeviceLists::open(lists)?),
        })
    }

    /// How many requests there are, where that is known.
    pub(super) fn len_known(&self) -> Option<u64> {
        match self {
            Source::Requests(inputs) => inputs.len_known(),
            Source::Devices(_) => None,
            Source::OneDevice => Some(1),
        }
    }
}
