//! Splits a stream of PEM text into certificate requests.
//!
//! RFC 7468: text outside the blocks is explanatory and ignored (§2), lines end with
//! CRLF, CR or LF, `CERTIFICATE REQUEST` and the older `NEW CERTIFICATE REQUEST` are
//! read (§7). Blocks of private keys and parameters, which other tools like to
//! write beside the request, are passed over unread; any other block is reported.
//!
//! The reader holds one block at a time and never more than
//! [`BASE64_BYTES_MAX`] of it, however long the input is.

use std::io::{self, BufRead};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest certificate request that is read, in bytes of DER.
///
/// Derivation: an RSA-4096 request with a full name takes about 1.3 kB, an ML-DSA-87
/// request (2,592-byte key, 4,627-byte signature) 7.5 kB. 64 KiB leaves room for
/// attributes and is also the largest log record, so nothing longer could be issued.
pub const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Longest block body in base64 characters: 4 for every 3 bytes, rounded up.
pub const BASE64_BYTES_MAX: usize = REQUEST_BYTES_MAX.div_ceil(3) * 4;

/// Longest line that is kept: a whole body may stand on one line, with some white space. A
/// line that fills it was cut, and cannot be part of a body that is short enough.
const LINE_BYTES_MAX: usize = BASE64_BYTES_MAX + 256;

/// What a stream is read for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Certificate requests, with the label of RFC 7468 §7 or the older one.
    Requests,
    /// Certificates, with the label of RFC 7468 §5 or the older one.
    Certificates,
}

impl Wanted {
    /// The labels: the standard's, and the one that older programs write.
    pub(crate) fn labels(self) -> [&'static str; 2] {
        match self {
            Wanted::Requests => ["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"],
            Wanted::Certificates => ["CERTIFICATE", "X509 CERTIFICATE"],
        }
    }
}

/// Iterates over the certificate requests, or the certificates, of a PEM stream.
#[derive(Debug)]
pub struct PemReader<R> {
    reader: R,
    wanted: Wanted,
    line: Vec<u8>,
    body: Vec<u8>,
    /// The label of a BEGIN line that ended the block before it.
    begun: Option<Label>,
}

impl<R: BufRead> PemReader<R> {
    /// Reads from `reader`, from its current position.
    pub fn new(reader: R, wanted: Wanted) -> PemReader<R> {
        PemReader {
            reader,
            wanted,
            line: Vec::new(),
            body: Vec::new(),
            begun: None,
        }
    }

    /// The next request or certificate as DER, or why the next block is not one. `None` at the end.
    ///
    /// A refused block does not end the iteration: the blocks after it are read.
    ///
    /// # Errors
    ///
    /// Only the reader's own.
    pub fn next_block(&mut self) -> io::Result<Option<Result<Vec<u8>, PemError>>> {
        loop {
            let label = match self.begun.take() {
                Some(label) => label,
                None => match self.seek_begin()? {
                    Some(label) => label,
                    None => return Ok(None),
                },
            };
            let block = self.read_body(&label)?;
            match (label, block) {
                (Label::Ignored(_), Ok(())) => continue,
                (Label::Wanted(_), Ok(())) => return Ok(Some(self.decode_body())),
                (Label::Other(label), Ok(())) => {
                    let [wanted, _] = self.wanted.labels();
                    return Ok(Some(Err(PemError::Label { label, wanted })));
                }
                (_, Err(error)) => return Ok(Some(Err(error))),
            }
        }
    }

    /// Skips explanatory text up to the next BEGIN line.
    fn seek_begin(&mut self) -> io::Result<Option<Label>> {
        while self.read_line()? {
            if let Some(label) = boundary(&self.line, b"-----BEGIN ") {
                return Ok(Some(Label::new(label, self.wanted)));
            }
        }
        Ok(None)
    }

