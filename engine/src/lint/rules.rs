//! The table of rules. Each line names its source; the text says what is wrong where the rule is broken.

use super::{Rule, Severity};

macro_rules! rules {
    ($($name:ident $severity:ident $id:literal $source:literal $text:literal;)*) => {
        $(pub(crate) static $name: Rule = Rule {
            id: $id,
            severity: Severity::$severity,
            source: $source,
            text: $text,
        };)*
        /// Every rule that [`lint`](super::lint) and the check before release know.
        pub static RULES: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    // Encoding.
    DER_TRUNCATED Error "der-truncated" "X.690 §8.1.3" "an end inside a value";
    DER_TRAILING Error "der-trailing" "X.690 §8.1.1" "octets after the end of a value";
    DER_TAG Error "der-tag" "X.690 §8.1.2" "a tag of several octets";
    DER_LENGTH_INDEFINITE Error "der-length-indefinite" "X.690 §10.1" "an indefinite length";
    DER_LENGTH_MINIMAL Error "der-length-minimal" "X.690 §10.1" "a length that is not minimal";
    DER_CONSTRUCTED Error "der-constructed" "X.690 §10.2" "a string in constructed form";
    DER_PRIMITIVE Error "der-primitive" "X.690 §8.9.1" "a SEQUENCE or SET in primitive form";
    DER_END_OF_CONTENTS Error "der-end-of-contents" "X.690 §10.1" "an end-of-contents mark";
    DER_BOOLEAN Error "der-boolean" "X.690 §11.1" "a boolean that is neither 00 nor FF";
    DER_INTEGER Error "der-integer" "X.690 §8.3.2" "an integer that is not minimal";
    DER_NULL Error "der-null" "X.690 §8.8.2" "a NULL with content";
    DER_BIT_STRING Error "der-bit-string" "X.690 §8.6.2" "a bit string without a sound count of unused bits";
    DER_UNUSED_BITS Error "der-unused-bits" "X.690 §11.2.1" "a bit string with unused bits set";
    DER_OID Error "der-oid" "X.690 §8.19.2" "an object identifier that is malformed";
    DER_PRINTABLE_STRING Error "der-printable-string" "X.680 §41.4" "a PrintableString with other characters";
    DER_NUMERIC_STRING Error "der-numeric-string" "X.680 §41.2" "a NumericString with other characters";
    DER_IA5_STRING Error "der-ia5-string" "X.680 §41.1" "an IA5String with other characters";
    DER_UTF8_STRING Error "der-utf8-string" "RFC 3629 §3" "a UTF8String that is not UTF-8";
    DER_BMP_STRING Error "der-bmp-string" "X.690 §8.23.8" "a BMPString that is not of whole characters";
    DER_SET_ORDER Error "der-set-order" "X.690 §11.6" "a SET out of order";
    DER_DEFAULT Error "der-default" "X.690 §11.5" "a default value that is encoded";
    LIMIT_OID Error "limit-oid" "CVE-2023-2650" "an object identifier of more than 64 octets";
    LIMIT_DEPTH Error "limit-depth" "CVE-2025-66031" "values nested more than 16 deep";
    LIMIT_VALUES Error "limit-values" "bound of this linter" "more than 4096 values";
    LIMIT_SIZE Error "limit-size" "bound of this linter" "more than 65,536 octets";
    LIMIT_EXTENSIONS Error "limit-extensions" "bound of this linter" "more than 32 extensions";

    // The certificate and its fields.
    STRUCTURE Error "structure" "RFC 5280 §4.1" "a field that is missing, out of place or of another type";
    VERSION Error "version" "RFC 5280 §4.1.2.1" "a version other than v3";
    SERIAL_POSITIVE Error "serial-positive" "RFC 5280 §4.1.2.2" "the serial number is zero or negative";
    SERIAL_LENGTH Error "serial-length" "RFC 5280 §4.1.2.2" "the serial number is over 20 octets";
    SERIAL_SHORT Notice "serial-short" "CA/Browser Forum BR §7.1" "the serial number is too short to hold 64 random bits";
    ALGORITHM_EQUAL Error "algorithm-equal" "RFC 5280 §4.1.1.2" "the signature algorithms inside and outside differ";
    ALGORITHM_WEAK Error "algorithm-weak" "RFC 6151 §2, RFC 6194 §3" "a signature with MD2, MD4, MD5 or SHA-1";
    ALGORITHM_UNKNOWN Notice "algorithm-unknown" "bound of this linter" "the signature algorithm is not known here";
    ALGORITHM_ECDSA Error "algorithm-ecdsa-parameters" "RFC 5758 §3.2" "an ECDSA signature algorithm with parameters";
    ALGORITHM_EDDSA Error "algorithm-eddsa-parameters" "RFC 8410 §3" "an EdDSA signature algorithm with parameters";
    ALGORITHM_ML_DSA Error "algorithm-ml-dsa-parameters" "RFC 9881 §2" "an ML-DSA signature algorithm with parameters";
    ALGORITHM_RSA Error "algorithm-rsa-null" "RFC 4055 §5" "an RSA signature algorithm whose parameters are not NULL";
    ALGORITHM_PSS Error "algorithm-pss-parameters" "RFC 4055 §3.1" "RSASSA-PSS parameters that are missing, malformed or of unequal hashes";
    ALGORITHM_PSS_SALT Warning "algorithm-pss-salt" "RFC 4055 §3.1" "an RSASSA-PSS salt that is not as long as the hash";
    SIGNATURE_FORM Error "signature-form" "RFC 5280 §4.1.1.3" "the signature is empty or not of whole octets";
    SIGNATURE_ECDSA Error "signature-ecdsa" "RFC 3279 §2.2.3" "the ECDSA signature is not a SEQUENCE of two positive integers";
    SIGNATURE_LENGTH Error "signature-length" "RFC 5280 §4.1.1.3" "the signature has a length that its algorithm never has";
    UNIQUE_IDS Error "unique-ids" "RFC 5280 §4.1.2.8" "a unique identifier, which must not be generated";

    // Validity.
    TIME_FORM Error "time-form" "RFC 5280 §4.1.2.5" "a time that is not YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ";
    TIME_DATE Error "time-date" "RFC 5280 §4.1.2.5" "a time that the calendar does not have";
    TIME_UTC Error "time-utc-until-2049" "RFC 5280 §4.1.2.5" "a GeneralizedTime before 2050";
    VALIDITY_ORDER Error "validity-order" "RFC 5280 §4.1.2.5" "notBefore is after notAfter";
    VALIDITY_INDEFINITE Notice "validity-indefinite" "RFC 5280 §4.1.2.5" "no well-defined expiration (99991231235959Z)";

    // Names.
    NAME_STRUCTURE Error "name-structure" "RFC 5280 §4.1.2.4" "the name is malformed";
    NAME_EMPTY_RDN Error "name-empty-rdn" "X.501 §9.3" "a relative distinguished name without attributes";
    NAME_RDN_TYPE_TWICE Error "name-rdn-type-twice" "X.501 §9.3" "a relative distinguished name with an attribute type twice";
    NAME_STRING_TYPE Error "name-string-type" "RFC 5280 appendix A.1" "a name attribute has the wrong type";
    NAME_STRING_OLD Warning "name-string-old" "RFC 5280 §4.1.2.4" "a TeletexString, BMPString or UniversalString";
    NAME_VALUE_EMPTY Error "name-value-empty" "RFC 5280 appendix A.1" "a name attribute is empty";
    NAME_VALUE_LONG Error "name-value-long" "RFC 5280 appendix A.1" "a name attribute is longer than X.520's upper bound";
    NAME_VALUE_UNUSUAL Warning "name-value-unusual" "X.520, RFC 1034 §3.1" "a dnQualifier of over 64 or a domain component of over 63 characters";
    NAME_COUNTRY Error "name-country" "ISO 3166-1" "a country that is not two capital letters";
    NAME_CONTROL Error "name-control" "CVE-2009-2408" "a NUL or another control character in a name";
    NAME_SPACE Warning "name-space" "RFC 5280 §7.1" "a name attribute that begins or ends with a space";
    NAME_MATTER_ID Error "name-matter-id" "Matter §6.2.2" "a Matter vendor or product identifier that is not four capital hexadecimal digits in a UTF8String";
    MATTER_ISSUER Error "matter-issuer" "Matter §6.2.2.3, §6.2.2.4" "a Matter vendor or product identifier other than the issuer's";
    ISSUER_EMPTY Error "issuer-empty" "RFC 5280 §4.1.2.4" "the issuer is empty";
    SUBJECT_EMPTY_CA Error "subject-empty-ca" "RFC 5280 §4.1.2.6" "the subject of a CA is empty";
    SUBJECT_EMPTY_SAN Error "subject-empty-san" "RFC 5280 §4.1.2.6" "the subject is empty and there is no critical subject alternative name";

    // The public key.
    KEY_STRUCTURE Error "key-structure" "RFC 5280 §4.1.2.7" "the public key is malformed";
    KEY_UNKNOWN Notice "key-unknown" "bound of this linter" "the key algorithm is not known here";
    KEY_EC_PARAMETERS Error "key-ec-named-curve" "RFC 5480 §2.1.1, CVE-2022-0778" "an EC key whose curve is not named";
    KEY_EC_CURVE Notice "key-ec-curve" "bound of this linter" "an EC key on a curve that is not known here";
    KEY_EC_POINT Error "key-ec-point" "RFC 5480 §2.2" "an EC point of the wrong form or length";
    KEY_EC_COMPRESSED Warning "key-ec-compressed" "RFC 5480 §2.2" "an EC point in compressed form, which many devices cannot read";
    KEY_EC_OFF_CURVE Error "key-ec-off-curve" "SEC 1 §3.2.2.1" "an EC point that is not on its curve";
    KEY_RSA_PARAMETERS Error "key-rsa-null" "RFC 3279 §2.3.1" "an RSA key whose parameters are not NULL";
    KEY_RSA_FORM Error "key-rsa-form" "RFC 8017 appendix A.1.1" "an RSA key that is not a SEQUENCE of two positive integers";
    KEY_RSA_BITS Error "key-rsa-bits" "NIST SP 800-57 part 1 §5.6.1" "an RSA modulus of under 2048 bits";
    KEY_RSA_EVEN Error "key-rsa-even" "RFC 8017 §3.1" "an RSA modulus that is even";
    KEY_RSA_WEAK Error "key-rsa-weak" "NIST SP 800-89 §5.3.3, CVE-2017-15361, CVE-2022-26320" "an RSA modulus that anybody can factor";
    KEY_RSA_EXPONENT Error "key-rsa-exponent" "RFC 8017 §3.1" "an RSA exponent that is even or under 3";
    KEY_RSA_EXPONENT_POLICY Warning "key-rsa-exponent-65537" "FIPS 186-5 §5.1" "an RSA exponent other than 65537";
    KEY_RSA_PSS Error "key-rsa-pss-parameters" "RFC 4055 §3.1" "RSASSA-PSS parameters of a key that are malformed";
    KEY_EDWARDS_PARAMETERS Error "key-rfc8410-parameters" "RFC 8410 §3" "an Ed25519, Ed448, X25519 or X448 key with parameters";
    KEY_EDWARDS_LENGTH Error "key-rfc8410-length" "RFC 8410 §4" "an Ed25519, Ed448, X25519 or X448 key of the wrong length";
    KEY_ED25519_SMALL Error "key-ed25519-small-order" "RFC 8032 §5.1" "an Ed25519 key of small order";
    KEY_ML_DSA_PARAMETERS Error "key-ml-dsa-parameters" "RFC 9881 §4" "an ML-DSA key with parameters";
    KEY_ML_DSA_LENGTH Error "key-ml-dsa-length" "RFC 9881 §4" "an ML-DSA key of the wrong length";

    // Extensions as such.
    EXTENSIONS_EMPTY Error "extensions-empty" "RFC 5280 §4.1.2.9" "an empty list of extensions";
    EXTENSION_TWICE Error "extension-twice" "RFC 5280 §4.2" "an extension twice";
    EXTENSION_UNKNOWN_CRITICAL Warning "extension-unknown-critical" "RFC 5280 §4.2" "a critical extension that is not known here";
    EXTENSION_VALUE Warning "extension-value" "RFC 5280 §4.2" "an unknown extension whose value is not DER";
    EXTENSION_MALFORMED Error "extension-malformed" "RFC 5280 §4.2.1" "an extension's value is not of its type";
    CRITICAL_WRONGLY Error "critical-wrongly" "RFC 5280 §4.2" "an extension that must not be critical is";
    CRITICAL_MISSING Error "critical-missing" "RFC 5280 §4.2" "an extension that must be critical is not";
    CRITICAL_ADVICE Warning "critical-advice" "RFC 5280 §4.2" "an extension is marked otherwise than RFC 5280 advises";

    // Single extensions.
    AKI_MISSING Error "aki-missing" "RFC 5280 §4.2.1.1" "the authority key identifier is missing";
    AKI_KEY_IDENTIFIER Error "aki-key-identifier" "RFC 5280 §4.2.1.1" "an authority key identifier without keyIdentifier";
    AKI_PAIR Error "aki-pair" "RFC 5280 appendix A.2" "an authority key identifier with one of authorityCertIssuer and authorityCertSerialNumber alone";
    SKI_MISSING_CA Error "ski-missing-ca" "RFC 5280 §4.2.1.2" "a CA without subject key identifier";
    SKI_MISSING Notice "ski-missing" "RFC 5280 §4.2.1.2" "no subject key identifier";
    SKI_EMPTY Error "ski-empty" "RFC 5280 §4.2.1.2" "an empty subject key identifier";
    SKI_DERIVED Notice "ski-derived" "RFC 5280 §4.2.1.2, RFC 7093 §2" "a subject key identifier that is by none of the usual methods the key's";
    KEY_USAGE_MISSING_CA Error "key-usage-missing-ca" "RFC 5280 §4.2.1.3" "a CA without key usage";
    KEY_USAGE_EMPTY Error "key-usage-empty" "RFC 5280 §4.2.1.3" "the key usage is empty";
    KEY_USAGE_ZEROS Error "key-usage-trailing-zeros" "X.690 §11.2.2" "the key usage has trailing zero bits";
    KEY_USAGE_UNKNOWN Error "key-usage-unknown" "RFC 5280 §4.2.1.3" "the key usage has bits beyond decipherOnly";
    KEY_USAGE_EC Error "key-usage-ec" "RFC 8813 §3" "an EC key with keyEncipherment or dataEncipherment";
    KEY_USAGE_SIGNING Error "key-usage-eddsa" "RFC 8410 §5" "an Ed25519 or Ed448 key with more than signing bits, or none";
    KEY_USAGE_AGREEMENT_KEY Error "key-usage-x25519" "RFC 8410 §5" "an X25519 or X448 key without keyAgreement, or with more";
    KEY_USAGE_ML_DSA Error "key-usage-ml-dsa" "RFC 9881 §5" "an ML-DSA key with more than signing bits, or none";
    KEY_USAGE_RSA Error "key-usage-rsa" "RFC 3279 §2.3.1" "an RSA key with keyAgreement";
    KEY_USAGE_RSA_PSS Error "key-usage-rsa-pss" "RFC 4055 §1.2" "an RSASSA-PSS key with more than signing bits";
    KEY_USAGE_ONLY Warning "key-usage-only" "RFC 5280 §4.2.1.3" "encipherOnly or decipherOnly without keyAgreement, or both";
    KEY_USAGE_CERT_SIGN Error "key-usage-cert-sign" "RFC 5280 §4.2.1.9" "keyCertSign without cA";
    KEY_USAGE_CA Warning "key-usage-ca" "RFC 5280 §4.2.1.3" "a CA whose key usage lacks keyCertSign";
    BASIC_PATH_LENGTH Error "basic-constraints-path-length" "RFC 5280 §4.2.1.9" "pathLenConstraint without cA or without keyCertSign";
    BASIC_PATH_NEGATIVE Error "basic-constraints-path-negative" "RFC 5280 §4.2.1.9" "a negative pathLenConstraint";
    EKU_EMPTY Error "eku-empty" "RFC 5280 §4.2.1.12" "an empty list of key purposes";
    EKU_TWICE Warning "eku-twice" "RFC 5280 §4.2.1.12" "a key purpose twice";
    EKU_ANY Warning "eku-any" "RFC 5280 §4.2.1.12" "anyExtendedKeyUsage beside others, or critical";
    EKU_KEY_USAGE Error "eku-key-usage" "RFC 5280 §4.2.1.12" "a key purpose for which the key usage has no bit";
    SAN_EMPTY Error "san-empty" "RFC 5280 §4.2.1.6" "a list of alternative names that is empty";
    SAN_TWICE Warning "san-twice" "RFC 5280 §4.2.1.6" "an alternative name twice";
    POLICY_EMPTY Error "policies-empty" "RFC 5280 §4.2.1.4" "an empty list of policies or qualifiers";
    POLICY_TWICE Error "policies-twice" "RFC 5280 §4.2.1.4" "a certificate policy twice";
    POLICY_QUALIFIER Warning "policies-qualifier" "RFC 5280 §4.2.1.4" "a policy qualifier other than CPS and user notice";
    POLICY_TEXT Warning "policies-text" "RFC 6818 §3" "an explicitText that is empty, over 200 characters or an IA5String";
    CRL_EMPTY Error "crl-points-empty" "RFC 5280 §4.2.1.13" "a list of CRL distribution points that is empty";
    CRL_POINT Error "crl-point" "RFC 5280 §4.2.1.13" "a CRL distribution point with neither distributionPoint nor cRLIssuer";
    ACCESS_EMPTY Error "access-empty" "RFC 5280 §4.2.2.1" "an empty list of access descriptions";
    CA_ONLY Error "ca-only" "RFC 5280 §4.2.1.10, §4.2.1.11" "an extension that only CAs have";
    NAME_CONSTRAINTS_EMPTY Error "name-constraints-empty" "RFC 5280 §4.2.1.10" "empty name constraints";
    NAME_CONSTRAINTS_BASE Error "name-constraints-base" "RFC 5280 §4.2.1.10" "a name constraint with a minimum, a maximum or a malformed base";
    POLICY_CONSTRAINTS_EMPTY Error "policy-constraints-empty" "RFC 5280 §4.2.1.11" "empty policy constraints";
    POLICY_MAPPING_ANY Error "policy-mapping-any" "RFC 5280 §4.2.1.5" "a policy mapping to or from anyPolicy";

    // General names.
    GENERAL_NAME_FORM Error "general-name-form" "RFC 5280 §4.2.1.6" "a general name that is malformed or of no known kind";
    GENERAL_NAME_IA5 Error "general-name-ia5" "RFC 5280 §4.2.1.6, CVE-2009-2408" "a general name that is empty, or holds a control or non-ASCII character";
    GENERAL_NAME_DNS Error "general-name-dns" "RFC 5280 §4.2.1.6, RFC 1123 §2.1" "a dNSName that is no host name";
    GENERAL_NAME_URI Error "general-name-uri" "RFC 5280 §4.2.1.6, RFC 3986 §3" "a URI without a scheme, or with characters that URIs lack";
    GENERAL_NAME_EMAIL Error "general-name-email" "RFC 5280 §4.2.1.6, RFC 5321 §4.1.2" "an rfc822Name that is no mailbox";
    GENERAL_NAME_EMAIL_QUOTED Warning "general-name-email-quoted" "RFC 5321 §4.1.2" "an rfc822Name whose local part is quoted, which many readers cannot read";
    GENERAL_NAME_IP Error "general-name-ip" "RFC 5280 §4.2.1.6" "an iPAddress that has neither 4 nor 16 octets";
    GENERAL_NAME_DIRECTORY Error "general-name-directory" "RFC 5280 §4.2.1.6" "a directoryName that is empty";
    GENERAL_NAME_HARDWARE Error "general-name-hardware" "RFC 4108 §5" "a hardwareModuleName that is malformed or has an empty serial number";

    // The issuer, where its certificate is known.
    ISSUER_NAME Error "issuer-name" "RFC 5280 §4.1.2.4" "the issuer is not the issuer certificate's subject";
    ISSUER_ALGORITHM Error "issuer-algorithm" "RFC 5280 §4.1.1.2" "the signature algorithms are not the issuer's";
    ISSUER_NOT_BEFORE Error "issuer-not-before" "RFC 5280 §4.1.2.5, §6.1.3" "notBefore is outside the issuer's validity";
    ISSUER_NOT_AFTER Error "issuer-not-after" "RFC 5280 §4.1.2.5, §6.1.3" "notAfter is after the issuer's";
    ISSUER_AKI Error "issuer-key-identifier" "RFC 5280 §4.2.1.1" "the authority key identifier is not the issuer's";
    ISSUER_KEY Error "issuer-key-certified" "key of the issuer" "the public key is the issuer's own";
    ISSUER_CA Error "issuer-ca" "RFC 5280 §4.2.1.9, §4.2.1.3" "the issuer certificate is not a CA's, or its key may not sign certificates";
    ISSUER_SIGNATURE Error "issuer-signature" "RFC 5280 §4.1.1.3" "the signature does not verify with the issuer's key";
    ISSUER_UNVERIFIED Error "issuer-unverified" "bound of this linter" "the signature could not be verified: its algorithm or the issuer's key is not verified here";

    // What the certificate is for, the request and the profile, where they are known.
    PURPOSE_CA Error "purpose-ca" "RFC 5280 §4.2.1.9" "the certificate is not a CA's";
    PURPOSE_END_ENTITY Error "purpose-end-entity" "RFC 5280 §4.2.1.9" "the certificate is a CA's";
    REQUEST_KEY Error "request-key" "RFC 5280 §4.1.2.7" "the public key is not the request's";
    REQUEST_SERIAL Error "request-serial" "RFC 5280 §4.1.2.2" "the serial number is not the reserved one";
    PROFILE_SIZE Error "profile-size" "profile" "the certificate is longer than the profile allows";
    PROFILE_KEY Error "profile-key" "profile" "a key that the profile does not take";
    PROFILE_SUBJECT Error "profile-subject" "RFC 5280 §4.1.2.6" "the subject is empty, or not empty against the profile";
    PROFILE_ATTRIBUTES Error "profile-subject-attributes" "profile" "the subject's attributes are not the profile's";
    PROFILE_MATTER_IDS Error "profile-matter-ids" "Matter §6.2.2.2" "a subject without the Matter vendor and product identifiers of its profile, in attributes or, each once, in its common name";
    PROFILE_STRING_TYPE Error "profile-string-type" "RFC 5280 §4.1.2.4" "a name attribute has another string type than the profile writes";
    PROFILE_INDEFINITE Error "profile-indefinite" "RFC 5280 §4.1.2.5" "notAfter is not indefinite";
    PROFILE_EXTENSION Error "profile-extension" "profile" "an extension that the profile does not have";
    PROFILE_EXTENSION_MISSING Error "profile-extension-missing" "profile" "an extension of the profile is missing";
    PROFILE_CRITICAL Error "profile-critical" "profile" "an extension is marked critical against the profile";
    PROFILE_CONSTANT Error "profile-constant" "profile" "an extension is not the profile's";
    PROFILE_KEY_USAGE Error "profile-key-usage" "RFC 5280 §4.2.1.3" "the key usage is not the profile's";
    PROFILE_EKU Error "profile-eku" "RFC 5280 §4.2.1.12" "the extended key usage is not the profile's";
    PROFILE_BASIC Error "profile-basic-constraints" "RFC 5280 §4.2.1.9" "the basic constraints are not the profile's";
}
