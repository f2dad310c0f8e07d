//! An HTTP/2 client without a library (RFC 9113). It sends frame by frame, also frames that no library would send.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const SETTINGS_MAX_CONCURRENT_STREAMS: u16 = 3;
const SETTINGS_INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) struct Http2 {
    stream: TcpStream,
    /// The settings of the server.
    pub(crate) settings: Vec<(u16, u32)>,
}

impl Http2 {
    /// Connects with a window of `window` bytes for each stream, and a large window for the connection.
    pub(crate) fn connect(address: &str, window: u32) -> Self {
        let stream = crate::program::connect(address);
        let mut client = Self {
            stream,
            settings: Vec::new(),
        };
        client
            .stream
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
            .unwrap();
        let mut initial = SETTINGS_INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
        initial.extend(window.to_be_bytes());
        client.send(SETTINGS, 0, 0, &initial);
        client.grant(0, (1 << 31) - 1 - 65_535);
        let settings = client.until(|frame| frame.kind == SETTINGS && !frame.payload.is_empty());
        client.settings = settings
            .payload
            .chunks(6)
            .map(|entry| {
                let value = u32::from_be_bytes(entry[2..].try_into().unwrap());
                (u16::from_be_bytes([entry[0], entry[1]]), value)
            })
            .collect();
        client.send(SETTINGS, ACK, 0, &[]);
        client
    }

    pub(crate) fn setting(&self, id: u16) -> Option<u32> {
        let mut settings = self.settings.iter();
        settings.find(|(found, _)| *found == id).map(|(_, value)| *value)
    }

    pub(crate) fn max_streams(&self) -> Option<u32> {
        self.setting(SETTINGS_MAX_CONCURRENT_STREAMS)
    }

    pub(crate) fn window(&self) -> Option<u32> {
        self.setting(SETTINGS_INITIAL_WINDOW_SIZE)
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend([kind, flags]);
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        self.stream.write_all(&frame).unwrap();
    }

    /// Sends a GET request.
    pub(crate) fn get(&mut self, stream: u32, path: &str) {
        let head = head("GET", path);
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &head);
    }

    /// Sends headers that RFC 9113 forbids: the stream depends on itself.
    pub(crate) fn depend_on_itself(&mut self, stream: u32) {
        let mut payload = stream.to_be_bytes().to_vec();
        payload.push(0);
        payload.extend(head("GET", "/v2/"));
        const PRIORITY: u8 = 0x20;
        self.send(HEADERS, END_HEADERS | END_STREAM | PRIORITY, stream, &payload);
    }

    /// Lets the server send `bytes` more.
    pub(crate) fn grant(&mut self, stream: u32, bytes: u32) {
        self.send(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes());
    }

    pub(crate) fn read(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        self.stream.read_exact(&mut payload).ok()?;
        Some(Frame {
            kind: head[3],
            stream: u32::from_be_bytes(head[5..].try_into().unwrap()),
            payload,
        })
    }

    /// Reads frames until one is wanted.
    #[track_caller]
    pub(crate) fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Frame {
        loop {
            let frame = self.read().expect("the connection ended");
            if wanted(&frame) {
                return frame;
            }
        }
    }
}

/// Header fields as literals without indexing and without Huffman coding (RFC 7541, section 6.2.2).
fn head(method: &str, path: &str) -> Vec<u8> {
    let fields = [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "registry.test"),
    ];
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            bytes.push(text.len() as u8);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}
