//! Object identifiers as the content octets of their encoding. They are compared as bytes, never as
//! numbers (CVE-2025-66030).

/// id-ecPublicKey, RFC 5480 §2.1.1.
pub(crate) const EC_PUBLIC_KEY: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
/// secp256r1, RFC 5480 §2.1.1.1.
pub(crate) const SECP256R1: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
/// secp384r1, RFC 5480 §2.1.1.1.
pub(crate) const SECP384R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x22];
/// secp521r1, RFC 5480 §2.1.1.1.
pub(crate) const SECP521R1: &[u8] = &[0x2b, 0x81, 0x04, 0x00, 0x23];
/// rsaEncryption, RFC 3279 §2.3.1.
pub(crate) const RSA_ENCRYPTION: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
/// id-RSASSA-PSS, RFC 4055 §3.1; key and signature share it.
pub(crate) const RSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];
/// id-mgf1, RFC 4055 §2.2.
pub(crate) const MGF1: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x08];
/// id-sha256, RFC 4055 §2.1.
pub(crate) const SHA256: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
/// id-Ed25519, RFC 8410 §3; key and signature share it.
pub(crate) const ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// id-ml-dsa-44, RFC 9881 §2; key and signature share it, and so for the others.
pub(crate) const ML_DSA_44: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x11];
/// id-ml-dsa-65, RFC 9881 §2.
pub(crate) const ML_DSA_65: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x12];
/// id-ml-dsa-87, RFC 9881 §2.
pub(crate) const ML_DSA_87: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x03, 0x13];
/// ecdsa-with-SHA256, RFC 5758 §3.2.
pub(crate) const ECDSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02];
/// ecdsa-with-SHA384, RFC 5758 §3.2.
pub(crate) const ECDSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03];
/// ecdsa-with-SHA512, RFC 5758 §3.2.
pub(crate) const ECDSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04];
/// sha256WithRSAEncryption, RFC 4055 §5.
pub(crate) const RSA_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b];
/// sha384WithRSAEncryption, RFC 4055 §5.
pub(crate) const RSA_SHA384: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c];
/// sha512WithRSAEncryption, RFC 4055 §5.
pub(crate) const RSA_SHA512: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d];

/// id-data, RFC 5652 §4.
pub(crate) const CMS_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// id-envelopedData, RFC 5652 §6.1.
pub(crate) const CMS_ENVELOPED_DATA: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x03];
/// dhSinglePass-stdDH-sha256kdf-scheme, RFC 5753 §7.1.4.
pub(crate) const ECDH_SHA256_KDF: &[u8] = &[0x2b, 0x81, 0x04, 0x01, 0x0b, 0x01];
/// id-aes256-CBC, RFC 3565 §4.1.
pub(crate) const AES256_CBC: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x01, 0x2a];
/// id-PBES2, RFC 8018 appendix A.4.
pub(crate) const PBES2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0d];
/// id-PBKDF2, RFC 8018 appendix A.2.
pub(crate) const PBKDF2: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x05, 0x0c];
/// id-hmacWithSHA256, RFC 8018 appendix B.1.2.
pub(crate) const HMAC_SHA256: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x09];

/// extensionRequest, RFC 2985 §5.4.2.
pub(crate) const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// Requested extensions as Microsoft's certificate tools wrote them (szOID_RSA_certExtensions' forerunner
/// 1.3.6.1.4.1.311.2.1.14, documented in \[MS-WCCE\] §2.2.2.7.7.1).
pub(crate) const MICROSOFT_EXTENSION_REQUEST: &[u8] =
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x0e];
/// challengePassword, RFC 2985 §5.4.1.
pub(crate) const CHALLENGE_PASSWORD: &[u8] =
    &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07];

/// id-ce-subjectKeyIdentifier, RFC 5280 §4.2.1.2.
pub(crate) const SUBJECT_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x0e];
/// id-ce-keyUsage, RFC 5280 §4.2.1.3.
pub(crate) const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// id-ce-subjectAltName, RFC 5280 §4.2.1.6.
pub(crate) const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// id-ce-basicConstraints, RFC 5280 §4.2.1.9.
pub(crate) const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// id-ce-authorityKeyIdentifier, RFC 5280 §4.2.1.1.
pub(crate) const AUTHORITY_KEY_IDENTIFIER: &[u8] = &[0x55, 0x1d, 0x23];
/// id-ce-extKeyUsage, RFC 5280 §4.2.1.12.
pub(crate) const EXT_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// id-on-hardwareModuleName, RFC 4108 §5.
pub(crate) const HARDWARE_MODULE_NAME: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x04];

/// id-on-permanentIdentifier, RFC 4043 §2.
pub(crate) const PERMANENT_IDENTIFIER: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x03];
/// id-ce-cRLDistributionPoints, RFC 5280 §4.2.1.13.
pub(crate) const CRL_DISTRIBUTION_POINTS: &[u8] = &[0x55, 0x1d, 0x1f];
/// id-ce-certificatePolicies, RFC 5280 §4.2.1.4.
pub(crate) const CERTIFICATE_POLICIES: &[u8] = &[0x55, 0x1d, 0x20];
/// id-pe-authorityInfoAccess, RFC 5280 §4.2.2.1.
pub(crate) const AUTHORITY_INFO_ACCESS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x01];
/// id-ad-ocsp, RFC 5280 §4.2.2.1.
pub(crate) const ACCESS_OCSP: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
/// id-ad-caIssuers, RFC 5280 §4.2.2.1.
pub(crate) const ACCESS_CA_ISSUERS: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x02];
/// id-pe-masa-url, RFC 8995 §2.3.2.
pub(crate) const MASA_URL: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x01, 0x20];
/// matter-oid-vid, 1.3.6.1.4.1.37244.2.1, Matter 1.x §6.1.1.
pub(crate) const MATTER_VENDOR_ID: &[u8] =
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xa2, 0x7c, 0x02, 0x01];
/// matter-oid-pid, 1.3.6.1.4.1.37244.2.2, Matter 1.x §6.1.1.
pub(crate) const MATTER_PRODUCT_ID: &[u8] =
    &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0xa2, 0x7c, 0x02, 0x02];

/// An identifier in dotted form, from content octets that the strict reader accepts, X.690 §8.19.
pub(crate) fn to_dotted(oid: &[u8]) -> String {
    x509_cert::spki::ObjectIdentifier::from_bytes(oid)
        .map_or_else(|_| crate::hex::encode(oid), |oid| oid.to_string())
}

/// The content octets of an identifier in dotted form, X.690 §8.19. `None` if it is not one.
pub(crate) fn from_dotted(dotted: &str) -> Option<Vec<u8>> {
    let oid = x509_cert::spki::ObjectIdentifier::new(dotted).ok()?;
    (oid.as_bytes().len() <= crate::der::reader::OID_BYTES_MAX).then(|| oid.as_bytes().to_vec())
}
