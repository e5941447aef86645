//! The timer by which looks end.

use std::pin::Pin;

use crate::domain::moment::Span;
use crate::ports::Patience;

/// Real time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timer;

impl Patience for Timer {
    fn is_over_after(&self, span: Span) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(span.to_duration()))
    }
}
