//! The lanes in one 512-bit register, with AVX-512F and AVX-512 IFMA. The only module with `unsafe`.
#![allow(unsafe_code)]

use core::arch::x86_64::{
    __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_cmpeq_epi64_mask, _mm512_loadu_si512,
    _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_mask_blend_epi64, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_i64x2, _mm512_slli_epi64,
    _mm512_srai_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
};

use super::{LANES, Lanes, Task, Work};

/// Proof that this processor has AVX-512F and AVX-512 IFMA, with what the compiler takes them to bring along, and that the operating system keeps the registers.
#[derive(Debug, Clone, Copy)]
pub struct Ifma(());

/// What the lanes need of the processor, as the standard library finds it. That has the operating system's part in it: no
/// AVX-512 feature is found unless the system keeps the registers (OSXSAVE, and bits 1, 2 and 5 to 7 of XCR0).
#[cfg(feature = "std")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Features {
    pub(crate) avx512f: bool,
    pub(crate) avx512ifma: bool,
    /// These the compiler takes AVX-512F to bring along. A processor, or whoever hides features of it, need not.
    pub(crate) avx2: bool,
    pub(crate) fma: bool,
    pub(crate) f16c: bool,
}

#[cfg(feature = "std")]
impl Features {
    /// Nothing missing.
    pub(crate) const ALL: Self = Self {
        avx512f: true,
        avx512ifma: true,
        avx2: true,
        fma: true,
        f16c: true,
    };

    /// What this processor has of those that are shown.
    fn read(shown: Self) -> Self {
        Self {
            avx512f: shown.avx512f && std::arch::is_x86_feature_detected!("avx512f"),
            avx512ifma: shown.avx512ifma && std::arch::is_x86_feature_detected!("avx512ifma"),
            avx2: shown.avx2 && std::arch::is_x86_feature_detected!("avx2"),
            fma: shown.fma && std::arch::is_x86_feature_detected!("fma"),
            f16c: shown.f16c && std::arch::is_x86_feature_detected!("f16c"),
        }
    }
}

impl Ifma {
    /// Asks the processor.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn detect() -> Option<Self> {
        Self::detect_among(Features::ALL)
    }

    /// Asks the processor, as if it had no other features than those that are shown. Nothing makes up for one that it lacks.
    #[cfg(feature = "std")]
    pub(crate) fn detect_among(shown: Features) -> Option<Self> {
        (Features::read(shown) == Features::ALL).then_some(Self(()))
    }

    /// The proof, on the caller's word.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512F and AVX-512 IFMA, with all that the compiler takes them to bring along (AVX2, FMA and F16C
    /// among it), and the operating system has enabled their registers.
    #[must_use]
    pub const unsafe fn assume() -> Self {
        Self(())
    }

    /// Runs a task compiled for these instructions. What the task calls has to be inlined into it to be compiled so.
    pub(crate) fn run<T: Task>(self, task: T) -> T::Output {
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline(never)]
        fn inside<T: Task>(task: T) -> T::Output {
            task.run(Vector(_mm512_setzero_si512()))
        }
        // SAFETY: `self` is the proof that the processor has both.
        unsafe { inside(task) }
    }
}

/// Eight words in a register. One exists only where an [`Ifma`] existed: that is what makes the calls below sound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vector(__m512i);

