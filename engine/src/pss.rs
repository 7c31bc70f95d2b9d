//! RSASSA-PSS in AlgorithmIdentifiers: what is written, and what is accepted.
//!
//! ```asn1
//! RSASSA-PSS-params ::= SEQUENCE {
//!     hashAlgorithm     [0] HashAlgorithm     DEFAULT sha1Identifier,
//!     maskGenAlgorithm  [1] MaskGenAlgorithm  DEFAULT mgf1SHA1Identifier,
//!     saltLength        [2] INTEGER           DEFAULT 20,
//!     trailerField      [3] INTEGER           DEFAULT 1 }     -- RFC 4055 §3.1
//! ```
//!
//! One set of parameters is in use: SHA-256, MGF1 with SHA-256, a salt of 32 octets.

use crate::der::reader::{Reader, Tlv, unsigned};
use crate::der::tag;
use crate::oid;
use crate::rejection::Rejection;

/// Octets of the salt: as many as SHA-256 has (RFC 8017 §9.1, note 4).
const SALT_BYTES: u8 = 32;

/// saltLength where it is not encoded.
const SALT_BYTES_DEFAULT: u8 = 20;

/// The whole AlgorithmIdentifier of a signature, DER. The NULLs are those of RFC 4055 §2.1; the CA/Browser
/// Forum's baseline requirements §7.1.3.2.1 prescribe the same octets.
pub(crate) const SIGNATURE_ALGORITHM: &[u8] = &[
    0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a, 0x30, 0x34, 0xa0,
    0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00,
    0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08, 0x30,
    0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0xa2, 0x03,
    0x02, 0x01, 0x20,
];

/// The parameters of a signature, which must be there (RFC 4055 §3.1).
pub(crate) fn check_signature_parameters(algorithm: &mut Reader<'_>) -> Result<(), Rejection> {
    let parameters = algorithm.optional(tag::SEQUENCE)?;
    let parameters = parameters.ok_or(Rejection::PssParameters(
        "they are missing from the signature algorithm",
    ))?;
    if salt_bytes(&parameters)? == SALT_BYTES {
        Ok(())
    } else {
        Err(Rejection::PssParameters("the salt must have 32 octets"))
    }
}

/// The parameters of a key that may only sign PSS. Absent ones restrict nothing; a salt's length is the
/// least that the key may sign with (RFC 4055 §3.1 and §3.3).
pub(crate) fn check_key_parameters(algorithm: &mut Reader<'_>) -> Result<(), Rejection> {
    match algorithm.optional(tag::SEQUENCE)? {
        Some(parameters) if salt_bytes(&parameters)? > SALT_BYTES => Err(Rejection::PssParameters(
            "the key asks for a salt of more than 32 octets",
        )),
        _ => Ok(()),
    }
}

/// saltLength, where everything else is as it should be.
fn salt_bytes(parameters: &Tlv<'_>) -> Result<u8, Rejection> {
    let mut fields = parameters.reader();
    let mut field = |number: u8| -> Result<Option<Reader<'_>>, Rejection> {
        let field = fields.optional(tag::context_constructed(number))?;
        Ok(field.map(|field| field.reader()))
    };
    let hash = "the hash must be SHA-256";
    let mut explicit = field(0)?.ok_or(Rejection::PssParameters(hash))?;
    check_sha256(&mut explicit, hash)?;

    let mask = "the mask generation must be MGF1 with SHA-256";
    let mut explicit = field(1)?.ok_or(Rejection::PssParameters(mask))?;
    let mut generation = explicit.expect(tag::SEQUENCE, mask)?.reader();
    explicit.finish()?;
    if generation.expect(tag::OID, mask)?.content != oid::MGF1 {
        return Err(Rejection::PssParameters(mask));
    }
    check_sha256(&mut generation, mask)?;

    let salt_bytes = match field(2)? {
        None => SALT_BYTES_DEFAULT,
        Some(mut explicit) => {
            let length = explicit.expect(tag::INTEGER, "a salt length that is no integer")?;
            explicit.finish()?;
            match unsigned(&length)? {
                [SALT_BYTES_DEFAULT] => return Err(default_encoded()),
                [length] => *length,
                _ => return Err(Rejection::PssParameters("the salt must have 32 octets")),
            }
        }
    };
    if let Some(mut explicit) = field(3)? {
        let trailer = explicit.expect(tag::INTEGER, "a trailer field that is no integer")?;
        return Err(match trailer.content {
            [1] => default_encoded(),
            _ => Rejection::PssParameters("the trailer must be 0xbc, which is not encoded"),
        });
    }
    fields.finish()?;
    Ok(salt_bytes)
}

/// id-sha256 with parameters that are NULL or absent, both legal (RFC 4055 §2.1).
fn check_sha256(outer: &mut Reader<'_>, otherwise: &'static str) -> Result<(), Rejection> {
    let mut hash = outer.expect(tag::SEQUENCE, otherwise)?.reader();
    let found = hash.expect(tag::OID, otherwise)?.content;
    hash.optional(tag::NULL)?;
    hash.finish()?;
    outer.finish()?;
    if found == oid::SHA256 {
        Ok(())
    } else {
        Err(Rejection::PssParameters(otherwise))
    }
}

