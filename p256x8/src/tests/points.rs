//! The formulas, the tables and the windows against big integers.

use num_bigint::BigUint;
use std::vec::Vec;

use super::oracle::{CURVE, Point as Right};
use super::random::Random;
use super::{limbs_of, number, numbers, on_both, to_limbs, with};
use crate::batch::{G_X, G_Y};
use crate::exact::DoubleMultiple;
use crate::field::Element;
use crate::lanes::portable::Portable;
use crate::lanes::{LANES, Lanes, Task, Work};
use crate::limbs::Limbs;
use crate::point::{Affine, double_same_z, plus_same_z};
use crate::table::{COMB_WINDOWS, Comb, MakeComb, Row, unpack};
use crate::window::Windows;

type Eight = [Limbs; LANES];

/// Eight points, as numbers.
#[derive(Clone)]
struct Points {
    x: Eight,
    y: Eight,
}

impl Points {
    fn new(points: &[Right]) -> Self {
        let coordinate = |of: fn(&(BigUint, BigUint)) -> &BigUint| -> Eight {
            std::array::from_fn(|lane| to_limbs(of(points[lane].as_ref().unwrap())))
        };
        Self {
            x: coordinate(|point| &point.0),
            y: coordinate(|point| &point.1),
        }
    }

    #[inline(always)]
    fn affine<V: Lanes>(&self, zero: V) -> Affine<V> {
        Affine {
            x: Element::from_number(with(zero, &self.x)),
            y: Element::from_number(with(zero, &self.y)),
        }
    }
}

/// Every formula on P and Q: 2P, 4P, P + Q, 2P + Q, then by common Z P + Q and P again, 2P and P again, and complete.
#[derive(Clone)]
struct Formulas {
    p: Points,
    q: Points,
    u1: Eight,
    u2: Eight,
}

impl Task for Formulas {
    /// X, Y and Z of each result, and X and Z of the complete formulas: limb by limb the same on all lanes.
    type Output = (Vec<[Eight; 3]>, [Eight; 2], u8);

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Self::Output {
        let (p, q) = (self.p.affine(zero), self.q.affine(zero));
        let twice = p.jacobian().doubled();
        let (sum, again, z) = plus_same_z(p, q);
        let (double, first, z2) = double_same_z(p);
        let jacobian = [
            twice,
            twice.doubled(),
            p.jacobian().plus_affine(q),
            twice.plus_affine(q),
        ];
        let mut results: Vec<_> = jacobian
            .iter()
            .map(|point| [point.x, point.y, point.z])
            .collect();
        results
            .extend([(sum, z), (again, z), (double, z2), (first, z2)].map(|(a, z)| [a.x, a.y, z]));
        let (u1, u2) = (with(zero, &self.u1), with(zero, &self.u2));
        let exact = DoubleMultiple { u1, g: p, u2, q }.run();
        (
            results
                .iter()
                .map(|point| point.map(|element| limbs_of(element.0)))
                .collect(),
            [exact.x, exact.z].map(|element| limbs_of(element.0)),
            p.on_curve() & !p.negate(0xff).select(0x0f, q).on_curve(),
        )
    }
}

fn from_montgomery(limbs: &Limbs) -> BigUint {
    let inverse = (BigUint::from(1_u8) << 260_u32).modinv(&CURVE.p).unwrap();
    number(limbs) * inverse % &CURVE.p
}

/// The affine point of Jacobian coordinates.
fn affine(point: &[Eight; 3], lane: usize) -> Right {
    let p = &CURVE.p;
    let [x, y, z] = point.each_ref().map(|eight| from_montgomery(&eight[lane]));
    let inverse = z.modinv(p)?;
    let square = &inverse * &inverse;
    Some((x * &square % p, y * square * inverse % p))
}

fn check_formulas(p: &[Right], q: &[Right], random: &mut Random) {
    let scalars: Vec<_> = (0..16).map(|_| random.number(&CURVE.n)).collect();
    let eight =
        |from: usize| -> Eight { std::array::from_fn(|lane| to_limbs(&scalars[from + lane])) };
    let (results, exact, off_curve) = on_both(Formulas {
        p: Points::new(p),
        q: Points::new(q),
        u1: eight(0),
        u2: eight(8),
    });
    assert_eq!(off_curve, 0);
    for lane in 0..LANES {
        let (p, q) = (&p[lane], &q[lane]);
        let (twice, sum) = (CURVE.add(p, p), CURVE.add(p, q));
        let four = CURVE.add(&twice, &twice);
        let right = [
            &twice,
            &four,
            &sum,
            &CURVE.add(&twice, q),
            &sum,
            p,
            &twice,
            p,
        ];
        // Where the fast formulas cannot add they leave Z = 0, and the point again is lost with it.
        let same_x = p.as_ref().unwrap().0 == q.as_ref().unwrap().0;
        for (i, (found, right)) in results.iter().zip(right).enumerate() {
            let exceptional = match i {
                2 | 4 | 5 => same_x,
                3 => CURVE.add(&twice, q).is_none() || twice == *q,
                _ => false,
            };
            let right = if exceptional { &None } else { right };
            assert_eq!(affine(found, lane), *right, "formula {i}");
        }
        let sum = CURVE.add(
            &CURVE.times(&scalars[lane], p),
            &CURVE.times(&scalars[8 + lane], q),
        );
        let [x, z] = exact.each_ref().map(|eight| from_montgomery(&eight[lane]));
        let found = z.modinv(&CURVE.p).map(|inverse| x * inverse % &CURVE.p);
        assert_eq!(found, sum.map(|(x, _)| x));
    }
}

