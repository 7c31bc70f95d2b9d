//! Items that wait for their batch.

use std::collections::VecDeque;
use std::time::Instant;
use std::vec;

/// A queue of items, in the chunks they came in: a chunk is moved, not its items.
pub(crate) struct Waiting<T> {
    /// None of them is empty.
    chunks: VecDeque<(Instant, vec::IntoIter<T>)>,
    len: usize,
}

/// How many items wait, and since when the oldest does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Items that the next flush can take.
    pub(crate) ready: usize,
    /// These and the ones that wait for a segment.
    pub(crate) all: usize,
    /// When the oldest ready item came.
    pub(crate) oldest: Option<Instant>,
}

impl<T> Default for Waiting<T> {
    fn default() -> Waiting<T> {
        Waiting {
            chunks: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> Waiting<T> {
    /// Adds a chunk that came at `now`.
    pub(crate) fn push(&mut self, chunk: Vec<T>, now: Instant) {
        if !chunk.is_empty() {
            self.len += chunk.len();
            self.chunks.push_back((now, chunk.into_iter()));
        }
    }

    /// Number of items.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// When the first item came.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.chunks.front().map(|(came, _)| *came)
    }

    /// The first item.
    pub(crate) fn peek(&self) -> Option<&T> {
        self.chunks.front()?.1.as_slice().first()
    }

    /// Takes the first item out.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let (_, chunk) = self.chunks.front_mut()?;
        let item = chunk.next();
        if chunk.len() == 0 {
            self.chunks.pop_front();
        }
        self.len -= usize::from(item.is_some());
        item
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn first_in_first_out_over_chunks() {
        let start = Instant::now();
        let later = start + Duration::from_millis(1);
        let mut waiting = Waiting::default();
        waiting.push(vec![1, 2], start);
        waiting.push(Vec::new(), start);
        waiting.push(vec![3], later);
        assert_eq!((waiting.len(), waiting.oldest()), (3, Some(start)));
        assert_eq!((waiting.pop(), waiting.pop()), (Some(1), Some(2)));
        assert_eq!((waiting.peek(), waiting.oldest()), (Some(&3), Some(later)));
        assert_eq!((waiting.pop(), waiting.pop()), (Some(3), None));
        assert_eq!((waiting.len(), waiting.oldest()), (0, None));
    }
}
