//! Behaviour that is the same on every route.

use std::sync::atomic::Ordering;

use http::{HeaderMap, HeaderValue};

use super::*;

#[tokio::test]
async fn the_root_answers_without_saying_that_it_is_a_registry() {
    let server = server();
    server.get("/").await.is(
        200,
        &[
            ("cache-control", "no-cache"),
            ("docker-distribution-api-version", "-"),
            ("content-length", "0"),
        ],
    );
}

#[tokio::test]
async fn the_base_says_which_version_is_spoken() {
    let server = server();
    for path in ["/v2/", "/v2"] {
        let answer = server.get(path).await.is(
            200,
            &[
                ("docker-distribution-api-version", "registry/2.0"),
                ("content-type", "application/json"),
                ("content-length", "2"),
            ],
        );
        assert_eq!(answer.text(), "{}");
    }
    let answer = server
        .send("HEAD", "/v2/", &[], "")
        .await
        .is(200, &[("content-length", "2")]);
    assert_eq!(answer.text(), "");
}

#[tokio::test]
async fn unknown_paths_are_not_found() {
    let server = server();
    for path in [
        "/v1/",
        "/v2/a",
        "/v2/a/manifests/",
        "/v2x/",
        "/favicon.ico",
        "/v2/a/b/c",
    ] {
        let answer = server
            .get(path)
            .await
            .is(404, &[("content-type", "text/plain; charset=utf-8")]);
        assert_eq!(answer.text(), "404 page not found\n", "{path}");
    }
    server
        .get("/v2/a/b/c")
        .await
        .is(404, &[("docker-distribution-api-version", "registry/2.0")]);
}

#[tokio::test]
async fn names_that_are_none_are_refused_by_the_table() {
    let server = server();
    for name in [
        "..",
        "a/..",
        "A",
        "a/%2e%2e/b",
        "_uploads",
        "a//b",
        "a%00b",
        "-a",
        &"a".repeat(256),
    ] {
        server
            .get(&format!("/v2/{name}/tags/list"))
            .await
            .refuses(400, "NAME_INVALID");
        server
            .send("POST", &format!("/v2/{name}/blobs/uploads/"), &[], "")
            .await
            .refuses(400, "NAME_INVALID");
    }
    assert_eq!(server.files(), BTreeMap::new());
}

#[tokio::test]
async fn methods_a_route_does_not_have_are_refused_with_those_it_has() {
    let server = server();
    for (method, path, allow) in [
        ("POST", "/v2/", "GET, HEAD"),
        ("DELETE", "/v2/_catalog", "GET, HEAD"),
        ("PUT", "/v2/a/tags/list", "GET, HEAD"),
        ("POST", "/v2/a/manifests/v1", "DELETE, GET, HEAD, PUT"),
        ("PUT", "/v2/a/blobs/sha256:x", "DELETE, GET, HEAD"),
        ("GET", "/v2/a/blobs/uploads/", "POST"),
        ("POST", "/v2/a/blobs/uploads/id", "DELETE, GET, HEAD, PATCH, PUT"),
    ] {
        server
            .send(method, path, &[], "")
            .await
            .refuses(405, "UNSUPPORTED")
            .is(405, &[("allow", allow)]);
        server
            .send("OPTIONS", path, &[], "")
            .await
            .is(200, &[("allow", allow)]);
    }
}

#[tokio::test]
async fn a_read_only_registry_reads_and_refuses_to_write() {
    let writable = server();
    let digest = writable.push_blob("a", b"content").await;
    let app = app_in(writable.folder.path(), Settings::default(), |options| {
        options.read_only = true
    });
    let path = format!("/v2/a/blobs/{digest}");
    assert_eq!(
        send(&app, "GET", &path, &[], "").await.is(200, &[]).text(),
        "content"
    );
    let before = writable.files();
    for (method, path) in [
        ("POST", "/v2/a/blobs/uploads/"),
        ("PATCH", "/v2/a/blobs/uploads/id"),
        ("PUT", "/v2/a/manifests/v1"),
        ("DELETE", path.as_str()),
    ] {
        send(&app, method, path, &[], "x")
            .await
            .refuses(405, "UNSUPPORTED");
    }
    assert_eq!(writable.files(), before);
}

#[tokio::test]
async fn configured_headers_are_on_every_answer() {
    let headers = HeaderMap::from_iter([(
        http::HeaderName::from_static("x-content-type-options"),
        HeaderValue::from_static("nosniff"),
    )]);
    let server = server_with(Settings::default(), |options| options.headers = headers);
    for path in ["/", "/v2/", "/nowhere", "/v2/A/tags/list"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
    }
}

#[tokio::test]
async fn a_prefix_stands_in_front_of_every_path_and_location() {
    let server = server_with(Settings::default(), |options| {
        options.prefix = "/images/".to_owned()
    });
    server.get("/v2/").await.is(404, &[]);
    server.get("/images/v2/").await.is(200, &[]);
    let answer = server
        .send("POST", "/images/v2/a/blobs/uploads/", &[], "")
        .await
        .is(202, &[]);
    assert!(
        answer.location().starts_with("/images/v2/a/blobs/uploads/"),
        "{}",
        answer.location()
    );
}

