//! Takes the place of `redis` in a build without the feature `redis`: no such cache can be made.

use std::convert::Infallible;

use super::error::Error;
use super::link::{Descriptor, Link, Lookup, Ticket};

/// Links in Redis. There are none: the type has no values.
#[derive(Debug)]
pub(super) enum Redis {}

impl Redis {
    pub(super) async fn lookup(&self, _: &Link<'_>) -> Result<Lookup, Ticket> {
        match *self {}
    }

    pub(super) async fn remember(&self, _: &Link<'_>, _: &Ticket, _: &Descriptor) -> Result<(), Infallible> {
        match *self {}
    }

    pub(super) async fn forget(&self, _: &Link<'_>) -> Result<(), Error> {
        match *self {}
    }
}
