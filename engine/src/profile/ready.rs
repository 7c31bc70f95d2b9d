//! The profiles that come with the program: complete, to be used as they are or to start one's own from.

/// One of the profiles that come with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadyMade {
    /// Its name, in the file and in requests.
    pub name: &'static str,
    /// What it is for, in a line.
    pub about: &'static str,
    /// The standard that it follows.
    pub source: &'static str,
    /// The file.
    pub toml: &'static str,
}

impl ReadyMade {
    /// The one with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        READY_MADE.iter().find(|ready| ready.name == name)
    }
}

macro_rules! ready_made {
    ($($name:literal: $about:literal, $source:literal;)+) => {
        /// All of them, in the order in which a person looks for one.
        pub const READY_MADE: &[ReadyMade] = &[$(
            ReadyMade {
                name: $name,
                about: $about,
                source: $source,
                toml: include_str!(concat!($name, ".toml")),
            },
        )+];
    };
}

ready_made! {
    "idevid": "the identity a device is born with", "IEEE 802.1AR-2018 §8, RFC 8995 §2.3";
    "ldevid": "an identity that the owner gives", "IEEE 802.1AR-2018 §8";
    "tcg-idevid": "an IDevID key inside a TPM", "TCG TPM 2.0 Keys for Device Identity §8";
    "tcg-iak": "an attestation key inside a TPM", "TCG TPM 2.0 Keys for Device Identity §8";
    "matter-dac": "Matter device attestation", "Matter 1.x §6.2.2.3";
    "matter-pai": "Matter's CA of one vendor or product", "Matter 1.x §6.2.2.4";
    "matter-paa": "Matter's CA of CAs", "Matter 1.x §6.2.2.5";
    "opcua-application": "OPC UA application instance, RSA or ECC", "OPC 10000-6 §6.2.2";
    "wi-sun-fan": "Wi-SUN FAN device", "Wi-SUN FAN TPS";
    "iso15118-secc": "charging station", "ISO 15118-2 Annex F";
    "iso15118-contract": "charging contract", "ISO 15118-2 Annex F";
    "tls-client": "TLS client of device clouds (AWS IoT, Azure DPS)", "RFC 5280 §4.2.1.12";
    "tls-server": "TLS server of a device", "RFC 5280 §4.2.1.12, RFC 9525";
}
