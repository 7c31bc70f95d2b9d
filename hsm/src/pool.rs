//! The signing pool: one key, and whatever signs with it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::algorithm::{KeyAlgorithm, RsaSignature};
use crate::error::{CloseError, NotSignedAgain, OpenError, SignError};
use crate::location::SignerLocation;
use crate::metrics::{Counters, PoolMetrics, TokenMetrics};
use crate::options::PoolOptions;
use crate::pkcs11::{Pkcs11Options, Pkcs11Uri, SigningSession, TokenPool};
use crate::public_key::PublicKey;
use crate::signing::{SignInput, SignJob, Signature};
use crate::software::SoftwareKey;

/// Signs with one key: a software key on the calling thread, or a key on PKCS#11 tokens through
/// several sessions, each on a thread of its own.
pub struct SigningPool(Kind);

enum Kind {
    Software {
        key: Arc<SoftwareKey>,
        counters: Counters,
    },
    Tokens(TokenPool),
}

impl SigningPool {
    /// A pool that signs with a software key, on the thread that submits.
    pub fn software(key: SoftwareKey) -> SigningPool {
        SigningPool(Kind::Software {
            key: Arc::new(key),
            counters: Counters::default(),
        })
    }

    /// Opens the key on a token that the URI names.
    ///
    /// The PIN comes from the URI's `pin-source` or from `BIRTHMARK_PIN`, and is sent to the token
    /// once: a wrong PIN is an error and never tried again. Where another pool of this process is
    /// logged in to the token already, its login serves both and the PIN is not checked.
    ///
    /// # Errors
    /// [`OpenError`] says which of module, token, PIN, key or session it was.
    pub fn pkcs11(uri: &Pkcs11Uri, options: Pkcs11Options) -> Result<SigningPool, OpenError> {
        SigningPool::pkcs11_tokens(std::slice::from_ref(uri), options.into())
    }

    /// Opens the same key on 1 to [`TOKENS_MAX`](crate::TOKENS_MAX) tokens. Jobs go to whichever
    /// session is free; a token that fails is left out, its jobs are signed by the others, and it
    /// is taken back when it signs again.
    ///
    /// A token that is down, or that refuses its PIN, does not stop the start as long as another
    /// is up.
    ///
    /// # Errors
    /// As [`SigningPool::pkcs11`], and [`OpenError::KeysDiffer`] with the two tokens' names when
    /// they do not hold the same key.
    pub fn pkcs11_tokens(
        uris: &[Pkcs11Uri],
        options: PoolOptions,
    ) -> Result<SigningPool, OpenError> {
        Ok(SigningPool(Kind::Tokens(TokenPool::open(uris, options)?)))
    }

    /// Opens the key at `location`. But for [`Pkcs11Options::rsa_signature`] the options matter for
    /// tokens alone.
    ///
    /// # Errors
    /// As [`SigningPool::pkcs11`] and [`SoftwareKey::read`].
    pub fn open(
        location: &SignerLocation,
        options: Pkcs11Options,
    ) -> Result<SigningPool, OpenError> {
        SigningPool::open_all(std::slice::from_ref(location), options.into())
    }

    /// Opens the key at all `locations`: one software key, or one or several tokens.
    ///
    /// # Errors
    /// As [`SigningPool::pkcs11_tokens`] and [`SoftwareKey::read`];
    /// [`OpenError::SoftwareBesideOthers`] for a software key in a longer list.
    pub fn open_all(
        locations: &[SignerLocation],
        options: PoolOptions,
    ) -> Result<SigningPool, OpenError> {
        if let [SignerLocation::Software(path)] = locations {
            let key = SoftwareKey::read(path)?;
            let key = key.with_rsa_signature(options.tokens.rsa_signature);
            return Ok(SigningPool::software(key));
        }
        let uris = locations.iter().map(|location| match location {
            SignerLocation::Software(_) => Err(OpenError::SoftwareBesideOthers),
            SignerLocation::Pkcs11(uri) => Ok(uri.clone()),
        });
        SigningPool::pkcs11_tokens(&uris.collect::<Result<Vec<_>, _>>()?, options)
    }

