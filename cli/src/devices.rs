//! Lists of devices for which keys are made: CSV with a head line, or one JSON object for each line.
//!
//! A device is one line. One that cannot be read is a rejected item of its own and does not stop the others. A
//! quoted CSV field may hold no line break; one that does is rejected with all its lines, so that its text never
//! becomes a device. Nothing is collected: one line at a time is read and handed on.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::input::{InputError, InputRejection, STANDARD_INPUT};

/// Longest line. The engine takes 8 KiB of data for a device; JSON may write six characters for one.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Lines that are passed over because a quoted field spans them, at most; then nobody knows what the rest means.
const QUOTED_BYTES_MAX: usize = 1024 * 1024;

/// Columns of a CSV file, at most: as many as the engine takes.
const COLUMNS_MAX: usize = 32;

/// What a device's line says: data for its profile.
pub type DeviceData = BTreeMap<String, String>;

/// One device as it was found, with the name it goes by in the output.
#[derive(Debug)]
pub struct DeviceItem {
    /// `path#N` or `-#N`, from 1, the head line not counted.
    pub name: String,
    /// The device's data, or why there is none.
    pub data: Result<DeviceData, InputRejection>,
}

/// A line that is no device.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeviceLineError {
    /// Over the limit.
    #[error("the line has over {LINE_BYTES_MAX} bytes")]
    TooLong,
    /// Not UTF-8.
    #[error("the line is not UTF-8")]
    NotText,
    /// Not a JSON object of strings.
    #[error("the line is no JSON object with text values: {0}")]
    Json(String),
    /// A quote without its partner, or text after one.
    #[error("a quoted field does not end with its quote, or a line break stands in it")]
    Quote,
    /// A quoted field goes on over more lines than are passed over.
    #[error(
        "a quoted field has no end within {QUOTED_BYTES_MAX} bytes, so the rest of the list is not read"
    )]
    Endless,
    /// A line with more or fewer fields than the head line.
    #[error("the line has {fields} fields, and the head line {columns}")]
    Fields {
        /// Of this line.
        fields: usize,
        /// Of the head line.
        columns: usize,
    },
    /// A head line that names no columns.
    #[error("the head line must name 1 to {COLUMNS_MAX} columns, each once")]
    Head,
}

/// The lists of one run, checked.
#[derive(Debug)]
pub struct DeviceLists {
    sources: Vec<Option<(PathBuf, File)>>,
}

impl DeviceLists {
    /// Opens each list. `-` is standard input.
    ///
    /// # Errors
    /// A list cannot be read, or `-` stands twice.
    pub fn open(arguments: &[PathBuf]) -> Result<DeviceLists, InputError> {
        let mut sources = Vec::with_capacity(arguments.len());
        for path in arguments {
            if path == Path::new(STANDARD_INPUT) {
                if sources.iter().any(Option::is_none) {
                    return Err(InputError::StandardInputTwice);
                }
                sources.push(None);
                continue;
            }
            let file = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
                true => Err(io::ErrorKind::IsADirectory.into()),
                false => Ok(file),
            });
            let file = file.map_err(|source| InputError::Unreadable {
                path: path.clone(),
                source,
            })?;
            sources.push(Some((path.clone(), file)));
        }
        Ok(DeviceLists { sources })
    }

    /// Reads all devices in order and hands each to `sink`, until it breaks.
    pub fn read(self, sink: &mut dyn FnMut(DeviceItem) -> ControlFlow<()>) -> ControlFlow<()> {
        for source in self.sources {
            match source {
                Some((path, file)) => {
                    let name = path.to_string_lossy();
                    read_list(&name, &mut BufReader::new(file), sink)?;
                }
                None => read_list(STANDARD_INPUT, &mut io::stdin().lock(), sink)?,
            }
        }
        ControlFlow::Continue(())
    }
}

/// How a list's lines are written.
enum Form {
    Json,
    Csv(Vec<String>),
}

