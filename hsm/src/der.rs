//! The few lines of DER (X.690) that keys and signatures need: one element read, and the
//! ECDSA signature written.

use crate::public_key::without_leading_zeros;

/// `INTEGER`.
pub(crate) const INTEGER: u8 = 0x02;
/// `OCTET STRING`.
pub(crate) const OCTET_STRING: u8 = 0x04;
/// `OBJECT IDENTIFIER`.
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
/// `SEQUENCE`, constructed.
pub(crate) const SEQUENCE: u8 = 0x30;

/// Longest `Ecdsa-Sig-Value` written: two P-521 INTEGERs of 2 + 66 bytes and a header of 3. The
/// 66 bytes of any value with 528 bits take a sign byte more each.
pub(crate) const ECDSA_SIGNATURE_LEN_MAX: usize = 3 + 2 * (2 + 1 + 66);

/// Splits one element with `tag` off the front: its content and what follows it. `None` when the
/// input is no such element in DER's shortest form.
pub(crate) fn read(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, first], rest) = input.split_first_chunk::<2>()?;
    if found != tag {
        return None;
    }
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => {
            let (&len, rest) = rest.split_first()?;
            (len >= 0x80).then_some((usize::from(len), rest))?
        }
        0x82 => {
            let (&len, rest) = rest.split_first_chunk::<2>()?;
            let len = u16::from_be_bytes(len);
            (len >= 0x100).then_some((usize::from(len), rest))?
        }
        // Nothing read here is longer than 64 KiB.
        _ => return None,
    };
    rest.split_at_checked(len)
}

/// Writes the raw `r‖s` of PKCS#11 (v3.1 §6.3.1) as
/// `Ecdsa-Sig-Value ::= SEQUENCE { r INTEGER, s INTEGER }` (RFC 3279 §2.2.3).
///
/// `raw` has an even length of at most 132 bytes, so every length fits one byte.
/// Returns the number of bytes written.
pub(crate) fn write_ecdsa_signature(raw: &[u8], out: &mut [u8; ECDSA_SIGNATURE_LEN_MAX]) -> usize {
    let (r, s) = raw.split_at(raw.len() / 2);
    let content_len = integer_len(r) + integer_len(s);
    let mut end = if content_len < 0x80 {
        out[..2].copy_from_slice(&[SEQUENCE, content_len as u8]);
        2
    } else {
        out[..3].copy_from_slice(&[SEQUENCE, 0x81, content_len as u8]);
        3
    };
    for integer in [r, s] {
        let digits = without_leading_zeros(integer);
        let pad = usize::from(needs_sign_byte(digits));
        out[end] = INTEGER;
        out[end + 1] = (pad + digits.len()) as u8;
        out[end + 2] = 0;
        end += 2 + pad;
        out[end..end + digits.len()].copy_from_slice(digits);
        end += digits.len();
    }
    end
}

/// Length of the `INTEGER` that holds this magnitude, with its header.
fn integer_len(magnitude: &[u8]) -> usize {
    let digits = without_leading_zeros(magnitude);
    2 + usize::from(needs_sign_byte(digits)) + digits.len()
}

/// An `INTEGER` is signed: a zero byte in front keeps a set top bit from meaning "negative", and
/// stands for the value zero.
fn needs_sign_byte(digits: &[u8]) -> bool {
    digits.first().is_none_or(|byte| byte & 0x80 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A plain encoder, written another way: through vectors and a search for the shortest form.
    fn reference(raw: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        for half in raw.chunks(raw.len() / 2) {
            let mut integer = vec![0];
            integer.extend_from_slice(half);
            while integer.len() > 1 && integer[0] == 0 && integer[1] < 0x80 {
                integer.remove(0);
            }
            body.push(0x02);
            body.push(u8::try_from(integer.len()).expect("at most 67"));
            body.extend(integer);
        }
        let len = u8::try_from(body.len()).expect("at most 138");
        let header = if len > 127 {
            vec![0x30, 0x81, len]
        } else {
            vec![0x30, len]
        };
        [header, body].concat()
    }

    /// Halves with many zeros in front, where the encoding changes its length.
    fn half(len: usize) -> impl Strategy<Value = Vec<u8>> {
        (0..=len, proptest::collection::vec(any::<u8>(), len)).prop_map(|(zeros, mut bytes)| {
            bytes[..zeros].fill(0);
            bytes
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: proptest::test_runner::RngSeed::Fixed(7512),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn ecdsa_signature_matches_the_reference(
            raw in prop_oneof![Just(32), Just(48), Just(66)].prop_flat_map(|len| (half(len), half(len)))
        ) {
            let raw = [raw.0, raw.1].concat();
            let mut out = [0xaa; ECDSA_SIGNATURE_LEN_MAX];
            let len = write_ecdsa_signature(&raw, &mut out);
            prop_assert_eq!(&out[..len], &reference(&raw)[..]);

            let (body, rest) = read(SEQUENCE, &out[..len]).expect("a SEQUENCE");
            prop_assert!(rest.is_empty());
            let (r, body) = read(INTEGER, body).expect("r");
            let (s, body) = read(INTEGER, body).expect("s");
            prop_assert!(body.is_empty());
            let half = raw.len() / 2;
            prop_assert_eq!(without_leading_zeros(r), without_leading_zeros(&raw[..half]));
            prop_assert_eq!(without_leading_zeros(s), without_leading_zeros(&raw[half..]));
        }

        #[test]
        fn reading_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for tag in [INTEGER, OCTET_STRING, SEQUENCE] {
                if let Some((content, rest)) = read(tag, &bytes) {
                    prop_assert!(content.len() + rest.len() + 2 <= bytes.len());
                }
            }
        }
    }

    #[test]
    fn lengths_are_read_in_their_shortest_form_only() {
        let long = [&[OCTET_STRING, 0x81, 0x80][..], &[7; 128]].concat();
        assert_eq!(read(OCTET_STRING, &long), Some((&[7; 128][..], &[][..])));
        assert_eq!(read(OCTET_STRING, &[OCTET_STRING, 0x81, 1, 7]), None);
        assert_eq!(read(OCTET_STRING, &[OCTET_STRING, 0x82, 0, 1, 7]), None);
        assert_eq!(read(OCTET_STRING, &[OCTET_STRING, 2, 7]), None);
        assert_eq!(read(OCTET_STRING, &[INTEGER, 1, 7]), None);
        assert_eq!(
            read(OCTET_STRING, &[OCTET_STRING, 1, 7, 9]),
            Some((&[7][..], &[9][..]))
        );
    }
}
