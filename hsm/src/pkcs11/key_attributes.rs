//! Public keys as a token's attributes hold them (PKCS#11 v3.1 §6, v3.2 §6.67).

use cryptoki::object::{
    Attribute, AttributeType, KeyType, MlDsaParameterSetType, ObjectClass, ObjectHandle,
    ParameterSetType,
};
use cryptoki::session::Session;

use super::key::attributes;
use crate::algorithm::{Curve, MlDsaParameterSet};
use crate::ckr::CallError;
use crate::der;
use crate::public_key::PublicKey;

/// DER of the `CKA_EC_PARAMS` of the curves: `OBJECT IDENTIFIER` 1.2.840.10045.3.1.7
/// (RFC 5480 §2.1.1.1).
pub(super) const P256_PARAMS: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
/// `OBJECT IDENTIFIER` 1.3.132.0.34 (RFC 5480 §2.1.1.1).
pub(super) const P384_PARAMS: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x22];
/// `OBJECT IDENTIFIER` 1.3.132.0.35 (RFC 5480 §2.1.1.1).
pub(super) const P521_PARAMS: &[u8] = &[6, 5, 0x2b, 0x81, 4, 0, 0x23];
/// `OBJECT IDENTIFIER` 1.3.101.112 (RFC 8410 §3).
pub(super) const ED25519_PARAMS: &[u8] = &[6, 3, 0x2b, 0x65, 0x70];
/// `PrintableString` "edwards25519", the other form that PKCS#11 v3.1 §6.3.3 allows.
pub(super) const ED25519_NAME_PARAMS: &[u8] = b"\x13\x0cedwards25519";

/// Reads the public key that the public key object, or failing that the private one, holds.
/// `Ok(None)` when it holds none that is read here.
pub(super) fn read_public_key(
    session: &Session,
    object: ObjectHandle,
) -> Result<Option<PublicKey>, CallError> {
    let key_type = attributes(session, object, &[AttributeType::KeyType])?;
    let wanted: &[AttributeType] = match key_type[..] {
        [Attribute::KeyType(KeyType::EC | KeyType::EC_EDWARDS)] => {
            &[AttributeType::EcParams, AttributeType::EcPoint]
        }
        [Attribute::KeyType(KeyType::RSA)] => {
            &[AttributeType::Modulus, AttributeType::PublicExponent]
        }
        // The value of a private key is not for us to ask for.
        [Attribute::KeyType(KeyType::ML_DSA)] if is_public(session, object)? => {
            &[AttributeType::ParameterSet, AttributeType::Value]
        }
        _ => return Ok(None),
    };
    let mut values = Vec::new();
    // One by one: some modules answer nothing at all when one of several is missing.
    for attribute in wanted {
        values.extend(attributes(session, object, &[*attribute])?);
    }
    Ok(match (&key_type[..], &values[..]) {
        (
            [Attribute::KeyType(KeyType::EC)],
            [Attribute::EcParams(params), Attribute::EcPoint(point)],
        ) => ec_public_key(params, point),
        (_, [Attribute::EcParams(params), Attribute::EcPoint(point)]) => {
            ed25519_public_key(params, point)
        }
        (
            _,
            [
                Attribute::Modulus(modulus),
                Attribute::PublicExponent(exponent),
            ],
        ) if !modulus.is_empty() && !exponent.is_empty() => Some(PublicKey::rsa(modulus, exponent)),
        (
            _,
            [
                Attribute::ParameterSet(parameter_set),
                Attribute::Value(key),
            ],
        ) => ml_dsa_public_key(*parameter_set, key),
        _ => None,
    })
}

fn is_public(session: &Session, object: ObjectHandle) -> Result<bool, CallError> {
    let class = attributes(session, object, &[AttributeType::Class])?;
    Ok(class == [Attribute::Class(ObjectClass::PUBLIC_KEY)])
}

/// Whether these are the `CKA_EC_PARAMS` of a curve that signs here.
pub(super) fn known_params(params: &[u8]) -> bool {
    [
        P256_PARAMS,
        P384_PARAMS,
        P521_PARAMS,
        ED25519_PARAMS,
        ED25519_NAME_PARAMS,
    ]
    .contains(&params)
}

/// `CKA_EC_POINT` is the DER `OCTET STRING` around the point (PKCS#11 v3.1 §6.3.3); some tokens
/// leave the wrapping out.
fn ec_public_key(params: &[u8], point: &[u8]) -> Option<PublicKey> {
    let curve = match params {
        P256_PARAMS => Curve::P256,
        P384_PARAMS => Curve::P384,
        P521_PARAMS => Curve::P521,
        _ => return None,
    };
    let uncompressed =
        |point: &[u8]| point.len() == 1 + 2 * curve.field_len() && point.first() == Some(&4);
    let wrapped = der::read(der::OCTET_STRING, point)
        .filter(|(content, rest)| rest.is_empty() && uncompressed(content))
        .map(|(content, _)| content);
    let point = wrapped
        .or_else(|| uncompressed(point).then_some(point))?
        .to_vec();
    Some(PublicKey::Ec { curve, point })
}

