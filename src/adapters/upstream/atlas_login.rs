//! Who asks Atlas: a service account with its access token, or an API key by HTTP Digest.
//!
//! # Guarantees
//! - One access token per service account is asked for at a time, and reused until shortly before it is over, as the vendor
//!   asks (<https://www.mongodb.com/docs/atlas/configure-api-access/>).
//! - A request is repeated only after an answer 401, which says that it was not done: once with a new token in place of one
//!   that was ended before its time, once with the digest that the server asked for.
//!
//! # What is inferred
//! A service account that just got a token and is refused without a code is alive, but not let into the project: the vendor
//! answers so where the account's organization does not host the project.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use md5::{Digest as _, Md5};
use reqwest::Method;
use serde::Deserialize;
use sha2::Sha256;

use super::http::Http;
use super::http::raw::{Answer, Raw, without_secrets};
use crate::clock::Clock;
use crate::domain::fault::{Cause, Fault, FaultClass};
use crate::domain::moment::{Moment, Span};
use crate::ports::{Credentials, Session};

/// A token that is over within this is not used any more.
const MARGIN: Span = Span::seconds(120);
/// That a service account was refused a token is believed for so long: the reads of one pass ask at the same time.
const REFUSED: Span = Span::seconds(2);
/// The most logins that are kept. Secrets change, and what is known of old ones is of no use.
const KEPT: usize = 256;

const TOKEN: &str = "POST /api/oauth/token";

/// A good answer or a bad one, and whether it is known that the credentials as such are good.
pub(super) struct Heard {
    pub(super) answer: Answer,
    pub(super) alive: bool,
}

/// What is known of the credentials that were used.
#[derive(Default)]
pub(super) struct Logins(Mutex<HashMap<[u8; 32], Arc<Login>>>);

/// What is known of one credential.
#[derive(Default)]
struct Login {
    token: tokio::sync::Mutex<Granting>,
    /// How often no token was had.
    failures: AtomicU64,
    challenge: Mutex<Option<Challenge>>,
}

/// The token, or why there was none when it was last asked for.
#[derive(Default)]
struct Granting {
    token: Option<Token>,
    failed: Option<(Moment, Fault)>,
}

#[derive(Clone)]
struct Token {
    text: String,
    over_at: Moment,
}

enum Who<'s> {
    ServiceAccount { id: &'s str, secret: &'s str },
    ApiKey { public: &'s str, private: &'s str },
}

fn who(session: &Session) -> Result<Who<'_>, Fault> {
    let value = |key: &str| session.credentials.0.get(key).map(|v| v.trim()).filter(|v| !v.is_empty());
    if let (Some(id), Some(secret)) = (value("clientId"), value("clientSecret")) {
        return Ok(Who::ServiceAccount { id, secret });
    }
    if let (Some(public), Some(private)) = (value("publicKey"), value("privateKey")) {
        return Ok(Who::ApiKey { public, private });
    }
    let message =
        "the Secret with the credentials lacks the keys clientId and clientSecret, or publicKey and privateKey";
    Err(Fault::new(FaultClass::Refused, TOKEN, &session.scope.id, message).because(Cause::Credentials))
}

impl Logins {
    fn of(&self, session: &Session) -> Arc<Login> {
        let mut hash = Sha256::new();
        for (name, value) in &session.credentials.0 {
            for text in [name.as_str(), value.trim()] {
                hash.update(u64::try_from(text.len()).unwrap_or_default().to_be_bytes());
                hash.update(text);
            }
        }
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        Arc::clone(all.entry(hash.finalize().into()).or_default())
    }

    /// Sends a request as the session's credentials.
    pub(super) async fn send(
        &self,
        http: &Http,
        clock: &dyn Clock,
        session: &Session,
        request: Raw<'_>,
    ) -> Result<Heard, Fault> {
        let login = self.of(session);
        match who(session)? {
            Who::ServiceAccount { id, secret } => login.as_account(http, clock, session, request, (id, secret)).await,
            Who::ApiKey { public, private } => login.as_key(http, session, request, (public, private)).await,
        }
    }
}

