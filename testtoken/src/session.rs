//! The sessions of the token, each behind a lock of its own. Handles are never used twice, unless the
//! configuration says so.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{
    CK_OBJECT_HANDLE, CK_SESSION_HANDLE, CKR_SESSION_COUNT, CKR_SESSION_HANDLE_INVALID,
};

use crate::code::{Code, Outcome};
use crate::lock;

/// Most sessions of a token: four times what a pool may open. A handle's low bits hold the place.
pub(crate) const SESSIONS_MAX: usize = 1 << PLACE_BITS;

const PLACE_BITS: u32 = 10;

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    handle: CK_SESSION_HANDLE,
    pub(crate) writable: bool,
    /// The key that C_SignInit named.
    pub(crate) signing: Option<CK_OBJECT_HANDLE>,
    /// What C_FindObjects has not told yet.
    pub(crate) finding: Option<VecDeque<CK_OBJECT_HANDLE>>,
}

/// All sessions of a token.
#[derive(Debug)]
pub(crate) struct Sessions {
    places: Box<[Mutex<Option<Session>>]>,
    free: Mutex<Free>,
    reuse_handles: bool,
    most: AtomicU64,
}

#[derive(Debug)]
struct Free {
    places: Vec<usize>,
    /// Part of each handle, so that a stale one is not taken for a new one.
    generation: CK_SESSION_HANDLE,
}

impl Sessions {
    pub(crate) fn new(max: usize, reuse_handles: bool) -> Sessions {
        let max = max.min(SESSIONS_MAX);
        Sessions {
            places: (0..max).map(|_| Mutex::new(None)).collect(),
            free: Mutex::new(Free {
                places: (0..max).rev().collect(),
                generation: 1,
            }),
            reuse_handles,
            most: AtomicU64::new(0),
        }
    }

    pub(crate) fn max(&self) -> usize {
        self.places.len()
    }

    /// How many are open.
    pub(crate) fn open_now(&self) -> usize {
        self.places.len() - lock(&self.free).places.len()
    }

    /// How many were open at a time.
    pub(crate) fn most(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }

    pub(crate) fn open(&self, writable: bool) -> Outcome<CK_SESSION_HANDLE> {
        let mut free = lock(&self.free);
        let place = free.places.pop().ok_or(Code(CKR_SESSION_COUNT))?;
        free.generation += CK_SESSION_HANDLE::from(!self.reuse_handles);
        let handle = (free.generation << PLACE_BITS) | place as CK_SESSION_HANDLE;
        let open = (self.places.len() - free.places.len()) as u64;
        self.most.fetch_max(open, Ordering::Relaxed);
        *lock(&self.places[place]) = Some(Session {
            handle,
            writable,
            signing: None,
            finding: None,
        });
        Ok(handle)
    }

    /// Does something with a session. Nobody else does meanwhile.
    pub(crate) fn with<T>(
        &self,
        handle: CK_SESSION_HANDLE,
        work: impl FnOnce(&mut Session) -> Outcome<T>,
    ) -> Outcome<T> {
        match &mut *lock(self.place(handle)?) {
            Some(session) if session.handle == handle => work(session),
            _ => Err(Code(CKR_SESSION_HANDLE_INVALID)),
        }
    }

    /// Closes a session. Returns whether it was the last one.
    pub(crate) fn close(&self, handle: CK_SESSION_HANDLE) -> Outcome<bool> {
        let mut free = lock(&self.free);
        let mut place = lock(self.place(handle)?);
        if place
            .as_ref()
            .is_none_or(|session| session.handle != handle)
        {
            return Err(Code(CKR_SESSION_HANDLE_INVALID));
        }
        *place = None;
        free.places.push(index(handle));
        Ok(free.places.len() == self.places.len())
    }

    pub(crate) fn close_all(&self) {
        let mut free = lock(&self.free);
        for (index, place) in self.places.iter().enumerate() {
            if lock(place).take().is_some() {
                free.places.push(index);
            }
        }
    }

    fn place(&self, handle: CK_SESSION_HANDLE) -> Outcome<&Mutex<Option<Session>>> {
        self.places
            .get(index(handle))
            .ok_or(Code(CKR_SESSION_HANDLE_INVALID))
    }
}

fn index(handle: CK_SESSION_HANDLE) -> usize {
    handle as usize & (SESSIONS_MAX - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVALID: Outcome<()> = Err(Code(CKR_SESSION_HANDLE_INVALID));

    #[test]
    fn handles_are_never_used_twice() {
        let sessions = Sessions::new(2, false);
        let first = sessions.open(false).unwrap();
        assert_eq!(sessions.close(first), Ok(true));
        let second = sessions.open(false).unwrap();
        assert_ne!(first, second);
        assert_eq!(sessions.with(first, |_| Ok(())), INVALID);
        assert_eq!(sessions.close(first).map(drop), INVALID);
        assert_eq!(sessions.with(second, |_| Ok(())), Ok(()));
        for handle in [0, 1, CK_SESSION_HANDLE::MAX] {
            assert_eq!(sessions.with(handle, |_| Ok(())), INVALID);
        }
    }

    #[test]
    fn handles_are_used_again_where_it_is_asked_for() {
        let sessions = Sessions::new(2, true);
        let handles: Vec<_> = (0..2).map(|_| sessions.open(false).unwrap()).collect();
        assert_ne!(handles[0], handles[1]);
        assert_eq!(sessions.close(handles[1]), Ok(false));
        assert_eq!(sessions.open(false), Ok(handles[1]));
    }

    #[test]
    fn no_more_than_the_most_are_open() {
        let sessions = Sessions::new(3, false);
        let handles: Vec<_> = (0..3).map(|_| sessions.open(false).unwrap()).collect();
        assert_eq!(sessions.open(false), Err(Code(CKR_SESSION_COUNT)));
        assert_eq!(sessions.close(handles[1]), Ok(false));
        sessions.open(true).unwrap();
        assert_eq!((sessions.open_now(), sessions.most()), (3, 3));
        sessions.close_all();
        assert_eq!((sessions.open_now(), sessions.most()), (0, 3));
        assert_eq!(sessions.with(handles[0], |_| Ok(())), INVALID);
        for _ in 0..3 {
            sessions.open(false).unwrap();
        }
    }
}
