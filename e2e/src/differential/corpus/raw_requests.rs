//! Requests that no client library would send.

use super::super::request::{Script, raw};

pub(super) fn ask_all(script: &mut Script) {
    lines(script);
    heads(script);
    bodies(script);
}

/// Request lines.
fn lines(script: &mut Script) {
    script.about("first lines");
    let rest = "\r\nHost: {host}\r\nConnection: close\r\n\r\n";
    for line in [
        "GET http://{host}/v2/ HTTP/1.1",
        "GET http://other.example/v2/ HTTP/1.1",
        "GET https://other.example/v2/_catalog HTTP/1.1",
        "POST http://other.example/v2/wires/absolute/blobs/uploads/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET * HTTP/1.1",
        "GET v2/ HTTP/1.1",
        "GET  /v2/ HTTP/1.1",
        "GET /v2/  HTTP/1.1",
        "GET /v2/ x HTTP/1.1",
        "GET /v2/",
        "GET /v2/ HTTP/1.2",
        "GET /v2/ HTTP/2.0",
        "GET /v2/ HTTP/0.9",
        "GET /v2/ HTTP/9.9",
        "GET /v2/ http/1.1",
        "GET /v2/ HTTP/1",
        "GET /v2/\x00 HTTP/1.1",
        "GET /v2/\t HTTP/1.1",
        "GET /v2/\u{e9} HTTP/1.1",
        "GET /v2/\" HTTP/1.1",
        "GET /v2/<> HTTP/1.1",
        "GET /v2/\\..\\ HTTP/1.1",
        "GET /v2/{}|^` HTTP/1.1",
        "G\u{e9}T /v2/ HTTP/1.1",
        "G(T /v2/ HTTP/1.1",
        " GET /v2/ HTTP/1.1",
        "\r\nGET /v2/ HTTP/1.1",
        "PRI * HTTP/2.0",
        "CONNECT {host} HTTP/1.1",
        "CONNECT /v2/ HTTP/1.1",
        "TRACE /v2/ HTTP/1.1",
        "",
    ] {
        script.send(raw(format!("{line}{rest}")));
    }
    script
        .send(raw("GET /v2/ HTTP/1.0\r\n\r\n"))
        .send(raw("GET /v2/ HTTP/1.0\r\nHost: {host}\r\n\r\n"))
        .send(raw(
            "GET /v2/ HTTP/1.0\r\nHost: {host}\r\nConnection: keep-alive\r\n\r\n",
        ))
        .send(raw(
            "POST /v2/wires/old/blobs/uploads/ HTTP/1.0\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n",
        ))
        .send(raw(
            "POST /v2/wires/old/blobs/uploads/ HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        ))
        .send(raw("GET /v2/_catalog HTTP/1.0\r\n\r\n"))
        .send(raw("HEAD /v2/_catalog HTTP/1.0\r\n\r\n"))
        .send(raw("GET /v2/ HTTP/1.1\nHost: {host}\nConnection: close\n\n"))
        .send(raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").ends())
        .send(raw("nonsense\r\n\r\n"));
}

/// Headers.
fn heads(script: &mut Script) {
    script.about("heads");
    let long = "h".repeat(100);
    for headers in [
        "",
        "Host: \r\n",
        "Host: {host}\r\nHost: other.example\r\n",
        "Host: other.example\r\n",
        "Host: other.example:5000\r\n",
        "Host: other.example/path\r\n",
        "Host: user@other.example\r\n",
        "Host: other.example, third.example\r\n",
        "Host: other.example?x\r\n",
        "Host: other example\r\n",
        "Host: \"other\"\r\n",
        "Host: <other>\r\n",
        "Host: [::1]:5000\r\n",
        "Host: [::1\r\n",
        "Host: xn--e1afmkfd.example\r\n",
        "Host: \u{e9}.example\r\n",
        "Host: other.example:99999\r\n",
        "Host: OTHER.Example\r\n",
        "Host : {host}\r\n",
        "Host: {host}\r\n X-Folded: yes\r\n",
        "Host: {host}\r\nX-No-Colon\r\n",
        "Host: {host}\r\nX Space: x\r\n",
        "Host: {host}\r\n: empty\r\n",
        "Host: {host}\r\nX-Nul: a\x00b\r\n",
        "Host: {host}\r\nX-Return: a\rb\r\n",
        "Host: {host}\r\nX-Latin: \u{e9}\r\n",
        "Host: {host}\r\nX-\u{e9}: x\r\n",
        "Host: {host}\r\nX-Empty:\r\n",
        "Host: {host}\r\nConnection: close, keep-alive\r\n",
        "Host: {host}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n",
        "Host: {host}\r\nConnection: upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Host: {host}\r\nExpect: 100-continue\r\n",
        "Host: {host}\r\nExpect: nonsense\r\n",
        "Host: {host}\r\nAuthorization: Basic nonsense\r\n",
        "Host: {host}\r\nCookie: a=b\r\n",
        "Host: {host}\r\nOrigin: https://other.example\r\n",
        "Host: {host}\r\nX-Http-Method-Override: DELETE\r\n",
    ] {
        script.send(raw(format!(
            "POST /v2/wires/heads/blobs/uploads/ HTTP/1.1\r\n{headers}Content-Length: 0\r\n\r\n"
        )));
        if !headers.contains(&long) {
            script.send(raw(format!("GET /v2/ HTTP/1.1\r\n{headers}\r\n")));
        }
    }
    script.about("forwarded headers");
    for headers in [
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Proto: HTTPS\r\n",
        "X-Forwarded-Proto: ftp\r\n",
        "X-Forwarded-Proto: https, http\r\n",
        "X-Forwarded-Proto: javascript:alert(1)//\r\n",
        "X-Forwarded-Host: outer.example\r\n",
        "X-Forwarded-Host: outer.example:8443\r\n",
        "X-Forwarded-Host: outer.example, inner.example\r\n",
        "X-Forwarded-Host: \r\n",
        "X-Forwarded-Host: outer.example/path\r\n",
        "X-Forwarded-Host: user:password@outer.example\r\n",
        "X-Forwarded-Host: outer.example?x=\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.example\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Host: outer.example\r\nX-Forwarded-Port: 8443\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /registry\r\n",
        "Forwarded: proto=https;host=outer.example\r\n",
        "Forwarded: host=outer.example;proto=https\r\n",
        "Forwarded: proto=https\r\n",
        "Forwarded: host=outer.example\r\n",
        "Forwarded: for=10.0.0.1;proto=https;host=outer.example, for=10.0.0.2;host=inner.example\r\n",
        "Forwarded: host=\"outer.example:8443\";proto=\"https\"\r\n",
        "Forwarded: HOST=outer.example;PROTO=HTTPS\r\n",
        "Forwarded: nonsense\r\n",
        "Forwarded: host=\r\n",
        "Forwarded: host=\"outer.example\r\n",
        "Forwarded: \r\n",
        "Forwarded: proto=https;host=outer.example\r\nX-Forwarded-Host: other.example\r\nX-Forwarded-Proto: http\r\n",
        "Forwarded: for=10.0.0.1\r\nX-Forwarded-Host: outer.example\r\nX-Forwarded-Proto: https\r\n",
        "X-Forwarded-For: 10.0.0.1\r\nX-Real-IP: 10.0.0.2\r\n",
        "X-Forwarded-For: nonsense\r\n",
        "X-Original-URL: /v2/_catalog\r\nX-Rewrite-URL: /v2/_catalog\r\n",
    ] {
        script.send(raw(format!(
            "POST /v2/wires/forwarded/blobs/uploads/ HTTP/1.1\r\nHost: {{host}}\r\n{headers}Content-Length: 0\r\n\r\n"
        )));
    }
}

/// Lengths and codings that contradict each other.
fn bodies(script: &mut Script) {
    script.about("bodies whose length is in doubt");
    for headers_and_body in [
        "Content-Length: 5\r\nContent-Length: 5\r\n\r\n01234",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\n012345",
        "Content-Length: 5, 5\r\n\r\n01234",
        "Content-Length: -1\r\n\r\n",
        "Content-Length: +5\r\n\r\n01234",
        "Content-Length: 0x5\r\n\r\n01234",
        "Content-Length: five\r\n\r\n",
        "Content-Length: \r\n\r\n",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Content-Length: 05\r\n\r\n01234",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip, chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: identity\r\nContent-Length: 5\r\n\r\n01234",
        "Transfer-Encoding: xchunked\r\n\r\n",
        "Transfer-Encoding: CHUNKED\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n5\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5;name=value\r\n01234\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\n01234\r\n0\r\nX-Trailer: x\r\n\r\n",
        "Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n01234",
        "\r\n01234",
    ] {
        script.send(raw(format!(
            "PUT /v2/wires/bodies/manifests/latest HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\nContent-Type: text/plain\r\n{headers_and_body}"
        )));
    }
    for chunks in [
        "5\r\n0123",
        "x\r\n01234\r\n",
        "-5\r\n01234\r\n",
        "5\r\n0123456\r\n",
        "fffffffffffffffff\r\n",
        "",
    ] {
        script.send(raw(format!(
            "PUT /v2/wires/chunks/manifests/latest HTTP/1.1\r\nHost: {{host}}\r\nConnection: close\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
        )).ends());
    }
    script.about("a request behind a request");
    script.send(raw(
        "GET /v2/ HTTP/1.1\r\nHost: {host}\r\nContent-Length: 30\r\n\r\nGET /v2/_catalog HTTP/1.1\r\n\r\n\r\n",
    ));
}
