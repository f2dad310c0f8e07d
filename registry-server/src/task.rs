//! The end of a task that was spawned.

use tokio::task::{JoinError, JoinHandle};

/// The result of a task; nothing when the runtime stopped before the task could run to its end.
///
/// # Panics
/// When the task did: the panic goes on in the caller.
pub(crate) async fn join<T>(task: JoinHandle<T>) -> Option<T> {
    finished(task.await)
}

/// The same for a task that was polled by hand.
///
/// # Panics
/// When the task did.
pub(crate) fn finished<T>(joined: Result<T, JoinError>) -> Option<T> {
    match joined {
        Ok(result) => Some(result),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_result_arrives_a_stopped_task_has_none_and_a_panic_goes_on() {
        assert_eq!(join(tokio::spawn(async { 7 })).await, Some(7));
        let stopped = tokio::spawn(std::future::pending::<()>());
        stopped.abort();
        assert_eq!(join(stopped).await, None);
        let panicking = tokio::spawn(async { join(tokio::spawn(async { panic!("a bug") })).await });
        assert!(panicking.await.unwrap_err().is_panic());
    }
}
