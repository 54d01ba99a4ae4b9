//! Who comes again, and how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// A server that is busy for the first requests; its client, and how many requests came.
async fn busy(first: usize, after: &'static str) -> (Client, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await;
            let status = if count.fetch_add(1, Ordering::SeqCst) < first {
                format!("503 Service Unavailable\r\nretry-after: {after}")
            } else {
                "200 OK".to_owned()
            };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\nconnection: close\r\n\r\n[]");
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    (Client::new(&url, None, LogKeys::default()).unwrap(), seen)
}

#[tokio::test]
async fn a_question_comes_again_as_often_as_it_is_told() {
    let (client, seen) = busy(2, "1").await;
    let answer: Vec<u8> = client.json("v1/any", &Query::new()).await.unwrap();
    assert_eq!((answer, seen.load(Ordering::SeqCst)), (Vec::new(), 3));
}

#[tokio::test]
async fn a_server_that_stays_busy_ends_the_wait() {
    let (client, seen) = busy(usize::MAX, "1").await;
    let request = client.request(Method::GET, "v1/any", &Query::new(), None).unwrap();
    let response = ask_within(Duration::from_secs(2), request).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(seen.load(Ordering::SeqCst), 3);
    // Nor is it waited for at all when it asks for more time than there is, or says something odd.
    for after in ["3600", "Fri, 31 Dec 1999 23:59:59 GMT"] {
        let (client, seen) = busy(usize::MAX, after).await;
        assert!(client.bytes("v1/any", &Query::new()).await.is_err());
        assert_eq!(seen.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn what_changes_something_is_sent_once() {
    let (client, seen) = busy(1, "1").await;
    let body = Body { content_type: "text/plain", bytes: Bytes::from_static(b"event") };
    let sent: Result<Vec<u8>, _> = client.post("v1/events", &Query::new(), body).await;
    assert!(sent.is_err());
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}
