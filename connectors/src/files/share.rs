//! Work on many small parts, by this thread and those that are free to help.

use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime::Handle;

/// Does `work` on every task, on at most `threads` threads, and returns the results in the tasks' order. Helpers come
/// from the runtime's blocking threads; one that never gets a thread is not waited for. `None`: a helper panicked.
///
/// Outside a runtime this thread does it all.
pub(super) fn share<T, R>(threads: usize, tasks: Vec<T>, work: fn(T) -> R) -> Option<Vec<R>>
where
    T: Send + 'static,
    R: Send + 'static,
{
    let count = tasks.len();
    let helpers = threads.min(count).saturating_sub(1);
    let runtime = if helpers == 0 { None } else { Handle::try_current().ok() };
    let Some(runtime) = runtime else { return Some(tasks.into_iter().map(work).collect()) };
    let queue = Arc::new(Mutex::new(tasks.into_iter().enumerate()));
    let (done, results) = mpsc::sync_channel(count);
    for _ in 0..helpers {
        let (queue, done) = (queue.clone(), done.clone());
        runtime.spawn_blocking(move || {
            while let Some((i, task)) = next(&queue) {
                if done.send((i, work(task))).is_err() {
                    break;
                }
            }
        });
    }
    drop(done);
    let mut found: Vec<Option<R>> = (0..count).map(|_| None).collect();
    let mut missing = count;
    while let Some((i, task)) = next(&queue) {
        found[i] = Some(work(task));
        missing -= 1;
    }
    while missing > 0 {
        let (i, result) = results.recv().ok()?;
        found[i] = Some(result);
        missing -= 1;
    }
    found.into_iter().collect()
}

fn next<I: Iterator>(queue: &Mutex<I>) -> Option<I::Item> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_on_any_number_of_threads() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).build().unwrap();
        let _inside = runtime.enter();
        for threads in 0..9 {
            for count in [0, 1, 2, 50] {
                let squares = share(threads, (0..count).collect(), |n: u64| n * n);
                assert_eq!(squares, Some((0..count).map(|n| n * n).collect()));
            }
        }
    }

    #[test]
    fn helpers_without_a_thread_are_not_waited_for() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        let _inside = runtime.enter();
        let (release, held) = mpsc::sync_channel::<()>(1);
        // The only blocking thread is taken.
        runtime.spawn_blocking(move || held.recv());
        assert_eq!(share(4, vec![1, 2, 3], |n: i32| n + 1), Some(vec![2, 3, 4]));
        drop(release);
    }
}
