//! The schedule of faults: which call of which function goes wrong, and how.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use cryptoki_sys::CKR_DEVICE_REMOVED;
use serde::Deserialize;

use crate::code::{Code, Outcome};
use crate::function::Function;
use crate::random::number_at;
use crate::{read, write};

/// Most rules at a time. Each call looks at each of them; tests use a handful.
pub const RULES_MAX: usize = 256;

/// Longest hang. One that waits for its release is given up after it, so that a test that forgot
/// to release ends.
pub const HANG_MAX: Duration = Duration::from_secs(600);

/// One entry of `faults` as it is written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct FaultSetting {
    function: String,
    except: Option<String>,
    at: Option<Vec<u64>>,
    every: Option<u64>,
    probability: Option<f64>,
    from_s: Option<f64>,
    to_s: Option<f64>,
    times: Option<u64>,
    code: Option<Code>,
    after: bool,
    sessions: Option<Extent>,
    login: Option<Lose>,
    handles: Option<Lose>,
    token: Option<TokenAway>,
    hang: bool,
    hang_s: Option<f64>,
    signature: Option<WrongSignature>,
    extractable: bool,
}

/// Which sessions are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Extent {
    /// The calling one.
    Lose,
    /// All of the token.
    LoseAll,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Lose {
    Lose,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TokenAway {
    Remove,
}

/// How a signature is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum WrongSignature {
    /// Right in form, but one bit is another.
    Wrong,
    /// The length is told one byte too short.
    Short,
    /// The length is told one byte too long.
    Long,
}

/// What happens to one call. Without any field it goes as always.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Effect {
    /// Returned in place of what the call comes to.
    pub(crate) code: Option<Code>,
    /// The call is made all the same, before its code is returned.
    pub(crate) after: bool,
    pub(crate) sessions: Option<Extent>,
    pub(crate) logout: bool,
    pub(crate) handles: bool,
    pub(crate) removal: bool,
    pub(crate) hang: Option<Duration>,
    pub(crate) signature: Option<WrongSignature>,
    pub(crate) extractable: bool,
}

impl Effect {
    /// What is returned for a call that came to `performed`.
    pub(crate) fn answer(self, performed: Outcome<()>) -> Outcome<()> {
        match self.code {
            Some(code) => Err(code),
            None => performed,
        }
    }
}

/// One fault with its conditions.
#[derive(Debug)]
pub(crate) struct Rule {
    /// `None` for every function.
    function: Option<Function>,
    /// The one that is left out of every function.
    except: Option<Function>,
    when: When,
    from: Duration,
    to: Duration,
    times: u64,
    effect: Effect,
    calls: AtomicU64,
    fired: AtomicU64,
}

#[derive(Debug, PartialEq)]
enum When {
    /// Numbers of calls, sorted, from 1.
    At(Vec<u64>),
    Every(u64),
    Probability(f64),
}

impl FaultSetting {
    /// Checks the entry.
    ///
    /// # Errors
    /// What is wrong with it, for a person.
    pub(crate) fn rule(self) -> Result<Rule, String> {
        let effect = self.effect()?;
        let named = |name: &str| {
            let function = Function::named(name);
            function.ok_or_else(|| format!("'{name}' is no function of PKCS#11 v2.40"))
        };
        let function = match self.function.as_str() {
            "" => return Err("a fault needs a function, such as function = \"C_Sign\"".into()),
            "*" => None,
            name => Some(named(name)?),
        };
        let except = self.except.as_deref().map(named).transpose()?;
        if except.is_some() && function.is_some() {
            return Err("except = … goes with function = \"*\"".into());
        }
        if effect.signature.is_some() && function != Some(Function::C_Sign) {
            return Err("signature = … goes with function = \"C_Sign\"".into());
        }
        if effect.extractable && function != Some(Function::C_GetAttributeValue) {
            return Err("extractable = true goes with function = \"C_GetAttributeValue\"".into());
        }
        let when = match (self.at, self.every, self.probability) {
            (Some(mut at), None, None) if !at.is_empty() && !at.contains(&0) => {
                at.sort_unstable();
                When::At(at)
            }
            (Some(_), None, None) => return Err("at = […] holds numbers of calls from 1".into()),
            (None, Some(every), None) if every > 0 => When::Every(every),
            (None, None, Some(p)) if (0.0..=1.0).contains(&p) => When::Probability(p),
            (None, None, None) => When::Every(1),
            _ => {
                return Err(
                    "a fault has one of at = […], every = n (from 1) and probability = p (0 to 1)"
                        .into(),
                );
            }
        };
        let (from, to) = window(self.from_s, self.to_s)?;
        Ok(Rule {
            function,
            except,
            when,
            from,
            to,
            times: self.times.unwrap_or(u64::MAX),
            effect,
            calls: AtomicU64::new(0),
            fired: AtomicU64::new(0),
        })
    }

