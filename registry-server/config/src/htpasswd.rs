//! The file of users of `auth.htpasswd.path`, as Apache's `htpasswd -B` writes it: one reading for the server, which
//! checks passwords against it, and for the operator, which says beforehand what the server will make of a Secret.
//!
//! Guarantees: no input panics; a hash is in no error and no `Debug`.
//! Must not: open a file or hash a password.
//! Start at [`parse`].

use std::collections::HashMap;
use std::ops::RangeInclusive;

/// The costs of bcrypt that are accepted. Each step doubles the work: 16 takes about four seconds of one core, 31 takes
/// days, and every try of a stranger who knows the user's name would take them.
pub const COSTS: RangeInclusive<u32> = 4..=16;

/// A user's name in a message; longer ones are left out.
const NAME_MAX: usize = 255;

/// The content of a file of users.
#[derive(Debug, Default)]
pub struct Htpasswd {
    /// The users who can log in.
    pub users: HashMap<String, BcryptHash>,
    /// The lines that are not accepted.
    pub refused: Vec<RefusedLine>,
}

/// A line that is not accepted.
#[derive(Debug, PartialEq, Eq)]
pub struct RefusedLine {
    /// Counted from 1.
    pub line: usize,
    /// Its user, if it names one.
    pub user: Option<String>,
    /// The problem.
    pub problem: Problem,
}

/// The problem of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The line is neither a user nor a comment.
    #[error("it has no `:`")]
    NoColon,
    /// The text before the colon is empty.
    #[error("it has no user")]
    NoUser,
    /// The hash is MD5, SHA, crypt, plain text, or an incomplete bcrypt hash.
    #[error("its hash is not bcrypt ($2a$, $2b$ or $2y$); make it with `htpasswd -B`")]
    NotBcrypt,
    /// The cost is so high that anybody could keep the server busy with it.
    #[error(
        "its bcrypt hash has a cost of {}; allowed: {} to {}; make it anew with `htpasswd -B -C 10`",
        .0,
        COSTS.start(),
        COSTS.end()
    )]
    Cost(u32),
}

/// A bcrypt hash that passwords can be checked against: `$2a$`, `$2b$` or `$2y$`, a cost of [`COSTS`], 22 characters of
/// salt and 31 of digest.
#[derive(Clone, PartialEq, Eq)]
pub struct BcryptHash {
    text: String,
    cost: u32,
}

impl BcryptHash {
    /// Accepts a hash.
    ///
    /// # Errors
    /// The text is no bcrypt hash, or its cost is too high.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let cost = cost(text).ok_or(Problem::NotBcrypt)?;
        if !COSTS.contains(&cost) {
            return Err(Problem::Cost(cost));
        }
        let mut text = text.to_owned();
        // The last character of a salt holds two bits of it. Some tools leave the other four as they come, bcrypt
        // ignores them, and the library refuses them.
        let salt_end = SALT.end - 1;
        let last = value(text.as_bytes()[salt_end]).ok_or(Problem::NotBcrypt)?;
        let canonical = ALPHABET[usize::from(last & 0b11_0000)];
        text.replace_range(
            salt_end..=salt_end,
            char::from(canonical).encode_utf8(&mut [0; 4]),
        );
        Ok(Self { text, cost })
    }

    /// The cost. Each step doubles the work of a check.
    pub fn cost(&self) -> u32 {
        self.cost
    }

    /// The hash itself, which is a secret.
    pub fn expose(&self) -> &str {
        &self.text
    }
}

impl std::fmt::Debug for BcryptHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BcryptHash")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

/// Reads a file of users. Comments and empty lines are ignored. Of several lines of one user the last one counts,
/// as in distribution. If that last line is not accepted, the user cannot log in: the old password was meant to be
/// replaced.
pub fn parse(text: &str) -> Htpasswd {
    let mut parsed = Htpasswd::default();
    // Some editors on Windows put a byte order mark in front.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (user, problem) = match line.split_once(':') {
            None => (None, Problem::NoColon),
            Some(("", _)) => (None, Problem::NoUser),
            Some((user, hash)) => match BcryptHash::parse(hash) {
                Ok(hash) => {
                    parsed.users.insert(user.to_owned(), hash);
                    continue;
                }
                Err(problem) => {
                    parsed.users.remove(user);
                    (Some(user), problem)
                }
            },
        };
        parsed.refused.push(RefusedLine {
            line: index + 1,
            user: user.filter(|user| is_name(user)).map(str::to_owned),
            problem,
        });
    }
    parsed
}

/// Whether a user's name can be shown. A name that begins like a hash is one, on a line whose parts were swapped.
fn is_name(user: &str) -> bool {
    user.len() <= NAME_MAX && !user.starts_with(['$', '{']) && !user.chars().any(char::is_control)
}

const ALPHABET: &[u8; 64] = b"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
/// `$2y$05$`, then the salt, then the digest.
const SALT: std::ops::Range<usize> = 7..29;
const LENGTH: usize = 60;

/// The six bits a character of bcrypt's base64 stands for.
fn value(character: u8) -> Option<u8> {
    let position = ALPHABET.iter().position(|other| *other == character)?;
    u8::try_from(position).ok()
}

