use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::path::Path;

use birthmark_log::IndexKey;

use super::*;
use crate::fault::Fault;
use crate::index_keys::{lot_digest, lot_index_key};
use crate::profile::{IDEVID_TOML, Profile};
use crate::reissue::History;
use crate::rejection::Rejection;
use crate::request::Request;

/// 2026-03-01T06:00:00Z.
const BEGIN_S: u64 = 1_772_344_800;
/// 2026-03-31T20:00:00Z, as the lot writes it in another zone.
const END_S: u64 = 1_774_987_200;

const LOT: &str = r#"name = "WO-4711"
profile = "idevid"
quantity = 2
line = "line-3"
not_before = 2026-03-01T06:00:00Z
not_after = 2026-03-31T22:00:00+02:00

[serial]
from = "SN01"
to = "SN05"
"#;

fn lot(text: &str) -> Lot {
    Lot::parse(text, Path::new("lot.toml")).unwrap()
}

fn fault(text: &str) -> String {
    Lot::parse(text, Path::new("lot.toml"))
        .unwrap_err()
        .to_string()
}

fn book(lot: Lot, required: bool) -> LotBook {
    let profile = Profile::parse(IDEVID_TOML, Path::new("idevid.toml")).unwrap();
    LotBook::new(Lots::new(vec![lot], required), &[profile]).unwrap()
}

/// An index of places in the lot `WO-4711`.
#[derive(Default)]
struct Used(RefCell<HashSet<IndexKey>>, Cell<bool>);

impl Used {
    fn add(&self, number: u64) {
        let key = lot_index_key(&lot_digest("WO-4711"), number);
        assert!(self.0.borrow_mut().insert(key), "{number} twice");
    }
}

impl History for Used {
    fn newest(&self, _: usize, key: &IndexKey) -> Result<Option<u64>, Fault> {
        match self.1.get() {
            true => Err(Fault::Log("broken".to_owned())),
            false => Ok(self.0.borrow().contains(key).then_some(0)),
        }
    }

    fn record(&self, _: u64) -> Result<Vec<u8>, Fault> {
        Err(Fault::Closing)
    }
}

/// A request of line 3 for the lot.
fn request() -> Request {
    let mut request = Request::new(Vec::new(), "idevid");
    request.lot = Some("WO-4711".to_owned());
    request.requester = Some("line-3".to_owned());
    request
}

/// What the request gets, as it goes back to the start while it waits, but not for ever.
fn offer(book: &LotBook, used: &Used) -> LotOffer {
    let ask = || book.offer(&request(), Some("SN01"), Some(BEGIN_S), used);
    let turns = (0..100).map(|_| ask());
    let mut turns = turns.skip_while(|offer| matches!(offer, LotOffer::Waiting { .. }));
    turns.next().unwrap_or_else(ask)
}

/// The number of the refusal, if it is one.
fn refused(offer: &LotOffer) -> Option<u16> {
    match offer {
        LotOffer::Refused(rejection) => Some(rejection.number()),
        _ => None,
    }
}

#[test]
fn a_lot_is_read_as_it_is_written() {
    let whole = lot(LOT);
    assert_eq!(
        (whole.name(), whole.profile(), whole.line()),
        ("WO-4711", "idevid", Some("line-3"))
    );
    assert_eq!((whole.quantity(), whole.is_closed()), (2, false));
    assert_eq!(
        (whole.not_before_s(), whole.not_after_s()),
        (Some(BEGIN_S), Some(END_S))
    );
    let serials = whole.serials().unwrap();
    assert_eq!(serials.to_string(), "SN01 to SN05");
    let contained =
        ["SN00", "SN01", "SN05", "SN06", "SN001"].map(|serial| serials.contains(serial));
    assert_eq!(contained, [false, true, true, false, false]);

    let least = lot("name = \"l\"\nprofile = \"p\"\nquantity = 1\n");
    assert!(least.line().is_none() && least.serials().is_none());
    assert_eq!((least.not_before_s(), least.not_after_s()), (None, None));

    let pattern = lot("name = \"l\"\nprofile = \"p\"\nquantity = 1\nserial.pattern = 'A\\d'");
    let serials = pattern.serials().unwrap();
    assert!(serials.contains("A7") && !serials.contains("A77"));
}

