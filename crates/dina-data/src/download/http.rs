use std::io::Read;
use std::time::{Duration, SystemTime};

use ureq::http::{HeaderMap, Uri, header};

use super::{DownloadConfig, DownloadError};

/// Redirects that are followed: deposits use one or two.
const REDIRECTS: u32 = 5;

/// A client for GET requests that can be repeated and continued.
pub(super) struct Client {
    agent: ureq::Agent,
    base: Option<String>,
}

/// Why an attempt failed, and whether another may succeed.
pub(super) enum Failure {
    /// Trying again may help, after the time that the server asked for.
    Transient { problem: String, wait: Option<Duration> },
    /// Trying again may help, from the first byte: what has come is of no use.
    Restart(String),
    /// It will not.
    Permanent(String),
}

impl Failure {
    pub(super) fn transient(problem: impl Into<String>) -> Self {
        Self::Transient { problem: problem.into(), wait: None }
    }
}

/// The part of a file that is asked for.
pub(super) struct Continuation<'a> {
    /// First byte.
    pub from: u64,
    /// Version that the first bytes are of.
    pub etag: Option<&'a str>,
}

/// A successful answer. The body has not been read.
pub(super) struct Answer {
    /// First byte of the body in the file: 0 where the server sends all of it.
    pub from: u64,
    /// Size of the whole file, where the server says it.
    pub size: Option<u64>,
    /// Whether the end of the body is marked, so that a lost connection shows.
    pub delimited: bool,
    /// Strong entity tag.
    pub etag: Option<String>,
    pub body: Box<dyn Read>,
}