    fn effect(&self) -> Result<Effect, String> {
        let hang = match self.hang_s {
            Some(seconds) => Some(
                Duration::try_from_secs_f64(seconds)
                    .ok()
                    .filter(|hang| *hang <= HANG_MAX)
                    .ok_or("hang_s is a number of seconds up to 600")?,
            ),
            None => self.hang.then_some(HANG_MAX),
        };
        let removal = self.token.is_some();
        let effect = Effect {
            code: self.code.or(removal.then_some(Code(CKR_DEVICE_REMOVED))),
            after: self.after,
            sessions: self.sessions,
            logout: self.login.is_some(),
            handles: self.handles.is_some(),
            removal,
            hang,
            signature: self.signature,
            extractable: self.extractable,
        };
        if effect.after && effect.code.is_none() {
            return Err("after = true goes with a code".into());
        }
        if effect == Effect::default() {
            return Err("a fault needs something that happens, such as a code".into());
        }
        Ok(effect)
    }
}

/// The time from and to which something holds, since C_Initialize.
pub(crate) fn window(
    from_s: Option<f64>,
    to_s: Option<f64>,
) -> Result<(Duration, Duration), String> {
    let time = |seconds: Option<f64>, default| match seconds {
        Some(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| "from_s and to_s are numbers of seconds from 0".to_owned()),
        None => Ok(default),
    };
    let (from, to) = (time(from_s, Duration::ZERO)?, time(to_s, Duration::MAX)?);
    if from >= to {
        return Err("from_s must be less than to_s".into());
    }
    Ok((from, to))
}

impl Rule {
    /// Counts one call of a function, and tells whether it goes wrong.
    fn fires(&self, function: Function, now: Duration, seed: u64) -> bool {
        let another = self.function.is_some_and(|wanted| wanted != function);
        if another || self.except == Some(function) {
            return false;
        }
        let call = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if !(self.from..self.to).contains(&now) {
            return false;
        }
        let hit = match &self.when {
            When::At(at) => at.binary_search(&call).is_ok(),
            When::Every(every) => call.is_multiple_of(*every),
            When::Probability(p) => number_at(seed, call) < *p,
        };
        hit && self.fired.fetch_add(1, Ordering::Relaxed) < self.times
    }
}

/// Every rule in force. Those of the configuration start anew with each C_Initialize; those set by
/// command stay until they are cleared.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    armed: AtomicBool,
    rules: RwLock<Rules>,
}

#[derive(Debug, Default)]
struct Rules {
    seed: u64,
    configured: Vec<Rule>,
    commanded: Vec<Rule>,
}

impl Schedule {
    /// The configuration's rules in place of its earlier ones.
    pub(crate) fn configure(&self, rules: Vec<Rule>, seed: u64) {
        let mut all = write(&self.rules);
        all.seed = seed;
        all.configured = rules;
        self.arm(&all);
    }

