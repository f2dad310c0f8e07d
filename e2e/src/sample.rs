//! Which of many moments an ordinary run looks at, where all of them take minutes.
//!
//! Guarantees: a run says which it took, and with [`VARIABLE`] the next one takes the same; over some runs every moment has
//! its turn. `cargo xtask soak` takes all. Must not: be used where each moment is cheap. Start at [`Sample::of_this_run`].

use std::fmt;

use anyhow::{Context as _, Result, ensure};

/// `all`, or `2/5` for every fifth moment from the third on.
pub const VARIABLE: &str = "BERTH_SAMPLE";

/// What a run takes that nobody told.
const EVERY: usize = 5;

/// Some of many moments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    first: usize,
    every: usize,
}

impl Sample {
    /// What [`VARIABLE`] says; every fifth from a random one on, where it says nothing.
    ///
    /// # Errors
    /// It says what nobody understands.
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

    /// Whether a moment is one of them.
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
