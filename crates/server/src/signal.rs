//! Waiting for a value that others set.

use tokio::sync::watch;

/// Waits until the value is true. A dropped sender means that nobody is left to set it: the same
/// as true, because it stands for the wish to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Waits until the number is larger than `than`; `false` if that can't be any more.
pub(crate) async fn larger(number: &mut watch::Receiver<u64>, than: u64) -> bool {
    number.wait_for(|number| *number > than).await.is_ok()
}
