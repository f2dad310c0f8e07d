//! Checking one password, at a cost that does not reveal which users exist.
//!
//! Every refused login costs as many bcrypt rounds as the most expensive hash of the file, whatever the cost of the
//! user's own hash, and whether there is such a user or not: docs/adr/0021. An accepted login costs its own hash alone,
//! because the response reveals that user already.

use registry_config::htpasswd::BcryptHash;

/// The salt of hashes whose result is discarded.
const DUMMY_SALT: [u8; 16] = [0; 16];

/// The result of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether the password is the user's.
    pub(super) matches: bool,
    /// How often bcrypt expanded its key: the cost of the check.
    pub(super) rounds: u64,
}

/// Checks a password against the hash of a known user, or does the same work without a user. `max_cost` is the cost of
/// the most expensive hash of the file. Takes up to seconds, so it must not run on an async thread.
pub(super) fn check(stored: Option<&BcryptHash>, password: &[u8], max_cost: u32) -> Verdict {
    let mut rounds = 0;
    let missing = match stored {
        Some(hash) => {
            rounds += 1 << hash.cost();
            if bcrypt::verify(password, hash.expose()).unwrap_or(false) {
                return Verdict {
                    matches: true,
                    rounds,
                };
            }
            // A hash of cost n has 2^n rounds. The rounds of the costs n to m - 1 together are the difference between a
            // hash of cost n and one of cost m.
            hash.cost()..max_cost
        }
        None => max_cost..max_cost + 1,
    };
    for cost in missing {
        rounds += 1 << cost;
        // Fails only for a cost or a salt that bcrypt does not allow.
        let _ = std::hint::black_box(bcrypt::hash_with_salt(password, cost, DUMMY_SALT));
    }
    Verdict {
        matches: false,
        rounds,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &str, cost: u32) -> BcryptHash {
        BcryptHash::parse(&bcrypt::hash(password, cost).unwrap()).unwrap()
    }

    #[test]
    fn a_refused_login_does_the_work_of_the_most_expensive_hash_whoever_it_names() {
        let (cheap, dear) = (hash("right", 4), hash("right", 8));
        for (who, stored) in [
            ("a user with a cheap hash", Some(&cheap)),
            ("the user with the most expensive hash", Some(&dear)),
            ("nobody", None),
        ] {
            let verdict = check(stored, b"wrong", 8);
            let expected = Verdict {
                matches: false,
                rounds: 1 << 8,
            };
            assert_eq!(verdict, expected, "{who}");
        }
    }

    #[test]
    fn a_right_login_costs_its_own_hash_alone() {
        for cost in [4, 6] {
            let verdict = check(Some(&hash("right", cost)), b"right", 8);
            let expected = Verdict {
                matches: true,
                rounds: 1 << cost,
            };
            assert_eq!(verdict, expected, "cost {cost}");
        }
    }
}
