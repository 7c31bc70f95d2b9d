//! A DER writer that appends to one buffer, X.690 §10.

use super::tag;

/// Appends values to a buffer. Lengths are written when a value is closed, so nothing is encoded twice.
#[derive(Debug)]
pub(crate) struct Writer<'b> {
    buffer: &'b mut Vec<u8>,
}

impl<'b> Writer<'b> {
    pub(crate) fn new(buffer: &'b mut Vec<u8>) -> Self {
        Self { buffer }
    }

    /// A value whose content the closure writes.
    pub(crate) fn nested(&mut self, tag: u8, content: impl FnOnce(&mut Writer<'_>)) {
        self.buffer.push(tag);
        self.buffer.push(0);
        let start = self.buffer.len();
        content(&mut Writer {
            buffer: self.buffer,
        });
        self.close(start);
    }

    /// Fills in the length of the value whose content starts at `start`. Contents of 128 octets and more
    /// move up to make room for a longer length: a certificate has about six of them.
    fn close(&mut self, start: usize) {
        let length = self.buffer.len() - start;
        let octets = length_octets(length);
        let extra = octets.len() - 1;
        if extra > 0 {
            let end = self.buffer.len();
            self.buffer.resize(end + extra, 0);
            self.buffer.copy_within(start..end, start + extra);
        }
        self.buffer[start - 1..start + extra].copy_from_slice(&octets);
    }

    /// A primitive value.
    pub(crate) fn primitive(&mut self, tag: u8, content: &[u8]) {
        self.buffer.push(tag);
        self.buffer.extend_from_slice(&length_octets(content.len()));
        self.buffer.extend_from_slice(content);
    }

    /// Bytes that are DER already.
    pub(crate) fn raw(&mut self, encoding: &[u8]) {
        self.buffer.extend_from_slice(encoding);
    }

    /// A non-negative INTEGER from its big-endian magnitude, which must not start with a zero octet.
    pub(crate) fn unsigned(&mut self, magnitude: &[u8]) {
        let sign_octet = usize::from(magnitude.first().is_none_or(|first| first & 0x80 != 0));
        self.buffer.push(tag::INTEGER);
        self.buffer
            .extend_from_slice(&length_octets(magnitude.len() + sign_octet));
        self.buffer.extend_from_slice(&[0][..sign_octet]);
        self.buffer.extend_from_slice(magnitude);
    }

    /// A BIT STRING of whole octets.
    pub(crate) fn bit_string(&mut self, octets: &[u8]) {
        self.buffer.push(tag::BIT_STRING);
        self.buffer
            .extend_from_slice(&length_octets(octets.len() + 1));
        self.buffer.push(0);
        self.buffer.extend_from_slice(octets);
    }

    /// A BIT STRING of named bits, X.690 §11.2.2: bit 0 is the highest, trailing zero bits are left out.
    pub(crate) fn named_bits(&mut self, bits: u16) {
        let [high, low] = bits.reverse_bits().to_be_bytes();
        let octets: &[u8] = match (high, low) {
            (0, 0) => &[],
            (_, 0) => &[high],
            _ => &[high, low],
        };
        let unused = octets.last().map_or(0, |last| last.trailing_zeros());
        self.nested(tag::BIT_STRING, |w| {
            w.buffer.push(unused.to_le_bytes()[0]);
            w.raw(octets);
        });
    }
}

/// The octets of a length, X.690 §10.1.
pub(crate) fn length_octets(length: usize) -> arrayvec::ArrayVec<u8, 9> {
    let mut octets = arrayvec::ArrayVec::new();
    if length < 0x80 {
        octets.push(length.to_le_bytes()[0]);
    } else {
        let bytes = length.to_be_bytes();
        let skip = (length.leading_zeros() / 8) as usize;
        octets.push(0x80 | (bytes.len() - skip).to_le_bytes()[0]);
        octets.extend(bytes[skip..].iter().copied());
    }
    octets
}

#[cfg(test)]
mod tests {
    use super::super::reader::{Reader, check_strict, unsigned};
    use super::*;
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
        let mut buffer = Vec::new();
        write(&mut Writer::new(&mut buffer));
        buffer
    }

    #[test]
    fn named_bits_leave_out_trailing_zeros() {
        // KeyUsage digitalSignature alone, and keyCertSign with cRLSign (RFC 5280 §4.2.1.3).
        assert_eq!(written(|w| w.named_bits(1)), [0x03, 0x02, 0x07, 0x80]);
        assert_eq!(
            written(|w| w.named_bits(0b110_0000)),
            [0x03, 0x02, 0x01, 0x06]
        );
        assert_eq!(
            written(|w| w.named_bits(1 << 8)),
            [0x03, 0x03, 0x07, 0x00, 0x80]
        );
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            lengths in proptest::collection::vec(0usize..70_000, 1..4),
            number in proptest::collection::vec(any::<u8>(), 1..30),
        ) {
            let mut magnitude = number;
            magnitude[0] |= 1;
            let der = written(|w| w.nested(tag::SEQUENCE, |w| {
                w.unsigned(&magnitude);
                for length in &lengths {
                    w.nested(tag::SEQUENCE, |w| w.primitive(tag::OCTET_STRING, &vec![7; *length]));
                }
            }));
            prop_assert_eq!(check_strict(&der), Ok(()));
            let mut reader = Reader::new(&der).any().unwrap().reader();
            prop_assert_eq!(unsigned(&reader.any().unwrap()).unwrap(), &magnitude[..]);
            for length in &lengths {
                let inner = reader.any().unwrap().reader().any().unwrap();
                prop_assert_eq!(inner.content.len(), *length);
            }
            prop_assert!(reader.is_empty());
        }
    }
}
