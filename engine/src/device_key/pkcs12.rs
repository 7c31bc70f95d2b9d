//! Delivery as a PKCS #12 file, RFC 7292: the key under a secret, its certificate and the issuer's, as
//! `openssl pkcs12` reads it.
//!
//! ```asn1
//! PFX ::= SEQUENCE { version INTEGER (3), authSafe ContentInfo, macData MacData }
//! AuthenticatedSafe ::= SEQUENCE OF ContentInfo     -- id-data: two SafeContents, certificates and key
//! SafeContents ::= SEQUENCE OF SafeBag
//! SafeBag ::= SEQUENCE { bagId, bagValue [0] EXPLICIT, bagAttributes SET OF PKCS12Attribute OPTIONAL }
//! CertBag ::= SEQUENCE { certId, certValue [0] EXPLICIT OCTET STRING }
//! MacData ::= SEQUENCE { mac DigestInfo, macSalt OCTET STRING, iterations INTEGER }
//! ```
//!
//! The key bag holds the EncryptedPrivateKeyInfo of [`super::pkcs8`]. Certificates are not encrypted: the line
//! has them in the clear beside the file. The MAC is HMAC-SHA-256 with the key derivation of RFC 7292
//! appendix B, and not PBMAC1 (RFC 9579), which OpenSSL reads from 3.4 on only.
//!
//! The certificate is not known when the key must be durable. So the spool holds the encrypted key, the salt of
//! the MAC and a check ([`Sealer::seal`]), and the file is assembled at each release ([`Sealer::assemble`]). Nothing
//! in it is random then: the same key, certificate and issuer certificate give the same bytes.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{hmac, rand};
use zeroize::Zeroizing;

use super::pkcs8::TransportSecret;
use super::seal::NotSealed;
use crate::der::reader::{DerError, single};
use crate::der::tag;
use crate::der::writer::Writer;
use crate::fault::Fault;
use crate::oid;

/// Rounds of the MAC's key derivation. Each is one block of SHA-256, where a round of PBKDF2 is two: so the MAC is
/// no cheaper a way to try secrets than the key itself. Some 0.2 s.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(1_200_000).unwrap();

/// [`ITERATIONS`] as an INTEGER's magnitude.
const ITERATIONS_OCTETS: [u8; 3] = [0x12, 0x4f, 0x80];

const SALT_BYTES: usize = 16;

/// Octets of HMAC-SHA-256 and of its key.
const MAC_BYTES: usize = 32;

/// Octets that the spooled form adds to an EncryptedPrivateKeyInfo: salt, check and heads come to 56.
pub(super) const OVERHEAD_BYTES_MAX: usize = 64;

/// What the check in the spool is made over, before the encrypted key: no AuthenticatedSafe begins so, and no
/// MAC of a file is therefore ever a check.
const CHECK_CONTEXT: &[u8] = b"birthmark spool";

/// MAC keys of earlier starts that are remembered: one for each start that left keys waiting, at some 100 octets.
/// Older ones are derived again.
const EARLIER_KEYS_MAX: usize = 1024;

type Salt = [u8; SALT_BYTES];

/// Octets of a MAC's key.
type MacKey = Zeroizing<[u8; MAC_BYTES]>;

/// Why no file can be assembled of what the spool holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAssembled {
    /// The key waits under another secret.
    OtherSecret,
    /// What was spooled is malformed.
    Malformed(&'static str),
}

impl From<DerError> for NotAssembled {
    fn from(DerError(what): DerError) -> Self {
        Self::Malformed(what)
    }
}

impl From<NotAssembled> for Fault {
    fn from(error: NotAssembled) -> Self {
        Self::KeySpool(match error {
            NotAssembled::OtherSecret => "a key waits under another transport secret; name the file of the one it \
                was made with in device_keys.secret, or let the key go with 'birthmark key ack' and replace its \
                certificate by a permit"
                .to_owned(),
            NotAssembled::Malformed(what) => format!("a key in the spool cannot be read: {what}"),
        })
    }
}

/// Makes files under one secret. The MAC's key is derived once for a start, like the key that encrypts, and once
/// for each earlier start whose keys are asked for again.
pub(super) struct Sealer {
    secret: TransportSecret,
    /// Of what is sealed from now on.
    salt: Salt,
    /// Under that salt. Not behind the lock of the others: who makes new certificates waits for no old key.
    own: OnceLock<hmac::Key>,
    /// Under salts of earlier starts, the newest last. The lock is held for moments only: a key is derived in its
    /// own cell, where nobody waits but who needs this one.
    earlier: Mutex<Vec<(Salt, Arc<OnceLock<MacKey>>)>>,
}

/// Says nothing of the keys.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(..)")
    }
}

