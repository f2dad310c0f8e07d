//! Kubernetes quantities (`5Gi`, `500m`, `1e3`): their value, for comparisons, and the one that a claim asks for.

use k8s_openapi::api::core::v1::PersistentVolumeClaim;

/// The size that a claim asks for.
pub(crate) fn requested_storage(claim: &PersistentVolumeClaim) -> Option<&str> {
    let resources = claim.spec.as_ref()?.resources.as_ref()?;
    Some(&resources.requests.as_ref()?.get("storage")?.0)
}

/// The value in thousandths, rounded up as Kubernetes does; `None` when the text is no quantity.
pub(crate) fn millis(text: &str) -> Option<i128> {
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-' || c == '+'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let (negative, whole) = match whole.strip_prefix('-') {
        Some(whole) => (true, whole),
        None => (false, whole.strip_prefix('+').unwrap_or(whole)),
    };
    if whole.is_empty() && fraction.is_empty()
        || !whole.chars().chain(fraction.chars()).all(|c| c.is_ascii_digit())
    {
        return None;
    }
    let (scale, divisor) = scale(suffix)?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let unit = 10_i128
        .checked_pow(u32::try_from(fraction.len()).ok()?)?
        .checked_mul(divisor)?;
    let value = digits.checked_mul(1000)?.checked_mul(scale)?;
    let value = value.div_euclid(unit) + i128::from(value.rem_euclid(unit) != 0);
    Some(if negative { -value } else { value })
}

/// Factor and divisor of a suffix.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [&str; 6] = ["k", "M", "G", "T", "P", "E"];
    if suffix.is_empty() {
        return Some((1, 1));
    }
    if suffix == "m" {
        return Some((1, 1000));
    }
    if let Some(at) = BINARY.iter().position(|known| *known == suffix) {
        return Some((1_i128 << (10 * (at + 1)), 1));
    }
    if let Some(at) = DECIMAL.iter().position(|known| *known == suffix) {
        return Some((1000_i128.pow(u32::try_from(at).ok()? + 1), 1));
    }
    let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    Some(if exponent < 0 { (1, power) } else { (power, 1) })
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn quantities_that_mean_the_same_are_equal() {
        for (left, right) in [
            ("1024Mi", "1Gi"),
            ("0.5", "500m"),
            ("1.5Gi", "1536Mi"),
            ("1e3", "1k"),
            ("5E", "5000P"),
            ("0.1m", "1m"),
            ("2", "2000m"),
        ] {
            assert_eq!(millis(left), millis(right), "{left} and {right}");
            assert!(millis(left).is_some(), "{left}");
        }
    }

    #[test]
    fn other_texts_are_no_quantities() {
        for text in ["", "Gi", "5 Gi", "five", "1..2", "5gi", "1e", "--1"] {
            assert_eq!(millis(text), None, "{text:?}");
        }
    }
}