#[tokio::test]
async fn a_stopping_server_closes_its_connections() {
    let mut draining = None;
    let server = server_with(Settings::default(), |options| {
        draining = Some(Arc::clone(&options.draining))
    });
    server.get("/v2/").await.is(200, &[("connection", "-")]);
    draining.unwrap().store(true, Ordering::Relaxed);
    server.get("/v2/").await.is(200, &[("connection", "close")]);
}

#[tokio::test]
async fn whoever_logged_in_is_known_to_the_access_log_also_when_the_answer_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    std::fs::write(&users, format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap())).unwrap();
    let driver = Filesystem::new(folder.path().join("store"), &FilesystemOptions::default()).unwrap();
    let app = App::new(
        Registry::new(Arc::new(driver), Settings::default()),
        Authenticator::htpasswd(crate::auth::Htpasswd::open("realm", &users).unwrap()),
        Options::new(Secrets::new("secret", [])),
    );
    let user = async |path: &str, login: &str| {
        let request = Request::get(path)
            .header("host", "registry.example")
            .header("authorization", login)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = app.respond(request, Peer::default()).await;
        let identity = response.extensions().get::<crate::auth::Identity>().cloned();
        (
            response.status().as_u16(),
            identity.and_then(|identity| identity.name),
        )
    };
    // `ann:pw` and `ann:no`
    let (right, wrong) = ("Basic YW5uOnB3", "Basic YW5uOm5v");
    let ann = Some("ann".to_owned());
    assert_eq!(user("/v2/", right).await, (200, ann.clone()));
    assert_eq!(user("/v2/a/tags/list", right).await, (404, ann));
    assert_eq!(user("/v2/", wrong).await, (401, None));
}

#[tokio::test]
async fn an_address_that_sends_too_many_logins_is_told_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    std::fs::write(&users, format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap())).unwrap();
    let driver = Filesystem::new(folder.path().join("store"), &FilesystemOptions::default()).unwrap();
    let app = App::new(
        Registry::new(Arc::new(driver), Settings::default()),
        Authenticator::htpasswd(crate::auth::Htpasswd::open("realm", &users).unwrap()),
        Options::new(Secrets::new("secret", [])),
    );
    // `ann:no`
    let wrong = [("authorization", "Basic YW5uOm5v")];
    let storm = (0..600).map(|_| send(&app, "GET", "/v2/", &wrong, ""));
    let answers = futures_util::future::join_all(storm).await;
    let told: Vec<_> = answers
        .into_iter()
        .filter(|answer| answer.status == 429)
        .collect();
    assert!(!told.is_empty(), "nobody was told");
    for answer in told {
        answer.is(429, &[("retry-after", "5")]);
    }
}

#[tokio::test]
async fn a_request_of_http_1_1_has_one_host_that_can_be_one() {
    let server = server();
    let ask = async |hosts: &[&str], version: http::Version| {
        let mut request = Request::get("/v2/").version(version);
        for host in hosts {
            request = request.header("host", *host);
        }
        answer(&server.app, request.body(Full::<Bytes>::default()).unwrap()).await
    };
    let http1 = http::Version::HTTP_11;
    for hosts in [
        &[][..],
        &["a.example", "b.example"],
        &["a.example", "a.example"],
        &["a.example/path"],
        &["a b"],
        &["a.example?x"],
        &["<a>"],
        &["user@a.example"],
    ] {
        ask(hosts, http1).await.is(400, &[("connection", "close")]);
    }
    for host in ["a.example", "a.example:5000", "[::1]:5000", "", "10.0.0.1"] {
        ask(&[host], http1).await.is(200, &[]);
    }
    // HTTP/1.0 has no such rule, and HTTP/2 uses another header.
    ask(&[], http::Version::HTTP_10).await.is(200, &[]);
    ask(&[], http::Version::HTTP_2).await.is(200, &[]);
}

#[tokio::test]
async fn whoever_is_not_let_in_does_not_learn_which_methods_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let users = folder.path().join("htpasswd");
    std::fs::write(&users, format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap())).unwrap();
    let driver = Filesystem::new(folder.path().join("store"), &FilesystemOptions::default()).unwrap();
    let mut options = Options::new(Secrets::new("secret", []));
    options.read_only = true;
    let app = App::new(
        Registry::new(Arc::new(driver), Settings::default()),
        Authenticator::htpasswd(crate::auth::Htpasswd::open("realm", &users).unwrap()),
        options,
    );
    for (method, path, status) in [
        ("OPTIONS", "/v2/a/tags/list", 200),
        ("POST", "/v2/a/tags/list", 405),
        ("DELETE", "/v2/a/manifests/v1", 405),
    ] {
        send(&app, method, path, &[], "").await.is(401, &[("allow", "-")]);
        // `ann:pw`
        let login = [("authorization", "Basic YW5uOnB3")];
        send(&app, method, path, &login, "").await.is(status, &[]);
    }
}