#[test]
fn faults_name_line_and_key() {
    let with = |from: &str, to: &str| {
        assert!(LOT.contains(from), "{from}");
        LOT.replacen(from, to, 1)
    };
    for (text, told) in [
        (
            with("name = \"WO-4711\"", "name = \"\""),
            "lot.toml:1: name: must have 1 to 128 bytes",
        ),
        (
            with("WO-4711", "a\\nb"),
            "lot.toml:1: name: has a control character",
        ),
        (
            with("\"idevid\"", "\"\""),
            "lot.toml:2: profile: names no profile",
        ),
        (
            with("quantity = 2", "quantity = 0"),
            "lot.toml:3: quantity: must be 1 to 10000000",
        ),
        (
            with("quantity = 2", "quantity = 10000001"),
            "lot.toml:3: quantity: must be",
        ),
        (
            with("quantity = 2", "quantity = -1"),
            "lot.toml:3: quantity: invalid value",
        ),
        (
            with("quantity = 2", "count = 2"),
            "lot.toml:3: count: unknown field",
        ),
        (with("quantity = 2\n", ""), "missing field `quantity`"),
        (
            with("line-3", &"l".repeat(129)),
            "lot.toml:4: line: must have",
        ),
        (
            with("06:00:00Z", "06:00:00"),
            "lot.toml:5: not_before: needs date, time and zone",
        ),
        (
            with("2026-03-31T22:00:00+02:00", "1969-12-31T00:00:00Z"),
            "lot.toml:6: not_after: is not a time from 1970",
        ),
        (
            with("2026-03-31", "2026-02-28"),
            "lot.toml:6: not_after: is before not_before",
        ),
        (
            with("to = \"SN05\"", "to = \"SM05\""),
            "lot.toml:10: serial.to: differs",
        ),
        (
            with("to = \"SN05\"", "pattern = \"SN\""),
            "lot.toml:8: serial: needs from and to, or list, or pattern",
        ),
        (
            with("to = \"SN05\"", ""),
            "lot.toml:8: serial: needs from and to, or list",
        ),
    ] {
        let error = fault(&text);
        assert!(error.contains(told), "{error}\n{told}");
    }
}

#[test]
fn names_begin_and_end_with_no_blank() {
    for (text, told) in [
        (LOT.replace("WO-4711", " WO-4711"), "lot.toml:1: name"),
        (LOT.replace("line-3", "line-3\u{a0}"), "lot.toml:4: line"),
    ] {
        let told = format!("{told}: begins or ends with a blank");
        assert!(fault(&text).contains(&told), "{told}");
    }
}

#[test]
fn a_directory_holds_one_file_for_each_lot() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let read = || Lots::read(folder.path(), true);
    assert_eq!(read().unwrap().iter().count(), 0);
    write("b.toml", LOT);
    write("a.toml", &LOT.replace("WO-4711", "WO-4712"));
    write("notes.txt", "no lot");
    let lots = read().unwrap();
    let names: Vec<&str> = lots.iter().map(Lot::name).collect();
    assert_eq!((names, lots.required()), (vec!["WO-4712", "WO-4711"], true));
    assert!(lots.get("WO-4711").is_some() && lots.get("WO").is_none());
    write("c.toml", LOT);
    let error = read().unwrap_err().to_string();
    assert!(
        error.contains("c.toml:1: name: is the name of the lot in") && error.contains("b.toml too"),
        "{error}"
    );
    write("c.toml", &" ".repeat(64 * 1024 + 1));
    assert!(
        read()
            .unwrap_err()
            .to_string()
            .contains("has over 65536 bytes")
    );
    std::fs::remove_file(folder.path().join("c.toml")).unwrap();
    let pipe = folder.path().join("c.toml");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let error = read().unwrap_err().to_string();
    assert!(error.contains("c.toml: is no file"), "{error}");
    assert!(Lots::read(&folder.path().join("none"), false).is_err());
}

#[test]
fn a_lot_authorizes_what_it_says_and_nothing_else() {
    let ask = |text: &str, change: fn(&mut Request), identity: Option<&str>, now_s| {
        let mut request = request();
        change(&mut request);
        let used = Used::default();
        let offer = book(lot(text), true).offer(&request, identity, now_s, &used);
        refused(&offer)
    };
    let (same, now) = (|_: &mut Request| {}, Some(BEGIN_S));
    let closed = format!("closed = true\n{LOT}");
    let ours = Some("SN01");
    assert_eq!(ask(LOT, same, ours, now), None);
    assert_eq!(ask(LOT, same, Some("SN05"), Some(END_S)), None);
    // The clock cannot be right: nothing is issued, and nothing is said of the lot's times.
    assert_eq!(ask(LOT, same, ours, None), None);
    assert_eq!(ask(LOT, |request| request.lot = None, ours, now), Some(600));
    let other = |request: &mut Request| request.lot = Some("WO-4712".to_owned());
    assert_eq!(ask(LOT, other, ours, now), Some(601));
    assert_eq!(ask(&closed, same, ours, now), Some(602));
    assert_eq!(ask(LOT, same, ours, Some(BEGIN_S - 1)), Some(603));
    assert_eq!(ask(LOT, same, ours, Some(END_S + 1)), Some(604));
    let other = |request: &mut Request| request.profile = "tls-client".to_owned();
    assert_eq!(ask(LOT, other, ours, now), Some(605));
    let other = |request: &mut Request| request.requester = Some("line-4".to_owned());
    assert_eq!(ask(LOT, other, ours, now), Some(606));
    assert_eq!(
        ask(LOT, |request| request.requester = None, ours, now),
        Some(606)
    );
    assert_eq!(ask(LOT, same, Some("SN06"), now), Some(608));
    assert_eq!(ask(LOT, same, None, now), Some(608));
}

