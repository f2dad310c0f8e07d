//! Uploads: in one piece, in chunks, by mounts, invalid, and missing.

use super::super::request::{Script, ask, delete, get, head, patch, post, put};
use crate::protocol::{digest, noise};

const STREAM: &str = "application/octet-stream";

pub(super) fn ask_all(script: &mut Script) {
    whole(script);
    chunks(script);
    progress(script);
    content_types(script);
    content_ranges(script);
    digests(script);
    tokens(script);
    unknown(script);
    mounts(script);
    single_posts(script);
    lengths(script);
}

fn whole(script: &mut Script) {
    script.about("a blob is pushed in one piece");
    for bytes in [&b"a blob"[..], b"", b"x"] {
        let name = digest(bytes);
        script
            .start("uploads/whole")
            .send(
                put(format!("{{up}}&digest={name}"))
                    .with("Content-Type", STREAM)
                    .body(bytes),
            )
            .send(get(format!("/v2/uploads/whole/blobs/{name}")))
            // The upload is finished already.
            .send(put(format!("{{up}}&digest={name}")).body(bytes))
            .send(get("{up}"))
            .send(delete("{up}"));
        script
            .about("a blob is pushed again")
            .start("uploads/whole")
            .send(put(format!("{{up}}&digest={name}")).body(bytes));
        script
            .about("a blob is pushed without a length")
            .start("uploads/chunked")
            .send(put(format!("{{up}}&digest={name}")).chunked(bytes));
    }
    let large = noise(3, 300_000);
    let name = digest(&large);
    script
        .about("a blob of many frames")
        .start("uploads/large")
        .send(put(format!("{{up}}&digest={name}")).body(&large))
        .send(get(format!("/v2/uploads/large/blobs/{name}")))
        .start("uploads/larger")
        .send(patch("{up}").chunked(&large).keep("up"))
        .send(put(format!("{{up}}&digest={name}")))
        .send(head(format!("/v2/uploads/larger/blobs/{name}")));
}

fn chunks(script: &mut Script) {
    script.about("a blob is pushed in chunks");
    let name = digest(b"0123456789");
    script
        .start("uploads/chunks")
        .send(
            patch("{up}")
                .with("Content-Type", STREAM)
                .with("Content-Range", "0-4")
                .body("01234")
                .keep("up"),
        )
        .send(get("{up}").keep("up"))
        .send(head("{up}"))
        .send(
            patch("{up}")
                .with("Content-Type", STREAM)
                .with("Content-Range", "5-9")
                .body("56789")
                .keep("up"),
        )
        .send(put(format!("{{up}}&digest={name}")))
        .send(get(format!("/v2/uploads/chunks/blobs/{name}")));
    script
        .about("chunks without a range")
        .start("uploads/streams")
        .send(patch("{up}").body("01234").keep("up"))
        .send(patch("{up}").chunked("567").keep("up"))
        .send(put(format!("{{up}}&digest={name}")).body("89"))
        .send(get(format!("/v2/uploads/streams/blobs/{name}")));
    script
        .about("empty chunks")
        .start("uploads/empty")
        .send(patch("{up}").body("").keep("up"))
        .send(patch("{up}").chunked("").keep("up"))
        .send(patch("{up}").body("0").keep("up"))
        .send(get("{up}"))
        .send(patch("{up}").body("").keep("up"))
        .send(patch("{up}").body("123456789").keep("up"))
        .send(put(format!("{{up}}&digest={name}")).chunked(""));
    script
        .about("the last chunk with PUT and a range")
        .start("uploads/last")
        .send(patch("{up}").body("01234").keep("up"))
        .send(
            put(format!("{{up}}&digest={name}"))
                .with("Content-Range", "5-9")
                .body("56789"),
        );
}

fn progress(script: &mut Script) {
    script
        .about("an upload is looked at and cancelled")
        .start("uploads/cancelled")
        .send(get("{up}"))
        .send(head("{up}"))
        .send(patch("{up}").body("01234").keep("up"))
        .send(get("{up.path}"))
        .send(get("{up.path}?_state=nonsense"))
        .send(delete("{up.path}"))
        .send(delete("{up}"))
        .send(delete("{up}"))
        .send(get("{up}"))
        .send(patch("{up}").body("5"));
    script
        .about("methods an upload does not have")
        .start("uploads/methods");
    for method in ["POST", "OPTIONS", "TRACE", "PROPFIND", "get", "LINK"] {
        script.send(ask(method, "{up}"));
    }
}

fn content_types(script: &mut Script) {
    script.about("a chunk of a type").start("uploads/types");
    for kind in [
        "application/octet-stream",
        "application/octet-stream; charset=binary",
        "Application/Octet-Stream",
        "application/json",
        "text/plain",
        "",
        "nonsense",
        "application/x-www-form-urlencoded",
    ] {
        script
            .start("uploads/types")
            .send(patch("{up}").with("Content-Type", kind).body("data"));
        let name = digest(b"data");
        script.start("uploads/types").send(
            put(format!("{{up}}&digest={name}"))
                .with("Content-Type", kind)
                .body("data"),
        );
    }
}