impl Lanes for Vector {
    #[inline(always)]
    fn fill(self, value: u64) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_set1_epi64(value.cast_signed()) })
    }

    #[inline(always)]
    fn with(self, values: [u64; LANES]) -> Self {
        // SAFETY: `self` proves AVX-512F; 64 bytes are read of an array of 64 bytes, without alignment.
        Self(unsafe { _mm512_loadu_si512(values.as_ptr().cast()) })
    }

    #[inline(always)]
    fn to_array(self) -> [u64; LANES] {
        let mut values = [0; LANES];
        // SAFETY: `self` proves AVX-512F; 64 bytes are written to an array of 64 bytes, without alignment.
        unsafe { _mm512_storeu_si512(values.as_mut_ptr().cast(), self.0) };
        values
    }

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_add_epi64(self.0, other.0) })
    }

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_sub_epi64(self.0, other.0) })
    }

    #[inline(always)]
    fn and(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_and_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn or(self, other: Self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_or_si512(self.0, other.0) })
    }

    #[inline(always)]
    fn shl<const N: u32>(self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_slli_epi64::<N>(self.0) })
    }

    #[inline(always)]
    fn shr<const N: u32>(self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_srli_epi64::<N>(self.0) })
    }

    #[inline(always)]
    fn sar<const N: u32>(self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_srai_epi64::<N>(self.0) })
    }

    #[inline(always)]
    fn madd_low(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` proves AVX-512 IFMA.
        Self(unsafe { _mm512_madd52lo_epu64(self.0, a.0, b.0) })
    }

    #[inline(always)]
    fn madd_high(self, a: Self, b: Self) -> Self {
        // SAFETY: `self` proves AVX-512 IFMA.
        Self(unsafe { _mm512_madd52hi_epu64(self.0, a.0, b.0) })
    }

    #[inline(always)]
    fn equal(self, other: Self) -> u8 {
        // SAFETY: `self` proves AVX-512F.
        unsafe { _mm512_cmpeq_epi64_mask(self.0, other.0) }
    }

    #[inline(always)]
    fn select(self, mask: u8, yes: Self) -> Self {
        // SAFETY: `self` proves AVX-512F.
        Self(unsafe { _mm512_mask_blend_epi64(mask, self.0, yes.0) })
    }

    #[inline(always)]
    fn call<W: Work>(self, work: W) -> W::Output {
        #[target_feature(enable = "avx512f,avx512ifma")]
        #[inline(never)]
        fn inside<W: Work>(work: W) -> W::Output {
            work.run()
        }
        // SAFETY: `self` proves both.
        unsafe { inside(work) }
    }

    #[inline(always)]
    fn transpose(self, rows: [&[u64; 8]; LANES]) -> [Self; 8] {
        // SAFETY: `self` proves AVX-512F; each load reads 64 bytes of an array of 64 bytes, without alignment.
        unsafe {
            let rows = rows.map(|row| _mm512_loadu_si512(row.as_ptr().cast()));
            let [w0, w2, w4, w6] = quarters([
                _mm512_unpacklo_epi64(rows[0], rows[1]),
                _mm512_unpacklo_epi64(rows[2], rows[3]),
                _mm512_unpacklo_epi64(rows[4], rows[5]),
                _mm512_unpacklo_epi64(rows[6], rows[7]),
            ]);
            let [w1, w3, w5, w7] = quarters([
                _mm512_unpackhi_epi64(rows[0], rows[1]),
                _mm512_unpackhi_epi64(rows[2], rows[3]),
                _mm512_unpackhi_epi64(rows[4], rows[5]),
                _mm512_unpackhi_epi64(rows[6], rows[7]),
            ]);
            [w0, w1, w2, w3, w4, w5, w6, w7].map(Self)
        }
    }
}

/// Transposes four by four quarters of 128 bits, and gives the columns in the order 0, 1, 2, 3.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let ab_even = _mm512_shuffle_i64x2::<0x88>(a, b);
    let ab_odd = _mm512_shuffle_i64x2::<0xdd>(a, b);
    let cd_even = _mm512_shuffle_i64x2::<0x88>(c, d);
    let cd_odd = _mm512_shuffle_i64x2::<0xdd>(c, d);
    [
        _mm512_shuffle_i64x2::<0x88>(ab_even, cd_even),
        _mm512_shuffle_i64x2::<0x88>(ab_odd, cd_odd),
        _mm512_shuffle_i64x2::<0xdd>(ab_even, cd_even),
        _mm512_shuffle_i64x2::<0xdd>(ab_odd, cd_odd),
    ]
}