    /// Reads up to the END line that matches, collecting the body of a request.
    fn read_body(&mut self, label: &Label) -> io::Result<Result<(), PemError>> {
        self.body.clear();
        let mut outcome = Ok(());
        while self.read_line()? {
            if let Some(end) = boundary(&self.line, b"-----END ") {
                if end != label.as_bytes() {
                    outcome = outcome.and(Err(PemError::LabelMismatch));
                }
                return Ok(outcome);
            }
            if let Some(next) = boundary(&self.line, b"-----BEGIN ") {
                self.begun = Some(Label::new(next, self.wanted));
                return Ok(Err(PemError::Truncated));
            }
            if outcome.is_err() || !matches!(label, Label::Wanted(_)) {
                continue;
            }
            self.body
                .extend(self.line.iter().filter(|byte| !byte.is_ascii_whitespace()));
            if self.line.contains(&b':') {
                outcome = Err(PemError::Header);
            } else if self.line.len() == LINE_BYTES_MAX || self.body.len() > BASE64_BYTES_MAX {
                outcome = Err(PemError::TooLong);
            }
        }
        Ok(Err(PemError::Truncated))
    }

    fn decode_body(&self) -> Result<Vec<u8>, PemError> {
        if self.body.is_empty() {
            return Err(PemError::Empty);
        }
        let der = STANDARD
            .decode(&self.body)
            .map_err(|source| PemError::Base64 { source })?;
        if der.len() > REQUEST_BYTES_MAX {
            Err(PemError::TooLong)
        } else {
            Ok(der)
        }
    }

    /// Reads one line without its end into `self.line`; of an over-long line only
    /// the first [`LINE_BYTES_MAX`] bytes are kept. False at the end of the input.
    fn read_line(&mut self) -> io::Result<bool> {
        self.line.clear();
        let mut any = false;
        loop {
            let available = match self.reader.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                return Ok(any);
            }
            any = true;
            let end = available
                .iter()
                .position(|byte| matches!(byte, b'\n' | b'\r'));
            let part = &available[..end.unwrap_or(available.len())];
            let room = LINE_BYTES_MAX - self.line.len();
            self.line.extend_from_slice(&part[..part.len().min(room)]);
            let consumed = end.map_or(available.len(), |at| at + 1);
            self.reader.consume(consumed);
            if end.is_some() {
                return Ok(true);
            }
        }
    }
}

/// Why a PEM block did not give a certificate request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// No END line before the end of the input or the next BEGIN line.
    #[error("the PEM block has no END line; the file was cut off, export it again")]
    Truncated,
    /// END names another label than BEGIN.
    #[error("the END line names another label than the BEGIN line")]
    LabelMismatch,
    /// The block is something else than what is read for.
    #[error("the PEM block is a '{label}', not a '{wanted}'")]
    Label {
        /// The label that was looked for.
        wanted: &'static str,
        /// The label, cut to what is safe to show.
        label: String,
    },
    /// RFC 1421 headers, which RFC 7468 §2 does not allow.
    #[error("the PEM block has header lines, as encrypted PEM has; write it without them")]
    Header,
    /// Nothing between BEGIN and END.
    #[error("the PEM block is empty")]
    Empty,
    /// The body is not base64.
    #[error("the PEM block is not valid base64")]
    Base64 {
        /// The decoder's reason.
        #[source]
        source: base64::DecodeError,
    },
    /// More than [`REQUEST_BYTES_MAX`].
    #[error("the PEM block holds more than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
}

