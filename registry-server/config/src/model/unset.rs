//! When a section is left out of a file that is written.

/// Whether nothing in a section is set.
pub(super) fn unset<T: Default + PartialEq>(section: &T) -> bool {
    *section == T::default()
}
