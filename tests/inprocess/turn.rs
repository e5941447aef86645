//! Whose turn it is: several futures of one test go on one after another, in an order that the test decides.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

/// Lets somebody else have a turn. Every call of the API server is one.
pub async fn turn() {
    let mut had = false;
    poll_fn(|_| {
        if had {
            return Poll::Ready(());
        }
        had = true;
        Poll::Pending
    })
    .await;
}

/// Gives a task one turn.
pub fn poll(task: &mut Pin<Box<dyn Future<Output = ()> + '_>>) {
    let _ = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

/// Gives a future every turn until it is done.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}
