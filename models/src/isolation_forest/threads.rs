//! Shares work out among threads that are there already. Growing a hundred trees takes a millisecond or two: threads
//! that had to be started for it would take as long to come up as the trees to grow.

use std::sync::{Mutex, PoisonError};

/// What is yet to be done; each thread takes the next when it has done one, so that a slow core holds nobody up.
pub(super) struct Queue<I>(Mutex<I>);

impl<I: Iterator> Queue<I> {
    /// The next item, `None` when all are taken.
    pub(super) fn next(&self) -> Option<I::Item> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next()
    }
}

/// Runs `work` on so many threads at most, the caller's among them, until the queue of `items` is empty; the others are
/// those of rayon's pool. What is done with an item must not depend on which thread does it.
pub(super) fn share_out<I: Iterator + Send>(threads: usize, items: I, work: impl Fn(&Queue<I>) + Sync) {
    let queue = Queue(Mutex::new(items));
    if threads <= 1 {
        return work(&queue);
    }
    rayon::in_place_scope(|scope| {
        for _ in 1..threads {
            scope.spawn(|_| work(&queue));
        }
        work(&queue);
    });
}
