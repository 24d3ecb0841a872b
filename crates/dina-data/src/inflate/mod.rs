//! Inflating long streams on several threads.
//!
//! A deflate stream has one beginning and no other place that is marked, and every byte may refer
//! to the 32 KiB before it. Still it can be inflated from several places at once (Kerbiriou & Chikhi
//! 2019, *pugz*; Knespel & Brunst 2023, *rapidgzip*): threads look for bits that can only be the
//! start of a block, and decode from there with the window unknown, writing down places in the
//! window instead of bytes. The reader takes the parts in order. A part is used only where the one
//! before ends on exactly the bit where it starts, and its places are filled in from what came
//! before; so the result is that of inflating front to back, and what threads guessed decides on the
//! speed alone. Where they found nothing, the reader inflates by itself.
//!
//! The decoder keeps 64 bits of the stream in a register and decodes up to three literals between
//! refills, because responses are mostly noise, and noise is mostly literals. A thread decodes two
//! parts in turns: a code has to be looked up before the next one can be, and two streams fill each
//! other's waiting.

mod decoder;
mod part;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, Error, ErrorKind, Read, Result, Seek, SeekFrom};
use std::num::NonZero;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::Scope;

use decoder::{Damaged, Decoder, Input, PADDING, ROOM, Stop, WINDOW};
use part::{Bench, Lookup, Part, Pool};

/// Compressed bytes of a part: large enough that looking for its start and the unknown window cost
/// little, small enough that a few of them take little memory.
const MOST: u64 = 1 << 20;
const LEAST: u64 = 64 << 10;
/// Inflated bytes of a part, for which its compressed size is chosen.
const AIM: u64 = 3 << 19;
/// Inflated bytes after which threads are started: headers are read without.
const ALONE: u64 = 256 << 10;
/// More threads than this wait for the reader.
const MOST_THREADS: usize = 8;
/// Parts that wait for the reader at most, which may be held up for longer than one takes.
const AHEAD: u64 = 12;
/// What the reader inflates by itself at once.
const CHUNK: usize = 256 << 10;
/// Compressed bytes that are read at once.
const READ: usize = 256 << 10;

/// What surrounds a deflate stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrapping {
    /// Nothing: RFC 1951.
    Bare,
    /// A header and a checksum: RFC 1950.
    Zlib,
}

fn damaged(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

impl From<Damaged> for Error {
    fn from(Damaged(what): Damaged) -> Self {
        damaged(what)
    }
}

/// The bytes of a deflate stream in a file, of which any part can be read.
struct Packed {
    file: File,
    offset: u64,
    length: u64,
}

impl Packed {
    fn open(path: &Path, offset: u64, length: u64) -> Result<Self> {
        Ok(Self { file: File::open(path)?, offset, length })
    }

    /// Adds up to `most` bytes from `at` on to `bytes`, and zeros behind the end of the stream.
    /// Tells whether that is reached.
    fn read(&mut self, at: u64, most: usize, bytes: &mut Vec<u8>) -> Result<bool> {
        let most = self.length.saturating_sub(at).min(most as u64);
        self.file.seek(SeekFrom::Start(self.offset + at))?;
        let read = (&mut self.file).take(most).read_to_end(bytes)? as u64;
        if read < most {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let complete = at + read >= self.length;
        if complete {
            bytes.resize(bytes.len() + PADDING, 0);
        }
        Ok(complete)
    }
}

/// A stretch of the stream in memory.
struct Stretch {
    packed: Packed,
    /// Where in the stream `bytes` start.
    base: u64,
    bytes: Vec<u8>,
    complete: bool,
}

impl Stretch {
    fn new(packed: Packed) -> Self {
        Self { packed, base: 0, bytes: Vec::new(), complete: false }
    }

    fn go_to(&mut self, base: u64, most: usize) -> Result<()> {
        self.base = base;
        self.bytes.clear();
        self.complete = self.packed.read(base, most, &mut self.bytes)?;
        Ok(())
    }

    fn extend(&mut self, most: usize) -> Result<()> {
        if self.complete {
            return Err(damaged("the data end too early"));
        }
        let at = self.base + self.bytes.len() as u64;
        self.complete = self.packed.read(at, most, &mut self.bytes)?;
        Ok(())
    }

    fn input(&self) -> Input<'_> {
        Input { bytes: &self.bytes, complete: self.complete }
    }
}

/// Results of the threads, by the number of the part.
struct Workers {
    tasks: Sender<u64>,
    results: Receiver<(u64, Option<Part>)>,
    early: BTreeMap<u64, Option<Part>>,
    asked: u64,
    parts: u64,
    /// Compressed bytes of a part.
    size: u64,
    pool: Arc<Mutex<Pool>>,
    lookup: Box<Lookup>,
}

impl Workers {
    /// The part of this number, and work for those who are done.
    fn part(&mut self, number: u64) -> Option<Part> {
        while self.asked < self.parts.min(number + 1 + AHEAD) {
            // Nobody listens only where all threads are gone; the reader is told so below.
            let _ = self.tasks.send(self.asked);
            self.asked += 1;
        }
        loop {
            if let Some(part) = self.early.remove(&number) {
                return part;
            }
            let (other, part) = self.results.recv().ok()?;
            self.early.insert(other, part);
        }
    }
}

/// Reports a part, or in a panic that there is none, so that the reader does not wait for ever.
struct Report<'a> {
    results: &'a Sender<(u64, Option<Part>)>,
    number: u64,
    part: Option<Part>,
}

