//! One key that is put on several tokens, as a vendor's cloning or backup would.

use std::path::Path;

use aws_lc_rs::encoding::AsBigEndian;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;

/// DER of the curve's name, `prime256v1` (RFC 5480 §2.1.1.1).
const P256: [u8; 10] = [6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// A P-256 key outside any token.
pub(crate) struct EcKey(EcdsaKeyPair);

impl EcKey {
    pub(crate) fn generate() -> EcKey {
        EcKey(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    /// Puts it on a token. Nobody else of this process uses the module meanwhile.
    pub(crate) fn import(&self, module: &Path, token: &str, pin: &str, label: &str) {
        let module = Pkcs11::new(module).unwrap();
        module
            .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
            .unwrap();
        let slots = module.get_slots_with_token().unwrap();
        let slot = slots
            .into_iter()
            .find(|slot| module.get_token_info(*slot).unwrap().label() == token)
            .unwrap();
        let session = module.open_rw_session(slot).unwrap();
        session
            .login(UserType::User, Some(&AuthPin::from(pin)))
            .unwrap();
        let point = self.0.public_key().as_ref();
        // The point is wrapped into an OCTET STRING (PKCS#11 v3.1 §6.3.3).
        let wrapped = [&[4, point.len() as u8], point].concat();
        let scalar = AsBigEndian::<aws_lc_rs::encoding::EcPrivateKeyBin<'_>>::as_be_bytes(
            &self.0.private_key(),
        )
        .unwrap();
        let common = [
            Attribute::Token(true),
            Attribute::KeyType(KeyType::EC),
            Attribute::EcParams(P256.to_vec()),
            Attribute::Label(label.into()),
            Attribute::Id(vec![1]),
        ];
        let private = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Private(true),
            Attribute::Sign(true),
            Attribute::Value(scalar.as_ref().to_vec()),
        ];
        let public = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::Verify(true),
            Attribute::EcPoint(wrapped),
        ];
        for own in [&private[..], &public] {
            session.create_object(&[&common, own].concat()).unwrap();
        }
        drop(session);
        module.finalize().unwrap();
    }
}