    /// The key's kind.
    pub fn key_algorithm(&self) -> KeyAlgorithm {
        match &self.0 {
            Kind::Software { key, .. } => key.algorithm(),
            Kind::Tokens(pool) => pool.algorithm(),
        }
    }

    /// How the key signs, if it is an RSA key.
    pub fn rsa_signature(&self) -> Option<RsaSignature> {
        match &self.0 {
            Kind::Software { key, .. } => key.rsa_signature(),
            Kind::Tokens(pool) => pool.rsa_signature(),
        }
    }

    /// The public half of the key.
    pub fn public_key(&self) -> &PublicKey {
        match &self.0 {
            Kind::Software { key, .. } => key.public_key(),
            Kind::Tokens(pool) => pool.public_key(),
        }
    }

    /// What this key signs for `message`: hashed here for ECDSA and RSA, copied for Ed25519
    /// and ML-DSA.
    pub fn input_for(&self, message: &[u8]) -> SignInput {
        SignInput::for_key(self.key_algorithm(), message)
    }

    /// Hands a job over. Its completion is called exactly once, whatever happens.
    ///
    /// Never blocks on other jobs: a token's jobs go into a channel without a bound of its own.
    /// What bounds it is the number of permits the caller gives out; a caller without permits can
    /// fill the memory. A software key signs here and now, and the completion has been called
    /// when this returns.
    pub fn submit(&self, job: SignJob) {
        match &self.0 {
            Kind::Software { key, counters } => {
                let outcome = key.sign(&job.input);
                counters.outcome(&outcome);
                // As on a session's thread: a completion that panics harms nobody else.
                let call = AssertUnwindSafe(|| job.completion.signed(job.ticket, outcome));
                if catch_unwind(call).is_err() {
                    counters.completion_panicked();
                }
            }
            Kind::Tokens(pool) => pool.submit(job),
        }
    }

    /// Tells that a signature of this pool verified. It ends its token's row of wrong ones, so
    /// whoever rejects signatures accepts the others. Costs two looks at memory.
    pub fn accept(&self, signature: &Signature) {
        if let Kind::Tokens(pool) = &self.0 {
            pool.accept(signature);
        }
    }

    /// Tells that a signature of this pool does not verify, and has its job signed again: the same
    /// input, by whichever session is free. The completion is called once more, with another
    /// signature or with the reason why there is none.
    ///
    /// `job` is the one that the signature was made for. The pool looks for itself whether the
    /// signature is wrong. Three wrong ones in a row take their token out
    /// ([`TokenState::WrongSignatures`](crate::TokenState::WrongSignatures)).
    ///
    /// # Errors
    /// [`NotSignedAgain`]; the completion is not called then. A software key's signature is never
    /// made again.
    pub fn reject(&self, signature: Signature, job: SignJob) -> Result<(), NotSignedAgain> {
        match &self.0 {
            Kind::Software { key, counters } => {
                let rsa = key.rsa_signature();
                let bytes = signature.as_bytes();
                if key.public_key().verifies_input(rsa, &job.input, bytes) {
                    return Err(NotSignedAgain::Verifies);
                }
                counters.wrong_signature();
                Err(NotSignedAgain::NoToken)
            }
            Kind::Tokens(pool) => pool.reject(&signature, job),
        }
    }

