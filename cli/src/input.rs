//! Where requests come from: files, directories, corpora, standard input.
//!
//! Everything that can be known beforehand is checked by [`Inputs::open`], before anything
//! is issued: that each argument exists and can be read. What can only be seen while
//! reading (an empty file, garbage, a block cut off) becomes a rejected item of its own and
//! never stops the others.
//!
//! Nothing is collected: one request at a time is read and handed on.

mod rejection;

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use birthmark_loadgen::corpus::{Corpus, CorpusError};

use crate::pem::{PemReader, REQUEST_BYTES_MAX, Wanted};

pub use rejection::InputRejection;

/// The argument that stands for standard input.
pub const STANDARD_INPUT: &str = "-";

/// Read buffer per file: a few requests.
const BUFFER_BYTES: usize = 32 * 1024;

/// After so many requests of a corpus their pages are given back: about 4 MB of P-256
/// requests, so that a run over a large corpus does not grow.
const CORPUS_FORGET_EVERY: u64 = 16 * 1024;

/// One request as it was found, with the name it goes by in the output.
#[derive(Debug)]
pub struct InputItem {
    /// The path for a file with one request, `path#N` from 1 for a PEM file with many,
    /// `corpus#N` with the corpus's own number (from 0), `-` or `-#N` for standard input.
    pub name: String,
    /// The request's or certificate's DER, at most [`REQUEST_BYTES_MAX`] bytes; or why it is not one.
    pub request: Result<Vec<u8>, InputRejection>,
}

/// The arguments of one run, checked.
#[derive(Debug)]
pub struct Inputs {
    wanted: Wanted,
    sources: Vec<Source>,
}

#[derive(Debug)]
enum Source {
    File(PathBuf),
    Directory(Vec<PathBuf>),
    Corpus(Corpus),
    /// A pipe or device given by name. It stays open: it could not be opened twice.
    Stream(PathBuf, File),
    StandardInput,
}

impl Inputs {
    /// Checks each argument and lists the directories (files only, in name order, not
    /// those that begin with a dot, not what lies in subdirectories).
    ///
    /// # Errors
    ///
    /// An argument does not exist or cannot be read, a corpus is damaged, or `-` stands twice.
    pub fn open(arguments: &[PathBuf]) -> Result<Inputs, InputError> {
        Inputs::open_for(Wanted::Requests, arguments)
    }

    /// The same for certificates: their labels count in PEM.
    ///
    /// # Errors
    ///
    /// As [`Inputs::open`].
    pub fn open_certificates(arguments: &[PathBuf]) -> Result<Inputs, InputError> {
        Inputs::open_for(Wanted::Certificates, arguments)
    }

    fn open_for(wanted: Wanted, arguments: &[PathBuf]) -> Result<Inputs, InputError> {
        let mut sources = Vec::with_capacity(arguments.len());
        for path in arguments {
            let source = open_source(path)?;
            let twice = |earlier: &Source| matches!(earlier, Source::StandardInput);
            if matches!(source, Source::StandardInput) && sources.iter().any(twice) {
                return Err(InputError::StandardInputTwice);
            }
            sources.push(source);
        }
        Ok(Inputs { wanted, sources })
    }

    /// How many requests there are, when that is known without reading them all: corpora only.
    pub fn len_known(&self) -> Option<u64> {
        self.sources.iter().try_fold(0, |sum, source| match source {
            Source::Corpus(corpus) => Some(sum + corpus.len()),
            _ => None,
        })
    }

