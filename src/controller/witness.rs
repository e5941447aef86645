//! Who is told of every effect: nobody in life, and in crash tests the switch that ends the process.

use std::ops::ControlFlow;

use crate::execute::Witness;
use crate::plan::step::Site;
use crate::ports::Fault;

/// Lets everything pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Witness for Quiet {
    fn before(&self, _: Site) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn after(&self, _: Site, _: Option<&Fault>) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

#[cfg(feature = "sandbox")]
pub use crash::CrashAt;

#[cfg(feature = "sandbox")]
mod crash {
    use std::str::FromStr;
    use std::sync::atomic::{AtomicU32, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    use super::{ControlFlow, Fault, Site, Witness};

    /// Ends the process with SIGKILL right before or right after the n-th effect of a site.
    #[derive(Debug)]
    pub struct CrashAt {
        site: Site,
        after: bool,
        left: AtomicU32,
    }

    impl FromStr for CrashAt {
        type Err = String;
        fn from_str(text: &str) -> Result<Self, String> {
            let mut parts = text.split(':');
            let name = parts.next().unwrap_or_default();
            let site =
                Site::ALL.iter().copied().find(|s| s.as_str() == name).ok_or(format!("{name} is no effect site"))?;
            let after = match parts.next() {
                Some("before") => false,
                Some("after") => true,
                _ => return Err("say SITE:before or SITE:after".to_owned()),
            };
            let left = parts.next().map_or(Ok(1), str::parse).map_err(|_| "the count is a number from 1".to_owned())?;
            Ok(Self { site, after, left: AtomicU32::new(left) })
        }
    }

    impl CrashAt {
        fn count(&self, site: Site, after: bool) -> ControlFlow<()> {
            if site != self.site || after != self.after {
                return ControlFlow::Continue(());
            }
            let last = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
            if last == Ok(1) {
                // Nothing of the process is left to hear of a failure of this.
                let _ = kill_process(getpid(), Signal::KILL);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        }
    }

    impl Witness for CrashAt {
        fn before(&self, site: Site) -> ControlFlow<()> {
            self.count(site, false)
        }

        fn after(&self, site: Site, _: Option<&Fault>) -> ControlFlow<()> {
            self.count(site, true)
        }
    }
}