    /// Whether `signature`, in X.509 form, is the pool's key's over `message`, signed the way this
    /// pool signs.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.public_key()
            .verifies(self.rsa_signature(), message, signature)
    }

    /// Whether [`SigningPool::submit`] signs on the calling thread.
    pub fn signs_inline(&self) -> bool {
        matches!(self.0, Kind::Software { .. })
    }

    /// Jobs that wait for a session.
    pub fn queue_len(&self) -> usize {
        match &self.0 {
            Kind::Software { .. } => 0,
            Kind::Tokens(pool) => pool.queue_len(),
        }
    }

    /// What signs, in a few words: `software P-256`, `PKCS#11 token 'x' P-256, 2 sessions`.
    pub fn describe(&self) -> String {
        match &self.0 {
            Kind::Software { key, .. } => {
                let pss = describe_signature(key.rsa_signature());
                format!("software {}{pss}", key.algorithm().title())
            }
            Kind::Tokens(pool) => pool.describe(),
        }
    }

    /// What the pool has done so far.
    pub fn metrics(&self) -> PoolMetrics {
        match &self.0 {
            Kind::Software { counters, .. } => counters.read(0),
            Kind::Tokens(pool) => pool.metrics(),
        }
    }

    /// What each token is doing and has done, in the order of the list; empty for a software key.
    pub fn tokens(&self) -> Vec<TokenMetrics> {
        match &self.0 {
            Kind::Software { .. } => Vec::new(),
            Kind::Tokens(pool) => pool.tokens(),
        }
    }

    /// `n` bare signers, each for a thread of its own, to measure what signing alone costs: no
    /// channel, no completion, no second attempt. On tokens each has its own session, beside
    /// those of the pool, on the tokens that are up in turn.
    ///
    /// # Errors
    /// [`OpenError::Sessions`] for `n` of 0 or above [`SESSIONS_MAX`](crate::SESSIONS_MAX) on a
    /// token, [`OpenError::Call`] when the token opens no more sessions.
    pub fn raw_signers(&self, n: usize) -> Result<Vec<RawSigner>, OpenError> {
        Ok(match &self.0 {
            Kind::Software { key, .. } => (0..n)
                .map(|_| RawSigner(RawKind::Software(Arc::clone(key))))
                .collect(),
            Kind::Tokens(pool) => {
                let sessions = pool.raw_sessions(n)?;
                sessions
                    .into_iter()
                    .map(|session| RawSigner(RawKind::Session(session)))
                    .collect()
            }
        })
    }

    /// Signs what is queued, ends the threads, closes the sessions, and finalizes the module when
    /// nobody else in the process uses it. Dropping the pool does the same and tells nothing.
    /// A call that hangs is not waited for longer than the limit of a call.
    ///
    /// While a [`RawSigner`] of the pool lives, its session keeps the token open.
    ///
    /// # Errors
    /// [`CloseError`]; the pool is closed all the same.
    pub fn close(self) -> Result<(), CloseError> {
        match self.0 {
            Kind::Software { .. } => Ok(()),
            Kind::Tokens(mut pool) => pool.close(),
        }
    }
}

impl std::fmt::Debug for SigningPool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningPool({})", self.describe())
    }
}

/// What [`SigningPool::describe`] adds where an RSA key does not sign as it usually does.
pub(crate) fn describe_signature(signature: Option<RsaSignature>) -> &'static str {
    match signature {
        Some(RsaSignature::Pss) => " PSS",
        Some(RsaSignature::Pkcs1v15) | None => "",
    }
}

/// A signer without a pool around it, to measure the limit; see [`SigningPool::raw_signers`].
pub struct RawSigner(RawKind);

enum RawKind {
    Software(Arc<SoftwareKey>),
    Session(SigningSession),
}

impl RawSigner {
    /// Signs into `out`, with nothing tried a second time.
    ///
    /// # Errors
    /// As a [`SignJob`]'s outcome.
    pub fn sign(&mut self, input: &SignInput, out: &mut Signature) -> Result<(), SignError> {
        match &mut self.0 {
            RawKind::Software(key) => key.sign_into(input, out),
            RawKind::Session(session) => session.sign(input, out),
        }
    }
}

impl std::fmt::Debug for RawSigner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RawSigner")
    }
}