    /// Reads all requests in order and hands each to `sink`, until it breaks.
    pub fn read(self, sink: &mut dyn FnMut(InputItem) -> ControlFlow<()>) -> ControlFlow<()> {
        let wanted = self.wanted;
        for source in self.sources {
            match source {
                Source::File(path) => read_file(&path, wanted, sink)?,
                Source::Directory(files) => {
                    files
                        .iter()
                        .try_for_each(|file| read_file(file, wanted, sink))?;
                }
                Source::Corpus(corpus) => {
                    for (number, der) in (0..).zip(corpus.iter()) {
                        let name = format!("corpus#{number}");
                        sink(InputItem {
                            name,
                            request: Ok(der.to_vec()),
                        })?;
                        if number % CORPUS_FORGET_EVERY == CORPUS_FORGET_EVERY - 1 {
                            corpus.forget(number + 1 - CORPUS_FORGET_EVERY..number);
                        }
                    }
                }
                Source::Stream(path, file) => {
                    let mut reader = BufReader::with_capacity(BUFFER_BYTES, file);
                    read_stream(&path.to_string_lossy(), &mut reader, wanted, sink)?;
                }
                Source::StandardInput => {
                    read_stream(STANDARD_INPUT, &mut io::stdin().lock(), wanted, sink)?;
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Why the run cannot begin. Nothing was issued.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InputError {
    /// A file or directory is missing or closed to this user.
    #[error("cannot read input {}; check the path and its permissions", path.display())]
    Unreadable {
        /// The argument.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// A corpus file is damaged.
    #[error("cannot use corpus {}", path.display())]
    Corpus {
        /// The argument.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: CorpusError,
    },
    /// `-` stands more than once.
    #[error("standard input ('-') can be read only once; name it once")]
    StandardInputTwice,
}

fn open_source(path: &Path) -> Result<Source, InputError> {
    if path == Path::new(STANDARD_INPUT) {
        return Ok(Source::StandardInput);
    }
    let unreadable = |source| InputError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if metadata.is_dir() {
        return Ok(Source::Directory(list(path).map_err(unreadable)?));
    }
    let file = File::open(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Ok(Source::Stream(path.to_owned(), file));
    }
    if Corpus::is_corpus(path).map_err(unreadable)? {
        let corpus = Corpus::open(path);
        return corpus
            .map(Source::Corpus)
            .map_err(|source| InputError::Corpus {
                path: path.to_owned(),
                source,
            });
    }
    Ok(Source::File(path.to_owned()))
}

/// The files of a directory in name order, those behind links too, without hidden ones and subdirectories.
pub(crate) fn list(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        // `metadata` follows links: a link to a file counts as a file.
        let is_file = fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file());
        if is_file && !hidden {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(
    path: &Path,
    wanted: Wanted,
    sink: &mut dyn FnMut(InputItem) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let name = path.to_string_lossy();
    match File::open(path) {
        Ok(file) => read_stream(
            &name,
            &mut BufReader::with_capacity(BUFFER_BYTES, file),
            wanted,
            sink,
        ),
        Err(error) => sink(InputItem {
            name: name.into_owned(),
            request: Err(InputRejection::Unreadable(error)),
        }),
    }
}

/// Reads one stream: DER when it begins like DER, otherwise PEM.
fn read_stream(
    name: &str,
    reader: &mut dyn BufRead,
    wanted: Wanted,
    sink: &mut dyn FnMut(InputItem) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let only = |request| InputItem {
        name: name.to_owned(),
        request,
    };
    // Two bytes tell the formats apart, but a pipe may give one at a time.
    let mut start = Vec::with_capacity(2);
    if let Err(error) = reader.take(2).read_to_end(&mut start) {
        return sink(only(Err(InputRejection::Unreadable(error))));
    }
    if start.is_empty() {
        return sink(only(Err(InputRejection::Empty)));
    }
    let whole = start.clone();
    if looks_like_der(&start) {
        return sink(only(read_der(whole, reader)));
    }
    read_pem(
        name,
        PemReader::new(whole.as_slice().chain(reader), wanted),
        sink,
    )
}

/// A DER SEQUENCE begins with 30 and a length. `0` (hex 30) may also begin a line of text
/// above a PEM block, but then a printable character or white space follows; no
/// request is so short that its length byte would look like one.
fn looks_like_der(start: &[u8]) -> bool {
    matches!(start, [0x30, length] if !length.is_ascii_graphic() && !length.is_ascii_whitespace())
}

fn read_der(mut der: Vec<u8>, reader: &mut dyn BufRead) -> Result<Vec<u8>, InputRejection> {
    let room = (REQUEST_BYTES_MAX + 1 - der.len()) as u64;
    reader
        .take(room)
        .read_to_end(&mut der)
        .map_err(InputRejection::Unreadable)?;
    if der.len() > REQUEST_BYTES_MAX {
        Err(InputRejection::TooLong)
    } else {
        Ok(der)
    }
}

/// Numbers the blocks, unless there is only one. To know that, the first block waits for the
/// second or the end.
fn read_pem<R: BufRead>(
    name: &str,
    mut pem: PemReader<R>,
    sink: &mut dyn FnMut(InputItem) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut next = || match pem.next_block() {
        Ok(None) => None,
        Ok(Some(Ok(der))) => Some((Ok(der), false)),
        Ok(Some(Err(error))) => Some((Err(InputRejection::Pem(error)), false)),
        Err(error) => Some((Err(InputRejection::Unreadable(error)), true)),
    };
    let Some((mut request, mut last)) = next() else {
        return sink(InputItem {
            name: name.to_owned(),
            request: Err(InputRejection::NotARequest),
        });
    };
    for number in 1_u64.. {
        let following = if last { None } else { next() };
        let alone = number == 1 && following.is_none();
        let name = if alone {
            name.to_owned()
        } else {
            format!("{name}#{number}")
        };
        sink(InputItem { name, request })?;
        match following {
            Some(item) => (request, last) = item,
            None => break,
        }
    }
    ControlFlow::Continue(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str =
        "-----BEGIN CERTIFICATE REQUEST-----\nMAMCAQc=\n-----END CERTIFICATE REQUEST-----\n";

    fn read(inputs: Inputs) -> Vec<(String, Result<Vec<u8>, &'static str>)> {
        let mut seen = Vec::new();
        let _ = inputs.read(&mut |item| {
            seen.push((
                item.name,
                item.request.map_err(|rejection| rejection.reason()),
            ));
            ControlFlow::Continue(())
        });
        seen
    }

    fn read_bytes(bytes: &[u8]) -> Vec<(String, Result<Vec<u8>, &'static str>)> {
        let mut seen = Vec::new();
        let mut reader = BufReader::with_capacity(1, bytes);
        let _ = read_stream("in", &mut reader, Wanted::Requests, &mut |item| {
            seen.push((
                item.name,
                item.request.map_err(|rejection| rejection.reason()),
            ));
            ControlFlow::Continue(())
        });
        seen
    }

    #[test]
    fn single_blocks_keep_the_plain_name() {
        let der = vec![0x30, 3, 2, 1, 7];
        assert_eq!(
            read_bytes(BLOCK.as_bytes()),
            [("in".to_owned(), Ok(der.clone()))]
        );
        let two = format!("{BLOCK}0 text\n{BLOCK}");
        let expected = [
            ("in#1".to_owned(), Ok(der.clone())),
            ("in#2".to_owned(), Ok(der)),
        ];
        assert_eq!(read_bytes(two.as_bytes()), expected);
        assert_eq!(read_bytes(format!("0 text\n{BLOCK}").as_bytes()).len(), 1);
    }

    #[test]
    fn a_bad_block_keeps_its_number() {
        let text = format!("{BLOCK}{}{BLOCK}", BLOCK.replace("MAMC", "M*MC"));
        let seen = read_bytes(text.as_bytes());
        let reasons: Vec<_> = seen
            .iter()
            .map(|(name, got)| (name.as_str(), got.as_ref().err().copied()))
            .collect();
        assert_eq!(
            reasons,
            [
                ("in#1", None),
                ("in#2", Some("pem-malformed")),
                ("in#3", None)
            ]
        );
    }

    #[test]
    fn der_as_it_is_and_bounded() {
        let mut der = vec![0x30, 0x82, 1, 0];
        der.extend_from_slice(&[9; 256]);
        assert_eq!(read_bytes(&der), [("in".to_owned(), Ok(der.clone()))]);
        der.resize(REQUEST_BYTES_MAX, 0);
        assert_eq!(
            read_bytes(&der)[0].1.as_ref().map(Vec::len),
            Ok(REQUEST_BYTES_MAX)
        );
        der.resize(10_000_000, 0);
        assert_eq!(read_bytes(&der), [("in".to_owned(), Err("too-large"))]);
    }

    #[test]
    fn what_is_not_a_request() {
        assert_eq!(read_bytes(b""), [("in".to_owned(), Err("empty"))]);
        assert_eq!(read_bytes(b"0"), [("in".to_owned(), Err("malformed"))]);
        assert_eq!(
            read_bytes(&[0xff; 1000]),
            [("in".to_owned(), Err("malformed"))]
        );
        assert_eq!(
            read_bytes(&[b'A'; 1_000_000]),
            [("in".to_owned(), Err("malformed"))]
        );
        let cut = &BLOCK[..BLOCK.len() - 9];
        assert_eq!(
            read_bytes(cut.as_bytes()),
            [("in".to_owned(), Err("pem-truncated"))]
        );
    }

    #[test]
    fn a_read_error_is_one_rejection() {
        struct Failing;
        impl Read for Failing {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::other("bad sector"))
            }
        }
        let mut seen = Vec::new();
        let mut reader = BufReader::new(BLOCK.as_bytes().chain(Failing));
        let _ = read_stream("in", &mut reader, Wanted::Requests, &mut |item| {
            seen.push((
                item.name,
                item.request.map_err(|rejection| rejection.reason()).err(),
            ));
            ControlFlow::Continue(())
        });
        assert_eq!(
            seen,
            [
                ("in#1".to_owned(), None),
                ("in#2".to_owned(), Some("unreadable"))
            ]
        );
    }

    #[test]
    fn directories_in_name_order_without_subdirectories() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["b.csr", "a.pem", "c.der", ".hidden"] {
            fs::write(directory.path().join(name), BLOCK).unwrap();
        }
        fs::create_dir(directory.path().join("aa")).unwrap();
        fs::write(directory.path().join("aa/inner.pem"), BLOCK).unwrap();
        let seen = read(Inputs::open(&[directory.path().to_owned()]).unwrap());
        let names: Vec<_> = seen
            .iter()
            .map(|(name, _)| name.rsplit('/').next().unwrap())
            .collect();
        assert_eq!(names, ["a.pem", "b.csr", "c.der"]);
    }

    #[test]
    fn known_beforehand() {
        let missing = Inputs::open(&["/nowhere/at/all".into()]).unwrap_err();
        assert!(
            matches!(missing, InputError::Unreadable { .. }),
            "{missing}"
        );
        let device = read(Inputs::open(&["/dev/null".into()]).unwrap());
        assert_eq!(device, [("/dev/null".to_owned(), Err("empty"))]);
        let twice = Inputs::open(&["-".into(), "-".into()]).unwrap_err();
        assert!(matches!(twice, InputError::StandardInputTwice), "{twice}");
    }

    #[test]
    fn reading_stops_when_the_sink_breaks() {
        let text = BLOCK.repeat(5);
        let mut seen = 0;
        let flow = read_stream("in", &mut text.as_bytes(), Wanted::Requests, &mut |_| {
            seen += 1;
            if seen == 2 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        assert_eq!((flow, seen), (ControlFlow::Break(()), 2));
    }
}
