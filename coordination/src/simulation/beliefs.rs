//! What holders believe to hold, compared at one moment of true time.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::executor::World;

/// What a holder believes to hold.
pub(super) struct Belief {
    what: String,
    who: String,
    /// How many may hold it beside each other: 1 for one alone.
    at_most: usize,
    /// How long it is still valid; `None` when there is nobody to believe it any more.
    remaining: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
}

impl World {
    /// Somebody believes from now on to hold something, which at most so many may do at once.
    pub(super) fn believe<T: Send + 'static>(
        &self,
        what: &str,
        who: &str,
        at_most: usize,
        held: &Arc<Mutex<Option<T>>>,
        remaining: impl Fn(&T) -> Duration + Send + Sync + 'static,
    ) {
        let held = Arc::downgrade(held);
        let remaining = Arc::new(move || held.upgrade()?.lock().as_ref().map(&remaining));
        let (what, who) = (what.to_owned(), who.to_owned());
        self.audit().beliefs.push(Belief { what: what.clone(), who, at_most, remaining });
        self.check_beliefs(&what);
    }

    /// L4: looks who believes to hold it, at this moment of true time.
    pub(super) fn check_beliefs(&self, what: &str) {
        let beliefs = std::mem::take(&mut self.audit().beliefs);
        let (mut kept, mut valid) = (Vec::new(), Vec::new());
        for belief in beliefs {
            let Some(remaining) = (belief.remaining)() else { continue };
            if belief.what == what && !remaining.is_zero() {
                valid.push((belief.who.clone(), belief.at_most));
            }
            kept.push(belief);
        }
        let at_most = valid.iter().map(|(_, at_most)| *at_most).min().unwrap_or(1);
        let bounded = {
            let mut audit = self.audit();
            kept.append(&mut audit.beliefs);
            audit.beliefs = kept;
            if valid.len() > at_most {
                audit.count("overlaps");
            }
            audit.bounded
        };
        if bounded && valid.len() > at_most {
            self.fail(format_args!("L4: {what} is held by {valid:?} at once"));
        }
    }
}
