//! A station in memory for the tests of reissues and claims: its history, its profile, its officer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::Path;

use super::*;
use crate::der::reader::Reader;
use crate::der::tag;
use crate::index_keys::{record_keys, request_keys};
use crate::key::{SubjectPublicKeyInfo, sha256};
use crate::lots::LotOffer;
use crate::permit::tests::{LOG, Officer};
use crate::permit::{Permit, fold_identity};
use crate::profile::IDEVID_TOML;
use crate::serial_offer::SerialOffer;

pub(crate) const ISSUER: [u8; 20] = [7; 20];
pub(crate) const NOW_S: u64 = 1_800_000_000;

/// An Ed25519 key, RFC 8410 §4.
const SPKI: [u8; 44] = {
    let mut spki = [0x55; 44];
    let head = [0x30, 42, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, 33, 0];
    let mut at = 0;
    while at < head.len() {
        spki[at] = head[at];
        at += 1;
    }
    spki
};

/// Records in memory. `arrivals` come one at a time, each after a number of finds.
#[derive(Default)]
pub(crate) struct Past {
    pub(crate) records: RefCell<Vec<Vec<u8>>>,
    finds: Cell<usize>,
    pub(crate) arrivals: RefCell<Vec<(usize, Vec<u8>)>>,
}

impl History for Past {
    fn newest(&self, space: usize, key: &IndexKey) -> Result<Option<u64>, Fault> {
        let records = self.records.borrow();
        let has = |record: &Vec<u8>| record_keys(record).unwrap()[space].as_ref() == Some(key);
        let found = records.iter().rposition(has).map(|at| at as u64);
        drop(records);
        self.finds.set(self.finds.get() + 1);
        let finds = self.finds.get();
        let mut arrivals = self.arrivals.borrow_mut();
        while let Some(at) = arrivals.iter().position(|(after, _)| *after == finds) {
            self.records.borrow_mut().push(arrivals.remove(at).1);
        }
        Ok(found)
    }

    fn record(&self, index: u64) -> Result<Vec<u8>, Fault> {
        self.records
            .borrow()
            .get(index as usize)
            .cloned()
            .ok_or_else(|| unreadable(index))
    }
}

/// What a device asks for: its key, its identity, a value that the profile takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ask(pub(crate) u8, pub(crate) &'static str, pub(crate) u8);

impl Ask {
    pub(crate) fn fingerprint(self) -> [u8; 32] {
        sha256(&[self.0])
    }

    pub(crate) fn id(self, world: &World) -> [u8; 32] {
        let text = format!("{self:?} {} {:?}", world.profile.name(), world.issuer);
        sha256(text.as_bytes())
    }
}

pub(crate) struct World {
    pub(crate) past: Past,
    pub(crate) profile: Profile,
    pub(crate) issuer: [u8; 20],
    officers: Officers,
    pub(crate) now_s: Result<u64, Fault>,
}

impl World {
    pub(crate) fn new(reissue: &str) -> World {
        World {
            past: Past::default(),
            profile: profile("idevid", reissue, ""),
            issuer: ISSUER,
            officers: Officers::new(LOG, &[Officer::new("ada").vkey()]).unwrap(),
            now_s: Ok(NOW_S),
        }
    }

    pub(crate) fn judge(&self, ask: Ask, permit: Option<&str>) -> Verdict {
        let candidate = self.candidate(ask, permit);
        let keys = request_keys(&candidate.request, &self.profile);
        self.judge_with(&self.past).judge(&candidate, &keys)
    }

    /// The judge of this world over another history.
    pub(crate) fn judge_with<'a, H: History>(&'a self, history: &'a H) -> Judge<'a, H> {
        Judge {
            history,
            issuer: &self.issuer,
            officers: Some(&self.officers),
            now_s: &self.now_s,
        }
    }

    pub(crate) fn candidate<'a>(&'a self, ask: Ask, permit: Option<&'a str>) -> Candidate<'a> {
        // Any key does: the judge goes by its fingerprint.
        let tlv = Reader::new(&SPKI).expect(tag::SEQUENCE, "a key").unwrap();
        Candidate {
            request: ValidatedRequest {
                key: SubjectPublicKeyInfo::parse(&tlv).unwrap(),
                key_fingerprint: ask.fingerprint(),
                generated: false,
                request_id: ask.id(self),
                identity: Some(ask.1.to_owned()),
                subject: Vec::new(),
                alt_names: None,
                serial: SerialOffer::None,
                lot: LotOffer::None,
            },
            profile: &self.profile,
            permit: permit.map(str::as_bytes),
        }
    }

    pub(crate) fn record(&self, ask: Ask, replaces: Option<u64>) -> Vec<u8> {
        let mut data = BTreeMap::new();
        self.profile.add_data(&mut data);
        IssuedRecord {
            time_ms: NOW_S * 1000,
            issuer: &self.issuer,
            profile: self.profile.name(),
            profile_digest: &[0; 32],
            lot: None,
            requester: None,
            request_id: &ask.id(self),
            key_fingerprint: &ask.fingerprint(),
            identity: Some(ask.1),
            replaces,
            data,
            certificate: &[],
        }
        .encode()
    }

    pub(crate) fn push(&self, ask: Ask, replaces: Option<u64>) -> u64 {
        let record = self.record(ask, replaces);
        self.past.records.borrow_mut().push(record);
        self.past.records.borrow().len() as u64 - 1
    }

    /// Asks, and appends the record that the verdict allows.
    pub(crate) fn issue(&self, ask: Ask, permit: Option<&str>) -> Told {
        match self.judge(ask, permit) {
            Verdict::New => Told::Issued(self.push(ask, None), None),
            Verdict::Replaces(replacement) => {
                let index = self.push(ask, Some(replacement.index));
                Told::Issued(index, Some(replacement.index))
            }
            Verdict::Same(earlier) => Told::Existing(earlier.index),
            Verdict::Refused(rejection) => Told::Refused(rejection),
            Verdict::Failed(fault) => Told::Failed(fault),
        }
    }

    pub(crate) fn permit(&self, identity: &str, replaces: u64) -> Permit {
        Permit {
            log: LOG.to_owned(),
            issuer: self.issuer,
            profile: self.profile.name().to_owned(),
            identity_domain: self.profile.identity_domain().to_owned(),
            identity: fold_identity(identity),
            key_fingerprint: None,
            replaces,
            not_after_s: NOW_S,
            reason: None,
        }
    }

    pub(crate) fn signed(&self, identity: &str, replaces: u64) -> String {
        Officer::new("ada").sign(&self.permit(identity, replaces))
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// In this record, in the place of that one.
    Issued(u64, Option<u64>),
    Existing(u64),
    Refused(Rejection),
    Failed(Fault),
}

pub(crate) fn profile(name: &str, reissue: &str, lines: &str) -> Profile {
    let lines = format!("name = \"{name}\"\nreissue = \"{reissue}\"\n{lines}");
    let text = IDEVID_TOML.replace("name = \"idevid\"", &lines);
    Profile::parse(&text, Path::new("test.toml")).unwrap()
}
