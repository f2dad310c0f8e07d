use reqwest::Client;

use super::*;
use crate::wait::{Seen, wait_for};

/// Far more than any of this takes.
const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// A server that answers every request with its own name in 1,000 bytes, and the address it is at.
async fn upstream(name: &'static str) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = service_fn(move |request: Request<Incoming>| async move {
                let host = request.headers()["host"].to_str().unwrap().to_owned();
                let body = request.into_body().collect().await.unwrap().to_bytes();
                let text = format!("{name} {host} {} ", body.len());
                let text = format!("{text}{}", "x".repeat(1000 - text.len()));
                Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(text)))
            });
            let http = hyper::server::conn::http1::Builder::new();
            tokio::spawn(async move { http.serve_connection(TokioIo::new(stream), service).await });
        }
    });
    (address, task)
}

fn client() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

#[tokio::test]
async fn requests_go_round_with_their_host_and_body_and_past_who_does_not_listen() {
    let (one, _one) = upstream("one").await;
    let (two, gone) = upstream("two").await;
    let relay = Relay::start(vec![one, two]).await.unwrap();
    let url = format!("http://{}/b/key", relay.address());
    let ask = async || {
        let request = client()
            .put(&url)
            .header("host", "as.signed")
            .body(vec![0; 70_000]);
        let text = request.send().await.unwrap().text().await.unwrap();
        text.split_once(" x").unwrap().0.to_owned()
    };
    assert_eq!(ask().await, "one as.signed 70000");
    assert_eq!(ask().await, "two as.signed 70000");
    gone.abort();
    let _ = gone.await;
    assert_eq!(ask().await, "one as.signed 70000");
    assert_eq!(ask().await, "one as.signed 70000");
    let counts = relay.take_counts();
    assert_eq!((counts.of(Operation::Put), counts.total()), (4, 4));
    assert_eq!(relay.take_counts().total(), 0);
}

#[tokio::test]
async fn a_fault_comes_as_ordered_and_ends() {
    let (one, _one) = upstream("one").await;
    let relay = Relay::start(vec![one]).await.unwrap();
    let url = format!("http://{}/b/key", relay.address());
    let client = client();
    let status = async || client.get(&url).send().await.unwrap().status().as_u16();

    relay.fail_next(&[Operation::Get], 2, Fault::Answer(503, "SlowDown"));
    assert_eq!(client.head(&url).send().await.unwrap().status(), 200);
    assert_eq!([status().await, status().await, status().await], [503, 503, 200]);

    relay.fail_after(2, Fault::Answer(500, "InternalError"));
    assert_eq!([status().await, status().await, status().await], [200, 200, 500]);

    relay.fail_all(Fault::Cut);
    let answer = client.get(&url).send().await.unwrap();
    assert_eq!(answer.content_length(), Some(1000));
    let error = answer.bytes().await.unwrap_err();
    assert!(error.is_body() || error.is_decode(), "{error:?}");

    relay.fail_all(Fault::Hang);
    let asked = client.get(&url).send();
    tokio::pin!(asked);
    let arrived = wait_for("the request that hangs", LIMIT, async || {
        let seen = relay.shared.counts.lock().unwrap().of(Operation::Get);
        Ok(if seen == 8 {
            Seen::Done(())
        } else {
            Seen::NotYet(seen.to_string())
        })
    });
    tokio::select! {
        answer = &mut asked => panic!("answered: {answer:?}"),
        arrived = arrived => arrived.unwrap(),
    }

    // The request that hangs is cut off too.
    relay.fail_all(Fault::Refuse);
    assert!(asked.await.is_err());
    let connect = async || TcpStream::connect(relay.address()).await;
    let refused = wait_for("a refused connection", LIMIT, async || {
        Ok(match connect().await {
            Ok(_) => Seen::NotYet("accepted".to_owned()),
            Err(error) => Seen::Done(error.kind()),
        })
    });
    assert_eq!(refused.await.unwrap(), std::io::ErrorKind::ConnectionRefused);

    relay.heal();
    let accepted = wait_for("an accepted connection", LIMIT, async || {
        connect().await?;
        Ok(Seen::Done(()))
    });
    accepted.await.unwrap();
    assert_eq!(status().await, 200);
}