/// The cost of a well-formed hash.
fn cost(text: &str) -> Option<u32> {
    let rest = ["$2a$", "$2b$", "$2y$"]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))?;
    let (cost, characters) = rest.split_once('$')?;
    let is_cost = cost.len() == 2 && cost.bytes().all(|byte| byte.is_ascii_digit());
    if !is_cost || text.len() != LENGTH || !characters.bytes().all(|byte| value(byte).is_some()) {
        return None;
    }
    // 31 characters are 186 bits of a digest that has 184: a hash with any of the other two set matches no password.
    let unused = value(*characters.as_bytes().last()?)? & 0b11;
    (unused == 0).then(|| cost.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";

    #[test]
    fn bcrypt_of_a_cost_from_4_to_16_is_accepted_and_the_rest_is_named() {
        for (line, expected) in [
            (format!("ann:$2a$04${DIGEST}"), Ok(4)),
            (format!("ann:$2b$10${DIGEST}"), Ok(10)),
            (format!("  ann:$2y$16${DIGEST}\r"), Ok(16)),
            (format!("ann:$2y$17${DIGEST}"), Err(Problem::Cost(17))),
            (format!("ann:$2y$31${DIGEST}"), Err(Problem::Cost(31))),
            (format!("ann:$2y$99${DIGEST}"), Err(Problem::Cost(99))),
            (format!("ann:$2y$03${DIGEST}"), Err(Problem::Cost(3))),
            (format!("ann:$2y$00${DIGEST}"), Err(Problem::Cost(0))),
            (format!("ann:$2y$+4${DIGEST}"), Err(Problem::NotBcrypt)),
            (format!("ann:$2y$4${DIGEST}x"), Err(Problem::NotBcrypt)),
            (format!("ann:$2y$005${DIGEST}"), Err(Problem::NotBcrypt)),
            (format!("ann:$2x$05${DIGEST}"), Err(Problem::NotBcrypt)),
            (format!("ann:$2$05${DIGEST}"), Err(Problem::NotBcrypt)),
            (format!("ann:$2y$05${DIGEST}x"), Err(Problem::NotBcrypt)),
            (format!("ann:$2y$05${}", &DIGEST[1..]), Err(Problem::NotBcrypt)),
            (
                format!("ann:$2y$05${}", DIGEST.replace('9', "é")),
                Err(Problem::NotBcrypt),
            ),
            (format!("ann:$2y$05${}z", &DIGEST[..52]), Err(Problem::NotBcrypt)),
            ("ann:$apr1$x$y".to_owned(), Err(Problem::NotBcrypt)),
            (
                "ann:{SHA}kHJPq2yFLSuWnUJyR8hkKqRUSGo=".to_owned(),
                Err(Problem::NotBcrypt),
            ),
            ("ann:plain".to_owned(), Err(Problem::NotBcrypt)),
            ("ann:".to_owned(), Err(Problem::NotBcrypt)),
        ] {
            let parsed = parse(&format!("# people\n\n{line}\n"));
            match expected {
                Ok(cost) => {
                    assert_eq!(parsed.refused, [], "{line}");
                    assert_eq!(parsed.users["ann"].cost(), cost, "{line}");
                }
                Err(problem) => {
                    let refused = RefusedLine {
                        line: 3,
                        user: Some("ann".to_owned()),
                        problem,
                    };
                    assert_eq!(parsed.refused, [refused], "{line}");
                    assert!(parsed.users.is_empty(), "{line}");
                }
            }
        }
    }

    #[test]
    fn the_last_line_of_a_user_counts_also_when_it_is_not_accepted() {
        let text =
            format!("ann:$2y$05${DIGEST}\nben:$2y$05${DIGEST}\nben:$2y$06${DIGEST}\nann:$2y$18${DIGEST}\n");
        let parsed = parse(&text);
        assert_eq!(parsed.users.keys().collect::<Vec<_>>(), ["ben"]);
        assert_eq!(parsed.users["ben"].cost(), 6);
        assert_eq!(parsed.refused.len(), 1);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_user() {
        let parsed = parse(&format!("\u{feff}ann:$2y$05${DIGEST}\r\n"));
        assert_eq!(parsed.users.keys().collect::<Vec<_>>(), ["ann"]);
    }

    #[test]
    fn no_message_holds_what_may_be_a_secret() {
        for line in [
            "s3cret",
            ":s3cret",
            "$2y$05$s3cret:ann",
            "{SHA}s3cret:ann",
            "ann:s3cret",
            "\u{7}s3cret:x",
        ] {
            let parsed = parse(line);
            let said = format!("{:?} {}", parsed, parsed.refused[0].problem);
            assert!(!said.contains("s3cret"), "{said}");
        }
        let parsed = parse(&format!("ann:$2y$05${DIGEST}"));
        assert!(!format!("{parsed:?}").contains(&DIGEST[..20]), "{parsed:?}");
    }

    #[test]
    fn bits_of_a_salt_that_bcrypt_ignores_are_cleared() {
        // `O` stands for 16 and `e` for 32; whatever their four low bits are, the salt is the same.
        for (given, kept) in [('O', 'O'), ('Z', 'O'), ('e', 'e'), ('t', 'e'), ('.', '.')] {
            let text = format!("$2y$05${}{given}{}", &DIGEST[..21], &DIGEST[22..]);
            let canonical = format!("$2y$05${}{kept}{}", &DIGEST[..21], &DIGEST[22..]);
            assert_eq!(BcryptHash::parse(&text).unwrap().expose(), canonical);
        }
    }

    proptest::proptest! {
        #[test]
        fn no_mutated_file_of_users_panics(text in registry_mutation::mutated_text(&[
            "ann:$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234\n# comment\n\nben:$apr1$x$y\n:$2a$10$\n",
        ])) {
            let _ = parse(&text);
        }
    }
}
