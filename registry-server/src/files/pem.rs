//! Certificates and private keys in PEM files, as people write and save them.
//!
//! Guarantees: differences without a meaning are ignored (byte order marks, UTF-16, line ends, indentation, text between
//! the sections). Every other error names the line, the fault and the way out. No error quotes a key.
//! Must not: check a certificate. Start at [`certificates`] and [`key`].

use std::fmt;
use std::io;
use std::path::Path;

use base64::Engine as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::text;

/// A fault of a PEM file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PemError {
    /// The number of the line, counted from 1.
    line: Option<usize>,
    message: String,
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for PemError {}

impl From<PemError> for io::Error {
    fn from(error: PemError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

fn error_at(line: usize, message: impl Into<String>) -> PemError {
    PemError {
        line: Some(line),
        message: message.into(),
    }
}

/// All certificates of a file: at least one.
///
/// # Errors
/// The file cannot be read. [`io::ErrorKind::InvalidData`]: it holds no certificate, or a broken section.
pub(crate) fn certificates(path: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    Ok(certificates_of(&std::fs::read(path)?)?)
}

/// The first private key of a file.
///
/// # Errors
/// The file cannot be read. [`io::ErrorKind::InvalidData`]: it holds no key, an encrypted key, or a broken section.
pub(crate) fn key(path: &Path) -> io::Result<PrivateKeyDer<'static>> {
    Ok(key_of(&std::fs::read(path)?)?)
}

/// Writes a section as PEM, for libraries that read PEM themselves.
#[cfg(any(test, feature = "redis"))]
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let encoded = base64::engine::general_purpose::STANDARD.encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for (index, letter) in encoded.chars().enumerate() {
        if index > 0 && index % 64 == 0 {
            out.push('\n');
        }
        out.push(letter);
    }
    out.push_str(&format!("\n-----END {label}-----\n"));
    out
}

/// The PEM label of a private key.
#[cfg(any(test, feature = "redis"))]
pub(crate) fn label(key: &PrivateKeyDer<'_>) -> &'static str {
    match key {
        PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
        PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
        _ => "PRIVATE KEY",
    }
}

fn certificates_of(bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let text = text_of(
        bytes,
        "a certificate",
        "openssl x509 -inform der -in OLD -out NEW",
    )?;
    let mut found = Vec::new();
    let mut other = None;
    for section in Sections::of(&text) {
        let section = section?;
        match section.label.as_str() {
            "CERTIFICATE" | "X509 CERTIFICATE" => found.push(section.der()?.into()),
            _ => other = other.or(Some(section)),
        }
    }
    match other {
        _ if !found.is_empty() => Ok(found),
        Some(section) => Err(error_at(section.line, instead_of_certificate(&section.label))),
        None => Err(no_section(&text, "CERTIFICATE")),
    }
}

/// The error for a file whose only sections are of another type.
fn instead_of_certificate(label: &str) -> String {
    let way_out = match label {
        label if label.ends_with("PRIVATE KEY") => {
            "a certificate belongs here; certificate and key may have changed places"
        }
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            "the certificate that the CA issued for it belongs here"
        }
        "PKCS7" | "CMS" => "take the certificates out of it: `openssl pkcs7 -print_certs -in OLD -out NEW`",
        "TRUSTED CERTIFICATE" => "write it as a plain one: `openssl x509 -in OLD -out NEW`",
        _ => "a section `CERTIFICATE` belongs here",
    };
    format!("the file holds `{label}` and no certificate; {way_out}")
}

fn key_of(bytes: &[u8]) -> Result<PrivateKeyDer<'static>, PemError> {
    let text = text_of(
        bytes,
        "a private key",
        "openssl pkey -inform der -in OLD -out NEW",
    )?;
    let mut other = None;
    for section in Sections::of(&text) {
        let section = section?;
        let encrypted = section.encrypted || section.label == "ENCRYPTED PRIVATE KEY";
        if encrypted && section.label.ends_with("PRIVATE KEY") {
            return Err(error_at(
                section.line,
                "the key is encrypted, and a server cannot ask for its password; write it without one: \
                 `openssl pkey -in OLD -out NEW`",
            ));
        }
        match section.label.as_str() {
            "PRIVATE KEY" => return Ok(PrivateKeyDer::Pkcs8(section.der()?.into())),
            "RSA PRIVATE KEY" => return Ok(PrivateKeyDer::Pkcs1(section.der()?.into())),
            "EC PRIVATE KEY" => return Ok(PrivateKeyDer::Sec1(section.der()?.into())),
            _ => other = other.or(Some(section)),
        }
    }
    let Some(section) = other else {
        return Err(no_section(&text, "PRIVATE KEY"));
    };
    let way_out = match section.label.as_str() {
        "CERTIFICATE" => "a private key belongs here; certificate and key may have changed places",
        "OPENSSH PRIVATE KEY" => "write it as PKCS #8: `ssh-keygen -p -N '' -m PKCS8 -f FILE`",
        _ => "a section `PRIVATE KEY` belongs here",
    };
    Err(error_at(
        section.line,
        format!(
            "the file holds `{}` and no private key that can be used; {way_out}",
            section.label
        ),
    ))
}

