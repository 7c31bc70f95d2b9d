//! Matter's vendor and product identifiers in names, Matter 1.x §6.2.2.2: as attributes, or, in a name that has
//! neither attribute, inside the common name as `Mvid:FFF1` and `Mpid:8000`.

use super::der::Value;
use super::name::type_and_value;
use super::{CONTINUE, Flow, Report, rules};
use crate::profile::MatterIdsRule;

/// Matter's vendor and product identifiers, 1.3.6.1.4.1.37244.2.1 and .2.
pub(super) const MATTER_ID: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xa2, 0x7c, 0x02];

const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Digits of an identifier.
const DIGITS: usize = 4;

/// A Matter vendor or product identifier that stands in both names is the same in both: a PAI's DACs are of its
/// vendor, and of its product if it names one.
pub(super) fn check<R: Report>(issuer: Value<'_>, subject: Value<'_>, report: &mut R) -> Flow {
    for (oid, own) in attributes(subject) {
        let differs = attributes(issuer).any(|(other, above)| other == oid && above != own);
        report.ensure(!differs, &rules::MATTER_ISSUER)?;
    }
    CONTINUE
}

/// What a profile of Matter's asks of the subject, and the same as [`check`] where one of the names has its
/// identifiers inside the common name.
pub(super) fn check_profile<R: Report>(
    issuer: Option<Value<'_>>,
    subject: Value<'_>,
    rule: MatterIdsRule,
    report: &mut R,
) -> Flow {
    let with_product = match rule {
        MatterIdsRule::NotAsked => return CONTINUE,
        MatterIdsRule::Vendor => false,
        MatterIdsRule::VendorAndProduct => true,
    };
    let own = Ids::of(subject);
    let complete = own.vendor.is_some() && (own.product.is_some() || !with_product);
    report.ensure(complete && !own.malformed, &rules::PROFILE_MATTER_IDS)?;
    let above = issuer.map(Ids::of).unwrap_or_default();
    if !(own.in_common_name || above.in_common_name) {
        return CONTINUE;
    }
    for (own, above) in [(own.vendor, above.vendor), (own.product, above.product)] {
        let differs = own.zip(above).is_some_and(|(own, above)| own != above);
        report.ensure(!differs, &rules::MATTER_ISSUER)?;
    }
    CONTINUE
}

/// The identifiers of a name.
#[derive(Debug, Default)]
struct Ids<'a> {
    vendor: Option<&'a [u8]>,
    product: Option<&'a [u8]>,
    in_common_name: bool,
    /// A mark without its four digits, or one that stands twice.
    malformed: bool,
}

impl<'a> Ids<'a> {
    fn of(name: Value<'a>) -> Self {
        let mut ids = Self::default();
        for (oid, value) in attributes(name) {
            match oid.strip_prefix(MATTER_ID) {
                Some([1]) => ids.vendor = Some(value),
                Some([2]) => ids.product = Some(value),
                _ => {}
            }
        }
        if ids.vendor.is_some() || ids.product.is_some() {
            // What the common name says counts no more.
            return ids;
        }
        let mut pairs = name.values().flat_map(|rdn| rdn.values());
        let common_name = pairs.find_map(|pair| type_and_value(pair).filter(is_common_name));
        let Some((_, text)) = common_name else {
            return ids;
        };
        ids.in_common_name = true;
        for (mark, id) in [(b"Mvid:", &mut ids.vendor), (b"Mpid:", &mut ids.product)] {
            match marked(text.content, mark) {
                Ok(found) => *id = found,
                Err(Malformed) => ids.malformed = true,
            }
        }
        ids
    }
}

struct Malformed;

/// The identifier behind a mark, if the mark is there.
fn marked<'a>(text: &'a [u8], mark: &[u8; 5]) -> Result<Option<&'a [u8]>, Malformed> {
    let mut places = text.windows(mark.len()).enumerate();
    let mut places = places.by_ref().filter(|(_, window)| window == mark);
    let Some((at, _)) = places.next() else {
        return Ok(None);
    };
    let id = text
        .get(at + mark.len()..)
        .and_then(|rest| rest.get(..DIGITS));
    let is_digit = |octet: &u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
    match id {
        Some(id) if id.iter().all(is_digit) && places.next().is_none() => Ok(Some(id)),
        _ => Err(Malformed),
    }
}

fn is_common_name((oid, _): &(&[u8], Value<'_>)) -> bool {
    *oid == COMMON_NAME
}

/// The identifiers that are attributes: type and value.
fn attributes(name: Value<'_>) -> impl Iterator<Item = (&[u8], &[u8])> {
    name.values()
        .flat_map(|rdn| rdn.values())
        .filter_map(type_and_value)
        .filter(|(oid, _)| oid.starts_with(MATTER_ID))
        .map(|(oid, value)| (oid, value.content))
}