impl Login {
    async fn as_account(
        &self,
        http: &Http,
        clock: &dyn Clock,
        session: &Session,
        request: Raw<'_>,
        account: (&str, &str),
    ) -> Result<Heard, Fault> {
        let (token, new) = self.token(http, clock, session, account, None).await?;
        let secrets = with_token(&session.credentials, &token);
        let answer = http.raw(request.clone(), Some(&format!("Bearer {token}")), &secrets).await?;
        if answer.status != 401 || new || has_code(&answer) {
            return Ok(Heard { answer, alive: true });
        }
        // It may have been ended before its time.
        let (token, _) = self.token(http, clock, session, account, Some(&token)).await?;
        let secrets = with_token(&session.credentials, &token);
        let answer = http.raw(request, Some(&format!("Bearer {token}")), &secrets).await?;
        Ok(Heard { answer, alive: true })
    }

    /// A token that is good for a while, but not this one; and whether it is new. Whoever comes while one is asked for waits
    /// for that one, and for nothing more if there is none: an endpoint that hangs costs all of them its timeout once.
    async fn token(
        &self,
        http: &Http,
        clock: &dyn Clock,
        session: &Session,
        (id, secret): (&str, &str),
        not: Option<&str>,
    ) -> Result<(String, bool), Fault> {
        let failures = self.failures.load(Ordering::SeqCst);
        let mut kept = self.token.lock().await;
        let asked_at = clock.now();
        if let Some(token) = kept.token.as_ref().filter(|t| not != Some(&t.text) && asked_at + MARGIN < t.over_at) {
            return Ok((token.text.clone(), false));
        }
        let meanwhile = self.failures.load(Ordering::SeqCst) != failures;
        let stands = |(at, fault): &&(Moment, Fault)| {
            meanwhile || (fault.class == FaultClass::Refused && asked_at.since(*at) < REFUSED)
        };
        if let Some((_, fault)) = kept.failed.as_ref().filter(stands) {
            return Err(fault.clone());
        }
        *kept = Granting::default();
        match self.ask(http, asked_at, session, (id, secret)).await {
            Ok(token) => {
                kept.token = Some(token.clone());
                Ok((token.text, true))
            }
            Err(fault) => {
                kept.failed = Some((asked_at, fault.clone()));
                self.failures.fetch_add(1, Ordering::SeqCst);
                Err(fault)
            }
        }
    }

    /// Asks for a token.
    async fn ask(
        &self,
        http: &Http,
        asked_at: Moment,
        session: &Session,
        (id, secret): (&str, &str),
    ) -> Result<Token, Fault> {
        let form = ("application/x-www-form-urlencoded", b"grant_type=client_credentials".to_vec());
        let request = Raw {
            method: Method::POST,
            operation: TOKEN,
            target: &session.scope.id,
            path: "/api/oauth/token",
            accept: "application/json",
            body: Some(form),
        };
        let basic = format!("Basic {}", base64(format!("{id}:{secret}").as_bytes()));
        let answer = http.raw(request, Some(&basic), &session.credentials).await?;
        if !answer.is_good() {
            return Err(refused(session, &answer));
        }
        let granted: Granted = answer.parse(TOKEN, &session.scope.id, &session.credentials)?;
        let over_at = asked_at + Span::seconds(granted.expires_in.max(0));
        Ok(Token { text: granted.access_token, over_at })
    }

    async fn as_key(
        &self,
        http: &Http,
        session: &Session,
        request: Raw<'_>,
        (public, private): (&str, &str),
    ) -> Result<Heard, Fault> {
        let uri = http.sent_path(request.path);
        let method = request.method.clone();
        let digest = |challenge: &mut Challenge| challenge.answer(method.as_str(), &uri, public, private);
        let first = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(digest);
        let answer = http.raw(request.clone(), first.as_deref(), &session.credentials).await?;
        if answer.status != 401 || (first.is_some() && has_code(&answer)) {
            return Ok(Heard { answer, alive: true });
        }
        let Some(mut challenge) = answer.header("www-authenticate").and_then(Challenge::parse) else {
            return Ok(Heard { answer, alive: false });
        };
        let second = digest(&mut challenge);
        *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge);
        let answer = http.raw(request, Some(&second), &session.credentials).await?;
        let alive = answer.status != 401 || has_code(&answer);
        Ok(Heard { answer, alive })
    }
}

/// Answer of the token endpoint.
#[derive(Deserialize)]
struct Granted {
    access_token: String,
    expires_in: i64,
}

/// Why there is no token (<https://www.rfc-editor.org/rfc/rfc6749#section-5.2>).
#[derive(Default, Deserialize)]
#[serde(default)]
struct NotGranted {
    error: String,
    error_description: String,
}

