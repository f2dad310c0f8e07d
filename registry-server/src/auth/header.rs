//! The headers of HTTP authentication: reading `Authorization`, writing `WWW-Authenticate`.

/// A quoted string (RFC 9110, section 5.6.4). Control characters are not allowed in a header and become spaces.
pub(super) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// The user and the password of a `Basic` header (RFC 7617, section 2). `None` for any other header.
pub(super) fn basic(header: &[u8]) -> Option<(String, Vec<u8>)> {
    use base64::Engine;
    let (scheme, rest) = header.split_at_checked(6)?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    // Some clients omit the padding.
    let lenient = base64::engine::GeneralPurposeConfig::new()
        .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent);
    let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
    let mut decoded = engine.decode(rest.trim_ascii()).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    let password = decoded.split_off(colon + 1);
    decoded.pop();
    Some((String::from_utf8(decoded).ok()?, password))
}