fn negated(point: &Right) -> Right {
    let p = &CURVE.p;
    point.as_ref().map(|(x, y)| (x.clone(), (p - y) % p))
}

#[test]
fn formulas_on_random_points() {
    let mut random = Random::new(13);
    let mut points = |count| -> Vec<_> {
        let point = |_| CURVE.times(&random.number(&CURVE.n), &CURVE.g);
        (0..count).map(point).collect()
    };
    let (p, q) = (points(8), points(8));
    check_formulas(&p, &q, &mut random);
}

/// P + P, P + (−P), 2P + 2P, 2P + (−2P) and neighbors.
#[test]
fn formulas_on_points_that_meet() {
    let mut random = Random::new(14);
    let g = &CURVE.g;
    let multiple = |k: i32| {
        let point = CURVE.times(&k.unsigned_abs().into(), g);
        if k < 0 { negated(&point) } else { point }
    };
    let p = [1, 1, 1, 1, 5, 5, 5, 5].map(multiple);
    let q = [1, -1, 2, -2, 10, -10, 5, 7].map(multiple);
    check_formulas(&p, &q, &mut random);
}

#[derive(Clone)]
struct Rows<'a>(&'a Comb, usize);

/// The points of the table's rows of one window, with their signs turned in every second lane.
impl Task for Rows<'_> {
    type Output = Vec<(Eight, Eight)>;

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Self::Output {
        let rows = (0..128).step_by(LANES).map(|first| {
            let digits = crate::window::Digits {
                indices: std::array::from_fn(|lane| first + lane),
                negative: 0b1010_1010,
            };
            let point = self.0.look_up(zero, self.1, &digits);
            (limbs_of(point.x.canonical()), limbs_of(point.y.canonical()))
        });
        rows.collect()
    }
}

#[derive(Clone)]
struct Generator;

impl Task for Generator {
    type Output = Vec<Vec<(Eight, Eight)>>;

    #[inline(always)]
    fn run<V: Lanes>(self, zero: V) -> Self::Output {
        let comb = MakeComb { x: G_X, y: G_Y }.run(zero);
        (0..COMB_WINDOWS)
            .map(|window| Rows(&comb, window).run(zero))
            .collect()
    }
}

/// All 4,096 rows of the base point's table. `OddMultiples` makes them, as it makes a key's.
#[test]
fn every_row_of_the_base_points_table() {
    let windows = on_both(Generator);
    let mut start = CURVE.g.clone();
    for rows in windows {
        let step = CURVE.add(&start, &start);
        let mut multiple = start;
        for (x, y) in rows {
            for lane in 0..LANES {
                let found = Some((from_montgomery(&x[lane]), from_montgomery(&y[lane])));
                let negated = negated(&multiple);
                let right = if lane % 2 == 1 { &negated } else { &multiple };
                assert_eq!(found, *right);
                multiple = CURVE.add(&multiple, &step);
            }
        }
        // The next window's multiples are 256 times these.
        start = step;
        for _ in 1..8 {
            start = CURVE.add(&start, &start);
        }
    }
}

#[test]
fn rows_are_unpacked() {
    let mut random = Random::new(15);
    let rows: [Row; LANES] = std::array::from_fn(|_| std::array::from_fn(|_| random.next()));
    let point = unpack(Portable::ZERO, rows.each_ref());
    let word = |words: &[u64]| {
        let words = words.iter().rev();
        words.fold(BigUint::ZERO, |sum, word| (sum << 64) + word)
    };
    assert_eq!(numbers(point.x.0), rows.map(|row| word(&row[..4])));
    assert_eq!(numbers(point.y.0), rows.map(|row| word(&row[4..])));
}

/// The digits times their weights are the scalar modulo n, and each is an index of the table with a sign.
fn check_windows<const W: usize, const M: usize>(scalars: &[BigUint]) {
    let n = &CURVE.n;
    for eight in scalars.chunks_exact(LANES) {
        let limbs: Eight = std::array::from_fn(|lane| to_limbs(&eight[lane]));
        let windows = Windows::<W, M>::new(with(Portable::ZERO, &limbs));
        for (lane, scalar) in eight.iter().enumerate() {
            let mut sum = BigUint::ZERO;
            for i in (0..M).rev() {
                let digits = windows.digits(i);
                assert!(digits.indices[lane] < 1 << (W - 1));
                let digit = BigUint::from(2 * digits.indices[lane] + 1);
                let negative = digits.negative >> lane & 1 == 1;
                sum = ((sum << W) + if negative { n - digit } else { digit }) % n;
            }
            assert_eq!(sum, scalar % n);
        }
    }
}

#[test]
fn digits_recombine_to_the_scalar() {
    let mut random = Random::new(16);
    let n = &CURVE.n;
    let mut scalars: Vec<_> = (0..400).map(|_| random.number(n)).collect();
    for bit in 0..256 {
        let power = BigUint::from(1_u8) << bit;
        scalars.extend([&power % n, (&power + n - 1_u8) % n, n - (&power % n)]);
    }
    scalars.extend([0_u8, 1, 2, 3, 33, 34, 35].map(BigUint::from));
    scalars.push(n - 1_u8);
    assert_eq!(scalars.len() % LANES, 0);
    check_windows::<5, 52>(&scalars);
    check_windows::<8, 32>(&scalars);
}
