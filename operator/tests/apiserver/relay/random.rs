//! Faults at random, by a seed that is printed.

use http::StatusCode;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::{Call, Fault, Verb};

/// The variable with the seed of an earlier run.
pub(crate) const VARIABLE: &str = "BERTH_SEED";

/// A seed. The same one gives the same faults for the same requests in the same order.
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed that [`VARIABLE`] names, or else a new one. It is printed.
    pub(crate) fn of_this_run() -> Self {
        let named = std::env::var(VARIABLE).ok();
        let seed = named.map_or_else(rand::random, |text| {
            text.parse()
                .expect("BERTH_SEED is the number that an earlier run printed")
        });
        eprintln!("faults of {VARIABLE}={seed}");
        Self(seed)
    }

    /// One of `faults` for one request in `one_in`. A fault that does not fit the request is none.
    pub(crate) fn rule(self, one_in: u32, faults: Vec<Fault>) -> impl FnMut(&Call) -> Option<Fault> {
        let mut random = StdRng::seed_from_u64(self.0);
        move |call| {
            // Both numbers are drawn for each request, so that the next ones do not depend on this one.
            let (hits, fault) = (
                random.random_ratio(1, one_in),
                random.random_range(0..faults.len()),
            );
            hits.then_some(faults[fault]).filter(|fault| fault.fits(call))
        }
    }
}

impl Fault {
    /// One of each, except for a crash.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::Answer(StatusCode::FORBIDDEN, None),
            Self::Answer(StatusCode::CONFLICT, None),
            Self::Answer(StatusCode::GONE, None),
            Self::Answer(StatusCode::TOO_MANY_REQUESTS, Some(1)),
            Self::Answer(StatusCode::INTERNAL_SERVER_ERROR, None),
            Self::NoAnswer,
            Self::LostAnswer,
            Self::CutBody,
            Self::StaleAnswer,
            Self::MergedEvents,
            Self::LostEvents,
        ]
    }

    fn fits(self, call: &Call) -> bool {
        match self {
            Self::StaleAnswer => call.is_read(),
            Self::MergedEvents | Self::LostEvents => call.verb == Verb::Watch,
            Self::Answer(StatusCode::CONFLICT, _) => call.is_write(),
            Self::Answer(..) | Self::NoAnswer | Self::LostAnswer | Self::CutBody | Self::Crash => true,
        }
    }
}
