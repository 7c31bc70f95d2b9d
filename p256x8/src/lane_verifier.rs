//! The verifier on lanes alone.

use core::fmt;

use crate::batch::{CHUNK, Checked, Exceptional, G_X, G_Y, Keys, VerifyChunk};
use crate::field::Element;
use crate::input::{Digest, PublicKey, Signature, check};
#[cfg(target_arch = "x86_64")]
use crate::lanes::ifma::Ifma;
use crate::lanes::portable::Portable;
use crate::lanes::{Lanes, Task};
use crate::limbs::{Limbs, fill};
use crate::point::Affine;
use crate::table::{Comb, MakeComb};

/// What the lanes are made of.
#[derive(Debug, Clone, Copy)]
enum Backend {
    #[cfg(target_arch = "x86_64")]
    Ifma(Ifma),
    Portable,
}

impl Backend {
    fn run<T: Task>(self, task: T) -> T::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Ifma(ifma) => ifma.run(task),
            Self::Portable => task.run(Portable::ZERO),
        }
    }
}

/// Verifies signatures eight at a time. It holds the base point's table, 256 KiB: make one and share it.
///
/// Every verdict is its own: no other library is asked. `Verifier` asks aws-lc-rs again where a signature is
/// not valid.
pub struct LaneVerifier {
    backend: Backend,
    generator: Comb,
}

/// A key with its table, 256 KiB, for a key that verifies again and again.
pub struct PreparedKey {
    key: PublicKey,
    comb: Comb,
}

impl PreparedKey {
    /// The key.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.key
    }
}

impl LaneVerifier {
    /// On AVX-512 IFMA, for which `ifma` is the proof.
    #[cfg(target_arch = "x86_64")]
    #[must_use]
    pub fn new(ifma: Ifma) -> Self {
        Self::on(Backend::Ifma(ifma))
    }

    /// In plain Rust: the same steps on any processor, slower than any other library. It is there to be compared with.
    #[must_use]
    pub fn portable() -> Self {
        Self::on(Backend::Portable)
    }

    fn on(backend: Backend) -> Self {
        let generator = backend.run(MakeComb { x: G_X, y: G_Y });
        Self { backend, generator }
    }

    /// Verifies each item and writes its verdict: true for a valid signature. Any number of items; they go through in
    /// chunks of 64, in groups of eight lanes. What has no counterpart in the other slice is left alone. Nothing is allocated.
    pub fn verify(&self, items: &[(PublicKey, Digest, Signature)], verdicts: &mut [bool]) {
        self.verify_own(items, verdicts, Exceptional::Exact);
    }

    pub(crate) fn verify_own(
        &self,
        items: &[(PublicKey, Digest, Signature)],
        verdicts: &mut [bool],
        exceptional: Exceptional,
    ) {
        let count = items.len().min(verdicts.len());
        let (items, verdicts) = (&items[..count], &mut verdicts[..count]);
        for (items, verdicts) in items.chunks(CHUNK).zip(verdicts.chunks_mut(CHUNK)) {
            let checked = items
                .iter()
                .map(|(key, digest, signature)| check(key, digest, signature));
            self.verify_chunk(checked, Keys::Own, exceptional, verdicts);
        }
    }

    /// Makes the table of a key. `None` for a key that is not on the curve. 0.3 ms.
    #[must_use]
    pub fn prepare(&self, key: &PublicKey) -> Option<PreparedKey> {
        let (x, y) = (key.x(), key.y());
        self.backend.run(IsOnCurve { x, y }).then(|| PreparedKey {
            key: *key,
            comb: self.backend.run(MakeComb { x, y }),
        })
    }

    /// As [`Self::verify`], for one prepared key.
    pub fn verify_prepared(
        &self,
        key: &PreparedKey,
        items: &[(Digest, Signature)],
        verdicts: &mut [bool],
    ) {
        self.verify_with(key, items, verdicts, Exceptional::Exact);
    }

    pub(crate) fn verify_with(
        &self,
        key: &PreparedKey,
        items: &[(Digest, Signature)],
        verdicts: &mut [bool],
        exceptional: Exceptional,
    ) {
        let count = items.len().min(verdicts.len());
        let (items, verdicts) = (&items[..count], &mut verdicts[..count]);
        for (items, verdicts) in items.chunks(CHUNK).zip(verdicts.chunks_mut(CHUNK)) {
            let checked = items
                .iter()
                .map(|(digest, signature)| check(&key.key, digest, signature));
            self.verify_chunk(checked, Keys::Prepared(&key.comb), exceptional, verdicts);
        }
    }

    fn verify_chunk(
        &self,
        checked: impl Iterator<Item = Option<Checked>>,
        keys: Keys<'_>,
        exceptional: Exceptional,
        verdicts: &mut [bool],
    ) {
        // Numbers out of range are invalid whatever the lane says; their lane computes something else.
        let mut items = [Checked::FILLER; CHUNK];
        let mut in_range = 0_u64;
        let mut count = 0;
        for (i, checked) in checked.enumerate() {
            if let Some(checked) = checked {
                items[i] = checked;
                in_range |= 1 << i;
            }
            count = i + 1;
        }
        let valid = in_range
            & self.backend.run(VerifyChunk {
                items: &items[..count],
                keys,
                generator: &self.generator,
                exceptional,
            });
        for (i, verdict) in verdicts.iter_mut().enumerate().take(count) {
            *verdict = valid >> i & 1 == 1;
        }
    }
}

impl fmt::Debug for LaneVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaneVerifier")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PreparedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PreparedKey")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Whether a point is on the curve.
struct IsOnCurve {
    x: Limbs,
    y: Limbs,
}

impl Task for IsOnCurve {
    type Output = bool;

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> bool {
        let point = Affine {
            x: Element::from_number(fill(zero, self.x)),
            y: Element::from_number(fill(zero, self.y)),
        };
        point.on_curve() == 0xff
    }
}
