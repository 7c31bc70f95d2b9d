//! Encrypting a generated key for whoever receives it.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::cipher::{EncryptionContext, PaddedBlockEncryptingKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::generate::GeneratedKey;
use super::spool::SpoolOptions;
use super::{Recipient, TransportSecret, cms, pkcs8, pkcs12};
use crate::fault::Fault;
use crate::issuer::Issuer;

/// How a generated private key reaches the line: a profile's `key.generated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Delivery {
    /// `cms`: EnvelopedData (RFC 5652 §6) to the line's certificate; its content is the PrivateKeyInfo.
    Cms,
    /// `pkcs8`: EncryptedPrivateKeyInfo (RFC 5958 §3) under a secret that station and line share.
    Pkcs8,
    /// `pkcs12`: PFX (RFC 7292) under that secret, with the certificate and its issuer's.
    Pkcs12,
}

impl Delivery {
    /// As profiles write it.
    pub(crate) fn by_name(name: &str) -> Option<Self> {
        match name {
            "cms" => Some(Self::Cms),
            "pkcs8" => Some(Self::Pkcs8),
            "pkcs12" => Some(Self::Pkcs12),
            _ => None,
        }
    }

    /// As profiles write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cms => "cms",
            Self::Pkcs8 => "pkcs8",
            Self::Pkcs12 => "pkcs12",
        }
    }

    /// As the spool's files have it.
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Cms => 1,
            Self::Pkcs8 => 2,
            Self::Pkcs12 => 3,
        }
    }

    pub(super) fn by_code(code: u8) -> Option<Self> {
        [Self::Cms, Self::Pkcs8, Self::Pkcs12]
            .into_iter()
            .find(|delivery| delivery.code() == code)
    }
}

/// A private key that only its receiver can read.
#[derive(Clone, PartialEq, Eq)]
pub struct EncryptedKey {
    delivery: Delivery,
    der: Arc<[u8]>,
}

impl EncryptedKey {
    pub(super) fn new(delivery: Delivery, der: &[u8]) -> Self {
        Self {
            delivery,
            der: der.into(),
        }
    }

    /// How it is encrypted.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The ContentInfo, EncryptedPrivateKeyInfo or PFX, DER. What a spool holds of a PFX is what was known before
    /// its certificate.
    #[must_use]
    pub fn as_der(&self) -> &[u8] {
        &self.der
    }

    /// The same in PEM (RFC 7468 §§9 and 11; a PFX as GnuTLS labels it), with line feeds.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let label = match self.delivery {
            Delivery::Cms => "CMS",
            Delivery::Pkcs8 => "ENCRYPTED PRIVATE KEY",
            Delivery::Pkcs12 => "PKCS12",
        };
        pem_rfc7468::encode_string(label, pem_rfc7468::LineEnding::LF, &self.der)
            .unwrap_or_default()
    }
}

impl fmt::Debug for EncryptedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncryptedKey")
            .field("delivery", &self.delivery)
            .field("bytes", &self.der.len())
            .finish()
    }
}

/// What comes with the certificate of a generated key.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyDelivery {
    /// The private key, the same bytes at every retry until it is acknowledged.
    Encrypted(EncryptedKey),
    /// It was acknowledged, and is kept no longer.
    Acknowledged,
    /// It is not in this station's spool, and nobody knows whether it was ever delivered.
    NotKept,
}

/// What a station needs to make keys: for whom they are encrypted and where they wait.
#[derive(Debug)]
#[non_exhaustive]
pub struct DeviceKeys {
    /// For profiles with `generated = "cms"`.
    pub recipient: Option<Recipient>,
    /// For profiles with `generated = "pkcs8"` or `"pkcs12"`.
    pub secret: Option<TransportSecret>,
    /// Where encrypted keys wait for their acknowledgement.
    pub spool: SpoolOptions,
}

impl DeviceKeys {
    /// Without recipient and secret.
    #[must_use]
    pub fn new(spool: SpoolOptions) -> Self {
        Self {
            recipient: None,
            secret: None,
            spool,
        }
    }
}

/// Encrypts keys, each in the way that its profile asks for.
#[derive(Debug)]
pub(crate) struct Sealers {
    cms: Option<Recipient>,
    pkcs8: Option<pkcs8::SecretSealer>,
    pkcs12: Option<pkcs12::Sealer>,
}

/// A key could not be encrypted: the random number generator failed, or there is no memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NotSealed;

impl From<NotSealed> for Fault {
    fn from(NotSealed: NotSealed) -> Self {
        Self::Random
    }
}

impl Sealers {
    /// Derives what secrets need; takes about 0.2 s where there is one.
    pub(crate) fn new(
        recipient: Option<Recipient>,
        secret: Option<TransportSecret>,
    ) -> Result<Self, NotSealed> {
        let pkcs8 = secret.as_ref().map(pkcs8::SecretSealer::new).transpose()?;
        Ok(Self {
            cms: recipient,
            pkcs8,
            pkcs12: secret.map(pkcs12::Sealer::new).transpose()?,
        })
    }