fn read_list(
    name: &str,
    reader: &mut dyn BufRead,
    sink: &mut dyn FnMut(DeviceItem) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut form = None;
    let mut number = 0_u64;
    loop {
        let is_csv = matches!(form, Some(Form::Csv(_)));
        let line = match next_line(reader, is_csv) {
            Ok(Some(line)) => line,
            Ok(None) => break,
            Err(error) => {
                let data = Err(InputRejection::Unreadable(error));
                let name = format!("{name}#{}", number + 1);
                return sink(DeviceItem { name, data });
            }
        };
        let data = match (&form, line) {
            (Some(form), line) => line.and_then(|line| device(form, &line)),
            (None, Ok(line)) if line.starts_with('{') => device(form.insert(Form::Json), &line),
            (None, line) => match line.and_then(|line| head(&line)) {
                Ok(columns) => {
                    form = Some(Form::Csv(columns));
                    continue;
                }
                // Without a head line nobody knows what the others mean.
                Err(error) => {
                    let data = Err(InputRejection::Device(error));
                    let name = name.to_owned();
                    return sink(DeviceItem { name, data });
                }
            },
        };
        number += 1;
        let is_last = matches!(data, Err(DeviceLineError::Endless));
        sink(DeviceItem {
            name: format!("{name}#{number}"),
            data: data.map_err(InputRejection::Device),
        })?;
        if is_last {
            break;
        }
    }
    match form {
        Some(_) => ControlFlow::Continue(()),
        None => sink(DeviceItem {
            name: name.to_owned(),
            data: Err(InputRejection::Empty),
        }),
    }
}

/// The next line that is not empty, without its end. A line that is too long is passed over; so are, in CSV, the
/// lines that a quoted field spans.
fn next_line(
    reader: &mut dyn BufRead,
    is_csv: bool,
) -> io::Result<Option<Result<String, DeviceLineError>>> {
    loop {
        let mut quotes = Quotes::FieldStart;
        let mut line = Vec::new();
        if read_part(reader, &mut line, &mut quotes)? == 0 {
            return Ok(None);
        }
        let too_long = line.len() > LINE_BYTES_MAX;
        let mut part = Vec::new();
        let mut ended = line.ends_with(b"\n");
        while too_long && !ended {
            let read = read_part(reader, &mut part, &mut quotes)?;
            ended = read == 0 || part.ends_with(b"\n");
        }
        if is_csv && quotes == Quotes::Quoted {
            return pass_over(reader, &mut quotes).map(|error| Some(Err(error)));
        }
        if too_long {
            return Ok(Some(Err(DeviceLineError::TooLong)));
        }
        let text = match std::str::from_utf8(&line) {
            Ok(text) => text.trim_end_matches(['\n', '\r']),
            Err(_) => return Ok(Some(Err(DeviceLineError::NotText))),
        };
        // What spreadsheets put before UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if !text.trim().is_empty() {
            return Ok(Some(Ok(text.to_owned())));
        }
    }
}

/// Reads up to the end of a line or the limit, in the place of what was there. Returns how many octets.
fn read_part(
    reader: &mut dyn BufRead,
    part: &mut Vec<u8>,
    quotes: &mut Quotes,
) -> io::Result<usize> {
    part.clear();
    let mut limited = (&mut *reader).take(LINE_BYTES_MAX as u64 + 1);
    let read = limited.read_until(b'\n', part)?;
    *quotes = part
        .iter()
        .fold(*quotes, |quotes, octet| quotes.after(*octet));
    Ok(read)
}

/// Passes over lines until the quoted field has ended that the last one left open, and its line with it.
fn pass_over(reader: &mut dyn BufRead, quotes: &mut Quotes) -> io::Result<DeviceLineError> {
    let mut part = Vec::new();
    let mut passed = 0;
    loop {
        let read = read_part(reader, &mut part, quotes)?;
        passed += read;
        if read == 0 || part.ends_with(b"\n") && *quotes != Quotes::Quoted {
            return Ok(DeviceLineError::Quote);
        }
        if passed > QUOTED_BYTES_MAX {
            return Ok(DeviceLineError::Endless);
        }
    }
}

/// Where in a CSV line a reader is, RFC 4180 §2. Outside of quotes a line break ends the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    FieldStart,
    /// In a field without quotes, or after one with them.
    Plain,
    Quoted,
    /// After a quote in a quoted field: its end, or half of a doubled one.
    Closing,
}