/// The certificates of a file, DER.
#[derive(Debug, Clone, Copy)]
pub(super) struct Certificates<'a> {
    /// The key's own.
    pub(super) device: &'a [u8],
    /// Content octets of its serial number: the localKeyID that ties it to its key.
    pub(super) serial: &'a [u8],
    /// The issuer's.
    pub(super) issuer: Option<&'a [u8]>,
}

impl Sealer {
    pub(super) fn new(secret: TransportSecret) -> Result<Self, NotSealed> {
        let mut salt = [0; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| NotSealed)?;
        Ok(Self {
            secret,
            salt,
            own: OnceLock::new(),
            earlier: Mutex::new(Vec::new()),
        })
    }

    /// Derives the MAC's key now, so that no device waits for it.
    pub(super) fn derive(&self) {
        self.own_key();
    }

    /// What the spool holds of an EncryptedPrivateKeyInfo:
    /// `SEQUENCE { EncryptedPrivateKeyInfo, macSalt OCTET STRING, check OCTET STRING }`. By the check a later start
    /// sees whether it has the same secret.
    pub(super) fn seal(&self, encrypted: &[u8]) -> Vec<u8> {
        let check = check(self.own_key(), encrypted);
        let mut der = Vec::with_capacity(encrypted.len() + OVERHEAD_BYTES_MAX);
        Writer::new(&mut der).nested(tag::SEQUENCE, |spooled| {
            spooled.raw(encrypted);
            spooled.primitive(tag::OCTET_STRING, &self.salt);
            spooled.primitive(tag::OCTET_STRING, check.as_ref());
        });
        der
    }

    /// The PFX, DER, of what [`Sealer::seal`] made in this start or an earlier one.
    pub(super) fn assemble(
        &self,
        spooled: &[u8],
        certificates: Certificates<'_>,
    ) -> Result<Vec<u8>, NotAssembled> {
        let malformed = "no spooled key";
        let mut fields = single(spooled, tag::SEQUENCE, malformed)?.reader();
        let encrypted = fields.expect(tag::SEQUENCE, malformed)?.encoding;
        let salt = fields.expect(tag::OCTET_STRING, malformed)?.content;
        let written = fields.expect(tag::OCTET_STRING, malformed)?.content;
        let salt = Salt::try_from(salt).map_err(|_| NotAssembled::Malformed(malformed))?;
        let mac_key = self.mac_key(&salt);
        if check(&mac_key, encrypted).as_ref() != written {
            return Err(NotAssembled::OtherSecret);
        }
        let mut safe = Vec::with_capacity(encrypted.len() + certificates.bytes() + 256);
        Writer::new(&mut safe).nested(tag::SEQUENCE, |contents| {
            data(contents, |content| {
                content.nested(tag::SEQUENCE, |bags| certificates.write(bags));
            });
            data(contents, |content| {
                content.nested(tag::SEQUENCE, |bags| {
                    let key = |value: &mut Writer<'_>| value.raw(encrypted);
                    bag(bags, oid::SHROUDED_KEY_BAG, Some(certificates.serial), key);
                });
            });
        });
        Ok(file(&safe, &hmac::sign(&mac_key, &safe), &salt))
    }

    /// The key of the MAC under the salt of this start.
    fn own_key(&self) -> &hmac::Key {
        self.own
            .get_or_init(|| keyed(&derive_mac_key(&self.secret, &self.salt)))
    }

    /// The key of the MAC under a salt. Takes about 0.2 s for one of an earlier start that is not remembered.
    fn mac_key(&self, salt: &Salt) -> hmac::Key {
        if *salt == self.salt {
            return self.own_key().clone();
        }
        let cell = self.earlier_cell(salt);
        keyed(cell.get_or_init(|| derive_mac_key(&self.secret, salt)))
    }

    /// Where the key under a salt of an earlier start is, or will be once it is derived.
    fn earlier_cell(&self, salt: &Salt) -> Arc<OnceLock<MacKey>> {
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, cell)) = earlier.iter().find(|(of, _)| of == salt) {
            return cell.clone();
        }
        if earlier.len() == EARLIER_KEYS_MAX {
            earlier.remove(0);
        }
        let cell = Arc::default();
        earlier.push((*salt, Arc::clone(&cell)));
        cell
    }
}

