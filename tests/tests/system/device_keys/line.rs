//! The line that receives keys: its certificate or its secret, and openssl in its place.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::officer::Officer;
use crate::requests::openssl;
use crate::station::Factory;

/// How the line receives keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Receiver {
    Ec,
    Rsa(u32),
    Secret,
    /// The same secret, and certificates besides.
    Pkcs12,
}

impl Receiver {
    pub(crate) fn delivery(self) -> &'static str {
        match self {
            Receiver::Secret => "pkcs8",
            Receiver::Pkcs12 => "pkcs12",
            _ => "cms",
        }
    }
}

/// The line's own files, beside the CA's directory.
pub(crate) struct Line {
    receiver: Receiver,
    key: String,
    certificate: String,
    blob: String,
    pub(crate) officer: Officer,
}

/// A profile that makes keys.
pub(crate) fn profile(algorithm: &str, delivery: &str) -> String {
    let reissue = match delivery {
        "pkcs8" | "pkcs12" => "reissue = \"permit\"\n",
        _ => "",
    };
    format!(
        "name = \"made\"\nbase = \"idevid\"\n{reissue}\n[[subject]]\ntype = \"serialNumber\"\n\
         value = \"{{data.serial}}\"\n\n[validity]\nnot_after = \"99991231235959Z\"\n\n\
         [key]\nalgorithms = [\"{algorithm}\"]\ngenerated = \"{delivery}\"\n"
    )
}

impl Line {
    /// Makes the line's key, and configures the station to deliver to it.
    pub(crate) fn new(factory: &Factory, receiver: Receiver, algorithm: &str) -> Line {
        let text = |name: &str| factory.path(name).to_str().unwrap().to_owned();
        let line = Line {
            receiver,
            key: text("line.key"),
            certificate: text("line.pem"),
            blob: text("blob"),
            officer: Officer::new(factory),
        };
        line.make_key();
        factory.add_profile("made", &profile(algorithm, receiver.delivery()));
        let path = factory.configuration();
        let mut configuration = fs::read_to_string(&path).unwrap();
        let officers = format!("[engine]\nofficers = [\"{}\"]\n", line.officer.vkey());
        configuration = configuration.replacen("[engine]\n", &officers, 1);
        configuration.push_str(match receiver {
            Receiver::Secret | Receiver::Pkcs12 => "\n[device_keys]\nsecret = \"../line.key\"\n",
            _ => "\n[device_keys]\nrecipient = \"../line.pem\"\n",
        });
        fs::write(&path, configuration).unwrap();
        line
    }

    fn make_key(&self) {
        let bits;
        let (kind, usage): (&[&str], _) = match self.receiver {
            Receiver::Secret | Receiver::Pkcs12 => {
                let secret = openssl(&["rand", "-hex", "16"]).stdout;
                fs::write(&self.key, secret).unwrap();
                let private = fs::Permissions::from_mode(0o600);
                return fs::set_permissions(&self.key, private).unwrap();
            }
            Receiver::Ec => (
                &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"],
                "keyUsage=keyAgreement",
            ),
            Receiver::Rsa(size) => {
                bits = format!("rsa:{size}");
                (&[&bits], "keyUsage=keyEncipherment")
            }
        };
        let fixed = ["-nodes", "-keyout", &self.key, "-out", &self.certificate];
        let name = ["-subj", "/O=Acme/CN=Line 7", "-addext", usage];
        openssl(&[&["req", "-x509", "-newkey"], kind, &fixed, &name].concat());
    }

    /// The file of the secret, or of the line's key.
    pub(crate) fn secret_file(&self) -> &str {
        &self.key
    }

    /// The private key, as openssl opens it: DER for CMS, otherwise PEM.
    pub(crate) fn open(&self, blob: &[u8]) -> Option<Vec<u8>> {
        fs::write(&self.blob, blob).unwrap();
        let password = format!("file:{}", self.key);
        let arguments: Vec<&str> = match self.receiver {
            Receiver::Secret => [
                &["pkcs8", "-inform", "DER", "-in", &self.blob][..],
                &["-passin", &password],
            ]
            .concat(),
            Receiver::Pkcs12 => [
                &["pkcs12", "-in", &self.blob, "-noenc", "-nocerts"][..],
                &["-passin", &password],
            ]
            .concat(),
            _ => [
                &["cms", "-decrypt", "-inform", "DER", "-in", &self.blob][..],
                &["-inkey", &self.key, "-recip", &self.certificate],
            ]
            .concat(),
        };
        let output = Command::new("openssl").args(&arguments).output().unwrap();
        output.status.success().then_some(output.stdout)
    }

    /// The public half, in PEM, as openssl writes it.
    pub(crate) fn public_key(&self, private: &[u8]) -> Vec<u8> {
        let form = match self.receiver {
            Receiver::Secret | Receiver::Pkcs12 => "PEM",
            _ => "DER",
        };
        fs::write(&self.blob, private).unwrap();
        openssl(&["pkey", "-inform", form, "-in", &self.blob, "-pubout"]).stdout
    }

    /// Whether these bytes are a P-256 key in PKCS #8, DER.
    pub(crate) fn is_private_key(bytes: &[u8]) -> bool {
        use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
        EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, bytes).is_ok()
    }

    /// The secret number of a P-256 key in PKCS #8, DER: the octet string of 32 in its ECPrivateKey.
    pub(crate) fn scalar(private: &[u8]) -> Vec<u8> {
        let head = [2, 1, 1, 4, 32];
        let at = private
            .windows(head.len())
            .position(|window| window == head)
            .unwrap();
        private[at + head.len()..][..32].to_vec()
    }
}