    /// One more rule.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn add(&self, rule: Rule) -> Result<(), String> {
        let mut all = write(&self.rules);
        if all.configured.len() + all.commanded.len() >= RULES_MAX {
            return Err(format!("there are {RULES_MAX} faults already: clear them"));
        }
        all.commanded.push(rule);
        self.arm(&all);
        Ok(())
    }

    /// No rule any more.
    pub(crate) fn clear(&self) {
        let mut all = write(&self.rules);
        all.configured.clear();
        all.commanded.clear();
        self.arm(&all);
    }

    /// What happens to this call: what the first rule that fires says. Every rule counts the call.
    /// `now` is the time since C_Initialize.
    pub(crate) fn decide(
        &self,
        function: Function,
        now: impl FnOnce() -> Duration,
    ) -> Option<Effect> {
        // Most tokens have no rule: they take no lock.
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let all = read(&self.rules);
        let (now, seed) = (now(), all.seed);
        let mut chosen = None;
        for (index, rule) in all.configured.iter().chain(&all.commanded).enumerate() {
            // Counting must not stop at the rule that fires.
            if rule.fires(function, now, seed.wrapping_add(index as u64)) && chosen.is_none() {
                chosen = Some(rule.effect);
            }
        }
        chosen
    }

    fn arm(&self, all: &Rules) {
        let any = !all.configured.is_empty() || !all.commanded.is_empty();
        self.armed.store(any, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Rule, String> {
        toml::from_str::<FaultSetting>(text)
            .map_err(|error| error.message().to_owned())?
            .rule()
    }

    /// The calls of 1 to `count` that go wrong.
    fn firing(text: &str, count: u64, now: Duration) -> Vec<u64> {
        let schedule = Schedule::default();
        schedule.configure(vec![rule(text).unwrap()], 7);
        (1..=count)
            .filter(|_| schedule.decide(Function::C_Sign, || now).is_some())
            .collect()
    }

    const NONE: [u64; 0] = [];
    const SIGN: &str = "function = 'C_Sign'\ncode = 'CKR_DEVICE_ERROR'\n";

    #[test]
    fn calls_are_chosen_by_number_interval_and_window() {
        let at = |more: &str, seconds| {
            firing(&format!("{SIGN}{more}"), 10, Duration::from_secs(seconds))
        };
        assert_eq!(at("at = [7, 2]", 0), [2, 7]);
        assert_eq!(at("every = 4", 0), [4, 8]);
        assert_eq!(at("", 0), (1..=10).collect::<Vec<_>>());
        assert_eq!(at("times = 2", 0), [1, 2]);
        assert_eq!(at("every = 3\ntimes = 2", 0), [3, 6]);
        assert_eq!(at("from_s = 5\nto_s = 9", 4), NONE);
        assert_eq!(at("from_s = 5\nto_s = 9\nat = [1]", 5), [1]);
        assert_eq!(at("from_s = 5\nto_s = 9", 9), NONE);
    }

    #[test]
    fn other_functions_are_not_counted_but_by_a_star() {
        for (function, expected) in [("C_Sign", 2), ("*", 4), ("*'\nexcept = 'C_Login", 3)] {
            let schedule = Schedule::default();
            let text = format!("function = '{function}'\nhang = true\nat = [2, 3, 4, 5]");
            schedule.configure(vec![rule(&text).unwrap()], 0);
            let calls = [
                Function::C_Sign,
                Function::C_SignInit,
                Function::C_Sign,
                Function::C_Login,
                Function::C_Sign,
            ];
            let fired = calls
                .into_iter()
                .filter(|call| schedule.decide(*call, || Duration::ZERO).is_some());
            assert_eq!(fired.count(), expected, "{function}");
        }
    }

    #[test]
    fn probability_is_the_seeds_and_about_right() {
        let text = format!("{SIGN}probability = 0.25");
        let fired = firing(&text, 4000, Duration::ZERO);
        assert_eq!(
            fired,
            firing(&text, 4000, Duration::ZERO),
            "same seed, same calls"
        );
        assert!((800..1200).contains(&fired.len()), "{}", fired.len());
        assert_eq!(
            firing(&format!("{SIGN}probability = 0"), 100, Duration::ZERO),
            NONE
        );
        let all = firing(&format!("{SIGN}probability = 1"), 100, Duration::ZERO);
        assert_eq!(all.len(), 100);
    }

    #[test]
    fn the_first_rule_decides_and_all_count() {
        let schedule = Schedule::default();
        let first = rule("function = 'C_Sign'\nat = [1]\ncode = 'CKR_HOST_MEMORY'").unwrap();
        let second = rule("function = 'C_Sign'\nat = [1, 2]\ncode = 'CKR_DEVICE_ERROR'").unwrap();
        schedule.configure(vec![first], 0);
        schedule.add(second).unwrap();
        let codes: Vec<_> = (0..3)
            .map(|_| schedule.decide(Function::C_Sign, || Duration::ZERO))
            .map(|effect| effect.and_then(|effect| effect.code))
            .collect();
        let named = |name| Code::named(name);
        assert_eq!(
            codes,
            [named("CKR_HOST_MEMORY"), named("CKR_DEVICE_ERROR"), None]
        );
        schedule.clear();
        assert!(!schedule.armed.load(Ordering::Relaxed));
    }

    #[test]
    fn commanded_rules_stay_when_the_configured_start_anew() {
        let schedule = Schedule::default();
        let text = "function = 'C_Sign'\nat = [2]\ncode = 'CKR_DEVICE_ERROR'";
        schedule.add(rule(text).unwrap()).unwrap();
        assert_eq!(schedule.decide(Function::C_Sign, || Duration::ZERO), None);
        schedule.configure(Vec::new(), 0);
        assert!(
            schedule
                .decide(Function::C_Sign, || Duration::ZERO)
                .is_some()
        );
    }

    #[test]
    fn the_number_of_rules_is_bounded() {
        let schedule = Schedule::default();
        for _ in 0..RULES_MAX {
            schedule.add(rule(SIGN).unwrap()).unwrap();
        }
        let error = schedule.add(rule(SIGN).unwrap()).unwrap_err();
        assert!(error.contains("clear"), "{error}");
    }

    #[test]
    fn wrong_entries_are_refused_with_their_reason() {
        for (text, reason) in [
            ("code = 'CKR_DEVICE_ERROR'", "needs a function"),
            (
                "function = 'C_Sing'\nhang = true",
                "'C_Sing' is no function",
            ),
            ("function = 'C_Sign'", "needs something that happens"),
            ("function = 'C_Sign'\nhang_s = 601", "up to 600"),
            ("function = 'C_Sign'\nhang_s = -1", "up to 600"),
            (
                "function = 'C_Sign'\nhang = true\nafter = true",
                "with a code",
            ),
            ("function = 'C_Sign'\nhang = true\nat = []", "from 1"),
            ("function = 'C_Sign'\nhang = true\nat = [0]", "from 1"),
            ("function = 'C_Sign'\nhang = true\nevery = 0", "one of"),
            (
                "function = 'C_Sign'\nhang = true\nevery = 1\nat = [1]",
                "one of",
            ),
            (
                "function = 'C_Sign'\nhang = true\nprobability = 1.5",
                "one of",
            ),
            (
                "function = 'C_Sign'\nhang = true\nfrom_s = 2\nto_s = 2",
                "less than",
            ),
            ("function = 'C_Login'\nsignature = 'wrong'", "C_Sign"),
            (
                "function = 'C_Sign'\nexcept = 'C_Login'\nhang = true",
                "goes with",
            ),
            (
                "function = '*'\nexcept = 'C_Sing'\nhang = true",
                "is no function",
            ),
            (
                "function = 'C_Sign'\nextractable = true",
                "C_GetAttributeValue",
            ),
            ("function = 'C_Sign'\nwhen = 1", "unknown field"),
        ] {
            let error = rule(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
