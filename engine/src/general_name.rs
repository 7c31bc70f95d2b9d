//! The names of a subject alternative name, strictly read from a request.

use std::net::IpAddr;

use crate::der::reader::{DerError, Reader, Tlv, is_oid, single};
use crate::der::tag;
use crate::name::Name;

/// Names in one subject alternative name. Devices have one to four.
pub(crate) const GENERAL_NAMES_MAX: usize = 32;

/// One name, borrowed from the request. Its form was checked and nothing else: whether a host name is one is
/// the profile's business.
///
/// ```asn1
/// GeneralName ::= CHOICE {
///     otherName                  [0] OtherName,
///     rfc822Name                 [1] IA5String,
///     dNSName                    [2] IA5String,
///     x400Address                [3] ORAddress,
///     directoryName              [4] Name,
///     ediPartyName               [5] EDIPartyName,
///     uniformResourceIdentifier  [6] IA5String,
///     iPAddress                  [7] OCTET STRING,
///     registeredID               [8] OBJECT IDENTIFIER }     -- RFC 5280 §4.2.1.6
/// ```
#[derive(Debug, Clone, Copy)]
#[allow(
    dead_code,
    reason = "every kind of name is told apart; profiles take few"
)]
pub(crate) enum GeneralName<'a> {
    OtherName {
        /// Content octets of the identifier.
        type_id: &'a [u8],
        /// The one value inside the explicit tag.
        value: Tlv<'a>,
    },
    Email(&'a str),
    Dns(&'a str),
    DirectoryName(Name<'a>),
    Uri(&'a str),
    Ip(IpAddr),
    /// Content octets of the identifier.
    RegisteredId(&'a [u8]),
    /// x400Address and ediPartyName: DER inside, read no further. No device certificate has them.
    Unread {
        tag: u8,
    },
}

/// The names in the value of a subject alternative name that [`check_general_names`] has passed.
pub(crate) fn general_names<'a>(
    value: &'a [u8],
) -> impl Iterator<Item = GeneralName<'a>> + use<'a> {
    let names = single(value, tag::SEQUENCE, "no general names");
    let mut reader = names.map_or(Reader::new(&[]), |names| names.reader());
    std::iter::from_fn(move || read(&mut reader).ok())
}

/// `GeneralNames ::= SEQUENCE SIZE (1..MAX) OF GeneralName`, RFC 5280 §4.2.1.6. `value` has passed
/// [`crate::der::reader::check_strict`].
pub(crate) fn check_general_names(value: &[u8]) -> Result<(), DerError> {
    let mut reader = single(
        value,
        tag::SEQUENCE,
        "a subject alternative name that is no SEQUENCE",
    )?
    .reader();
    if reader.is_empty() {
        return Err(DerError("a subject alternative name without names"));
    }
    for _ in 0..GENERAL_NAMES_MAX {
        read(&mut reader)?;
        if reader.is_empty() {
            return Ok(());
        }
    }
    Err(DerError::OVER_GENERAL_NAMES)
}

/// Context tags of the choice: [4] is explicit because a Name is itself a choice (X.680 §31.2.7).
const OTHER_NAME: u8 = tag::context_constructed(0);
const RFC822_NAME: u8 = tag::context_primitive(1);
const DNS_NAME: u8 = tag::context_primitive(2);
const X400_ADDRESS: u8 = tag::context_constructed(3);
const DIRECTORY_NAME: u8 = tag::context_constructed(4);
const EDI_PARTY_NAME: u8 = tag::context_constructed(5);
const URI: u8 = tag::context_primitive(6);
const IP_ADDRESS: u8 = tag::context_primitive(7);
const REGISTERED_ID: u8 = tag::context_primitive(8);

fn read<'a>(reader: &mut Reader<'a>) -> Result<GeneralName<'a>, DerError> {
    let name = reader.any()?;
    Ok(match name.tag {
        OTHER_NAME => other_name(&name)?,
        RFC822_NAME => GeneralName::Email(ia5_string(&name)?),
        DNS_NAME => GeneralName::Dns(ia5_string(&name)?),
        URI => GeneralName::Uri(ia5_string(&name)?),
        IP_ADDRESS => GeneralName::Ip(ip_address(&name)?),
        REGISTERED_ID if is_oid(name.content) => GeneralName::RegisteredId(name.content),
        REGISTERED_ID => return Err(DerError("a registered identifier that is malformed")),
        DIRECTORY_NAME => {
            let inner = single(
                name.content,
                tag::SEQUENCE,
                "a directory name that is no Name",
            )?;
            GeneralName::DirectoryName(Name::parse(&inner)?)
        }
        X400_ADDRESS | EDI_PARTY_NAME => GeneralName::Unread { tag: name.tag },
        _ => return Err(DerError("a general name of an unknown kind")),
    })
}

/// `OtherName ::= SEQUENCE { type-id OBJECT IDENTIFIER, value [0] EXPLICIT ANY }`.
fn other_name<'a>(name: &Tlv<'a>) -> Result<GeneralName<'a>, DerError> {
    let mut fields = name.reader();
    let type_id = fields
        .expect(tag::OID, "an otherName without a type")?
        .content;
    let value = fields.expect(tag::context_constructed(0), "an otherName without a value")?;
    fields.finish()?;
    let mut inner = value.reader();
    let value = inner.any()?;
    inner.finish()?;
    Ok(GeneralName::OtherName { type_id, value })
}

/// Text of visible characters. NUL and other control characters have fooled readers into seeing another name
/// than the one that was checked (CVE-2009-2408).
fn ia5_string<'a>(name: &Tlv<'a>) -> Result<&'a str, DerError> {
    if name.content.is_empty() {
        return Err(DerError("an empty general name"));
    }
    if !name.content.iter().all(|byte| (0x20..0x7f).contains(byte)) {
        return Err(DerError(
            "a general name with other than visible ASCII characters",
        ));
    }
    core::str::from_utf8(name.content).map_err(|_| DerError("a general name that is not ASCII"))
}

/// Four octets or sixteen, RFC 5280 §4.2.1.6.
fn ip_address(name: &Tlv<'_>) -> Result<IpAddr, DerError> {
    if let Ok(octets) = <[u8; 4]>::try_from(name.content) {
        Ok(IpAddr::from(octets))
    } else if let Ok(octets) = <[u8; 16]>::try_from(name.content) {
        Ok(IpAddr::from(octets))
    } else {
        Err(DerError("an IP address of neither 4 nor 16 octets"))
    }
}
