//! Merging: which runs, and how their entries come together.

use std::ops::Range;
use std::sync::Arc;

use super::block::BLOCK_BYTES;
use super::entry::Entry;
use super::run::Run;
use crate::error::ReadError;

/// Which runs to merge now. `entries` are those of the runs, oldest first.
///
/// Runs are of a class by their size: up to `unit` entries, up to `fan_in` times as many, and so
/// on. Once `fan_in` runs of one class stand at the end, smaller ones among them not counted, all of
/// these are merged. So each entry is rewritten about once per class, and there are at most
/// `fan_in` runs of a class.
pub(crate) fn due(entries: &[u64], unit: u64, fan_in: usize) -> Option<Range<usize>> {
    let class = |entries: u64| {
        let mut limit = unit.max(1);
        let mut class = 0;
        while entries > limit {
            limit = limit.saturating_mul(fan_in as u64);
            class += 1;
        }
        class
    };
    let classes: Vec<u32> = entries.iter().map(|&entries| class(entries)).collect();
    (0..=classes.iter().copied().max()?).find_map(|class| {
        let larger = classes.iter().rposition(|&other| other > class);
        let start = larger.map_or(0, |at| at + 1);
        let same = classes[start..]
            .iter()
            .filter(|&&other| other == class)
            .count();
        (same >= fan_in).then_some(start..classes.len())
    })
}

/// Blocks read in one call: large enough for a disk to stream, small beside everything else.
const READ_BLOCKS: usize = 64;

/// Reads the entries of one space of a run from the first to the last.
pub(crate) struct RunReader {
    run: Arc<Run>,
    space: usize,
    blocks: u64,
    /// The block to read next into the buffer.
    next: u64,
    buffer: Vec<u8>,
    /// Where the current block begins in the buffer.
    block: usize,
    /// Entries of the current block that were taken.
    taken: usize,
}

impl RunReader {
    pub(crate) fn new(run: Arc<Run>, space: usize) -> RunReader {
        RunReader {
            blocks: run.header.blocks(space),
            run,
            space,
            next: 0,
            buffer: Vec::new(),
            block: 0,
            taken: 0,
        }
    }

    /// Moves the entries with hashes below `end` to `out`; all that are left for `None`.
    pub(crate) fn take(&mut self, end: Option<u64>, out: &mut Vec<Entry>) -> Result<(), ReadError> {
        while self.take_from_block(end, out)? {}
        Ok(())
    }

    /// Moves the entries of the next block to `out`.
    pub(crate) fn take_block(&mut self, out: &mut Vec<Entry>) -> Result<(), ReadError> {
        self.take_from_block(None, out).map(drop)
    }

    /// [`take`](RunReader::take) as far as one block goes. `false` when there is no more to take.
    fn take_from_block(
        &mut self,
        end: Option<u64>,
        out: &mut Vec<Entry>,
    ) -> Result<bool, ReadError> {
        if self.block == self.buffer.len() && !self.read()? {
            return Ok(false);
        }
        let number = self.next - ((self.buffer.len() - self.block) / BLOCK_BYTES) as u64;
        let bytes = &self.buffer[self.block..self.block + BLOCK_BYTES];
        let block = self.run.check_block(self.space, number, bytes)?;
        let to = end.map_or(block.len(), |end| block.below(end));
        out.extend(block.entries(self.taken.min(to), to));
        if to < block.len() {
            self.taken = self.taken.max(to);
            return Ok(false);
        }
        self.taken = 0;
        self.block += BLOCK_BYTES;
        Ok(true)
    }

    /// Reads the next blocks. `false` when there are no more.
    fn read(&mut self) -> Result<bool, ReadError> {
        let blocks = (self.blocks - self.next).min(READ_BLOCKS as u64);
        self.block = 0;
        self.buffer.resize(blocks as usize * BLOCK_BYTES, 0);
        if blocks == 0 {
            return Ok(false);
        }
        self.run
            .read_blocks(self.space, self.next, &mut self.buffer)?;
        self.next += blocks;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_one_class_are_merged_with_the_smaller_ones_behind() {
        assert_eq!(due(&[], 10, 4), None);
        assert_eq!(due(&[10, 10, 10], 10, 4), None);
        assert_eq!(due(&[10, 10, 10, 10], 10, 4), Some(0..4));
        assert_eq!(due(&[40, 10, 10, 1, 0], 10, 4), Some(1..5));
        assert_eq!(due(&[40, 40, 40, 10, 10, 10], 10, 4), None);
        assert_eq!(due(&[160, 40, 40, 40, 10, 40], 10, 4), Some(1..6));
        // A small run before a large one is merged with it, not alone.
        assert_eq!(due(&[1, 40, 10, 10, 10], 10, 4), None);
    }

    #[test]
    fn the_number_of_runs_and_of_rewritings_stays_small() {
        for fan_in in [2, 4, 8] {
            let (mut runs, mut written): (Vec<u64>, u64) = (Vec::new(), 0);
            for _ in 0..1000 {
                runs.push(10);
                while let Some(range) = due(&runs, 10, fan_in) {
                    let merged = runs.drain(range).sum();
                    written += merged;
                    runs.push(merged);
                }
                assert!(runs.len() <= 10 * (fan_in - 1), "{runs:?}");
            }
            let classes = (1000f64.ln() / (fan_in as f64).ln()).ceil();
            assert!(
                written as f64 <= 10_000.0 * classes,
                "{written} with {fan_in}"
            );
        }
    }
}