#[test]
fn a_lot_is_needed_only_where_the_station_says_so() {
    let mut request = request();
    request.lot = None;
    let offer = book(lot(LOT), false).offer(&request, None, None, &Used::default());
    assert!(matches!(offer, LotOffer::None));
}

#[test]
fn places_are_taken_once_and_come_back() {
    let (book, used) = (book(lot(LOT), true), Used::default());
    let ask = || offer(&book, &used);
    let (first, mut second) = (ask(), ask());
    assert_eq!((first.number(), second.number()), (Some(0), Some(1)));
    let waiting = ask();
    assert!(matches!(waiting, LotOffer::Waiting { .. }));
    assert_eq!(waiting.key(), first.key(), "it waits for one of the two");
    // One fails, the other ends in a record.
    drop(first);
    used.add(1);
    second.used();
    drop(second);
    let mut again = ask();
    assert_eq!(again.number(), Some(0));
    used.add(0);
    again.used();
    drop(again);
    match ask() {
        LotOffer::Refused(rejection) => assert_eq!(
            *rejection,
            Rejection::Lot {
                lot: "WO-4711".to_owned(),
                problem: LotProblem::Exhausted { quantity: 2 },
            }
        ),
        other => panic!("{other:?}"),
    }
    // The next start, and a lot that was extended.
    let start = |text: &str| {
        let offer = offer(&tests::book(lot(text), true), &used);
        (offer.number(), refused(&offer))
    };
    assert_eq!(start(LOT), (None, Some(607)));
    assert_eq!(
        start(&LOT.replace("quantity = 2", "quantity = 3")),
        (Some(2), None)
    );
    assert_eq!(
        start(&LOT.replace("quantity = 2", "quantity = 1")),
        (None, Some(607))
    );
}

#[test]
fn a_lowered_quantity_counts_what_was_issued_beyond_it() {
    let used = Used::default();
    [0, 2, 3, 5].into_iter().for_each(|number| used.add(number));
    let start = |quantity: u64| {
        let text = LOT.replace("quantity = 2", &format!("quantity = {quantity}"));
        let book = book(lot(&text), true);
        let offers: Vec<LotOffer> = (0..4).map(|_| offer(&book, &used)).collect();
        offers.iter().filter_map(LotOffer::number).count()
    };
    assert_eq!([1, 2, 4, 5, 6, 7].map(start), [0, 0, 0, 1, 2, 3]);
}

/// Whether the request was answered before is looked at first, so that a fault is no more than an offer.
#[test]
fn a_place_that_cannot_be_looked_for_is_a_fault_after_the_claim() {
    let (book, used) = (book(lot(LOT), true), Used::default());
    used.1.set(true);
    assert!(matches!(offer(&book, &used), LotOffer::Failed(_)));
    used.1.set(false);
    assert_eq!(offer(&book, &used).number(), Some(0));
}

#[test]
fn an_open_lot_is_for_a_profile_that_there_is() {
    let profile = Profile::parse(IDEVID_TOML, Path::new("idevid.toml")).unwrap();
    let other = LOT.replace("\"idevid\"", "\"gone\"");
    let closed = format!("closed = true\n{other}");
    let open = |text: &str| {
        let lots = Lots::new(vec![lot(text)], false);
        LotBook::new(lots, std::slice::from_ref(&profile)).map(|_| ())
    };
    let error = open(&other).unwrap_err();
    assert!(error.contains("\"WO-4711\" is for profile gone"), "{error}");
    assert_eq!(open(&closed), Ok(()));
}

#[test]
fn a_lot_restricts_no_serial_numbers_that_its_profile_hands_out() {
    let text = IDEVID_TOML
        .replace(
            "name = \"idevid\"",
            "name = \"idevid\"\nidentity_domain = \"d\"",
        )
        .replace("{csr.subject.serialNumber}", "{serial}");
    let text = format!("{text}\n[serial]\nfrom = \"SN01\"\nto = \"SN99\"\n");
    let profile = Profile::parse(&text, Path::new("idevid.toml")).unwrap();
    let open = |text: &str| {
        let lots = Lots::new(vec![lot(text)], false);
        LotBook::new(lots, std::slice::from_ref(&profile)).map(|_| ())
    };
    let error = open(LOT).unwrap_err();
    assert!(
        error.starts_with("lot lot.toml:8: serial: profile idevid hands out serial numbers itself"),
        "{error}"
    );
    assert_eq!(open(&format!("closed = true\n{LOT}")), Ok(()));
    let any = LOT.split("\n[serial]").next().unwrap();
    assert_eq!(open(any), Ok(()));
}

#[test]
fn a_place_is_no_identity_and_no_other_lots_place() {
    use crate::index_keys::identity_index_key;
    let place = |lot: &str, number| lot_index_key(&lot_digest(lot), number);
    let keys = [
        place("a", 0),
        place("a", 1),
        place("b", 0),
        identity_index_key("a", "0"),
        identity_index_key("", "a"),
    ];
    let distinct: HashSet<IndexKey> = keys.into_iter().collect();
    assert_eq!(distinct.len(), keys.len());
}
