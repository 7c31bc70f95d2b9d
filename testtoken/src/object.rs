//! The token's two objects: the private key and its public half (PKCS#11 v3.1 §4.7 to 4.9).

use cryptoki_sys::*;

use crate::code::{Code, Outcome};
use crate::key::Key;

/// DER of `CKA_EC_PARAMS`: `OBJECT IDENTIFIER` 1.2.840.10045.3.1.7 (RFC 5480 §2.1.1.1).
pub(crate) const P256_PARAMS: &[u8] = &[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];

/// One of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Object {
    Private,
    Public,
}

/// Attributes of a template with their values.
pub(crate) type Template = Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>;

impl Object {
    pub(crate) const ALL: [Object; 2] = [Object::Private, Object::Public];

    /// The object's handle. Handles of an earlier epoch are stale.
    pub(crate) fn handle(self, epoch: u64) -> CK_OBJECT_HANDLE {
        let place = match self {
            Object::Private => 1,
            Object::Public => 2,
        };
        ((epoch as CK_OBJECT_HANDLE) << 4) | place
    }

    /// The object of the handle; `None` when there is none (any more).
    pub(crate) fn of_handle(handle: CK_OBJECT_HANDLE, epoch: u64) -> Option<Object> {
        Object::ALL
            .into_iter()
            .find(|object| object.handle(epoch) == handle)
    }

    /// The value of an attribute.
    pub(crate) fn attribute(
        self,
        wanted: CK_ATTRIBUTE_TYPE,
        key: &Key,
        label: &str,
    ) -> Outcome<Vec<u8>> {
        let private = self == Object::Private;
        let of_private = |value: bool| {
            if private {
                Ok(boolean(value))
            } else {
                Err(Code(CKR_ATTRIBUTE_TYPE_INVALID))
            }
        };
        match wanted {
            CKA_CLASS if private => Ok(number(CKO_PRIVATE_KEY)),
            CKA_CLASS => Ok(number(CKO_PUBLIC_KEY)),
            CKA_KEY_TYPE => Ok(number(CKK_EC)),
            CKA_LABEL => Ok(label.as_bytes().to_vec()),
            CKA_ID => Ok(key.id().to_vec()),
            CKA_EC_PARAMS => Ok(P256_PARAMS.to_vec()),
            // The DER OCTET STRING around the point (PKCS#11 v3.1 §6.3.3).
            CKA_EC_POINT if !private => {
                Ok([&[4, key.point().len() as u8][..], key.point()].concat())
            }
            CKA_KEY_GEN_MECHANISM => Ok(number(CKM_EC_KEY_PAIR_GEN)),
            CKA_ALLOWED_MECHANISMS => Ok(number(CKM_ECDSA)),
            CKA_SUBJECT | CKA_START_DATE | CKA_END_DATE => Ok(Vec::new()),
            CKA_TOKEN | CKA_LOCAL => Ok(boolean(true)),
            CKA_MODIFIABLE | CKA_COPYABLE | CKA_DESTROYABLE | CKA_DERIVE => Ok(boolean(false)),
            CKA_PRIVATE => Ok(boolean(private)),
            CKA_SENSITIVE | CKA_ALWAYS_SENSITIVE | CKA_NEVER_EXTRACTABLE | CKA_SIGN => {
                of_private(true)
            }
            CKA_EXTRACTABLE
            | CKA_SIGN_RECOVER
            | CKA_DECRYPT
            | CKA_UNWRAP
            | CKA_ALWAYS_AUTHENTICATE
            | CKA_WRAP_WITH_TRUSTED => of_private(false),
            CKA_VALUE if private => Err(Code(CKR_ATTRIBUTE_SENSITIVE)),
            CKA_VERIFY if !private => Ok(boolean(true)),
            CKA_VERIFY_RECOVER | CKA_ENCRYPT | CKA_WRAP | CKA_TRUSTED if !private => {
                Ok(boolean(false))
            }
            _ => Err(Code(CKR_ATTRIBUTE_TYPE_INVALID)),
        }
    }

    /// Whether the object has every value of the template.
    pub(crate) fn fits(self, template: &Template, key: &Key, label: &str) -> bool {
        template.iter().all(|(wanted, value)| {
            self.attribute(*wanted, key, label)
                .is_ok_and(|own| own == *value)
        })
    }
}

fn boolean(value: bool) -> Vec<u8> {
    vec![u8::from(value)]
}

/// A CK_ULONG.
pub(crate) fn number(value: CK_ULONG) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_of_another_epoch_lead_to_nothing() {
        for object in Object::ALL {
            let handle = object.handle(3);
            assert_eq!(Object::of_handle(handle, 3), Some(object));
            assert_eq!(Object::of_handle(handle, 4), None);
        }
        assert_eq!(Object::of_handle(0, 0), None);
    }

    #[test]
    fn the_private_key_tells_nothing_secret() {
        let key = Key::generate(b"1").unwrap();
        let ask = |object: Object, wanted| object.attribute(wanted, &key, "k");
        assert_eq!(
            ask(Object::Private, CKA_VALUE),
            Err(Code(CKR_ATTRIBUTE_SENSITIVE))
        );
        assert_eq!(ask(Object::Private, CKA_EXTRACTABLE), Ok(vec![0]));
        assert_eq!(ask(Object::Private, CKA_NEVER_EXTRACTABLE), Ok(vec![1]));
        let point = ask(Object::Public, CKA_EC_POINT).unwrap();
        assert_eq!((point.len(), &point[..3]), (67, &[4, 65, 4][..]));
    }

    #[test]
    fn a_template_fits_by_every_value() {
        let key = Key::generate(b"id").unwrap();
        let class = |class| (CKA_CLASS, number(class));
        let label = |label: &str| (CKA_LABEL, label.as_bytes().to_vec());
        let fits = |template: Template| Object::Private.fits(&template, &key, "k");
        assert!(fits(vec![]));
        assert!(fits(vec![class(CKO_PRIVATE_KEY), label("k")]));
        assert!(!fits(vec![class(CKO_PUBLIC_KEY), label("k")]));
        assert!(!fits(vec![class(CKO_PRIVATE_KEY), label("other")]));
        assert!(
            !fits(vec![(CKA_VALUE, vec![])]),
            "a secret value fits nothing"
        );
    }
}