fn content_ranges(script: &mut Script) {
    script.about("a chunk at a place");
    for range in [
        "0-4",
        "5-9",
        "6-10",
        "4-8",
        "5-8",
        "5-10",
        "9-5",
        "bytes 5-9/10",
        "bytes=5-9",
        "5-",
        "-5",
        "5",
        "",
        "a-b",
        " 5-9 ",
        "05-09",
        "+5-9",
        "5-9/10",
        "18446744073709551615-18446744073709551619",
        "9223372036854775807-9223372036854775811",
        "-5-9",
    ] {
        script
            .start("uploads/places")
            .send(patch("{up}").body("01234").keep("up"))
            .send(patch("{up}").with("Content-Range", range).body("56789"));
        // Without a length there is nothing to compare the range with.
        script
            .start("uploads/places")
            .send(patch("{up}").body("01234").keep("up"))
            .send(patch("{up}").with("Content-Range", range).chunked("56789"));
        script
            .start("uploads/places")
            .send(patch("{up}").body("01234").keep("up"))
            .send(
                put(format!("{{up}}&digest={}", digest(b"0123456789")))
                    .with("Content-Range", range)
                    .body("56789"),
            );
    }
}

fn digests(script: &mut Script) {
    script.about("an upload is finished under a digest");
    let right = digest(b"data");
    let wrong = digest(b"other data");
    let hex = right.trim_start_matches("sha256:").to_owned();
    for parameter in [
        String::new(),
        "&digest".to_owned(),
        "&digest=".to_owned(),
        format!("&digest={wrong}"),
        format!("&digest={hex}"),
        format!("&digest=sha256:{}", hex.to_uppercase()),
        format!("&digest=sha256%3A{hex}"),
        format!("&digest=sha256:{}", &hex[1..]),
        format!("&digest=sha512:{hex}{hex}"),
        format!("&digest=md5:{}", &hex[..32]),
        format!("&digest=unknown:{hex}"),
        "&digest=latest".to_owned(),
        format!("&digest={wrong}&digest={right}"),
        format!("&digest={right}&digest={wrong}"),
        format!("&Digest={right}"),
        format!("&digest={right}%20"),
        format!("&digest={right}%00"),
    ] {
        script
            .start("uploads/digests")
            .send(put(format!("{{up}}{parameter}")).body("data"))
            // The state of the upload after that.
            .send(get("{up}"))
            .send(put(format!("{{up}}&digest={right}")));
    }
    // echo -n data | sha512sum
    let sha512 = "sha512:77c7ce9a5d86bb386d443bb96390faa120633158699c8844c30b13ab0bf92760b7e4416aea397db91b4ac0e5dd56b8ef7e4b066162ab1fdc088319ce6defc876";
    script
        .about("a blob under its SHA-512")
        .start("uploads/sha512")
        .send(put(format!("{{up}}&digest={sha512}")).body("data"))
        .send(get(format!("/v2/uploads/sha512/blobs/{sha512}")))
        .send(head(format!("/v2/uploads/sha512/blobs/{sha512}")))
        .send(get(format!("/v2/uploads/sha512/blobs/{right}")));
}

fn tokens(script: &mut Script) {
    script
        .about("an upload's token is missing, broken, old or another's")
        .start("uploads/tokens")
        .send(post("/v2/uploads/tokens/blobs/uploads/").keep("other"))
        .send(post("/v2/uploads/elsewhere/blobs/uploads/").keep("elsewhere"));
    let right = digest(b"01234");
    for target in [
        "{up.path}",
        "{up.path}?",
        "{up.path}?_state",
        "{up.path}?_state=",
        "{up.path}?_state=bm9uc2Vuc2U=",
        "{up.path}?_state=%%%",
        "{up.path}?_state={other.state}",
        "{up.path}?_state={elsewhere.state}",
        "{up.path}?_state={up.state}x",
        "{up.path}?_State={up.state}",
        "{other.path}?_state={up.state}",
    ] {
        script
            .send(get(target))
            .send(patch(target).body("01234"))
            .send(
                put(format!(
                    "{target}{}digest={right}",
                    if target.contains('?') { "&" } else { "?" }
                ))
                .body("01234"),
            )
            .send(delete(target));
    }
    script
        .about("an old token")
        .send(post("/v2/uploads/stale/blobs/uploads/").keep("first"))
        .send(patch("{first}").body("01234").keep("up"))
        .send(get("{first}"))
        .send(head("{first}"))
        .send(patch("{first}").body("56789"))
        .send(put(format!("{{first}}&digest={}", digest(b"0123456789"))).body("56789"))
        .send(get("{up}"));
    script
        .about("an old token and the right place")
        .send(post("/v2/uploads/newer/blobs/uploads/").keep("first"))
        .send(patch("{first}").body("01234").keep("up"))
        .send(patch("{first}").with("Content-Range", "5-9").body("56789"));
    script
        .about("an old token is deleted by")
        .send(post("/v2/uploads/oldest/blobs/uploads/").keep("first"))
        .send(patch("{first}").body("01234").keep("up"))
        .send(delete("{first}"))
        .send(get("{up}"));
    script
        .about("more parameters beside the token")
        .start("uploads/parameters")
        .send(patch("{up}&ns=docker.io").body("01234").keep("up"))
        .send(put(format!("{{up}}&ns=docker.io&digest={right}")));
}