impl Certificates<'_> {
    fn bytes(&self) -> usize {
        self.device.len() + self.issuer.map_or(0, <[u8]>::len)
    }

    fn write(&self, bags: &mut Writer<'_>) {
        let certificate = |der: &[u8], value: &mut Writer<'_>| {
            value.nested(tag::SEQUENCE, |certificate| {
                certificate.primitive(tag::OID, oid::X509_CERTIFICATE);
                certificate.nested(tag::context_constructed(0), |value| {
                    value.primitive(tag::OCTET_STRING, der);
                });
            });
        };
        bag(bags, oid::CERT_BAG, Some(self.serial), |value| {
            certificate(self.device, value);
        });
        if let Some(issuer) = self.issuer {
            bag(bags, oid::CERT_BAG, None, |value| {
                certificate(issuer, value);
            });
        }
    }
}

/// The whole file around an AuthenticatedSafe.
fn file(safe: &[u8], mac: &hmac::Tag, salt: &Salt) -> Vec<u8> {
    let mut pfx = Vec::with_capacity(safe.len() + 160);
    Writer::new(&mut pfx).nested(tag::SEQUENCE, |pfx| {
        pfx.primitive(tag::INTEGER, &[3]);
        data(pfx, |content| content.raw(safe));
        pfx.nested(tag::SEQUENCE, |mac_data| {
            mac_data.nested(tag::SEQUENCE, |info| {
                info.nested(tag::SEQUENCE, |algorithm| {
                    algorithm.primitive(tag::OID, oid::SHA256);
                    algorithm.primitive(tag::NULL, &[]);
                });
                info.primitive(tag::OCTET_STRING, mac.as_ref());
            });
            mac_data.primitive(tag::OCTET_STRING, salt);
            mac_data.unsigned(&ITERATIONS_OCTETS);
        });
    });
    pfx
}

/// A ContentInfo of id-data, RFC 5652 §4.
fn data(writer: &mut Writer<'_>, content: impl FnOnce(&mut Writer<'_>)) {
    writer.nested(tag::SEQUENCE, |info| {
        info.primitive(tag::OID, oid::CMS_DATA);
        info.nested(tag::context_constructed(0), |explicit| {
            explicit.nested(tag::OCTET_STRING, content);
        });
    });
}

/// A SafeBag, RFC 7292 §4.2, with a localKeyID (RFC 2985 §5.5.2) where there is one.
fn bag(
    bags: &mut Writer<'_>,
    id: &[u8],
    local_key_id: Option<&[u8]>,
    value: impl FnOnce(&mut Writer<'_>),
) {
    bags.nested(tag::SEQUENCE, |bag| {
        bag.primitive(tag::OID, id);
        bag.nested(tag::context_constructed(0), value);
        if let Some(local_key_id) = local_key_id {
            bag.nested(tag::SET, |attributes| {
                attributes.nested(tag::SEQUENCE, |attribute| {
                    attribute.primitive(tag::OID, oid::LOCAL_KEY_ID);
                    attribute.nested(tag::SET, |values| {
                        values.primitive(tag::OCTET_STRING, local_key_id);
                    });
                });
            });
        }
    });
}

fn keyed(key: &MacKey) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, &**key)
}

fn check(mac_key: &hmac::Key, encrypted: &[u8]) -> hmac::Tag {
    let mut context = hmac::Context::with_key(mac_key);
    context.update(CHECK_CONTEXT);
    context.update(encrypted);
    context.sign()
}