fn refused(session: &Session, answer: &Answer) -> Fault {
    let told: NotGranted = answer.try_parse().unwrap_or_default();
    let said = if told.error.is_empty() { answer.text() } else { format!("{} {}", told.error, told.error_description) };
    let (class, cause, _) = answer.meaning();
    let (class, cause) = match told.error.as_str() {
        "invalid_client" | "invalid_grant" | "unauthorized_client" => (FaultClass::Refused, Cause::Credentials),
        _ if class == FaultClass::Invalid => (FaultClass::Terminal, Cause::Other),
        _ => (class, cause),
    };
    let message = without_secrets(&format!("HTTP {}: {}", answer.status, said.trim()), &session.credentials);
    let mut fault = Fault::new(class, TOKEN, &session.scope.id, message).because(cause);
    fault.retry_after = answer.retry_after();
    fault
}

/// Whether Atlas says in its own words why it refuses: then it knows who asks.
fn has_code(answer: &Answer) -> bool {
    answer.try_parse::<super::atlas_wire::ApiError>().is_some_and(|error| error.code().is_some())
}

/// The secrets that must not be in a fault, with the token.
fn with_token(credentials: &Credentials, token: &str) -> Credentials {
    let mut secrets = credentials.clone();
    secrets.0.insert("access token".to_owned(), token.to_owned());
    secrets
}

/// A server's wish for a digest with MD5 and `qop=auth` (<https://www.rfc-editor.org/rfc/rfc7616>).
struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// How often the nonce was used.
    count: u32,
}

impl Challenge {
    /// The challenge in a header `WWW-Authenticate`; none, if it asks for something else.
    fn parse(header: &str) -> Option<Self> {
        let fields = fields(header.trim().strip_prefix("Digest ")?);
        let field = |name: &str| fields.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
        let md5 = field("algorithm").is_none_or(|algorithm| algorithm.eq_ignore_ascii_case("MD5"));
        let auth = field("qop").is_some_and(|qop| qop.split(',').any(|one| one.trim() == "auth"));
        (md5 && auth).then_some(())?;
        Some(Self { realm: field("realm")?, nonce: field("nonce")?, opaque: field("opaque"), count: 0 })
    }

    /// The header `Authorization` for a request.
    fn answer(&mut self, method: &str, uri: &str, user: &str, password: &str) -> String {
        self.count = self.count.saturating_add(1);
        let cnonce = uuid::Uuid::new_v4().simple().to_string();
        self.answer_with(&cnonce, method, uri, user, password)
    }

    fn answer_with(&self, cnonce: &str, method: &str, uri: &str, user: &str, password: &str) -> String {
        let Self { realm, nonce, opaque, count } = self;
        let who = md5_hex(&format!("{user}:{realm}:{password}"));
        let what = md5_hex(&format!("{method}:{uri}"));
        let response = md5_hex(&format!("{who}:{nonce}:{count:08x}:{cnonce}:auth:{what}"));
        let opaque = opaque.as_ref().map(|o| format!(", opaque=\"{o}\"")).unwrap_or_default();
        format!(
            "Digest username=\"{user}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", qop=auth, nc={count:08x}, cnonce=\"{cnonce}\", response=\"{response}\", algorithm=MD5{opaque}"
        )
    }
}

/// `a="b, c", d=e` in pairs.
fn fields(text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        all.push((name.trim_matches([' ', ',']).to_ascii_lowercase(), value.trim().to_owned()));
        rest = next.trim_start_matches([' ', ',']);
    }
    all
}

fn md5_hex(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().fold(String::new(), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Bytes in base64 (<https://www.rfc-editor.org/rfc/rfc4648#section-4>).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| (bits << 8) | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let letter = ALPHABET[((bits >> (18 - 6 * place)) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616, section 3.9.1.
    #[test]
    fn the_digest_is_that_of_the_standard() {
        let header = "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
        let mut challenge = Challenge::parse(header).unwrap();
        challenge.count = 1;
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let answer = challenge.answer_with(cnonce, "GET", "/dir/index.html", "Mufasa", "Circle of Life");
        assert!(answer.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{answer}");
        assert!(answer.contains("opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""), "{answer}");
    }

    #[test]
    fn another_challenge_is_not_answered() {
        assert!(Challenge::parse("Basic realm=\"x\"").is_none());
        assert!(Challenge::parse("Digest realm=\"x\", nonce=\"n\", qop=\"auth\", algorithm=SHA-256").is_none());
        assert!(Challenge::parse("Digest realm=\"x\", nonce=\"n\"").is_none());
    }

    /// The examples of RFC 4648, section 10.
    #[test]
    fn base64_is_that_of_the_standard() {
        let pairs =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in pairs {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
