//! What a profile says of generated keys: `key.generated`.

use super::generate::GeneratedKey;
use super::seal::Delivery;
use crate::key::DeviceKeyAlgorithm;
use crate::reissue::Reissue;
use crate::template::Fields;

/// A profile's leave to make keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GeneratedKeyRule {
    pub(crate) delivery: Delivery,
    /// The first of the profile's kinds that can be made here.
    pub(crate) algorithm: DeviceKeyAlgorithm,
}

/// Checks `key.generated` against the rest of its profile.
pub(crate) fn check_rule(
    written: Option<&str>,
    algorithms: &[DeviceKeyAlgorithm],
    reissue: Reissue,
    fields: &Fields,
    has_identity: bool,
) -> Result<Option<GeneratedKeyRule>, (String, String)> {
    let Some(name) = written else {
        return Ok(None);
    };
    let wrong = |problem: String| Err(("key.generated".to_owned(), problem));
    let Some(delivery) = Delivery::by_name(name) else {
        return wrong("use \"cms\", \"pkcs8\" or \"pkcs12\"".to_owned());
    };
    let made = |algorithm: &&DeviceKeyAlgorithm| GeneratedKey::makes(**algorithm);
    let Some(&algorithm) = algorithms.iter().find(made) else {
        return wrong("needs one of p256, p384, p521 in key.algorithms".to_owned());
    };
    // Whoever learns the secret has the keys of every device under it: such a device must be able to get
    // another, which `same-key` never gives it.
    if delivery != Delivery::Cms && reissue != Reissue::Permit {
        return wrong(
            "a key under a shared secret is for profiles that can replace it: reissue = \"permit\", or \
             generated = \"cms\""
                .to_owned(),
        );
    }
    if let Some(field) = fields.taken_from_csr() {
        return wrong(format!(
            "a generated key comes without a request, so nothing can be taken from {{{field}}}; use {{data.KEY}}"
        ));
    }
    // Retries are told by the device.
    if !has_identity {
        return wrong("needs an identity, by which a retry is told from a new device".to_owned());
    }
    Ok(Some(GeneratedKeyRule {
        delivery,
        algorithm,
    }))
}