#[tokio::test]
async fn the_host_of_an_absolute_target_outweighs_the_header() {
    let server = server();
    let path = "http://target.example:5000/v2/a/blobs/uploads/";
    let answer = server.send("POST", path, &[], "").await;
    let location = answer.header("location");
    assert!(
        location.starts_with("http://target.example:5000/v2/a/blobs/uploads/"),
        "{location}"
    );
}

/// A server with passwords, and with the headers that the web page of a registry needs.
fn for_pages(folder: &std::path::Path, origins: &[&'static str]) -> App {
    let users = folder.join("htpasswd");
    std::fs::write(&users, format!("ann:{}\n", bcrypt::hash("pw", 4).unwrap())).unwrap();
    let driver = Filesystem::new(folder.join("store"), &FilesystemOptions::default()).unwrap();
    let mut options = Options::new(Secrets::new("secret", []));
    for origin in origins {
        let name = http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
        options.headers.append(name, HeaderValue::from_static(origin));
    }
    let methods = HeaderValue::from_static("HEAD, GET, OPTIONS, DELETE");
    options
        .headers
        .append(http::header::ACCESS_CONTROL_ALLOW_METHODS, methods);
    App::new(
        Registry::new(Arc::new(driver), Settings::default()),
        Authenticator::htpasswd(crate::auth::Htpasswd::open("realm", &users).unwrap()),
        options,
    )
}

#[tokio::test]
async fn a_browser_asks_before_a_request_of_a_page_and_needs_no_login_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let app = for_pages(folder.path(), &["https://ui.example"]);
    let origin = ("origin", "https://ui.example");
    let asks = [origin, ("access-control-request-method", "DELETE")];
    for path in ["/v2/", "/v2/_catalog", "/v2/a/manifests/v1", "/v2/a/tags/list"] {
        let allowed = [
            ("access-control-allow-origin", "https://ui.example"),
            ("access-control-allow-methods", "HEAD, GET, OPTIONS, DELETE"),
            ("www-authenticate", "-"),
        ];
        send(&app, "OPTIONS", path, &asks, "").await.is(200, &allowed);
        // The page can read the error of the request that follows the preflight.
        let answer = send(&app, "GET", path, &[origin], "")
            .await
            .is(401, &[("access-control-allow-origin", "https://ui.example")]);
        assert!(answer.header("www-authenticate").starts_with("Basic"));
        // These are no preflights.
        send(&app, "OPTIONS", path, &[origin], "").await.is(401, &[]);
        send(&app, "DELETE", path, &asks, "").await.is(401, &[]);
    }
    let closed = for_pages(folder.path(), &[]);
    send(&closed, "OPTIONS", "/v2/", &asks, "").await.is(401, &[]);
}

#[tokio::test]
async fn of_several_pages_that_may_ask_an_answer_names_the_one_that_did() {
    let folder = tempfile::tempdir().unwrap();
    let app = for_pages(folder.path(), &["https://one.example", "https://two.example"]);
    let login = ("authorization", "Basic YW5uOnB3");
    for (method, more, status) in [
        ("GET", login, 200),
        ("GET", ("x-none", ""), 401),
        ("OPTIONS", ("access-control-request-method", "GET"), 200),
    ] {
        for origin in ["https://one.example", "https://two.example"] {
            let answer = send(&app, method, "/v2/", &[("origin", origin), more], "").await;
            let named: Vec<_> = answer
                .headers
                .get_all("access-control-allow-origin")
                .iter()
                .collect();
            assert_eq!(named, [origin], "{method}");
            answer.is(status, &[("vary", "Origin")]);
        }
        let strange = [("origin", "https://three.example"), more];
        send(&app, method, "/v2/", &strange, "").await.is(
            status,
            &[("vary", "Origin"), ("access-control-allow-origin", "-")],
        );
    }
}

#[tokio::test]
async fn a_body_in_a_coding_that_is_not_undone_is_refused() {
    let server = server();
    let path = format!("/v2/a/blobs/uploads/?digest={}", Digest::sha256(b"content"));
    for coding in [
        "gzip, chunked",
        "gzip",
        "chunked, chunked",
        "identity",
        "xchunked",
    ] {
        let answer = server
            .send("POST", &path, &[("transfer-encoding", coding)], "content")
            .await
            .is(501, &[("connection", "close")]);
        assert_eq!(answer.text(), "Unsupported transfer encoding", "{coding}");
    }
    let twice = [("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")];
    server.send("POST", &path, &twice, "content").await.is(501, &[]);
    assert_eq!(server.files(), BTreeMap::new());
    let chunked = [("transfer-encoding", "Chunked")];
    server.send("POST", &path, &chunked, "content").await.is(201, &[]);
}
