//! One session that signs: the calls of one signature, and what is tried when they fail.

use std::sync::Arc;

use cryptoki::context::Function;
use cryptoki::error::Error;
use cryptoki::mechanism::dsa::{HedgeType, SignAdditionalContext};
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::ObjectHandle;
use cryptoki::types::Ulong;
use cryptoki_sys::{
    CK_RSA_PKCS_PSS_PARAMS, CKG_MGF1_SHA256, CKM_ECDSA, CKM_EDDSA, CKM_ML_DSA, CKM_RSA_PKCS,
    CKM_SHA256,
};

use super::key::TokenKey;
use super::open_session::OpenSession;
use super::raw::SignMechanism;
use super::token;
use crate::algorithm::{Curve, DigestAlgorithm, KeyAlgorithm, MlDsaParameterSet, RsaSignature};
use crate::ckr::{CallError, ErrorClass, ReturnCode};
use crate::der;
use crate::error::SignError;
use crate::metrics::Counters;
use crate::signing::{SignInput, Signature};

/// Length in bytes of the longest raw signature that is made on the stack: RSA-4096.
const RAW_SIGNATURE_LEN_MAX: usize = 512;

/// DER of `DigestInfo` up to the digest (RFC 8017 §9.2, note 1), for SHA-256.
const SHA256_DIGEST_INFO: [u8; 19] = [
    0x30, 0x31, 0x30, 0x0d, 6, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1, 5, 0, 4, 0x20,
];

/// Length of the longest `DigestInfo` signed, in bytes.
const DIGEST_INFO_LEN_MAX: usize = SHA256_DIGEST_INFO.len() + 32;

/// RSASSA-PSS over a SHA-256, with MGF1 over SHA-256 and a salt as long as the digest
/// (RFC 8017 §9.1).
const PSS_SHA256: CK_RSA_PKCS_PSS_PARAMS = CK_RSA_PKCS_PSS_PARAMS {
    hashAlg: CKM_SHA256,
    mgf: CKG_MGF1_SHA256,
    sLen: PSS_SALT_LEN,
};
const PSS_SALT_LEN: cryptoki_sys::CK_ULONG = 32;

/// A session with everything a signature needs. It belongs to one thread at a time.
pub(crate) struct SigningSession {
    session: OpenSession,
    /// The key on the token, as it was when this session began to use it.
    object: ObjectHandle,
    /// What it signs with: `object`, or this session's copy of it.
    handle: ObjectHandle,
    mechanism: SignMechanism,
    /// Last, so that the session closes before the token may.
    key: Arc<TokenKey>,
}

impl SigningSession {
    /// Opens a session on the key's token.
    pub(super) fn open(key: &Arc<TokenKey>) -> Result<SigningSession, CallError> {
        let session = key.token().open_session()?;
        let mechanism = match (key.algorithm(), key.rsa_signature()) {
            (_, Some(RsaSignature::Pss)) => SignMechanism::Pss(PSS_SHA256),
            (_, Some(RsaSignature::Pkcs1v15)) => SignMechanism::Plain(CKM_RSA_PKCS),
            (KeyAlgorithm::Ed25519, None) => SignMechanism::Plain(CKM_EDDSA),
            // Without its optional parameter the mechanism is pure ML-DSA with an empty context, and
            // the token may choose between hedged and deterministic (PKCS#11 v3.2 §6.67).
            (KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87, None) => {
                SignMechanism::Plain(CKM_ML_DSA)
            }
            (_, None) => SignMechanism::Plain(CKM_ECDSA),
        };
        let object = key.object();
        let handle = key.for_session(session.get()?, object)?;
        Ok(SigningSession {
            session,
            object,
            handle,
            mechanism,
            key: Arc::clone(key),
        })
    }

