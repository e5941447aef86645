//! A value that remembers what it was, for reads that are served from the past.

use std::collections::VecDeque;
use std::sync::Arc;

/// More versions than this are never kept; a stale read then gets the oldest one left.
const MOST_VERSIONS: usize = 256;

/// The present value and its recent past. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Versioned<T> {
    present: Arc<T>,
    /// (the moment it stopped being the present, the value), oldest first.
    past: VecDeque<(i64, Arc<T>)>,
}

impl<T: Clone> Versioned<T> {
    pub(super) fn new(value: T) -> Self {
        Self { present: Arc::new(value), past: VecDeque::new() }
    }

    pub(super) fn get(&self) -> &T {
        &self.present
    }

    /// The value as it was at `at_ms`.
    pub(super) fn at(&self, at_ms: i64) -> &T {
        self.past.iter().find(|(until, _)| *until > at_ms).map_or(&*self.present, |(_, value)| &**value)
    }

    /// Whether it was something else at some moment after this one.
    pub(super) fn changed_after(&self, at_ms: i64) -> bool {
        self.past.back().is_some_and(|(until, _)| *until > at_ms)
    }

    /// What it is, and what it was until when, oldest first.
    pub(super) fn versions(&self) -> impl Iterator<Item = (Option<i64>, &T)> {
        let past = self.past.iter().map(|(until, value)| (Some(*until), &**value));
        past.chain(std::iter::once((None, &*self.present)))
    }

    /// Forgets what it was before a moment.
    pub(super) fn forget_before(&mut self, at_ms: i64) {
        while self.past.front().is_some_and(|(until, _)| *until <= at_ms) {
            self.past.pop_front();
        }
    }

    /// Opens the value for a change at `now_ms`, remembering what it was for `keep_ms`.
    pub(super) fn change(&mut self, now_ms: i64, keep_ms: i64) -> &mut T {
        if keep_ms > 0 {
            self.past.push_back((now_ms, Arc::clone(&self.present)));
        }
        while self.past.len() > MOST_VERSIONS || self.past.front().is_some_and(|(until, _)| *until < now_ms - keep_ms) {
            self.past.pop_front();
        }
        Arc::make_mut(&mut self.present)
    }
}