/// As for ECDSA: 32 bytes, wrapped or (PKCS#11 v3.0 §2.3.5 as some read it) not.
fn ed25519_public_key(params: &[u8], point: &[u8]) -> Option<PublicKey> {
    if ![ED25519_PARAMS, ED25519_NAME_PARAMS].contains(&params) {
        return None;
    }
    let content = match der::read(der::OCTET_STRING, point) {
        Some((content, [])) if content.len() == 32 => content,
        _ => point,
    };
    Some(PublicKey::Ed25519(content.try_into().ok()?))
}

/// `CKA_PARAMETER_SET` of the parameter sets (PKCS#11 v3.2 §6.67.2).
pub(super) fn ml_dsa_parameter_set(parameter_set: MlDsaParameterSet) -> ParameterSetType {
    match parameter_set {
        MlDsaParameterSet::MlDsa44 => MlDsaParameterSetType::ML_DSA_44,
        MlDsaParameterSet::MlDsa65 => MlDsaParameterSetType::ML_DSA_65,
        MlDsaParameterSet::MlDsa87 => MlDsaParameterSetType::ML_DSA_87,
    }
    .into()
}

fn ml_dsa_public_key(found: ParameterSetType, key: &[u8]) -> Option<PublicKey> {
    let parameter_set = MlDsaParameterSet::ALL
        .into_iter()
        .find(|parameter_set| ml_dsa_parameter_set(*parameter_set) == found)?;
    (key.len() == parameter_set.public_key_len()).then(|| PublicKey::MlDsa {
        parameter_set,
        key: key.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ec_points_are_read_wrapped_and_bare() {
        for (params, curve, header) in [
            (P256_PARAMS, Curve::P256, &[4, 65][..]),
            (P384_PARAMS, Curve::P384, &[4, 97]),
            (P521_PARAMS, Curve::P521, &[4, 0x81, 133]),
        ] {
            let len = 1 + 2 * curve.field_len();
            let point = [&[4][..], &vec![9; len - 1]].concat();
            let wrapped = [header, &point].concat();
            let expected = Some(PublicKey::Ec {
                curve,
                point: point.clone(),
            });
            assert_eq!(ec_public_key(params, &wrapped), expected);
            assert_eq!(ec_public_key(params, &point), expected);
            assert_eq!(ec_public_key(params, &point[1..]), None);
            assert_eq!(ec_public_key(params, &[&wrapped[..], &[0]].concat()), None);
            assert_eq!(ec_public_key(b"\x06\x01\x00", &wrapped), None);
            let compressed = [&[2][..], &vec![9; curve.field_len()]].concat();
            assert_eq!(ec_public_key(params, &compressed), None);
        }
    }

    #[test]
    fn ml_dsa_keys_are_read_with_their_own_length_alone() {
        for parameter_set in MlDsaParameterSet::ALL {
            let key = vec![7; parameter_set.public_key_len()];
            let found = ml_dsa_parameter_set(parameter_set);
            let expected = PublicKey::MlDsa {
                parameter_set,
                key: key.clone(),
            };
            assert_eq!(ml_dsa_public_key(found, &key), Some(expected));
            assert_eq!(ml_dsa_public_key(found, &key[1..]), None);
            assert_eq!(ml_dsa_public_key(found, &[]), None);
            for other in MlDsaParameterSet::ALL {
                let found = ml_dsa_parameter_set(other);
                let read = ml_dsa_public_key(found, &key);
                assert_eq!(read.is_some(), other == parameter_set);
            }
        }
    }

    #[test]
    fn ed25519_points_are_read_wrapped_and_bare() {
        let point = [7; 32];
        let wrapped = [&[4, 32][..], &point].concat();
        for params in [ED25519_PARAMS, ED25519_NAME_PARAMS] {
            assert_eq!(
                ed25519_public_key(params, &wrapped),
                Some(PublicKey::Ed25519(point))
            );
            assert_eq!(
                ed25519_public_key(params, &point),
                Some(PublicKey::Ed25519(point))
            );
            assert_eq!(ed25519_public_key(params, &wrapped[..33]), None);
        }
        assert_eq!(ed25519_public_key(P256_PARAMS, &wrapped), None);
        // A key whose own bytes look like a wrapping is still a key.
        let mut odd = [7; 32];
        odd[..2].copy_from_slice(&[4, 30]);
        assert_eq!(
            ed25519_public_key(ED25519_PARAMS, &odd),
            Some(PublicKey::Ed25519(odd))
        );
    }
}