    /// Signs: one C_SignInit, one C_Sign, no allocation but for a signature longer than P-384's.
    pub(crate) fn sign(&mut self, input: &SignInput, out: &mut Signature) -> Result<(), SignError> {
        let algorithm = self.key.algorithm();
        let wrong_input = SignError::WrongInput { algorithm };
        match algorithm {
            KeyAlgorithm::EcP256 | KeyAlgorithm::EcP384 | KeyAlgorithm::EcP521 => {
                let (digest, _) = input.digest_for(algorithm).ok_or(wrong_input)?;
                let mut raw = [0; RAW_SIGNATURE_LEN_MAX];
                // PKCS#11 v3.1 §6.3.1: r and s, each as long as the group's order, which for these
                // curves is as long as the field.
                let field_len = algorithm.curve().map_or(0, Curve::field_len);
                let len = self.call(digest, &mut raw, 2 * field_len)?;
                let mut encoded = [0; der::ECDSA_SIGNATURE_LEN_MAX];
                let len = der::write_ecdsa_signature(&raw[..len], &mut encoded);
                out.set(&encoded[..len]);
            }
            KeyAlgorithm::Ed25519 => {
                let SignInput::Message(message) = input else {
                    return Err(wrong_input);
                };
                let mut raw = [0; RAW_SIGNATURE_LEN_MAX];
                let len = self.call(message, &mut raw, 64)?;
                out.set(&raw[..len]);
            }
            KeyAlgorithm::MlDsa44 | KeyAlgorithm::MlDsa65 | KeyAlgorithm::MlDsa87 => {
                let SignInput::Message(message) = input else {
                    return Err(wrong_input);
                };
                let len = algorithm
                    .ml_dsa()
                    .map_or(0, MlDsaParameterSet::signature_len);
                self.call(message, out.on_heap(len), len)?;
            }
            KeyAlgorithm::Rsa2048 | KeyAlgorithm::Rsa3072 | KeyAlgorithm::Rsa4096 => {
                let (digest, digest_algorithm) = input.digest_for(algorithm).ok_or(wrong_input)?;
                debug_assert_eq!(digest_algorithm, DigestAlgorithm::Sha256);
                let mut info = [0; DIGEST_INFO_LEN_MAX];
                info[..SHA256_DIGEST_INFO.len()].copy_from_slice(&SHA256_DIGEST_INFO);
                info[SHA256_DIGEST_INFO.len()..].copy_from_slice(digest);
                // PSS pads the digest itself, and PKCS #1 v1.5 the DigestInfo around it.
                let data = match self.mechanism {
                    SignMechanism::Pss(_) => digest,
                    SignMechanism::Plain(_) => &info,
                };
                let mut raw = [0; RAW_SIGNATURE_LEN_MAX];
                let modulus_len = algorithm.rsa_modulus_len().unwrap_or(0);
                let len = self.call(data, &mut raw, modulus_len)?;
                out.set(&raw[..len]);
            }
        }
        Ok(())
    }

    /// The key that it signs with.
    pub(super) fn key(&self) -> &Arc<TokenKey> {
        &self.key
    }

    /// The key on the token, as it was when this session began to use it.
    pub(super) fn object(&self) -> ObjectHandle {
        self.object
    }

    /// How many logins there were; for [`SigningSession::log_in_again`].
    pub(super) fn logins(&self) -> u64 {
        self.key.token().logins()
    }

    /// Whether it can sign: not when a remedy gave the session up and got no other.
    pub(super) fn is_open(&self) -> bool {
        self.session.is_open()
    }

    /// The remedy for a session that is lost or stuck, as `code` says. The token may have been
    /// another one's for a while, so that the key is looked at before it signs again.
    pub(super) fn reopen(
        &mut self,
        code: Option<ReturnCode>,
        counters: &Counters,
    ) -> Result<(), SignError> {
        self.session.give_up(code);
        let session = self.key.token().open_session();
        let session = session.map_err(|call| self.failed(call))?;
        self.object = self.look_up(counters, TokenKey::confirm)?;
        self.handle = self.handle_in(&session)?;
        self.session = session;
        counters.session_reopened();
        Ok(())
    }

    /// The remedy for a handle that was refused.
    pub(super) fn find_key_again(&mut self, counters: &Counters) -> Result<(), SignError> {
        let stale = self.object;
        self.object = self.look_up(counters, |key| key.find_again(stale))?;
        match self.handle_in(&self.session) {
            Ok(handle) => self.handle = handle,
            Err(error) => {
                // The number that was refused may soon be another object's.
                self.session.give_up(None);
                return Err(error);
            }
        }
        counters.key_found_again();
        Ok(())
    }

