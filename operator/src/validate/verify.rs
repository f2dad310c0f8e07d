//! The verification that `spec.verify` and an annotation ask for.
//!
//! Guarantees: pure; what is wrong here holds up nothing but the verification, and is told by its condition. Start at
//! [`plan`].

use std::collections::BTreeMap;

use operator_api::{Deletion, RegistrySpec, VERIFY_ANNOTATION, Verify, VerifyPolicy};

use super::config::read_only;
use super::error::Error;
use super::lookup::{one_line, value};
use crate::read::Facts;
use crate::verify_plan::{Credentials, Hindrance, VerifyPlan};

/// The longest value of the annotation that is compared and answered, in characters.
const REQUEST_MAX: usize = 253;
/// The keys of a Secret of type `kubernetes.io/basic-auth`.
const USERNAME: &str = "username";
const PASSWORD: &str = "password";

/// The verification that a Registry with these annotations asks for.
pub(super) fn plan(
    spec: &RegistrySpec,
    annotations: Option<&BTreeMap<String, String>>,
    facts: &Facts,
) -> VerifyPlan {
    let verify = spec.verify.clone().unwrap_or_default();
    let request = annotations.and_then(|all| all.get(VERIFY_ANNOTATION));
    let (credentials, hindrance) = match hindrance(spec, &verify) {
        Some(hindrance) => (None, Some(hindrance)),
        None => match credentials(&verify, facts).transpose() {
            Ok(credentials) => (credentials, None),
            Err(error) => (None, Some(wrong_credentials(&error))),
        },
    };
    VerifyPlan {
        request: request.map(|text| text.chars().take(REQUEST_MAX).collect()),
        on_change: verify.policy == VerifyPolicy::OnChange,
        repository: verify.repository,
        credentials,
        removable: spec.storage.deletion == Deletion::Enabled,
        hindrance,
    }
}

/// Why nothing can be pushed.
fn hindrance(spec: &RegistrySpec, verify: &Verify) -> Option<Hindrance> {
    if read_only(spec) {
        return Some(Hindrance {
            reason: "ReadOnly",
            message: "The registry is read-only, so nothing can be pushed to verify it".to_owned(),
        });
    }
    (spec.auth.htpasswd.is_some() && verify.secret.is_none()).then(|| Hindrance {
        reason: "CredentialsMissing",
        message:
            "The registry needs a login; name a Secret with `username` and `password` in `spec.verify.secret`"
                .to_owned(),
    })
}

/// The user in the Secret of `spec.verify.secret`.
fn credentials(verify: &Verify, facts: &Facts) -> Option<Result<Credentials, Error>> {
    let name = &verify.secret.as_ref()?.name;
    let entry = |key: &str| {
        let field = "spec.verify.secret";
        let invalid = |problem| Error::secret_invalid(name, key, field, problem);
        let text = one_line(value(name, key, field, facts)?).map_err(invalid)?;
        match text.is_empty() {
            false => Ok(text.to_owned()),
            true => Err(invalid("is empty")),
        }
    };
    Some(entry(USERNAME).and_then(|username| {
        Ok(Credentials {
            username,
            password: entry(PASSWORD)?,
        })
    }))
}

fn wrong_credentials(error: &Error) -> Hindrance {
    let text = error.to_string();
    let message = match error.hint() {
        Some(hint) => format!("{text}; {hint}"),
        None => text,
    };
    Hindrance {
        reason: "CredentialsInvalid",
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{Fixture, least};

    #[track_caller]
    fn plan_of(yaml: &str) -> VerifyPlan {
        Fixture::parse(yaml).parts().0.verify
    }

    fn with_users(verify: &str, secret: &str) -> String {
        let spec = format!("  verify: {verify}\n");
        let spec = least(&spec).replace(
            "anonymous: {access: PullPush}",
            "htpasswd: {secretKeyRef: {name: crew}}",
        );
        format!("{spec}---\nkind: Secret\nmetadata: {{name: robot}}\nstringData: {secret}\n")
    }

    #[test]
    fn nobody_is_asked_for_a_password_where_everybody_may_push() {
        let plan = plan_of(&least(""));
        assert!(!plan.is_wanted() && plan.hindrance.is_none() && plan.credentials.is_none());
        assert_eq!(plan.repository, "berth-verify");
    }

    #[test]
    fn each_change_asks_for_a_verification_where_the_spec_says_so() {
        assert!(plan_of(&least("  verify: {policy: OnChange}\n")).is_wanted());
        assert!(!plan_of(&least("  verify: {repository: ops/probe}\n")).is_wanted());
    }

    #[test]
    fn the_user_of_the_secret_logs_in_and_is_shown_nowhere() {
        let plan = plan_of(&with_users(
            "{secret: {name: robot}}",
            "{username: crane, password: anchor-7}",
        ));
        let credentials = plan.credentials.clone().unwrap();
        assert_eq!(
            (credentials.username.as_str(), credentials.password.as_str()),
            ("crane", "anchor-7")
        );
        let shown = format!("{plan:?}");
        assert!(!shown.contains("anchor-7") && !shown.contains("crane"), "{shown}");
    }

    #[test]
    fn a_verification_that_cannot_be_made_says_why_and_holds_up_nothing_else() {
        let rows = [
            (least("  mode: ReadOnly\n"), "ReadOnly", "is read-only"),
            (
                with_users("{}", "{a: b}"),
                "CredentialsMissing",
                "`spec.verify.secret`",
            ),
            (
                with_users("{secret: {name: robot}}", "{username: crane}"),
                "CredentialsInvalid",
                "`password`",
            ),
            (
                with_users("{secret: {name: robot}}", "{username: crane, password: ''}"),
                "CredentialsInvalid",
                "is empty",
            ),
        ];
        for (yaml, reason, words) in rows {
            let hindrance = plan_of(&yaml).hindrance.unwrap();
            assert_eq!(hindrance.reason, reason);
            assert!(hindrance.message.contains(words), "{}", hindrance.message);
        }
        let (_, problems) =
            Fixture::parse(&least("  mode: ReadOnly\n  verify: {policy: OnChange}\n")).parts();
        assert!(problems.is_empty(), "{problems:?}");
    }
}