impl Quotes {
    fn after(self, octet: u8) -> Quotes {
        match (self, octet) {
            (Quotes::FieldStart | Quotes::Closing, b'"') => Quotes::Quoted,
            (Quotes::Quoted, b'"') => Quotes::Closing,
            (Quotes::Quoted, _) => Quotes::Quoted,
            (_, b',' | b'\n') => Quotes::FieldStart,
            // What spreadsheets put before UTF-8.
            (Quotes::FieldStart, 0xef | 0xbb | 0xbf) => Quotes::FieldStart,
            _ => Quotes::Plain,
        }
    }
}

fn head(line: &str) -> Result<Vec<String>, DeviceLineError> {
    let columns = fields(line)?;
    let mut sorted = columns.clone();
    sorted.sort();
    sorted.dedup();
    let sound = columns.len() <= COLUMNS_MAX
        && sorted.len() == columns.len()
        && sorted.iter().all(|column| !column.is_empty());
    match sound {
        true => Ok(columns),
        false => Err(DeviceLineError::Head),
    }
}

fn device(form: &Form, line: &str) -> Result<DeviceData, DeviceLineError> {
    match form {
        Form::Json => match serde_json::from_str(line) {
            Ok(UniqueKeys(data)) => Ok(data),
            Err(error) => Err(DeviceLineError::Json(error.to_string())),
        },
        Form::Csv(columns) => {
            let fields = fields(line)?;
            if fields.len() != columns.len() {
                return Err(DeviceLineError::Fields {
                    fields: fields.len(),
                    columns: columns.len(),
                });
            }
            Ok(columns.iter().cloned().zip(fields).collect())
        }
    }
}

/// An object in which no key stands twice: of two values, nobody knows which one was meant.
struct UniqueKeys(DeviceData);

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = UniqueKeys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
                let mut data = DeviceData::new();
                while let Some((key, value)) = map.next_entry::<String, String>()? {
                    if data.contains_key(&key) {
                        return Err(A::Error::custom(format_args!("key {key:?} stands twice")));
                    }
                    data.insert(key, value);
                }
                Ok(UniqueKeys(data))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// The fields of one line, RFC 4180 §2; no field spans lines.
fn fields(line: &str) -> Result<Vec<String>, DeviceLineError> {
    let mut fields = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(more) => rest = more,
            None if after.is_empty() => return Ok(fields),
            None => return Err(DeviceLineError::Quote),
        }
    }
}