/// The text of a PEM file. The text between the sections may be in any encoding.
fn text_of(bytes: &[u8], wanted: &str, convert: &str) -> Result<String, PemError> {
    // DER and PKCS #12 begin with an ASN.1 sequence. No text begins with these bytes.
    if matches!(bytes, [0x30, 0x80..=0x84, ..]) {
        return Err(PemError {
            line: None,
            message: format!(
                "the file is binary (DER or PKCS #12), and {wanted} in PEM belongs here; convert it: \
                 `{convert}`, or `openssl pkcs12 -nodes -in OLD -out NEW`"
            ),
        });
    }
    match text::decode(bytes) {
        Ok(text) => Ok(text),
        Err(text::NotText::Encoding { .. }) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Err(error @ (text::NotText::Zero { .. } | text::NotText::Utf16)) => Err(PemError {
            line: None,
            message: error.to_string(),
        }),
    }
}

/// The error for a file without any section.
fn no_section(text: &str, label: &str) -> PemError {
    match text.lines().position(|line| !line.trim().is_empty()) {
        None => PemError {
            line: None,
            message: "the file is empty".to_owned(),
        },
        Some(index) => error_at(
            index + 1,
            format!("no section of the file begins with `-----BEGIN {label}-----`, as PEM does"),
        ),
    }
}

/// One section, from `-----BEGIN` to `-----END` (RFC 7468).
struct Section {
    /// The number of its first line.
    line: usize,
    label: String,
    /// A header of the older format says that the key is encrypted (RFC 1421, section 4.6.1.1).
    encrypted: bool,
    lines: Vec<(usize, String)>,
}

impl Section {
    fn der(&self) -> Result<Vec<u8>, PemError> {
        let lenient = base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent)
            .with_decode_allow_trailing_bits(true);
        let engine = base64::engine::GeneralPurpose::new(&base64::alphabet::STANDARD, lenient);
        let foreign = |letter: char| !(letter.is_ascii_alphanumeric() || "+/=".contains(letter));
        if let Some((line, _)) = self.lines.iter().find(|(_, text)| text.contains(foreign)) {
            return Err(error_at(
                *line,
                format!(
                    "this line has a character that base64 does not use; `{}` began on line {}",
                    self.label, self.line
                ),
            ));
        }
        let text: String = self.lines.iter().map(|(_, text)| text.as_str()).collect();
        let decoded = engine.decode(text).unwrap_or_default();
        if decoded.is_empty() {
            return Err(error_at(
                self.line,
                format!("`{}` is cut off or empty; copy the whole file again", self.label),
            ));
        }
        Ok(decoded)
    }
}

struct Sections<'a> {
    rest: std::iter::Enumerate<std::str::Lines<'a>>,
}

impl<'a> Sections<'a> {
    fn of(text: &'a str) -> Self {
        Self {
            rest: text.lines().enumerate(),
        }
    }
}

/// The label in a line that begins or ends a section. `keyword` is `BEGIN ` or `END `.
fn boundary<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    line.trim()
        .strip_prefix("-----")?
        .strip_prefix(keyword)?
        .strip_suffix("-----")
        .map(str::trim)
}