impl Drop for Report<'_> {
    fn drop(&mut self) {
        // The reader may have stopped early.
        let _ = self.results.send((self.number, self.part.take()));
    }
}

/// What starting threads takes.
struct Idle<'scope, 'env> {
    path: &'env Path,
    scope: &'scope Scope<'scope, 'env>,
    threads: usize,
}

/// The inflated bytes.
pub(crate) struct Inflated<'scope, 'env> {
    stretch: Stretch,
    decoder: Decoder,
    /// Whether `decoder` is where the reader is; it is not after a part of a thread was taken.
    placed: bool,
    idle: Option<Idle<'scope, 'env>>,
    workers: Option<Workers>,
    pending: Option<Option<Part>>,
    number: u64,
    /// The bit of the stream where the reader is.
    bit: u64,
    /// Inflated bytes so far.
    delivered: u64,
    ended: bool,
    failed: Option<String>,
    /// The window, then what is delivered.
    out: Vec<u8>,
    /// How much of the window there is.
    window: usize,
    taken: usize,
    filled: usize,
    /// Delivered after `out`.
    rest: Vec<u8>,
    /// Of zlib streams the checksum so far.
    adler: Option<simd_adler32::Adler32>,
}

impl<'scope, 'env> Inflated<'scope, 'env> {
    /// Inflates a stretch of a file, with the help of threads of `scope`.
    pub fn new(
        path: &'env Path,
        offset: u64,
        length: u64,
        wrapping: Wrapping,
        scope: &'scope Scope<'scope, 'env>,
    ) -> Result<Self> {
        let mut packed = Packed::open(path, offset, length)?;
        let adler = match wrapping {
            Wrapping::Bare => None,
            Wrapping::Zlib => {
                let mut head = Vec::new();
                packed.read(0, 2, &mut head)?;
                zlib_header(&head)?;
                packed.offset += 2;
                packed.length = length.saturating_sub(2);
                Some(simd_adler32::Adler32::new())
            }
        };
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(MOST_THREADS);
        Ok(Self {
            stretch: Stretch::new(packed),
            decoder: Decoder::new(),
            placed: false,
            idle: (threads > 1).then_some(Idle { path, scope, threads }),
            workers: None,
            pending: None,
            number: 0,
            bit: 0,
            delivered: 0,
            ended: false,
            failed: None,
            out: vec![0; WINDOW],
            window: 0,
            taken: WINDOW,
            filled: WINDOW,
            rest: Vec::new(),
            adler,
        })
    }

    /// Brings more bytes, or finds the end.
    fn advance(&mut self) -> Result<()> {
        if let Some(what) = &self.failed {
            return Err(damaged(what));
        }
        let result = self.try_advance();
        if let Err(error) = &result {
            self.failed = Some(error.to_string());
            self.taken = self.filled;
        }
        result
    }

