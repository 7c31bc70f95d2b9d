//! How a log is opened.

use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, SystemClock};
use crate::error::OpenError;
use crate::segment::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN, SEGMENT_BYTES_UNIT};
use crate::storage::{DiskStorage, Storage};

/// How a log is opened. The defaults are right for production.
#[derive(Clone)]
pub struct Options {
    /// Size of a segment file in bytes; a multiple of 4096, 128 KiB to 2 GiB. Default 16 MiB.
    pub segment_bytes: u64,
    /// Sync as soon as this many reservations and records wait; with more than four times as many in flight, as
    /// soon as a quarter of those wait, up to four times this number. Default 128.
    pub sync_records_max: usize,
    /// Sync as soon as the oldest has waited this long; longer in proportion to a larger batch, so up to
    /// four times as long while the pipeline is full. Default 4 ms.
    pub sync_wait_max: Duration,
    /// Where the time comes from. Default: the machine's clock.
    pub clock: Arc<dyn Clock>,
    /// New work is refused while the clock is further than this behind the last record.
    /// Default 60 s.
    pub clock_back_max: Duration,
    /// New work is refused while the clock is further than this ahead of the monotonic clock.
    /// Default 60 s.
    pub clock_forward_max: Duration,
    /// The log does not open when the clock is further than this ahead of the last record.
    /// Default 400 days.
    pub clock_start_forward_max: Duration,
    /// An officer accepts the clock as it is; a record says so. Default no.
    pub accept_clock: bool,
    /// A record without keys that says how the log was opened, by whom and with what, as the caller encodes it. It
    /// stands in the log before anything that is begun after this start: written at once, or before
    /// the first reservation while the clock or the disk does not let it. Default none.
    pub opening_record: Option<Vec<u8>>,
    /// How long after the first new record a checkpoint is published. Default 1 s.
    pub publish_interval: Duration,
    /// After a segment could not be prepared (a full disk), it is tried again this often.
    /// Default 1 s.
    pub space_retry: Duration,
    /// The file system. Default: the real one.
    pub storage: Arc<dyn Storage>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 16 << 20,
            sync_records_max: 128,
            sync_wait_max: Duration::from_millis(4),
            clock: Arc::new(SystemClock::new()),
            clock_back_max: Duration::from_secs(60),
            clock_forward_max: Duration::from_secs(60),
            clock_start_forward_max: Duration::from_secs(400 * 24 * 3600),
            accept_clock: false,
            opening_record: None,
            publish_interval: Duration::from_secs(1),
            space_retry: Duration::from_secs(1),
            storage: Arc::new(DiskStorage),
        }
    }
}

impl Options {
    /// Whether each is in its range.
    pub(crate) fn check(&self) -> Result<(), OpenError> {
        let segment_bytes = SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX;
        if !segment_bytes.contains(&self.segment_bytes)
            || !self.segment_bytes.is_multiple_of(SEGMENT_BYTES_UNIT)
        {
            let rule = "a multiple of 4096 from 131072 to 2147483648";
            return Err(OpenError::Option {
                option: "segment_bytes",
                rule,
            });
        }
        if self.sync_records_max == 0 {
            return Err(OpenError::Option {
                option: "sync_records_max",
                rule: "1 or more",
            });
        }
        Ok(())
    }
}
