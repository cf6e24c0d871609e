//! A value that one thread replaces and many read on every packet, without ever waiting for each
//! other.
//!
//! Readers keep the snapshot that they saw last, and look at one atomic number to learn whether
//! there is a newer one. Only then do they take the lock, which is held for as long as it takes to
//! copy a pointer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The current snapshot of a value.
#[derive(Debug)]
pub struct Published<T> {
    generation: AtomicU64,
    current: Mutex<Arc<T>>,
}

impl<T> Published<T> {
    /// Publishes a first snapshot.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self {
            generation: AtomicU64::new(0),
            current: Mutex::new(Arc::new(value)),
        }
    }

    /// Replaces the snapshot. Readers see it the next time they ask.
    pub fn store(&self, value: T) {
        let replaced = {
            let mut current = self.lock();
            let replaced = std::mem::replace(&mut *current, Arc::new(value));
            self.generation.fetch_add(1, Ordering::Release);
            replaced
        };
        // Possibly the last reference: freed here, not under the lock.
        drop(replaced);
    }

    /// The current snapshot.
    #[must_use]
    pub fn load(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    /// A reader for one thread.
    #[must_use]
    pub fn reader(self: &Arc<Self>) -> Reader<T> {
        let (generation, seen) = self.load_with_generation();
        Reader {
            published: Arc::clone(self),
            generation,
            seen,
        }
    }

    fn load_with_generation(&self) -> (u64, Arc<T>) {
        let current = self.lock();
        (
            self.generation.load(Ordering::Acquire),
            Arc::clone(&current),
        )
    }

    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        // A pointer is replaced as a whole or not at all, so a poisoned lock is harmless.
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One thread's view of a [`Published`] value.
///
/// It keeps the snapshot that it saw last alive. A thread that sleeps must be woken after a
/// replacement and ask again if what was replaced (keys, sockets) has to go at once.
#[derive(Debug)]
pub struct Reader<T> {
    published: Arc<Published<T>>,
    generation: u64,
    seen: Arc<T>,
}

impl<T> Reader<T> {
    /// The current snapshot. One atomic load if nothing has changed.
    pub fn get(&mut self) -> &Arc<T> {
        if self.published.generation.load(Ordering::Acquire) != self.generation {
            (self.generation, self.seen) = self.published.load_with_generation();
        }
        &self.seen
    }
}