/// A field after its opening quote, and what follows the closing one.
fn quoted_field(text: &str) -> Result<(String, &str), DeviceLineError> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let end = rest.find('"').ok_or(DeviceLineError::Quote)?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(more) => {
                field.push('"');
                rest = more;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Seen = Vec<(String, Result<Vec<(String, String)>, String>)>;

    fn read(text: &[u8]) -> Seen {
        let mut seen = Vec::new();
        let _ = read_list("in", &mut BufReader::with_capacity(7, text), &mut |item| {
            let data = item.data.map(|data| data.into_iter().collect());
            seen.push((item.name, data.map_err(|error| error.to_string())));
            ControlFlow::Continue(())
        });
        seen
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn csv_with_a_head_line() {
        let text =
            "\u{feff}serial,\"the \"\"model\"\"\"\r\nSN-1,\"a,b\"\r\n\r\nSN-2,\nSN-3\n\"SN-4,x\n";
        let seen = read(text.as_bytes());
        assert_eq!(seen[0].0, "in#1");
        let model = "the \"model\"";
        assert_eq!(seen[0].1, Ok(pairs(&[("serial", "SN-1"), (model, "a,b")])));
        assert_eq!(seen[1].1, Ok(pairs(&[("serial", "SN-2"), (model, "")])));
        let told = |number: usize| seen[number].1.clone().unwrap_err();
        assert!(told(2).contains("1 fields"), "{}", told(2));
        assert!(told(3).contains("quote"), "{}", told(3));
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn one_json_object_a_line() {
        let seen = read(b"{\"serial\":\"SN-1\"}\n\n{\"serial\":2}\n[]\n{\"serial\":\"SN-3\"}");
        assert_eq!(seen[0].1, Ok(pairs(&[("serial", "SN-1")])));
        assert!(seen[1].1.is_err() && seen[2].1.is_err());
        let last = ("in#4".to_owned(), Ok(pairs(&[("serial", "SN-3")])));
        assert_eq!(seen[3], last);
    }

    #[test]
    fn a_quoted_field_over_lines_is_one_item_and_no_device() {
        // The second line of the field looks like a device.
        let text = "serial,note\nSN-1,\"one\nSN-2,two\nSN-3,\"\"three\"\nSN-4,four\n";
        let seen = read(text.as_bytes());
        let told = |number: usize| seen[number].1.clone().unwrap_err();
        assert!(told(0).contains("line break"), "{}", told(0));
        assert_eq!(seen[1].0, "in#2");
        assert_eq!(
            seen[1].1,
            Ok(pairs(&[("note", "four"), ("serial", "SN-4")]))
        );
        assert_eq!(seen.len(), 2);
        // In a later field of the line where the first one ends; in a line over the limit, of other octets.
        let long = "x".repeat(LINE_BYTES_MAX);
        for field in ["\"a\nb\",\"c\n", "x,\"a\n", "x,\"\n\r\n\n"] {
            let text = format!("serial,note\n{field}SN-2,two\n\"\nSN-4,four\n");
            let seen = read(text.as_bytes());
            assert_eq!((seen.len(), seen[0].1.is_err()), (2, true), "{field:?}");
            let text = format!("serial,note\n\"{long}\",{field}SN-2,two\n\"\nSN-4,four\n");
            let seen = read(text.as_bytes());
            assert_eq!((seen.len(), seen[0].1.is_err()), (2, true), "{field:?}");
        }
        assert_eq!(read(b"serial,note\nx,\"\xff\nSN-2,two\n\"\n").len(), 1);
        // A quote within a field without quotes is text.
        let seen = read(b"serial,note\nSN-1,5\" pipe\nSN-2,\"\"\n");
        assert!(seen.len() == 2 && seen.iter().all(|(_, data)| data.is_ok()));
    }

    #[test]
    fn a_quoted_field_without_end_ends_the_list() {
        let mut text = b"serial,note\nSN-1,\"one\n".to_vec();
        while text.len() < 2 * QUOTED_BYTES_MAX {
            text.extend(b"SN-2,two\n");
        }
        for end in ["", "\"\nSN-3,three\n"] {
            let seen = read(&[&text, end.as_bytes()].concat());
            assert_eq!(seen.len(), 1);
            let told = seen[0].1.clone().unwrap_err();
            assert!(told.contains("1048576"), "{told}");
        }
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        let seen = read(b"{\"serial\":\"SN-1\",\"serial\":\"SN-2\"}\n{\"serial\":\"SN-3\"}\n");
        let told = seen[0].1.clone().unwrap_err();
        assert!(told.contains("\"serial\" stands twice"), "{told}");
        assert!(seen[1].1.is_ok());
    }

    #[test]
    fn what_is_no_list() {
        for text in ["", "\n \n", "a,a\nx,y\n", "a,,b\n", "\"a\n", "\u{0}\u{0}"] {
            let seen = read(text.as_bytes());
            let refused = seen.len() == 1 && seen[0].1.is_err() && seen[0].0 == "in";
            assert!(refused || text == "\u{0}\u{0}", "{text:?}: {seen:?}");
        }
        let many = vec!["c"; COLUMNS_MAX + 1].join(",");
        assert!(read(many.as_bytes())[0].1.is_err());
        assert!(read(b"serial\n\xff\xfe\n")[0].1.is_err());
    }

    #[test]
    fn a_line_without_end_costs_no_more_than_its_limit() {
        let mut text = b"serial\n".to_vec();
        text.extend(vec![b'x'; 10 * LINE_BYTES_MAX]);
        text.extend(b"\nSN-2\n");
        let seen = read(&text);
        assert!(seen[0].1.as_ref().unwrap_err().contains("65536"));
        assert_eq!(seen[1].1, Ok(pairs(&[("serial", "SN-2")])));
    }
}
