//! Random requests from a seed: methods, routes, parameters and headers in combinations that nobody would write.

use super::super::request::{Script, ask};
use super::manifests::{DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST, one_of_each};
use crate::protocol::digest;

/// The generated requests are drawn from this number. Another one makes another corpus, with a list of its own.
pub(in super::super) const SEED: u64 = 0xBE27_0004;
/// The number of generated requests.
const REQUESTS: usize = 400;

/// xorshift64*: the same numbers on every machine.
struct Draw(u64);

impl Draw {
    fn number(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(high).unwrap_or(0) % below
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.number(of.len())]
    }
}

pub(in super::super) fn ask_all(script: &mut Script) {
    script.about("content for generated requests");
    let known: Vec<String> = one_of_each(script, "generated/content")
        .into_iter()
        .map(|(_, digest, _)| digest)
        .collect();
    script.start("generated/content").about("a generated request");
    let (layer, missing) = (digest(b"layer"), digest(b"missing"));
    let names = [
        "generated/content",
        "generated/content",
        "generated/missing",
        "generated/UPPER",
    ];
    let digests = [known[0].as_str(), &known[2], &layer, &missing, "sha256:0123"];
    let tags = ["docker", "docker-list", "oci", "oci-index", "missing", "-wrong"];
    let methods = [
        "GET", "GET", "GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS",
    ];
    let types = [
        DOCKER_MANIFEST,
        DOCKER_LIST,
        OCI_MANIFEST,
        OCI_INDEX,
        "*/*",
        "text/plain",
        "application/json",
    ];
    let bodies = ["", "{}", "layer", "{\"schemaVersion\":2}"];
    let mut draw = Draw(SEED);
    for _ in 0..REQUESTS {
        let name = draw.one(&names);
        let path = match draw.number(10) {
            0 => "/v2/".to_owned(),
            1 => "/v2/_catalog".to_owned(),
            2 => format!("/v2/{name}/tags/list"),
            3 | 4 => format!("/v2/{name}/manifests/{}", draw.one(&tags)),
            5 | 6 => format!("/v2/{name}/manifests/{}", draw.one(&digests)),
            7 => format!("/v2/{name}/blobs/{}", draw.one(&digests)),
            8 => format!("/v2/{name}/blobs/uploads/"),
            _ => draw.one(&["{up}", "{up.path}", "{up.path}?_state=x"]).to_owned(),
        };
        let mut query = String::new();
        for _ in 0..draw.number(3) {
            query += match draw.number(6) {
                0 => "&n=1",
                1 => "&n=x",
                2 => "&last=docker",
                3 => "&digest=sha256:0123",
                4 => "&ns=docker.io",
                _ => "&from=generated/content",
            };
        }
        let path = match (path.contains('?') || path == "{up}", query.strip_prefix('&')) {
            (true, _) => format!("{path}{query}"),
            (false, Some(query)) => format!("{path}?{query}"),
            (false, None) => path,
        };
        let method = draw.one(&methods);
        let mut request = ask(method, path);
        for _ in 0..draw.number(4) {
            request = match draw.number(6) {
                0 | 1 => request.with("Accept", draw.one(&types)),
                2 => request.with("Range", draw.one(&["bytes=0-1", "bytes=9-", "nonsense"])),
                3 => request.with("If-None-Match", format!("\"{}\"", draw.one(&digests))),
                4 => request.with("X-Forwarded-Proto", "https"),
                _ => request.with("User-Agent", "docker/1.13.1 go/go1.7.4"),
            };
        }
        if ["PUT", "POST", "PATCH"].contains(&method) {
            if draw.number(2) == 0 {
                request = request.with("Content-Type", draw.one(&types));
            }
            if draw.number(3) == 0 {
                request = request.with("Content-Range", draw.one(&["0-1", "0-4", "7-9", "x"]));
            }
            let body = draw.one(&bodies);
            request = if draw.number(4) == 0 {
                request.chunked(body)
            } else {
                request.body(body)
            };
        }
        script.send(request);
    }
}
