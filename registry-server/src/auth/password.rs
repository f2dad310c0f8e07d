//! One check of a password, at a price that tells nobody which users there are.
//!
//! Every login that is refused costs the rounds of the dearest hash of the file, whatever the cost of the user's own hash
//! and whether there is such a user: docs/adr/0021. A login that is let in costs its own hash alone, because the answer
//! says already that there is such a user.

use registry_config::htpasswd::BcryptHash;

/// The salt of work whose result nobody looks at.
const DUMMY_SALT: [u8; 16] = [0; 16];

/// What a check found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Whether the password is the user's.
    pub(super) matches: bool,
    /// How often bcrypt expanded its key. This is what a check costs.
    pub(super) rounds: u64,
}

/// Checks a password against the hash of a known user, or does the same work for nobody. `max_cost` is the cost of the
/// dearest hash of the file. Takes up to seconds: not for an async thread.
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
            // A hash of cost n has 2^n rounds, so those from n to m - 1 together are what n lacks to m.
            hash.cost()..max_cost
        }
        None => max_cost..max_cost + 1,
    };
    for cost in missing {
        rounds += 1 << cost;
        // Fails for costs and salts that bcrypt does not have.
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
    fn a_refused_login_does_the_work_of_the_dearest_hash_whoever_it_names() {
        let (cheap, dear) = (hash("right", 4), hash("right", 8));
        for (who, stored) in [
            ("a user with a cheap hash", Some(&cheap)),
            ("the user with the dearest hash", Some(&dear)),
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
