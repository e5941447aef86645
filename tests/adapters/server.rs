//! An HTTP server that answers from a script, and notes what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Seen {
    /// The AWS operation: from the header of the JSON protocols, or from the form of STS.
    pub(crate) fn operation(&self) -> String {
        let target = self.headers.get("x-amz-target").and_then(|t| t.split('.').next_back()).map(ToOwned::to_owned);
        target.or_else(|| self.form("Action")).unwrap_or_default()
    }

    /// A field of a form, decoded as far as the tests need.
    pub(crate) fn form(&self, field: &str) -> Option<String> {
        let value = self.body.split('&').find_map(|pair| pair.strip_prefix(&format!("{field}=")))?;
        Some(value.replace("%3A", ":").replace("%2F", "/"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Reply(u16, Vec<(&'static str, String)>, String),
    /// Closes the connection without a word.
    Drop,
    /// Says nothing for a long time.
    Hang,
    /// The head of an answer that promises more than comes.
    Torn(u16, Vec<(&'static str, String)>),
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::Reply(status, Vec::new(), body.to_string())
    }

    pub(crate) fn text(status: u16, body: &str) -> Self {
        Self::Reply(status, Vec::new(), body.to_owned())
    }

    /// An error of the JSON protocols of AWS.
    pub(crate) fn aws_error(status: u16, code: &str, message: &str) -> Self {
        Self::json(status, &serde_json::json!({"__type": code, "message": message}))
    }

    /// An error of the query protocol of STS.
    pub(crate) fn sts_error(status: u16, code: &str, message: &str) -> Self {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        );
        Self::text(status, &body)
    }

    pub(crate) fn header(self, name: &'static str, value: &str) -> Self {
        match self {
            Self::Reply(status, mut headers, body) => {
                headers.push((name, value.to_owned()));
                Self::Reply(status, headers, body)
            }
            other => other,
        }
    }
}

type Script = Arc<dyn Fn(&Seen) -> Answer + Send + Sync>;

/// The server.
#[derive(Clone)]
pub(crate) struct Server {
    pub(crate) url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(crate) async fn start(script: impl Fn(&Seen) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, seen: Arc::default() };
        let (script, seen): (Script, _) = (Arc::new(script), server.seen.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (script, seen) = (script.clone(), seen.clone());
                tokio::spawn(async move {
                    let _ = serve(stream, &script, &seen).await;
                });
            }
        });
        server
    }

    /// Everything that was asked.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How often an AWS operation was asked for.
    pub(crate) fn count(&self, operation: &str) -> usize {
        self.seen().iter().filter(|s| s.operation() == operation).count()
    }

    /// Every path that was asked for, with its method.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.seen().iter().map(|s| format!("{} {}", s.method, s.path)).collect()
    }
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn serve(mut stream: TcpStream, script: &Script, log: &Mutex<Vec<Seen>>) -> std::io::Result<()> {
    let Some(seen) = read(&mut stream).await? else { return Ok(()) };
    log.lock().unwrap().push(seen.clone());
    let (status, headers, body, promised) = match script(&seen) {
        Answer::Drop => return Ok(()),
        Answer::Hang => {
            tokio::time::sleep(std::time::Duration::from_mins(1)).await;
            return Ok(());
        }
        Answer::Reply(status, headers, body) => (status, headers, body.clone(), body.len()),
        Answer::Torn(status, headers) => (status, headers, "{".to_owned(), 1000),
    };
    let mut text = format!("HTTP/1.1 {status} Scripted\r\ncontent-length: {promised}\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", &value, "\r\n"]);
    }
    stream.write_all(format!("{text}\r\n{body}").as_bytes()).await?;
    stream.shutdown().await
}

async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Seen>> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let mut words = lines.next().unwrap_or_default().split(' ').map(ToOwned::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length: usize = headers.get("content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
    while bytes.len() < end + 4 + length {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
    let body = String::from_utf8_lossy(&bytes[end + 4..]).into_owned();
    Ok(Some(Seen { method, path, headers, body }))
}