fn default_encoded() -> Rejection {
    Rejection::Malformed("a default value that is encoded")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::der::writer::Writer;

    const SHA512: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03];

    /// What a test changes in the parameters.
    #[derive(Clone, Copy)]
    struct Parameters {
        hash: Option<&'static [u8]>,
        mask: Option<(&'static [u8], &'static [u8])>,
        salt_bytes: Option<u8>,
        trailer: Option<u8>,
        null: bool,
    }

    const USUAL: Parameters = Parameters {
        hash: Some(oid::SHA256),
        mask: Some((oid::MGF1, oid::SHA256)),
        salt_bytes: Some(32),
        trailer: None,
        null: true,
    };

    impl Parameters {
        fn encode(&self) -> Vec<u8> {
            let explicit = tag::context_constructed;
            let null = self.null;
            let hash = |writer: &mut Writer<'_>, oid: &[u8]| {
                writer.nested(tag::SEQUENCE, |hash| {
                    hash.primitive(tag::OID, oid);
                    if null {
                        hash.primitive(tag::NULL, &[]);
                    }
                });
            };
            let mut der = Vec::new();
            Writer::new(&mut der).nested(tag::SEQUENCE, |fields| {
                if let Some(oid) = self.hash {
                    fields.nested(explicit(0), |field| hash(field, oid));
                }
                if let Some((mask, oid)) = self.mask {
                    fields.nested(explicit(1), |field| {
                        field.nested(tag::SEQUENCE, |generation| {
                            generation.primitive(tag::OID, mask);
                            hash(generation, oid);
                        });
                    });
                }
                for (number, value) in [(2, self.salt_bytes), (3, self.trailer)] {
                    if let Some(value) = value {
                        fields.nested(explicit(number), |field| field.unsigned(&[value]));
                    }
                }
            });
            der
        }

        fn of_signature(&self) -> Result<(), Rejection> {
            check_signature_parameters(&mut Reader::new(&self.encode()))
        }

        fn of_key(&self) -> Result<(), Rejection> {
            check_key_parameters(&mut Reader::new(&self.encode()))
        }
    }

    #[test]
    fn what_is_written_is_accepted() {
        assert!(SIGNATURE_ALGORITHM.ends_with(&USUAL.encode()));
        let mut algorithm = Reader::new(&SIGNATURE_ALGORITHM[2..]);
        assert_eq!(algorithm.any().unwrap().content, oid::RSA_PSS);
        assert_eq!(check_signature_parameters(&mut algorithm), Ok(()));
        assert!(algorithm.is_empty());
        let absent = Parameters {
            null: false,
            ..USUAL
        };
        assert_eq!((absent.of_signature(), absent.of_key()), (Ok(()), Ok(())));
    }

    type Change = fn(&mut Parameters);

    fn changed(change: Change) -> Parameters {
        let mut parameters = USUAL;
        change(&mut parameters);
        parameters
    }

    #[test]
    fn other_parameters_are_refused_with_their_reason() {
        let others: [(&str, Change); 10] = [
            ("hash", |changed| changed.hash = None),
            ("hash", |changed| changed.hash = Some(SHA512)),
            ("mask", |changed| changed.mask = None),
            ("mask", |changed| changed.mask = Some((oid::MGF1, SHA512))),
            ("mask", |changed| {
                changed.mask = Some((oid::SHA256, oid::SHA256))
            }),
            ("salt", |changed| changed.salt_bytes = None),
            ("salt", |changed| changed.salt_bytes = Some(0)),
            ("salt", |changed| changed.salt_bytes = Some(31)),
            ("salt", |changed| changed.salt_bytes = Some(64)),
            ("trailer", |changed| changed.trailer = Some(2)),
        ];
        for (word, change) in others {
            match changed(change).of_signature() {
                Err(Rejection::PssParameters(why)) => assert!(why.contains(word), "{why}"),
                other => panic!("{word}: {other:?}"),
            }
        }
        let encoded_defaults: [Change; 2] = [
            |changed| changed.salt_bytes = Some(20),
            |changed| changed.trailer = Some(1),
        ];
        for change in encoded_defaults {
            let malformed = Err(Rejection::Malformed("a default value that is encoded"));
            assert_eq!(changed(change).of_signature(), malformed);
            assert_eq!(changed(change).of_key(), malformed);
        }
        let missing = check_signature_parameters(&mut Reader::new(&[]));
        assert!(matches!(missing, Err(Rejection::PssParameters(_))));
    }

    #[test]
    fn a_key_names_the_least_salt() {
        assert_eq!(check_key_parameters(&mut Reader::new(&[])), Ok(()));
        let shorter: [Change; 3] = [
            |changed| changed.salt_bytes = None,
            |changed| changed.salt_bytes = Some(0),
            |changed| changed.salt_bytes = Some(32),
        ];
        for change in shorter {
            assert_eq!(changed(change).of_key(), Ok(()));
        }
        let others: [Change; 2] = [
            |changed| changed.salt_bytes = Some(33),
            |changed| changed.hash = Some(SHA512),
        ];
        for change in others {
            let refused = changed(change).of_key();
            assert!(matches!(refused, Err(Rejection::PssParameters(_))));
        }
    }
}
