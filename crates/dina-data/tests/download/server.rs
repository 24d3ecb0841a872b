//! A small HTTP/1.1 server on the loopback interface that does what it is told, mischief included.

// Each test that includes it uses its own part; helpers of a test fail the test.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request, as far as the tests look at it.
#[derive(Debug, Clone)]
pub struct Request {
    /// Path and query.
    pub path: String,
    /// Headers, names in lower case.
    pub headers: HashMap<String, String>,
    /// How many requests for the same path came before.
    pub nth: usize,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// First byte of the range that is asked for.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// What the server answers.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether `Content-Length` is that of the body; else no length is said unless `headers` say one.
    pub length: bool,
    /// Bytes of the body that are sent.
    pub sent: usize,
    /// What happens behind them.
    pub then: Then,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The connection is closed.
    Close,
    /// Nothing more comes, and the connection stays open.
    Stall,
    /// The same, before the headers are complete.
    StallInHead,
}

impl Reply {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status, headers: Vec::new(), sent: body.len(), body, length: true, then: Then::Close }
    }

    pub fn header(mut self, name: &str, value: impl ToString) -> Self {
        self.headers.push((name.into(), value.to_string()));
        self
    }

    /// Sends only so many bytes of the body, whatever length was said.
    pub fn cut(mut self, sent: usize) -> Self {
        self.sent = sent.min(self.body.len());
        self
    }

    pub fn stall(mut self) -> Self {
        self.then = Then::Stall;
        self
    }

    pub fn stall_in_head(mut self) -> Self {
        self.then = Then::StallInHead;
        self
    }

    pub fn without_length(mut self) -> Self {
        self.length = false;
        self
    }

    /// The body in two chunks of HTTP/1.1.
    pub fn chunked(mut self) -> Self {
        let (first, second) = self.body.split_at(self.body.len() / 2);
        let mut text = Vec::new();
        for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
            text.extend(format!("{:x}\r\n", part.len()).bytes());
            text.extend(part);
            text.extend(b"\r\n");
        }
        text.extend(b"0\r\n\r\n");
        self.sent = text.len();
        self.body = text;
        self.without_length().header("Transfer-Encoding", "chunked")
    }

    /// A file as a good server sends it: with a range where one is asked for and the version is still the same.
    pub fn file(request: &Request, body: &[u8], etag: &str) -> Self {
        let same = request.header("if-range").is_none_or(|asked| asked == etag);
        match request.from().filter(|_| same) {
            Some(from) if from >= body.len() => Self::new(416, ""),
            Some(from) => Self::new(206, &body[from..])
                .header("Content-Range", format!("bytes {from}-{}/{}", body.len() - 1, body.len())),
            None => Self::new(200, body),
        }
        .header("ETag", etag)
    }
}

/// The server. It ends with the value.
pub struct Server {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Request>>>,
    over: Arc<AtomicBool>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (log, over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (requests, ended, answer) = (log.clone(), over.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (requests, ended, answer) = (requests.clone(), ended.clone(), answer.clone());
                if let Ok(stream) = stream {
                    // A client that gives up early is what many tests are about.
                    std::thread::spawn(move || serve(stream, &requests, &ended, &*answer).ok());
                }
            }
        });
        Self { address, log, over }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.log.lock().unwrap().clone()
    }

    /// How many requests came for paths that start so.
    pub fn count(&self, path: &str) -> usize {
        self.requests().iter().filter(|request| request.path.starts_with(path)).count()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

fn serve(
    mut stream: TcpStream,
    log: &Mutex<Vec<Request>>,
    over: &AtomicBool,
    answer: &dyn Fn(&Request) -> Reply,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let Some(path) = first.split(' ').nth(1).map(str::to_owned) else { return Ok(()) };
    let mut headers = HashMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_lowercase(), value.trim().to_owned());
    }
    let request = {
        let mut log = log.lock().unwrap();
        let nth = log.iter().filter(|earlier| earlier.path == path).count();
        log.push(Request { path, headers, nth });
        log[log.len() - 1].clone()
    };
    let reply = answer(&request);
    let mut head = format!("HTTP/1.1 {} X\r\nConnection: close\r\n", reply.status);
    if reply.length {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    stream.write_all(head.as_bytes())?;
    if reply.then != Then::StallInHead {
        stream.write_all(b"\r\n")?;
        stream.write_all(&reply.body[..reply.sent])?;
    }
    stream.flush()?;
    while reply.then != Then::Close && !over.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    // Closing with bytes unread would send a reset, which may overtake what was sent.
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}
