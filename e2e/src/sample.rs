//! The moments that an ordinary run checks, where checking all of them takes minutes.
//!
//! Guarantees: a run prints its sample, and with [`VARIABLE`] the next run takes the same one. Over several runs
//! every moment is checked. `cargo xtask soak` takes all. Must not: be used where a moment is cheap. Start at
//! [`Sample::of_this_run`].

use std::fmt;

use anyhow::{Context as _, Result, ensure};

/// `all`, or `2/5` for every fifth moment beginning with the third.
pub const VARIABLE: &str = "BERTH_SAMPLE";

/// By default one moment in so many is taken.
const EVERY: usize = 5;

/// A sample of many moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    first: usize,
    every: usize,
}

impl Sample {
    /// The sample that [`VARIABLE`] names. Without it every fifth moment from a random one on.
    ///
    /// # Errors
    /// The value has another form.
    pub fn of_this_run() -> Result<Self> {
        match std::env::var(VARIABLE) {
            Ok(text) => Self::parse(&text),
            Err(_) => Ok(Self {
                first: rand::random_range(0..EVERY),
                every: EVERY,
            }),
        }
    }

    fn parse(text: &str) -> Result<Self> {
        if text == "all" {
            return Ok(Self { first: 0, every: 1 });
        }
        let wrong = || format!("`{VARIABLE}` is `{text}`: `all` or something like `2/5` is expected");
        let (first, every) = text.split_once('/').with_context(wrong)?;
        let first: usize = first.parse().with_context(wrong)?;
        let every: usize = every.parse().with_context(wrong)?;
        ensure!(first < every, wrong());
        Ok(Self { first, every })
    }

    /// Whether a moment is in the sample.
    #[must_use]
    pub fn has(self, moment: usize) -> bool {
        moment % self.every == self.first
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.every {
            1 => f.write_str("all"),
            every => write!(f, "{}/{every}", self.first),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_samples_of_one_width_have_every_moment_once() {
        let samples: Vec<Sample> = (0..5)
            .map(|first| Sample::parse(&format!("{first}/5")).unwrap())
            .collect();
        for moment in 0..100 {
            let having = samples.iter().filter(|sample| sample.has(moment)).count();
            assert_eq!(having, 1, "{moment}");
            assert!(Sample::parse("all").unwrap().has(moment));
        }
    }

    #[test]
    fn what_is_printed_is_understood() {
        for text in ["all", "0/5", "4/5", "2/3"] {
            assert_eq!(Sample::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_sample_of_nothing_is_refused() {
        for text in ["", "5/5", "1/0", "some", "-1/5"] {
            let error = Sample::parse(text).unwrap_err();
            assert!(error.to_string().contains(VARIABLE), "{error:#}");
        }
    }
}
