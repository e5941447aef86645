//! A TCP proxy of a test: it can hold one request on its way, and cut everything that passes through it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

/// Forwards connections to one address, until it is dropped.
pub struct Proxy {
    /// `127.0.0.1:<port>`.
    pub address: String,
    state: Arc<State>,
    accepts: JoinHandle<()>,
}

/// What becomes of the request that is to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hold {
    Waiting,
    Held,
    Released,
}

struct State {
    /// What the request to be held contains; taken by the first that does.
    needle: Mutex<Option<String>>,
    hold: watch::Sender<Hold>,
    /// Nothing passes any more, in either direction, and no connection is closed: as when a network parts.
    cut: watch::Sender<bool>,
    sent: AtomicU64,
}

impl Proxy {
    /// A proxy before `target` (`host:port`, or a URL of one).
    pub async fn to(target: &str) -> Self {
        let target = target.split("://").last().unwrap().trim_end_matches('/').to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(State {
            needle: Mutex::default(),
            hold: watch::Sender::new(Hold::Waiting),
            cut: watch::Sender::new(false),
            sent: AtomicU64::new(0),
        });
        let shared = Arc::clone(&state);
        let accepts = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (state, target) = (Arc::clone(&shared), target.clone());
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(&target).await else { return };
                    let ((from_client, to_client), (from_server, to_server)) =
                        (client.into_split(), server.into_split());
                    tokio::select! {
                        () = pass(&state, true, from_client, to_server) => {}
                        () = pass(&state, false, from_server, to_client) => {}
                    }
                });
            }
        });
        Self { address, state, accepts }
    }

    /// Holds the next request that contains these words, and nothing else.
    pub async fn hold(&self, words: &str) {
        *self.state.needle.lock().await = Some(words.to_owned());
    }

    /// Returns once that request is held.
    pub async fn held(&self) {
        self.state.hold.subscribe().wait_for(|hold| *hold == Hold::Held).await.unwrap();
    }

    /// Lets the held request go on its way.
    pub fn release(&self) {
        self.state.hold.send_replace(Hold::Released);
    }

    /// From now on nothing passes.
    pub fn cut(&self) {
        self.state.cut.send_replace(true);
    }

    /// How many bytes of requests have come so far, also such as did not pass.
    pub fn sent(&self) -> u64 {
        self.state.sent.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

/// Passes bytes on in one direction until either side ends.
async fn pass(state: &State, requests: bool, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    let mut buffer = vec![0; 64 * 1024];
    let mut was_held = false;
    loop {
        let Ok(length @ 1..) = from.read(&mut buffer).await else {
            if was_held {
                // A request that is on its way arrives, whatever has become of whoever sent it.
                std::future::pending::<()>().await;
            }
            return;
        };
        let bytes = &buffer[..length];
        if requests {
            state.sent.fetch_add(length as u64, Ordering::SeqCst);
            let mut needle = state.needle.lock().await;
            if needle.as_ref().is_some_and(|words| String::from_utf8_lossy(bytes).contains(words.as_str())) {
                *needle = None;
                drop(needle);
                let mut hold = state.hold.subscribe();
                state.hold.send_replace(Hold::Held);
                hold.wait_for(|hold| *hold == Hold::Released).await.unwrap();
                was_held = true;
            }
        }
        if *state.cut.subscribe().borrow() {
            std::future::pending::<()>().await;
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}