    fn try_advance(&mut self) -> Result<()> {
        self.keep_window();
        if self.delivered >= ALONE
            && let Some(idle) = self.idle.take()
        {
            self.start(&idle)?;
        }
        while self.taken == self.filled && !self.ended {
            let until = match self.next_part() {
                Some(Ok(part)) => {
                    self.take(part)?;
                    continue;
                }
                Some(Err(until)) => until,
                None => u64::MAX,
            };
            self.inflate(until)?;
        }
        Ok(())
    }

    /// Starts threads, now that it is known how much comes out of a byte.
    fn start(&mut self, idle: &Idle<'scope, 'env>) -> Result<()> {
        let packed = &self.stretch.packed;
        let used = (self.bit / 8).max(1);
        let size = (AIM * used / self.delivered.max(1)).clamp(LEAST, MOST);
        let (number, parts) = (used.div_ceil(size), packed.length.div_ceil(size));
        if parts <= number + 1 {
            return Ok(());
        }
        let (tasks, waiting) = channel::<u64>();
        let waiting = Arc::new(Mutex::new(waiting));
        let pool = Arc::new(Mutex::new(Pool::default()));
        let (send, results) = channel();
        for _ in 0..idle.threads {
            let bench = || -> Result<Bench> {
                let stretch = Stretch::new(Packed::open(idle.path, packed.offset, packed.length)?);
                Ok(Bench { stretch, decoder: Decoder::new() })
            };
            let (mut one, mut two) = (bench()?, bench()?);
            let (waiting, pool) = (waiting.clone(), pool.clone());
            let send = send.clone();
            std::thread::Builder::new().name("inflate".to_owned()).spawn_scoped(idle.scope, move || {
                loop {
                    let Ok((Ok(first), second)) = waiting.lock().map(|w| (w.recv(), w.try_recv())) else {
                        return;
                    };
                    let mut report = Report { results: &send, number: first, part: None };
                    // A part that cannot be read is found so again by the reader, who says why.
                    let Ok(second) = second else {
                        report.part = part::find(&mut one, first * size, size, &pool).ok().flatten();
                        continue;
                    };
                    let mut later = Report { results: &send, number: second, part: None };
                    let at = [first * size, second * size];
                    if let Ok(parts) = part::find_both([&mut one, &mut two], at, size, &pool) {
                        [report.part, later.part] = parts;
                    }
                }
            })?;
        }
        let (early, lookup) = (BTreeMap::new(), Box::new([0; 1 << 16]));
        self.workers = Some(Workers { tasks, results, early, asked: number, parts, size, pool, lookup });
        self.number = number;
        Ok(())
    }

    /// The part that starts where the reader is, or the bit up to which there is none.
    fn next_part(&mut self) -> Option<std::result::Result<Part, u64>> {
        let bit = self.bit;
        let workers = self.workers.as_mut()?;
        while self.number < workers.parts {
            let number = self.number;
            let pending = self.pending.get_or_insert_with(|| workers.part(number));
            let until = match pending {
                Some(part) if part.start == bit => {
                    self.number += 1;
                    return self.pending.take().flatten().map(Ok);
                }
                Some(part) => part.start,
                None => (number + 1) * workers.size * 8,
            };
            if until > bit {
                return Some(Err(until));
            }
            // Passed without meeting it.
            self.pending = None;
            self.number += 1;
        }
        None
    }

    /// Delivers what a thread inflated.
    fn take(&mut self, part: Part) -> Result<()> {
        self.placed = false;
        self.bit = part.end;
        self.ended = part.ended;
        self.out.truncate(WINDOW);
        if let Some(workers) = &mut self.workers {
            part::fill_lookup(&mut workers.lookup, &self.out);
            part.resolve(&workers.lookup, self.window, &mut self.out)?;
        }
        self.filled = self.out.len();
        let (symbols, bytes) = part.into_buffers();
        self.give_back(|pool| pool.symbols.push(symbols));
        self.rest = bytes;
        self.add_to_checksum(WINDOW..self.filled);
        if let Some(adler) = &mut self.adler {
            adler.write(self.rest.get(WINDOW..).unwrap_or_default());
        }
        self.delivered += self.filled as u64;
        if self.taken == self.filled {
            self.keep_window();
        }
        self.check_end()
    }