    /// Derives beforehand what this delivery needs besides; takes about 0.2 s for `pkcs12`.
    pub(crate) fn make_ready(&self, delivery: Delivery) {
        if let (Delivery::Pkcs12, Some(sealer)) = (delivery, &self.pkcs12) {
            sealer.derive();
        }
    }

    /// Lets the secret itself go where no key is delivered as `pkcs12`, the one way that needs it after the start.
    pub(crate) fn forget_secret(&mut self) {
        self.pkcs12 = None;
    }

    /// Whether this station can deliver that way.
    pub(crate) fn can(&self, delivery: Delivery) -> bool {
        match delivery {
            Delivery::Cms => self.cms.is_some(),
            Delivery::Pkcs8 => self.pkcs8.is_some(),
            Delivery::Pkcs12 => self.pkcs12.is_some(),
        }
    }

    /// Whether keys may be delivered that way now.
    pub(crate) fn check_valid_at(&self, delivery: Delivery, now_s: u64) -> Result<(), Fault> {
        match (delivery, &self.cms) {
            (Delivery::Cms, Some(recipient)) => recipient
                .check_valid_at(now_s)
                .map_err(|error| Fault::Recipient(error.to_string())),
            _ => Ok(()),
        }
    }

    /// Octets of the largest encrypted key of this kind.
    pub(crate) fn bytes_max(&self, delivery: Delivery) -> usize {
        match delivery {
            Delivery::Cms => self.cms.as_ref().map_or(0, Recipient::overhead_bytes_max),
            Delivery::Pkcs8 => pkcs8::OVERHEAD_BYTES_MAX,
            Delivery::Pkcs12 => pkcs8::OVERHEAD_BYTES_MAX + pkcs12::OVERHEAD_BYTES_MAX,
        }
        .saturating_add(PRIVATE_BYTES_MAX)
    }

    /// Encrypts a key for the spool.
    pub(crate) fn seal(
        &self,
        delivery: Delivery,
        key: &GeneratedKey,
    ) -> Result<EncryptedKey, NotSealed> {
        let under_secret = || self.pkcs8.as_ref().ok_or(NotSealed)?.encrypt(key);
        let der = match delivery {
            Delivery::Cms => cms::envelop(self.cms.as_ref().ok_or(NotSealed)?, key)?,
            Delivery::Pkcs8 => under_secret()?,
            Delivery::Pkcs12 => {
                let sealer = self.pkcs12.as_ref().ok_or(NotSealed)?;
                sealer.seal(&under_secret()?)
            }
        };
        Ok(EncryptedKey::new(delivery, &der))
    }

    /// What the line gets of a key in the spool, once its certificate (DER, and content octets of its serial
    /// number) is in the log. Takes 0.2 s where an earlier start made the key for `pkcs12`: for workers only.
    pub(crate) fn assemble(
        &self,
        spooled: EncryptedKey,
        device: &[u8],
        serial: &[u8],
        issuer: &Issuer,
    ) -> Result<EncryptedKey, Fault> {
        if spooled.delivery != Delivery::Pkcs12 {
            return Ok(spooled);
        }
        let Some(sealer) = &self.pkcs12 else {
            return Err(Fault::KeySpool(
                "a key waits under a transport secret, and the station has none; name its file in \
                 device_keys.secret"
                    .to_owned(),
            ));
        };
        let certificates = pkcs12::Certificates {
            device,
            serial,
            issuer: issuer.issued(device).then(|| issuer.certificate()),
        };
        let file = sealer.assemble(spooled.as_der(), certificates);
        file.map(|der| EncryptedKey::new(Delivery::Pkcs12, &der))
            .map_err(Fault::from)
    }
}

/// Octets of the largest PrivateKeyInfo made here: 241 for P-521, with room.
const PRIVATE_BYTES_MAX: usize = 256;

/// Octets of a block and of an initialization vector of AES-CBC.
pub(super) const BLOCK_BYTES: usize = 16;

/// Encrypts with AES-256-CBC and the padding of RFC 5652 §6.3, under a new initialization vector. The
/// plain form is overwritten in its place.
pub(super) fn encrypt_cbc(
    cipher: &PaddedBlockEncryptingKey,
    key: &GeneratedKey,
) -> Result<([u8; BLOCK_BYTES], Zeroizing<Vec<u8>>), NotSealed> {
    let mut iv = [0; BLOCK_BYTES];
    rand::fill(&mut iv).map_err(|_| NotSealed)?;
    // With room for the padding: a buffer that grew would leave the plain key behind in freed memory.
    let plain = key.private();
    let mut content = Zeroizing::new(Vec::with_capacity(plain.len() + BLOCK_BYTES));
    content.extend_from_slice(plain);
    let context = EncryptionContext::Iv128(FixedLength::from(&iv));
    cipher
        .less_safe_encrypt(&mut *content, context)
        .map_err(|_| NotSealed)?;
    Ok((iv, content))
}
