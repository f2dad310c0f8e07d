//! Text files that people edit, whatever their editor makes of encodings and line ends.
//!
//! Guarantees: the same text is read from every editor. Byte order marks are removed, UTF-16 with a mark is decoded, and
//! every kind of line end becomes a line feed. Bytes that are no text are refused with their line and a way out.
//! Must not: know the meaning of the text. Start at [`read`].

use std::io;
use std::path::Path;

/// Why the bytes of a file are not text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotText {
    /// The bytes are not UTF-8. Older one-byte encodings look like this.
    #[error("line {line} is not UTF-8; save the file as UTF-8")]
    Encoding {
        /// The number of the line, counted from 1.
        line: usize,
    },
    /// The file is UTF-16 without a byte order mark, or binary.
    #[error("line {line} holds zero bytes, as UTF-16 without a byte order mark does; save the file as UTF-8")]
    Zero {
        /// The number of the line, counted from 1.
        line: usize,
    },
    /// The byte order mark says UTF-16, and the bytes after it are not UTF-16.
    #[error("its byte order mark says UTF-16, which it is not; save the file as UTF-8")]
    Utf16,
}

/// Reads a whole file as text, as [`decode`] does.
///
/// # Errors
/// The file cannot be read. [`io::ErrorKind::InvalidData`]: it is not text; the source is a [`NotText`].
pub(crate) fn read(path: &Path) -> io::Result<String> {
    decode(&std::fs::read(path)?).map_err(|problem| io::Error::new(io::ErrorKind::InvalidData, problem))
}

/// Decodes the bytes of a file: without byte order marks, and with one line feed at the end of each line.
///
/// # Errors
/// The bytes are not text.
pub(crate) fn decode(bytes: &[u8]) -> Result<String, NotText> {
    let text = match bytes {
        [0xff, 0xfe, rest @ ..] => utf16(rest, u16::from_le_bytes)?,
        [0xfe, 0xff, rest @ ..] => utf16(rest, u16::from_be_bytes)?,
        bytes => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(error) => {
                let line = line_of(&bytes[..error.valid_up_to()]);
                return Err(match bytes.contains(&0) {
                    true => NotText::Zero { line },
                    false => NotText::Encoding { line },
                });
            }
        },
    };
    if let Some(at) = text.find('\0') {
        return Err(NotText::Zero {
            line: line_of(&text.as_bytes()[..at]),
        });
    }
    // A file that was concatenated from several files has a mark where each of them begins.
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let text = text.replace("\n\u{feff}", "\n");
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, NotText> {
    let (units, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(NotText::Utf16);
    }
    char::decode_utf16(units.iter().map(|bytes| unit(*bytes)))
        .collect::<Result<String, _>>()
        .map_err(|_| NotText::Utf16)
}

/// The number of the line on which the bytes before a fault end.
fn line_of(before: &[u8]) -> usize {
    1 + before.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_of(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
        text.encode_utf16().flat_map(bytes).collect()
    }

    #[test]
    fn what_an_editor_adds_changes_nothing() {
        let text = "ann:$2y$05$x\nb\u{f6}b:$2y$05$y\n";
        for (editor, bytes) in [
            ("plain", text.as_bytes().to_vec()),
            ("UTF-8 with a mark", format!("\u{feff}{text}").into_bytes()),
            ("carriage returns", text.replace('\n', "\r\n").into_bytes()),
            (
                "nothing but carriage returns",
                text.replace('\n', "\r").into_bytes(),
            ),
            ("two files in one", text.replace('\n', "\n\u{feff}").into_bytes()),
            (
                "UTF-16, little end first",
                utf16_of(&format!("\u{feff}{text}"), u16::to_le_bytes),
            ),
            (
                "UTF-16, big end first",
                utf16_of(&format!("\u{feff}{text}"), u16::to_be_bytes),
            ),
        ] {
            let got = decode(&bytes);
            assert_eq!(got.as_deref().map(str::trim_end), Ok(text.trim_end()), "{editor}");
        }
    }

    #[test]
    fn what_is_no_text_is_refused_with_its_line_and_what_to_do() {
        let lines = |bytes: &[u8]| decode(bytes).unwrap_err().to_string();
        assert_eq!(
            lines(b"version: 0.1\nrealm: b\xf6b\n"),
            "line 2 is not UTF-8; save the file as UTF-8"
        );
        let zero =
            "line 1 holds zero bytes, as UTF-16 without a byte order mark does; save the file as UTF-8";
        assert_eq!(lines(&utf16_of("ann:x", u16::to_le_bytes)), zero);
        assert_eq!(lines(&utf16_of("b\u{f6}b:x", u16::to_le_bytes)), zero);
        let utf16 = "its byte order mark says UTF-16, which it is not; save the file as UTF-8";
        assert_eq!(lines(b"\xff\xfea"), utf16);
        assert_eq!(lines(b"\xfe\xff\xd8\x00"), utf16);
        // UTF-32 begins with the mark of UTF-16.
        assert!(lines(b"\xff\xfe\0\0a\0\0\0").contains("zero bytes"));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic_and_no_text_begins_with_a_mark(bytes: Vec<u8>) {
            if let Ok(text) = decode(&bytes) {
                proptest::prop_assert_eq!(text.find(['\0', '\r']).or(text.strip_prefix('\u{feff}').map(str::len)), None);
            }
        }
    }
}