    /// Inflates up to the first block that starts at bit `until` or later, or as much as fits.
    fn inflate(&mut self, until: u64) -> Result<()> {
        if !self.placed {
            self.stretch.go_to(self.bit / 8, READ)?;
            self.decoder.start_at((self.bit % 8) as usize, self.stretch.input());
            self.placed = true;
        }
        self.out.resize(WINDOW + CHUNK + ROOM, 0);
        let from = WINDOW - self.window;
        let mut at = self.filled;
        let stopped = loop {
            match self.decoder.run(self.stretch.input(), &mut self.out, from, &mut at) {
                Ok(Stop::Input) => {
                    let done = self.decoder.needed_from();
                    self.stretch.bytes.drain(..done);
                    self.stretch.base += done as u64;
                    self.decoder.forget(done);
                    if let Err(error) = self.stretch.extend(READ) {
                        break Err(error);
                    }
                }
                Ok(Stop::Block) if self.place() < until => {}
                Ok(Stop::End) => {
                    self.ended = true;
                    break Ok(());
                }
                Ok(Stop::Block | Stop::Output) => break Ok(()),
                Err(error) => break Err(error.into()),
            }
        };
        stopped?;
        self.bit = self.place();
        self.delivered += (at - self.filled) as u64;
        let new = self.filled..at;
        self.filled = at;
        self.add_to_checksum(new);
        self.check_end()
    }

    /// Lets the threads have a buffer again.
    fn give_back(&self, put: impl FnOnce(&mut Pool)) {
        if let Some(workers) = &self.workers
            && let Ok(mut pool) = workers.pool.lock()
        {
            put(&mut pool);
        }
    }

    fn place(&self) -> u64 {
        8 * self.stretch.base + self.decoder.bit() as u64
    }

    /// Moves the last bytes that were delivered to where the window is.
    fn keep_window(&mut self) {
        if self.rest.len() > WINDOW {
            let used = std::mem::replace(&mut self.out, std::mem::take(&mut self.rest));
            self.give_back(|pool| pool.bytes.push(used));
            self.taken = WINDOW;
            self.filled = self.out.len();
            self.window = WINDOW;
            return;
        }
        self.rest.clear();
        let delivered = self.filled - WINDOW;
        self.out.copy_within(delivered..self.filled, 0);
        self.window = (self.window + delivered).min(WINDOW);
        self.taken = WINDOW;
        self.filled = WINDOW;
    }

    fn add_to_checksum(&mut self, range: std::ops::Range<usize>) {
        if let Some(adler) = &mut self.adler {
            adler.write(&self.out[range]);
        }
    }

    /// Behind the last block of a zlib stream stands the checksum.
    fn check_end(&mut self) -> Result<()> {
        let Some(adler) = self.adler.as_ref().filter(|_| self.ended) else {
            return Ok(());
        };
        let at = self.bit.div_ceil(8);
        let mut trailer = Vec::new();
        self.stretch.packed.read(at, 4, &mut trailer)?;
        let complete = self.stretch.packed.length.saturating_sub(at) >= 4;
        match trailer.first_chunk::<4>() {
            Some(sum) if complete && u32::from_be_bytes(*sum) == adler.finish() => Ok(()),
            Some(_) if complete => Err(damaged("the checksum of the compressed data is wrong")),
            _ => Err(ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for Inflated<'_, '_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let there = self.fill_buf()?;
        let n = there.len().min(buffer.len());
        buffer[..n].copy_from_slice(&there[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Inflated<'_, '_> {
    fn fill_buf(&mut self) -> Result<&[u8]> {
        if self.taken == self.filled {
            self.advance()?;
        }
        Ok(&self.out[self.taken..self.filled])
    }

    fn consume(&mut self, amount: usize) {
        self.taken = (self.taken + amount).min(self.filled);
    }
}

/// RFC 1950, section 2.2: method 8, a check of both bytes, and no dictionary.
fn zlib_header(head: &[u8]) -> Result<()> {
    match head {
        &[method, flags, ..]
            if method & 0x0f == 8
                && method >> 4 <= 7
                && u16::from_be_bytes([method, flags]).is_multiple_of(31)
                && flags & 0x20 == 0 =>
        {
            Ok(())
        }
        _ => Err(damaged("the header of the compressed data is wrong")),
    }
}