    /// What a session signs with, from the key on the token.
    fn handle_in(&self, session: &OpenSession) -> Result<ObjectHandle, SignError> {
        let handle = session.get();
        let handle = handle.and_then(|session| self.key.for_session(session, self.object));
        handle.map_err(|call| self.failed(call))
    }

    /// The remedy for a lost login, after `seen` logins.
    pub(super) fn log_in_again(&self, seen: u64, counters: &Counters) -> Result<(), SignError> {
        let token = self.key.token();
        let login = token.log_in_again(seen);
        login.map_err(|error| token.settle(error))?;
        counters.login_renewed();
        Ok(())
    }

    /// Looks the key up. The login goes with a token's last session, and without it there is no
    /// private key to be seen.
    fn look_up(
        &self,
        counters: &Counters,
        look: impl Fn(&TokenKey) -> Result<ObjectHandle, SignError>,
    ) -> Result<ObjectHandle, SignError> {
        let seen = self.logins();
        match look(&self.key) {
            Err(error) if error.class() == ErrorClass::Login => {
                self.log_in_again(seen, counters)?;
                look(&self.key)
            }
            found => found,
        }
        .map_err(|error| self.key.token().settle(error))
    }

    /// Asks the token something small, so that it sees the session used.
    pub(super) fn ping(&self) -> Result<(), SignError> {
        let ping = self.session.get().and_then(token::ping);
        ping.map_err(|call| self.failed(call))
    }

    /// One signature's calls; the answer has to be `expected` bytes long.
    fn call(&mut self, data: &[u8], raw: &mut [u8], expected: usize) -> Result<usize, SignError> {
        let found = match self.key.token().sign_functions() {
            Some(functions) => self.session.get_mut().and_then(|session| {
                functions.sign(session, &self.mechanism, self.handle, data, raw)
            }),
            None => self.call_wrapper(data, raw),
        }
        .map_err(|call| self.failed(self.behind(call)))?;
        if found == expected {
            return Ok(found);
        }
        let token = Arc::clone(self.key.token().label());
        Err(SignError::MalformedSignature {
            token,
            algorithm: self.key.algorithm(),
            expected,
            found,
        })
    }

    /// The same through the wrapper: one more call to learn the signature's length, and an
    /// allocation.
    fn call_wrapper(&self, data: &[u8], raw: &mut [u8]) -> Result<usize, CallError> {
        let mechanism = match self.mechanism {
            SignMechanism::Plain(CKM_ECDSA) => Mechanism::Ecdsa,
            SignMechanism::Plain(CKM_EDDSA) => {
                Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Ed25519))
            }
            SignMechanism::Plain(CKM_ML_DSA) => {
                Mechanism::MlDsa(SignAdditionalContext::new(HedgeType::Preferred, None))
            }
            SignMechanism::Plain(_) => Mechanism::RsaPkcs,
            SignMechanism::Pss(_) => Mechanism::RsaPkcsPss(PkcsPssParams {
                hash_alg: MechanismType::SHA256,
                mgf: PkcsMgfType::MGF1_SHA256,
                s_len: Ulong::new(PSS_SALT_LEN),
            }),
        };
        let signature = self
            .session
            .get()?
            .sign(&mechanism, self.handle, data)
            .map_err(|error| {
                let function = match error {
                    Error::Pkcs11(_, Function::SignInit) => "C_SignInit",
                    _ => "C_Sign",
                };
                CallError::from_wrapper(function, &error)
            })?;
        // What does not fit has a wrong length, and is refused for it.
        if let Some(place) = raw.get_mut(..signature.len()) {
            place.copy_from_slice(&signature);
        }
        Ok(signature.len())
    }

    /// What a call that did not sign means. NSS says that an RSA key is of the wrong kind where the login is missing,
    /// and a login mends that.
    fn behind(&self, call: CallError) -> CallError {
        if call.code != ReturnCode::KEY_TYPE_INCONSISTENT {
            return call;
        }
        let logged_in = self
            .session
            .get()
            .and_then(|session| self.key.token().check_login(session));
        match logged_in {
            Err(lost) if lost.class() == ErrorClass::Login => lost,
            _ => call,
        }
    }

    fn failed(&self, call: CallError) -> SignError {
        self.key.failed(call)
    }
}
