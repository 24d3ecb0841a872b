//! A part of a stream, inflated by a thread that does not know what comes before it.

use std::io::Result;
use std::sync::Mutex;

use super::decoder::{Damaged, Decoder, ROOM, Side, Stop, Symbol, WINDOW, both};
use super::{READ, Stretch, damaged};

/// A part that grows beyond this is left to the reader, who needs no memory for it.
const MOST_OUT: usize = 8 << 20;
/// The start of a block is looked for no further than this: blocks of zlib are a few dozen KiB.
const SEARCH: usize = 96 << 10;
/// Starts that were none; each costs some decoding.
const MOST_TRIES: usize = 16;
/// Values from here on are places in the window.
const PLACE: u16 = 256;

/// Inflated bytes between two block borders.
pub(super) struct Part {
    /// The bits of the stream where it starts and ends.
    pub start: u64,
    pub end: u64,
    /// Whether the stream ends with it.
    pub ended: bool,
    /// Bytes and places in the window before the part.
    unknown: Vec<u16>,
    /// What follows: a window's worth of bytes again, then those that no longer depend on it.
    pub known: Vec<u8>,
}

impl Part {
    /// Adds the bytes that depend on the window, of which `lookup` has the last `window` bytes.
    pub fn resolve(&self, lookup: &Lookup, window: usize, out: &mut Vec<u8>) -> Result<()> {
        let before = PLACE..PLACE + (WINDOW - window) as u16;
        if !before.is_empty() && self.unknown.iter().any(|symbol| before.contains(symbol)) {
            return Err(damaged("a match reaches before the start"));
        }
        out.extend(self.unknown.iter().map(|&symbol| lookup[usize::from(symbol)]));
        Ok(())
    }

    /// What can be used again.
    pub fn into_buffers(self) -> (Vec<u16>, Vec<u8>) {
        (self.unknown, self.known)
    }
}

/// The byte that a symbol means: itself, or what is at its place in the window.
pub(super) type Lookup = [u8; 1 << 16];

/// Bytes that stand for themselves, and those of a window.
pub(super) fn fill_lookup(lookup: &mut Lookup, window: &[u8]) {
    for (byte, slot) in lookup.iter_mut().enumerate().take(usize::from(PLACE)) {
        *slot = byte as u8;
    }
    let places = lookup[usize::from(PLACE)..].iter_mut();
    places.zip(window).for_each(|(slot, &byte)| *slot = byte);
}

/// Buffers that were used, so that each part does not need memory of its own.
#[derive(Default)]
pub(super) struct Pool {
    pub symbols: Vec<Vec<u16>>,
    pub bytes: Vec<Vec<u8>>,
}

/// A thread's means to inflate a part.
pub(super) struct Bench {
    pub stretch: Stretch,
    pub decoder: Decoder,
}

/// Inflates from the first block that starts in `size` bytes from `at` on, to the first that starts
/// behind them; `None` where none is found, or it would be too large.
pub(super) fn find(bench: &mut Bench, at: u64, size: u64, pool: &Mutex<Pool>) -> Result<Option<Part>> {
    bench.stretch.go_to(at, size as usize + READ)?;
    let job = Job::begin(bench, 0, size, pool);
    finish(job, size, pool)
}

/// The same of two parts at once, which takes less than one after the other.
pub(super) fn find_both(
    benches: [&mut Bench; 2],
    at: [u64; 2],
    size: u64,
    pool: &Mutex<Pool>,
) -> Result<[Option<Part>; 2]> {
    let [first, second] = benches;
    first.stretch.go_to(at[0], size as usize + READ)?;
    second.stretch.go_to(at[1], size as usize + READ)?;
    let mut jobs = (Job::begin(first, 0, size, pool), Job::begin(second, 0, size, pool));
    if let (Some(one), Some(two)) = (&mut jobs.0, &mut jobs.1) {
        while one.is_active() && two.is_active() {
            if one.phase == two.phase && one.bench.decoder.in_symbols() && two.bench.decoder.in_symbols() {
                Job::step_both(one, two);
            } else if !one.bench.decoder.in_symbols() || one.phase == Phase::Places {
                one.step();
            } else {
                two.step();
            }
        }
    }
    Ok([finish(jobs.0, size, pool)?, finish(jobs.1, size, pool)?])
}

/// Inflates to the end, from later starts where one was none.
fn finish(job: Option<Job<'_>>, size: u64, pool: &Mutex<Pool>) -> Result<Option<Part>> {
    let Some(mut job) = job else {
        return Ok(None);
    };
    for _ in 0..MOST_TRIES {
        while job.is_active() {
            job.step();
        }
        if job.phase == Phase::Done {
            return Ok(Some(job.part()));
        }
        let (bench, bit) = (job.bench, job.start + 1);
        let at = bench.stretch.base;
        bench.stretch.go_to(at, size as usize + READ)?;
        job = match Job::begin(bench, bit, size, pool) {
            Some(job) => job,
            None => return Ok(None),
        };
    }
    Ok(None)
}

/// The first bit from `from` on, below `to`, where a block of dynamic codes may start that is not
/// the last: its type, the numbers of codes, and the codes of the code lengths are possible.
pub(super) fn candidate(bytes: &[u8], from: usize, to: usize) -> Option<usize> {
    (from..to).find(|&bit| {
        let Some(words) = bytes.get(bit / 8..).and_then(<[u8]>::first_chunk::<16>) else {
            return false;
        };
        let bits = u128::from_le_bytes(*words) >> (bit % 8);
        if bits & 7 != 0b100 || (bits >> 3) & 31 > 29 || (bits >> 8) & 31 > 29 {
            return false;
        }
        let given = ((bits >> 13) & 15) as u32 + 4;
        let sum: u32 = (0..given)
            .map(|n| (bits >> (17 + 3 * n)) as u32 & 7)
            .filter(|&width| width > 0)
            .map(|width| 128 >> width)
            .sum();
        sum == 128
    })
}