impl Iterator for Sections<'_> {
    type Item = Result<Section, PemError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (begin, label) = self
            .rest
            .find_map(|(index, line)| Some((index + 1, boundary(line, "BEGIN ")?.to_owned())))?;
        let mut section = Section {
            line: begin,
            label,
            encrypted: false,
            lines: Vec::new(),
        };
        for (index, line) in self.rest.by_ref() {
            let line = line.trim();
            if let Some(end) = boundary(line, "END ") {
                if end == section.label {
                    return Some(Ok(section));
                }
                let message = format!("`{end}` ends here, but `{}` began on line {begin}", section.label);
                return Some(Err(error_at(index + 1, message)));
            }
            if boundary(line, "BEGIN ").is_some() {
                let message = format!(
                    "a section begins here, but `{}` of line {begin} has no end",
                    section.label
                );
                return Some(Err(error_at(index + 1, message)));
            }
            match line.contains(':') {
                true => section.encrypted |= line.starts_with("Proc-Type") && line.ends_with("ENCRYPTED"),
                false if line.is_empty() => {}
                false => section.lines.push((index + 1, line.to_owned())),
            }
        }
        let message = format!(
            "`{}` begins here and has no end; copy the whole file again",
            section.label
        );
        Some(Err(error_at(begin, message)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAAEC\nAwQF\n-----END CERTIFICATE-----\n";
    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nAAEC\n-----END PRIVATE KEY-----\n";

    fn utf16(text: &str) -> Vec<u8> {
        format!("\u{feff}{text}")
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect()
    }

    #[test]
    fn what_editors_and_copying_add_is_read_past() {
        for (name, bytes) in [
            ("plain", CERTIFICATE.as_bytes().to_vec()),
            ("mark", format!("\u{feff}{CERTIFICATE}").into_bytes()),
            ("UTF-16", utf16(CERTIFICATE)),
            ("carriage returns", CERTIFICATE.replace('\n', "\r\n").into_bytes()),
            ("indented", CERTIFICATE.replace('\n', "\n    ").into_bytes()),
            (
                "text before it",
                format!("subject=/CN=b\n{CERTIFICATE}").into_bytes(),
            ),
            (
                "text in another encoding",
                [&b"# M\xfcller\n"[..], CERTIFICATE.as_bytes()].concat(),
            ),
            ("its key behind it", format!("{CERTIFICATE}{KEY}").into_bytes()),
        ] {
            let found = certificates_of(&bytes);
            assert_eq!(found, Ok(vec![vec![0, 1, 2, 3, 4, 5].into()]), "{name}");
        }
        let both =
            format!("-----BEGIN EC PARAMETERS-----\nAA==\n-----END EC PARAMETERS-----\n{CERTIFICATE}{KEY}");
        assert_eq!(key_of(both.as_bytes()).unwrap().secret_der(), [0, 1, 2]);
        assert_eq!(key_of(&utf16(KEY)).unwrap().secret_der(), [0, 1, 2]);
        let encoded = encode(label(&key_of(KEY.as_bytes()).unwrap()), &[0, 1, 2]);
        assert_eq!(encoded, KEY);
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_told_with_its_line_and_a_way_out() {
        let wrong = |bytes: &[u8]| certificates_of(bytes).unwrap_err().to_string();
        for (bytes, expected) in [
            (&b"  \n"[..], "the file is empty"),
            (
                b"\nhello\n",
                "line 2: no section of the file begins with `-----BEGIN CERTIFICATE-----`, as PEM does",
            ),
            (
                KEY.as_bytes(),
                "line 1: the file holds `PRIVATE KEY` and no certificate; a certificate belongs here; \
                 certificate and key may have changed places",
            ),
            (
                b"-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----",
                "line 1: the file holds `CERTIFICATE REQUEST` and no certificate; the certificate that \
                 the CA issued for it belongs here",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\nAAEC\n",
                "line 1: `CERTIFICATE` begins here and has no end; copy the whole file again",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\n\n-----END CERTIFICATE-----",
                "line 1: `CERTIFICATE` is cut off or empty; copy the whole file again",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\nAAEC\nA...\n-----END CERTIFICATE-----",
                "line 3: this line has a character that base64 does not use; `CERTIFICATE` began on line 1",
            ),
            (
                b"x\n-----BEGIN CERTIFICATE-----\nAAEC\n-----BEGIN CERTIFICATE-----\n",
                "line 4: a section begins here, but `CERTIFICATE` of line 2 has no end",
            ),
        ] {
            assert_eq!(wrong(bytes), expected);
        }
        let binary = wrong(&[0x30, 0x82, 1, 2, 0]);
        assert!(binary.contains("openssl x509 -inform der"), "{binary}");
    }

    #[test]
    fn an_encrypted_key_is_told_as_one_in_either_form_and_nothing_of_it_is_quoted() {
        let old = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAEC\n\
            -----END RSA PRIVATE KEY-----\n";
        let new = "\n-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAEC\n-----END ENCRYPTED PRIVATE KEY-----\n";
        for (text, line) in [(old, 1), (new, 2)] {
            assert_eq!(
                key_of(text.as_bytes()).unwrap_err().to_string(),
                format!(
                    "line {line}: the key is encrypted, and a server cannot ask for its password; write it without \
                     one: `openssl pkey -in OLD -out NEW`"
                )
            );
        }
        let broken = key_of(KEY.replace("AAEC", "s3cret!").as_bytes())
            .unwrap_err()
            .to_string();
        assert!(!broken.contains("s3cret"), "{broken}");
    }

    proptest::proptest! {
        #[test]
        fn no_mutated_file_panics(text in registry_mutation::mutated_text(&[CERTIFICATE, KEY])) {
            let _ = (certificates_of(text.as_bytes()), key_of(text.as_bytes()));
        }
    }
}
