use std::num::NonZero;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use super::{Store, Work};
use crate::{Error, Progress, Result};

/// Several pieces of work at a time on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LocalPool {
    /// Pieces at a time. They share the threads of the process: more of them fill the gaps of those that compute on one.
    pub workers: usize,
    /// Memory that the pieces under way may take together, in bytes; one that takes more runs alone. `None` asks for
    /// no more than `workers`.
    pub memory: Option<u64>,
    /// How often a piece is tried.
    pub attempts: usize,
}

impl Default for LocalPool {
    /// As many workers as threads, four fifths of the memory that is [available](dina_core::available_memory) now where
    /// that is known, two attempts.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        // A limit that cannot be read is refused where a job begins.
        let free = dina_core::available_memory().ok().flatten();
        Self { workers, memory: free.map(|free| free / 5 * 4), attempts: 2 }
    }
}

/// What the workers share.
struct State<T> {
    next: usize,
    done: usize,
    in_use: u64,
    running: usize,
    results: Vec<Option<Result<T>>>,
}

impl LocalPool {
    /// The results of all work, in its order; what a store has is not done again.
    ///
    /// # Errors
    /// The first of those that failed at every attempt, with how many there are; the others are done and kept.
    pub fn run<W: Work>(
        &self,
        work: &[W],
        store: Option<&Store>,
        progress: &dyn Progress,
    ) -> Result<Vec<W::Output>> {
        progress.begin("jobs", work.len());
        let results = work.iter().map(|_| None).collect();
        let state = Mutex::new(State { next: 0, done: 0, in_use: 0, running: 0, results });
        let freed = Condvar::new();
        std::thread::scope(|scope| {
            for _ in 0..self.workers.clamp(1, work.len().max(1)) {
                scope.spawn(|| {
                    while let Some(index) = self.take(work, &state, &freed) {
                        let piece = &work[index];
                        let result = self.attempt(piece, store);
                        let mut state = lock(&state);
                        state.results[index] = Some(result);
                        state.done += 1;
                        state.running -= 1;
                        state.in_use -= piece.memory();
                        progress.advance(state.done, &piece.name());
                        freed.notify_all();
                    }
                });
            }
        });
        progress.end();
        let results = state.into_inner().unwrap_or_else(PoisonError::into_inner).results;
        collect(work, results)
    }

    /// The next piece, once there is memory for it; `None` where there is no other.
    fn take<W: Work>(&self, work: &[W], state: &Mutex<State<W::Output>>, freed: &Condvar) -> Option<usize> {
        let mut held = lock(state);
        loop {
            let index = held.next;
            let piece = work.get(index)?;
            let fits = self.memory.is_none_or(|budget| held.in_use.saturating_add(piece.memory()) <= budget);
            if fits || held.running == 0 {
                held.next += 1;
                held.running += 1;
                held.in_use += piece.memory();
                return Some(index);
            }
            held = freed.wait(held).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn attempt<W: Work>(&self, piece: &W, store: Option<&Store>) -> Result<W::Output> {
        let key = piece.key();
        if let Some(kept) = store.and_then(|store| store.get(key)) {
            return Ok(kept);
        }
        let mut tried = piece.run();
        for _ in 1..self.attempts {
            if tried.is_ok() {
                break;
            }
            tried = piece.run();
        }
        let made = tried?;
        if let Some(store) = store {
            store.put(key, &made)?;
        }
        Ok(made)
    }
}

fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn collect<W: Work>(work: &[W], results: Vec<Option<Result<W::Output>>>) -> Result<Vec<W::Output>> {
    let total = results.len();
    let mut done = Vec::with_capacity(total);
    let mut failed: Option<(String, Error)> = None;
    let mut failures = 0;
    for (piece, result) in work.iter().zip(results) {
        match result {
            Some(Ok(output)) => done.push(output),
            Some(Err(error)) => {
                failures += 1;
                failed.get_or_insert_with(|| (piece.name(), error));
            }
            None => failures += 1,
        }
    }
    match failed {
        None => Ok(done),
        Some((name, error)) => Err(Error::Job(format!(
            "{failures} of {total} pieces of work failed, the first of them {name}: {error}; the others are kept, run it again"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use dina_core::ContentHash;

    use super::*;
    use crate::Silent;

    #[derive(Default)]
    struct Watch {
        runs: AtomicUsize,
        memory: AtomicU64,
        highest: AtomicU64,
    }

    struct Square<'a> {
        value: u64,
        fails: usize,
        tried: AtomicUsize,
        watch: &'a Watch,
    }

    impl Work for Square<'_> {
        type Output = u64;

        fn key(&self) -> ContentHash {
            ContentHash::of([self.value.to_le_bytes().as_slice()])
        }

        fn name(&self) -> String {
            self.value.to_string()
        }

        fn memory(&self) -> u64 {
            10
        }

        fn run(&self) -> Result<u64> {
            self.watch.runs.fetch_add(1, Ordering::SeqCst);
            let now = self.watch.memory.fetch_add(10, Ordering::SeqCst) + 10;
            self.watch.highest.fetch_max(now, Ordering::SeqCst);
            std::thread::yield_now();
            self.watch.memory.fetch_sub(10, Ordering::SeqCst);
            if self.tried.fetch_add(1, Ordering::SeqCst) < self.fails {
                return Err(Error::Job("not yet".into()));
            }
            Ok(self.value * self.value)
        }
    }

    fn squares(watch: &Watch, fails: impl Fn(u64) -> usize) -> Vec<Square<'_>> {
        let square = |value| Square { value, fails: fails(value), tried: AtomicUsize::new(0), watch };
        (0..20).map(square).collect()
    }

    #[test]
    fn memory_is_respected_and_order_kept() {
        let watch = Watch::default();
        let pool = LocalPool { workers: 8, memory: Some(25), attempts: 1 };
        let found = pool.run(&squares(&watch, |_| 0), None, &Silent).unwrap();
        assert_eq!(found, (0..20).map(|v| v * v).collect::<Vec<_>>());
        assert!(watch.highest.load(Ordering::SeqCst) <= 20);
        // A piece that is larger than all there is runs alone.
        let small = LocalPool { memory: Some(5), ..pool };
        let watch = Watch::default();
        small.run(&squares(&watch, |_| 0), None, &Silent).unwrap();
        assert_eq!(watch.highest.load(Ordering::SeqCst), 10);
    }

    #[test]
    fn what_fails_is_tried_again_and_the_rest_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let pool = LocalPool { workers: 2, memory: None, attempts: 2 };
        let watch = Watch::default();
        // One needs two attempts, one more than it may have.
        let work = squares(&watch, |value| usize::from(value == 3) + 2 * usize::from(value == 7));
        let error = pool.run(&work, Some(&store), &Silent).unwrap_err().to_string();
        assert!(error.contains("1 of 20") && error.contains(" 7: not yet"), "{error}");
        assert_eq!(watch.runs.load(Ordering::SeqCst), 22);
        // Only the one that is missing is done.
        let again = Watch::default();
        let found = pool.run(&squares(&again, |_| 0), Some(&store), &Silent).unwrap();
        assert_eq!((found[7], again.runs.load(Ordering::SeqCst)), (49, 1));
    }
}