/// What a part is inflated into at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Bytes and places in the window.
    Places,
    /// Bytes: nothing refers to the window any more.
    Bytes,
    Done,
    /// The start was none, or the part is too large.
    Failed,
}

/// A part that is being inflated.
struct Job<'b> {
    bench: &'b mut Bench,
    /// The bit of the stretch where it starts, and the one from which on it may end.
    start: usize,
    limit: usize,
    unknown: Vec<u16>,
    known: Vec<u8>,
    /// The end of what is inflated, in the one of the two that is in use.
    at: usize,
    phase: Phase,
    ended: bool,
}

impl<'b> Job<'b> {
    /// Looks for a start from a bit of the stretch on.
    fn begin(bench: &'b mut Bench, from: usize, size: u64, pool: &Mutex<Pool>) -> Option<Self> {
        let search = 8 * SEARCH.min(size as usize);
        let mut bit = from;
        let start = loop {
            let start = candidate(&bench.stretch.bytes, bit, search)?;
            bench.decoder.start_at(start, bench.stretch.input());
            if bench.decoder.enters(bench.stretch.input()) {
                break start;
            }
            bit = start + 1;
        };
        let (mut unknown, mut known) = {
            let mut pool = pool.lock().ok()?;
            (pool.symbols.pop().unwrap_or_default(), pool.bytes.pop().unwrap_or_default())
        };
        unknown.clear();
        unknown.extend((0..WINDOW as u16).map(|place| PLACE + place));
        known.clear();
        let limit = 8 * size as usize;
        Some(Self { bench, start, limit, unknown, known, at: WINDOW, phase: Phase::Places, ended: false })
    }

    fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Places | Phase::Bytes)
    }

    /// Makes place where some is missing.
    fn make_room(&mut self) {
        let fits = match self.phase {
            Phase::Places => grow(&mut self.unknown, self.at),
            _ => grow(&mut self.known, self.at),
        };
        if !fits {
            self.phase = Phase::Failed;
        }
    }

    /// Decodes to the next stop.
    fn step(&mut self) {
        self.make_room();
        let Bench { stretch, decoder } = &mut *self.bench;
        let stop = match self.phase {
            Phase::Places => decoder.run(stretch.input(), &mut self.unknown, 0, &mut self.at),
            Phase::Bytes => decoder.run(stretch.input(), &mut self.known, 0, &mut self.at),
            Phase::Done | Phase::Failed => return,
        };
        self.settle(stop);
    }

    /// The same of two jobs in one phase, until one stops.
    fn step_both(one: &mut Self, two: &mut Self) {
        one.make_room();
        two.make_room();
        let (first, second) = match (one.phase, two.phase) {
            (Phase::Places, Phase::Places) => both(
                side(one.bench, &mut one.unknown, &mut one.at),
                side(two.bench, &mut two.unknown, &mut two.at),
            ),
            (Phase::Bytes, Phase::Bytes) => both(
                side(one.bench, &mut one.known, &mut one.at),
                side(two.bench, &mut two.known, &mut two.at),
            ),
            _ => return,
        };
        if let Some(stop) = first {
            one.settle(stop);
        }
        if let Some(stop) = second {
            two.settle(stop);
        }
    }

    fn settle(&mut self, stop: std::result::Result<Stop, Damaged>) {
        match stop {
            Ok(Stop::Block) => {
                if self.bench.decoder.bit() >= self.limit {
                    self.phase = Phase::Done;
                } else if self.phase == Phase::Places {
                    self.forget_window();
                }
            }
            Ok(Stop::End) => {
                self.ended = true;
                self.phase = Phase::Done;
            }
            Ok(Stop::Input) => {
                if self.bench.stretch.extend(READ).is_err() {
                    self.phase = Phase::Failed;
                }
            }
            Ok(Stop::Output) => {}
            Err(_) => self.phase = Phase::Failed,
        }
    }

    /// Goes on with bytes, where no place is left in what later matches can refer to.
    fn forget_window(&mut self) {
        let Some(window) = self.unknown[..self.at].last_chunk::<WINDOW>() else {
            return;
        };
        if self.at >= 2 * WINDOW && window.iter().fold(0, |most, &symbol| most.max(symbol)) < PLACE {
            self.known.extend(window.iter().map(|&symbol| symbol as u8));
            self.unknown.truncate(self.at);
            self.at = WINDOW;
            self.phase = Phase::Bytes;
        }
    }

    fn part(mut self) -> Part {
        match self.known.is_empty() {
            true => self.unknown.truncate(self.at),
            false => self.known.truncate(self.at),
        }
        self.unknown.drain(..WINDOW);
        if self.known.len() <= WINDOW {
            self.known.clear();
        }
        let base = 8 * self.bench.stretch.base;
        Part {
            start: base + self.start as u64,
            end: base + self.bench.decoder.bit() as u64,
            ended: self.ended,
            unknown: self.unknown,
            known: self.known,
        }
    }
}

fn side<'a, T: Symbol>(bench: &'a mut Bench, out: &'a mut [T], at: &'a mut usize) -> Side<'a, T> {
    let Bench { stretch, decoder } = bench;
    Side { decoder, input: stretch.input(), out, at }
}

/// Makes room behind `at`; `false` where there is too much already.
fn grow<T: Symbol>(out: &mut Vec<T>, at: usize) -> bool {
    if out.len() < at + 4 * ROOM {
        if out.len() > MOST_OUT {
            return false;
        }
        let more = out.len().max(4 * WINDOW);
        out.resize(out.len() + more, T::default());
    }
    true
}