impl Client {
    pub(super) fn new(config: &DownloadConfig) -> Result<Self, DownloadError> {
        let base = config.base_url.as_ref().map(|base| base.trim_end_matches('/').to_owned());
        if let Some(base) = &base {
            parse(base)?;
        }
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            // Compressed transfer would make sizes, ranges and checksums those of something else.
            .accept_encoding("identity")
            .user_agent(concat!("dina-data/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(config.connect_timeout))
            .timeout_connect(Some(config.connect_timeout))
            .timeout_recv_response(Some(config.read_timeout))
            .timeout_per_read(Some(config.read_timeout))
            .timeout_per_write(Some(config.read_timeout))
            .build();
        Ok(Self { agent: agent.into(), base })
    }

    /// The address that is asked: with another base, scheme and host are the base's, path and query stay.
    pub(super) fn address(&self, url: &str) -> Result<String, DownloadError> {
        let uri = parse(url)?;
        let Some(base) = &self.base else { return Ok(url.to_owned()) };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(format!("{base}{path}"))
    }

    /// One attempt at a file, or at the rest of it.
    pub(super) fn get(&self, url: &str, rest: Option<Continuation<'_>>) -> Result<Answer, Failure> {
        let mut request = self.agent.get(url);
        if let Some(rest) = &rest {
            request = request.header(header::RANGE, format!("bytes={}-", rest.from));
            if let Some(etag) = rest.etag {
                request = request.header(header::IF_RANGE, etag);
            }
        }
        let https = url.starts_with("https://");
        let mut request = request.config().https_only(https);
        if is_loopback(url) {
            // A proxy of the environment is for the world outside.
            request = request.proxy(None);
        }
        let response = request.build().call().map_err(failure)?;
        let (parts, body) = response.into_parts();
        let headers = &parts.headers;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(coding) = text(header::CONTENT_ENCODING).filter(|coding| *coding != "identity") {
            return Err(Failure::Permanent(format!(
                "sends the content as {coding}, which was not asked for"
            )));
        }
        let length = text(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let chunked = text(header::TRANSFER_ENCODING).is_some_and(|coding| coding.contains("chunked"));
        let (from, size) = match (parts.status.as_u16(), &rest) {
            (200, _) => (0, length),
            (206, Some(rest)) => content_range(text(header::CONTENT_RANGE), rest.from)?,
            (416, Some(_)) => return Err(restart("does not have the rest of the file")),
            (status, _) => return Err(refusal(status, headers)),
        };
        // A weak tag promises the same meaning and not the same bytes.
        let etag = text(header::ETAG).filter(|tag| tag.starts_with('"')).map(str::to_owned);
        let asked = rest.and_then(|rest| rest.etag).filter(|_| from > 0);
        if asked.zip(etag.as_deref()).is_some_and(|(asked, sent)| asked != sent) {
            return Err(restart("continues with another version of the file"));
        }
        Ok(Answer {
            from,
            size,
            delimited: chunked || length.is_some(),
            etag,
            body: Box::new(body.into_reader()),
        })
    }
}

fn restart(problem: &str) -> Failure {
    Failure::Restart(problem.to_owned())
}

fn parse(url: &str) -> Result<Uri, DownloadError> {
    let wrong = |problem: String| DownloadError::Address { url: url.to_owned(), problem };
    let uri: Uri = url.parse().map_err(|error| wrong(format!("is no address ({error})")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(wrong("is no http or https address with a host".into())),
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(uri) = parse(url) else { return false };
    let host = uri.host().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// What an error of the client means for another attempt.
fn failure(error: ureq::Error) -> Failure {
    use ureq::Error as E;
    match error {
        E::RequireHttpsOnly(to) => Failure::Permanent(format!("redirects from https to {to}")),
        E::TooManyRedirects => Failure::Permanent(format!("redirects more than {REDIRECTS} times")),
        E::Timeout(what) => Failure::transient(format!("time ran out ({what})")),
        E::Io(error) => Failure::transient(format!("connection failed ({error})")),
        E::HostNotFound => Failure::transient("host not found"),
        E::ConnectionFailed => Failure::transient("no connection"),
        E::Protocol(error) => Failure::transient(format!("does not speak HTTP/1.1 ({error})")),
        E::BodyStalled => Failure::transient("connection stalled"),
        other => Failure::Permanent(other.to_string()),
    }
}

/// What an error while reading a body means.
pub(super) fn read_failure(error: std::io::Error) -> Failure {
    match ureq::Error::from(error) {
        ureq::Error::Io(error) => Failure::transient(format!("connection lost ({error})")),
        other => failure(other),
    }
}

fn refusal(status: u16, headers: &HeaderMap) -> Failure {
    match status {
        408 | 425 | 429 | 500 | 502..=504 => Failure::Transient {
            problem: format!("answers with status {status}"),
            wait: headers.get(header::RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?)),
        },
        _ => Failure::Permanent(format!("answers with status {status}")),
    }
}

/// RFC 9110, section 10.2.3: seconds or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text.trim()).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

/// RFC 9110, section 14.4: `bytes FIRST-LAST/SIZE`. Returns the first byte and the size of the whole file.
///
/// A server may send less than was asked for, and leave the size open (`*`). Then nobody knows whether the end of what it sends
/// is the end of the file, so it has to send all of it.
fn content_range(text: Option<&str>, asked: u64) -> Result<(u64, Option<u64>), Failure> {
    let wrong = || Failure::Restart(format!("sends {text:?}, asked for the bytes from {asked}"));
    let parsed = text.and_then(|text| {
        let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let number = |text: &str| text.parse::<u64>().ok();
        let (first, last, size) = (number(first)?, number(last)?, number(size)?);
        (first == asked && last.checked_add(1) == Some(size)).then_some((first, Some(size)))
    });
    parsed.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_have_to_be_what_was_asked_for() {
        let read = |text| content_range(Some(text), 10).ok();
        assert_eq!(read("bytes 10-99/100"), Some((10, Some(100))));
        for wrong in [
            "bytes 0-99/100",
            "bytes 10-50/100",
            "bytes 10-/100",
            "bytes 10-99/*",
            "10-99/100",
            "bytes */100",
            "bytes 10-18446744073709551615/0",
        ] {
            assert!(read(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after("7"), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn another_base_keeps_path_and_query() {
        let config =
            DownloadConfig { base_url: Some("http://127.0.0.1:8080/mirror/".into()), ..Default::default() };
        let client = Client::new(&config).unwrap();
        let address = client.address("https://api.figshare.com/v2/articles/1/files?page=1").unwrap();
        assert_eq!(address, "http://127.0.0.1:8080/mirror/v2/articles/1/files?page=1");
        for wrong in ["file:///etc/passwd", "ftp://host/a", "no address", ""] {
            assert!(client.address(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn loopback_is_recognised() {
        for (url, expected) in [
            ("http://127.0.0.1:80/a", true),
            ("http://[::1]:80/a", true),
            ("http://localhost/a", true),
            ("http://localhost.example.org/a", false),
            ("https://data.example.org/a", false),
        ] {
            assert_eq!(is_loopback(url), expected, "{url}");
        }
    }
}