fn unknown(script: &mut Script) {
    script.about("an upload that is not there");
    let right = digest(b"01234");
    for id in [
        "01234567-89ab-4cde-8f01-23456789abcd",
        "01234567-89AB-4CDE-8F01-23456789ABCD",
        "0123456789ab4cde8f0123456789abcd",
        "nonsense",
        "a=b",
        "-",
        ".",
        "..",
        "%2e%2e",
        "a%2fb",
        "a%20b",
        "sha256:0",
        "_uploads",
    ] {
        let path = format!("/v2/uploads/unknown/blobs/uploads/{id}");
        script
            .send(get(&path))
            .send(head(&path))
            .send(patch(&path).body("01234"))
            .send(put(format!("{path}?digest={right}")).body("01234"))
            .send(delete(&path));
    }
}

fn mounts(script: &mut Script) {
    script.about("a blob is mounted");
    let there = script.blob("uploads/source", b"mounted");
    let nowhere = digest(b"nowhere");
    let to = "/v2/uploads/target/blobs/uploads/";
    for query in [
        format!("?mount={there}&from=uploads/source"),
        format!("?mount={there}&from=uploads%2Fsource"),
        format!("?from=uploads/source&mount={there}"),
        format!("?mount={there}&from=uploads/target"),
        format!("?mount={nowhere}&from=uploads/source"),
        format!("?mount={there}&from=uploads/missing"),
        format!("?mount={there}&from=UPPER"),
        format!("?mount={there}&from=../../etc"),
        format!("?mount={there}&from="),
        "?mount=&from=uploads/source".to_owned(),
        "?mount=latest&from=uploads/source".to_owned(),
        "?mount=sha256:0&from=uploads/source".to_owned(),
        "?from=uploads/source".to_owned(),
        format!("?mount={there}&from=uploads/source&digest={there}"),
        format!("?mount={there}&mount={nowhere}&from=uploads/source"),
        format!("?mount={nowhere}"),
        "?digest-algorithm=sha512".to_owned(),
        "?digest-algorithm=nonsense".to_owned(),
    ] {
        script.send(post(format!("{to}{query}")));
    }
    script
        .send(get(format!("/v2/uploads/target/blobs/{there}")))
        .send(post(format!(
            "/v2/uploads/anonymous/blobs/uploads/?mount={there}"
        )))
        .send(get(format!("/v2/uploads/anonymous/blobs/{there}")));
}

fn single_posts(script: &mut Script) {
    script.about("a blob is pushed with one POST");
    let right = digest(b"posted");
    let wrong = digest(b"not posted");
    script
        .send(
            post(format!("/v2/uploads/posted/blobs/uploads/?digest={right}"))
                .with("Content-Type", STREAM)
                .body("posted"),
        )
        .send(get(format!("/v2/uploads/posted/blobs/{right}")))
        .send(post(format!("/v2/uploads/posted/blobs/uploads/?digest={wrong}")).body("posted"))
        .send(post("/v2/uploads/posted/blobs/uploads/?digest=latest").body("posted"))
        .send(post("/v2/uploads/posted/blobs/uploads/?digest=").body("posted"))
        .send(
            post("/v2/uploads/posted/blobs/uploads/")
                .body("ignored")
                .keep("up"),
        )
        .send(get("{up}"))
        .send(post("/v2/uploads/posted/blobs/uploads").body(""));
    for method in [
        "GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND",
    ] {
        script
            .send(ask(method, "/v2/uploads/posted/blobs/uploads/"))
            .send(ask(method, "/v2/uploads/posted/blobs/uploads"));
    }
}

fn lengths(script: &mut Script) {
    script.about("a body ends early");
    script
        .start("uploads/short")
        .send(patch("{up}").with("Content-Length", "10").by_hand("01234"))
        .send(get("{up}"));
    script
        .start("uploads/short")
        .send(
            put(format!("{{up}}&digest={}", digest(b"01234")))
                .with("Content-Length", "10")
                .by_hand("01234"),
        )
        .send(get("{up}"));
    script
        .start("uploads/short")
        .send(
            patch("{up}")
                .with("Transfer-Encoding", "chunked")
                .by_hand("5\r\n01234\r\n"),
        )
        .send(get("{up}"));
    // Only a valid token is used here: with a refused one, 2.8 answers only after the body.
    script
        .about("a body waits to be asked for")
        .start("uploads/waiting");
    script
        .send(
            patch("{up}")
                .with("Expect", "100-continue")
                .body("01234")
                .keep("up"),
        )
        .send(put(format!("{{up}}&digest={}", digest(b"01234"))).with("Expect", "100-continue"))
        .start("uploads/waiting")
        .send(patch("{up}").with("Expect", "a-miracle").body("01234"));
}