/// RFC 7292 appendix B.2 with SHA-256 and ID 3. The key is as long as the digest, so one block is all of it. The
/// password is a BMPString with its two zero octets (appendix B.1); characters outside the BMP are surrogate
/// pairs, as everybody writes them.
fn derive_mac_key(secret: &TransportSecret, salt: &Salt) -> MacKey {
    /// Octets of SHA-256's block: v.
    const BLOCK_BYTES: usize = 64;
    const MAC_ID: u8 = 3;
    // With room: a buffer that grew would leave a copy behind. UTF-16 has at most two octets for each of UTF-8.
    let mut password = Zeroizing::new(Vec::with_capacity(secret.text().len() * 2 + 2));
    for unit in secret.text().encode_utf16().chain([0]) {
        password.extend_from_slice(&unit.to_be_bytes());
    }
    let repeated = password.len().next_multiple_of(BLOCK_BYTES);
    let mut input = Zeroizing::new(Vec::with_capacity(2 * BLOCK_BYTES + repeated));
    input.extend_from_slice(&[MAC_ID; BLOCK_BYTES]);
    input.extend(salt.iter().cycle().take(BLOCK_BYTES));
    input.extend(password.iter().cycle().take(repeated));
    let mut key = Zeroizing::new([0; MAC_BYTES]);
    let mut next = digest(&SHA256, &input);
    for _ in 1..ITERATIONS.get() {
        key.copy_from_slice(next.as_ref());
        next = digest(&SHA256, &*key);
    }
    key.copy_from_slice(next.as_ref());
    // A Digest does not erase itself. One of something else takes its place, and its place on the stack below.
    next = digest(&SHA256, &[]);
    std::hint::black_box(&next);
    key
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    const ENCRYPTED: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x07];
    const CERTIFICATES: Certificates<'_> = Certificates {
        device: &[0x30, 0x00],
        serial: &[7; 16],
        issuer: None,
    };

    fn sealer(secret: &str) -> Sealer {
        Sealer::new(TransportSecret::new(secret).unwrap()).unwrap()
    }

    #[test]
    fn the_rounds_are_written_as_they_are_done() {
        let written = ITERATIONS_OCTETS
            .iter()
            .fold(0, |sum, octet| sum << 8 | u32::from(*octet));
        assert_eq!(written, ITERATIONS.get());
    }

    #[test]
    fn another_start_makes_the_same_file_and_another_secret_makes_none() {
        let first = sealer("a secret of one line");
        let spooled = first.seal(&ENCRYPTED);
        let whole = first.assemble(&spooled, CERTIFICATES).unwrap();
        let later = sealer("a secret of one line");
        assert_eq!(later.assemble(&spooled, CERTIFICATES), Ok(whole));
        assert_ne!(later.seal(&ENCRYPTED), spooled, "a salt for each start");
        let other = sealer("another secret of one line");
        assert_eq!(
            other.assemble(&spooled, CERTIFICATES),
            Err(NotAssembled::OtherSecret)
        );
    }

    #[test]
    fn what_is_damaged_makes_no_file() {
        let sealer = sealer("a secret of one line");
        let spooled = sealer.seal(&ENCRYPTED);
        assert!(spooled.len() <= ENCRYPTED.len() + OVERHEAD_BYTES_MAX);
        let known = |bytes: &[u8]| {
            let at = bytes.len() - MAC_BYTES - 2 - SALT_BYTES;
            bytes[at..at + SALT_BYTES] == sealer.salt
        };
        for at in 0..spooled.len() {
            let mut broken = spooled.clone();
            broken[at] ^= 1;
            // Another salt is another key, which takes its time: one of them will do.
            if known(&broken) || at == spooled.len() - MAC_BYTES - 3 {
                assert!(
                    sealer.assemble(&broken, CERTIFICATES).is_err(),
                    "octet {at}"
                );
            }
            assert!(sealer.assemble(&spooled[..at], CERTIFICATES).is_err());
        }
    }

    #[test]
    fn a_new_key_waits_for_no_key_of_an_earlier_start() {
        let sealer = Arc::new(sealer("a secret of one line"));
        let (started, has_started) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let cell = sealer.earlier_cell(&[1; SALT_BYTES]);
        let deriving = thread::spawn(move || {
            cell.get_or_init(|| {
                started.send(()).unwrap();
                let _ = may_go_on.recv();
                Zeroizing::new([1; MAC_BYTES])
            });
        });
        has_started.recv().unwrap();
        // Another salt of an earlier start is not held up by the one that is being derived.
        let other = sealer.earlier_cell(&[2; SALT_BYTES]);
        other.get_or_init(|| Zeroizing::new([2; MAC_BYTES]));
        sealer.mac_key(&[2; SALT_BYTES]);
        // And this start's key does not even take the lock.
        let (done, is_done) = mpsc::channel();
        let held = sealer.earlier.lock().unwrap();
        let issuing = thread::spawn({
            let sealer = sealer.clone();
            move || {
                let spooled = sealer.seal(&ENCRYPTED);
                let file = sealer.assemble(&spooled, CERTIFICATES);
                done.send(file.is_ok()).unwrap();
            }
        });
        let file = is_done.recv_timeout(Duration::from_secs(120));
        drop(held);
        assert_eq!(file, Ok(true), "a new key waits for the lock of old ones");
        issuing.join().unwrap();
        drop(go_on);
        deriving.join().unwrap();
    }

    #[test]
    fn few_keys_of_earlier_starts_are_remembered() {
        let sealer = sealer("a secret of one line");
        let salt = |n: usize| {
            let mut salt = [0; SALT_BYTES];
            salt[..8].copy_from_slice(&n.to_be_bytes());
            salt
        };
        let first = sealer.earlier_cell(&salt(0));
        for n in 1..EARLIER_KEYS_MAX {
            sealer.earlier_cell(&salt(n));
        }
        assert!(Arc::ptr_eq(&first, &sealer.earlier_cell(&salt(0))));
        sealer.earlier_cell(&salt(EARLIER_KEYS_MAX));
        let earlier = sealer.earlier.lock().unwrap();
        assert_eq!(earlier.len(), EARLIER_KEYS_MAX);
        assert_eq!(earlier[0].0, salt(1), "the oldest is gone");
    }
}
