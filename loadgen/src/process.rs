//! What the operating system says about this process: memory and processor time.
//!
//! Read from Linux's `/proc` (proc(5)); other systems give none.

use std::fs;
use std::time::Duration;

/// One clock tick in `/proc/…/stat`: the kernel's USER_HZ, 100 on every supported architecture.
const TICK: Duration = Duration::from_millis(10);

/// The most memory this process ever held resident, in bytes (VmHWM).
pub fn peak_rss_bytes() -> Option<u64> {
    status_kib(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Memory resident now that is not backed by a file, in bytes (RssAnon).
pub fn anonymous_rss_bytes() -> Option<u64> {
    status_kib(&fs::read_to_string("/proc/self/status").ok()?, "RssAnon:")
}

/// Processor time that the calling thread has used.
pub(crate) fn thread_time() -> Option<Duration> {
    let precise = fs::read_to_string("/proc/thread-self/schedstat").ok();
    if let Some(time) = precise.as_deref().and_then(schedstat_time) {
        return Some(time);
    }
    // Kernels without scheduler statistics: the same in ticks.
    stat_time(&fs::read_to_string("/proc/thread-self/stat").ok()?)
}

/// Measures the processor time of a stretch of work, this process' and everybody else's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProcessorClock {
    own: Duration,
    machine: Duration,
}

/// Processor time used while a [`ProcessorClock`] ran, summed over the cores.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ProcessorUse {
    /// By all threads of this process.
    pub(crate) own: Duration,
    /// By other programs on this machine, and by other machines on the same hardware (steal).
    pub(crate) others: Duration,
}

impl ProcessorClock {
    pub(crate) fn start() -> Option<ProcessorClock> {
        let own = stat_time(&fs::read_to_string("/proc/self/stat").ok()?)?;
        let machine = machine_time(&fs::read_to_string("/proc/stat").ok()?)?;
        Some(ProcessorClock { own, machine })
    }

    pub(crate) fn stop(self) -> Option<ProcessorUse> {
        let now = ProcessorClock::start()?;
        let own = now.own.checked_sub(self.own)?;
        // The two files are not read at one moment: a tick may be missing in either.
        let others = now.machine.saturating_sub(self.machine).saturating_sub(own);
        Some(ProcessorUse { own, others })
    }
}

impl std::ops::AddAssign for ProcessorUse {
    fn add_assign(&mut self, more: ProcessorUse) {
        self.own += more.own;
        self.others += more.others;
    }
}

/// The CPU cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn status_kib(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name))?;
    value
        .trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()?
        .checked_mul(1024)
}

/// "time on the CPU in ns, time waiting in ns, time slices". All zero where the kernel does not
/// count, for a thread that asks has been running.
fn schedstat_time(text: &str) -> Option<Duration> {
    let nanoseconds: u64 = text.split_ascii_whitespace().next()?.parse().ok()?;
    (nanoseconds > 0).then(|| Duration::from_nanos(nanoseconds))
}

/// utime and stime are fields 14 and 15; the name in field 2 may itself hold blanks and ')'.
fn stat_time(text: &str) -> Option<Duration> {
    let after_name = text.rsplit_once(')')?.1;
    let mut fields = after_name.split_ascii_whitespace().skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    TICK.checked_mul(user.checked_add(system)?)
}

/// The line of all CPUs: user, nice, system, idle, iowait, irq, softirq, steal in ticks. All but
/// idle and iowait are work.
fn machine_time(text: &str) -> Option<Duration> {
    let fields = text
        .strip_prefix("cpu ")?
        .lines()
        .next()?
        .split_ascii_whitespace();
    let ticks = fields
        .take(8)
        .enumerate()
        .filter(|(place, _)| !matches!(place, 3 | 4))
        .try_fold(0_u64, |sum, (_, ticks)| {
            sum.checked_add(ticks.parse().ok()?)
        })?;
    Some(Duration::from_millis(
        ticks.checked_mul(TICK.as_millis() as u64)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_proc() {
        let status = "Name:\tx\nVmHWM:\t   12345 kB\nRssAnon:\t  7 kB\n";
        assert_eq!(status_kib(status, "VmHWM:"), Some(12_345 * 1024));
        assert_eq!(status_kib(status, "RssAnon:"), Some(7 * 1024));
        assert_eq!(status_kib(status, "VmSwap:"), None);
        assert_eq!(
            schedstat_time("1500 20 3\n"),
            Some(Duration::from_nanos(1500))
        );
        assert_eq!(schedstat_time("0 0 0\n"), None);
        let stat = "7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 25 17 0 0 20 0 1";
        assert_eq!(stat_time(stat), Some(Duration::from_millis(420)));
        assert_eq!(stat_time("7 (cut"), None);
        let stat = "cpu  10 1 5 9999 888 2 3 4 0 0\ncpu0 1 1 1\n";
        assert_eq!(machine_time(stat), Some(Duration::from_millis(250)));
        assert_eq!(machine_time("intr 5"), None);
    }

    #[test]
    fn this_process_has_figures() {
        assert!(peak_rss_bytes().is_some_and(|bytes| bytes > 100_000));
        let clock = ProcessorClock::start().expect("Linux counts processor time");
        let before = thread_time().expect("Linux counts thread time");
        let mut x = 1_u64;
        for i in 0..20_000_000_u64 {
            x = std::hint::black_box(x.wrapping_mul(i | 1));
        }
        assert!(thread_time().is_some_and(|after| after > before), "{x}");
        while clock.stop().expect("it did before").own < 3 * TICK {
            std::hint::black_box(x);
        }
    }
}