/// What a BEGIN line announces.
#[derive(Debug)]
enum Label {
    Wanted(&'static str),
    Ignored(String),
    Other(String),
}

/// Labels are short; what is longer is cut before it reaches a message.
const LABEL_BYTES_MAX: usize = 64;

impl Label {
    fn new(label: &[u8], wanted: Wanted) -> Label {
        let known = wanted.labels();
        if let Some(known) = known.into_iter().find(|known| known.as_bytes() == label) {
            return Label::Wanted(known);
        }
        let text: String = label
            .iter()
            .take(LABEL_BYTES_MAX)
            .map(|byte| {
                if (b' '..=b'~').contains(byte) {
                    char::from(*byte)
                } else {
                    '?'
                }
            })
            .collect();
        if text.ends_with("PRIVATE KEY") || text.ends_with("PARAMETERS") {
            Label::Ignored(text)
        } else {
            Label::Other(text)
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Label::Wanted(label) => label.as_bytes(),
            Label::Ignored(label) | Label::Other(label) => label.as_bytes(),
        }
    }
}

/// The label of a boundary line, trailing white space allowed (RFC 7468 §3, laxtextualmsg).
fn boundary<'a>(line: &'a [u8], start: &[u8]) -> Option<&'a [u8]> {
    let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
    line.trim_ascii_end()
        .strip_prefix(start)?
        .strip_suffix(b"-----")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &[u8]) -> Vec<Result<Vec<u8>, PemError>> {
        // A tiny buffer makes every line cross a buffer's end.
        let mut reader = PemReader::new(io::BufReader::with_capacity(7, text), Wanted::Requests);
        let mut requests = Vec::new();
        while let Some(request) = reader.next_block().unwrap() {
            requests.push(request);
        }
        requests
    }

    fn block(label: &str, der: &[u8], end: &str) -> String {
        let mut text = format!("-----BEGIN {label}-----{end}");
        for line in STANDARD.encode(der).as_bytes().chunks(64) {
            text += std::str::from_utf8(line).unwrap();
            text += end;
        }
        text + &format!("-----END {label}-----{end}")
    }

    const REQUEST: &str = "CERTIFICATE REQUEST";

    #[test]
    fn both_labels_all_line_ends_and_text_between() {
        for end in ["\n", "\r\n", "\r"] {
            let text = [
                &format!("\u{FEFF}{}", block(REQUEST, b"first", end)),
                "Certificate Request:\n    Data: -----BEGIN\n",
                &block("EC PARAMETERS", b"curve", end),
                &block("PRIVATE KEY", b"secret", end),
                &block("NEW CERTIFICATE REQUEST", b"second", end),
                "bye",
            ]
            .concat();
            assert_eq!(
                read(text.as_bytes()),
                [Ok(b"first".to_vec()), Ok(b"second".to_vec())]
            );
        }
    }

    #[test]
    fn certificates_where_they_are_wanted() {
        let text = block("CERTIFICATE", b"one", "\n")
            + &block("PRIVATE KEY", b"secret", "\n")
            + &block(REQUEST, b"two", "\n")
            + &block("X509 CERTIFICATE", b"three", "\n");
        let mut reader = PemReader::new(text.as_bytes(), Wanted::Certificates);
        let mut next = || reader.next_block().unwrap();
        assert_eq!(next(), Some(Ok(b"one".to_vec())));
        let label = REQUEST.to_owned();
        let wanted = "CERTIFICATE";
        assert_eq!(next(), Some(Err(PemError::Label { wanted, label })));
        assert_eq!(next(), Some(Ok(b"three".to_vec())));
        assert_eq!(next(), None);
    }

    #[test]
    fn one_long_line_and_trailing_spaces() {
        let der = vec![7; REQUEST_BYTES_MAX];
        let body = STANDARD.encode(&der);
        let text = format!("-----BEGIN {REQUEST}-----  \n{body}  \n-----END {REQUEST}----- \t");
        assert!(read(text.as_bytes()) == [Ok(der)]);
    }

    #[test]
    fn refused_blocks_do_not_hide_the_next() {
        let good = block(REQUEST, b"good", "\n");
        let begin = format!("-----BEGIN {REQUEST}-----\n");
        let end = format!("-----END {REQUEST}-----\n");
        let cases: [(String, PemError); 7] = [
            (format!("{begin}AAAA\n"), PemError::Truncated),
            (
                format!("{begin}AAAA\n-----END CERTIFICATE REQ\n"),
                PemError::Truncated,
            ),
            (
                format!("{begin}AAAA\n-----END CERTIFICATE-----\n"),
                PemError::LabelMismatch,
            ),
            (format!("{begin}{end}"), PemError::Empty),
            (
                format!("{begin}Proc-Type: 4,ENCRYPTED\n\nAAAA\n{end}"),
                PemError::Header,
            ),
            (
                block("CERTIFICATE", b"leaf", "\n"),
                PemError::Label {
                    wanted: REQUEST,
                    label: "CERTIFICATE".to_owned(),
                },
            ),
            (
                block(REQUEST, &vec![7; REQUEST_BYTES_MAX + 1], "\n"),
                PemError::TooLong,
            ),
        ];
        for (bad, error) in cases {
            let seen = read(format!("{good}{bad}{good}").as_bytes());
            let good = Ok(b"good".to_vec());
            assert_eq!(
                seen,
                [good.clone(), Err(error), good],
                "{}",
                &bad[..bad.len().min(99)]
            );
        }
        let seen = read(format!("{begin}AA*A\n{end}{good}").as_bytes());
        assert!(
            matches!(seen[..], [Err(PemError::Base64 { .. }), Ok(_)]),
            "{seen:?}"
        );
    }

    #[test]
    fn truncated_at_the_end() {
        let text = block(REQUEST, &[9; 300], "\n");
        let cut = &text[..text.len() - 20];
        assert_eq!(read(cut.as_bytes()), [Err(PemError::Truncated)]);
    }

    #[test]
    fn a_huge_block_is_refused_in_bounded_memory() {
        // 10 MB on one line and on many lines: the buffers never pass the bound.
        for line in [usize::MAX, 64] {
            let body = vec![b'A'; 10_000_000];
            let mut text = format!("-----BEGIN {REQUEST}-----\n").into_bytes();
            for part in body.chunks(line.min(body.len())) {
                text.extend_from_slice(part);
                text.push(b'\n');
            }
            text.extend_from_slice(format!("-----END {REQUEST}-----\n").as_bytes());
            let mut reader = PemReader::new(&text[..], Wanted::Requests);
            assert_eq!(reader.next_block().unwrap(), Some(Err(PemError::TooLong)));
            assert_eq!(reader.next_block().unwrap(), None);
            assert!(
                reader.line.capacity() <= 2 * LINE_BYTES_MAX,
                "{}",
                reader.line.capacity()
            );
            assert!(
                reader.body.capacity() <= 2 * BASE64_BYTES_MAX,
                "{}",
                reader.body.capacity()
            );
        }
    }

    #[test]
    fn a_wild_label_is_made_safe() {
        let label = format!("\u{1b}[31m{}", "X".repeat(200));
        let seen = read(block(&label, b"x", "\n").as_bytes());
        // The END label is compared as it was shown: too long or wild labels never match.
        assert!(matches!(&seen[..], [Err(_)]), "{seen:?}");
        assert!(!format!("{seen:?}").contains('\u{1b}'));
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
            let _ = read(&bytes);
        }

        #[test]
        fn every_request_comes_back(
            requests in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 1..300), 0..8),
            between in "[a-zA-Z: \n]{0,40}",
            crlf in any::<bool>(),
        ) {
            let end = if crlf { "\r\n" } else { "\n" };
            let mut text = String::new();
            for request in &requests {
                text += &block(REQUEST, request, end);
                text += &between;
                text += end;
            }
            let expected: Vec<_> = requests.into_iter().map(Ok).collect();
            prop_assert_eq!(read(text.as_bytes()), expected);
        }

        #[test]
        fn a_cut_anywhere_loses_only_the_last(cut in 0usize..400) {
            let text = block(REQUEST, &[1; 60], "\n") + &block(REQUEST, &[2; 60], "\n");
            let cut = cut.min(text.len());
            let seen = read(&text.as_bytes()[..cut]);
            let first = text.len() / 2;
            // Without its last line end a block is still whole.
            if cut >= first - 1 {
                prop_assert_eq!(&seen[0], &Ok(vec![1; 60]));
            }
            prop_assert!(seen.iter().filter(|block| block.is_err()).count() <= 1);
        }
    }
}
