//! A part of a stream, inflated by a thread that does not know what comes before it.

use std::io::Result;
use std::sync::Mutex;

use super::decoder::{Decoder, ROOM, Stop, Symbol, WINDOW};
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

/// Inflates from the first block that starts in `size` bytes from `at` on, to the first that starts
/// behind them; `None` where none is found, or it would be too large.
pub(super) fn find(
    stretch: &mut Stretch,
    decoder: &mut Decoder,
    at: u64,
    size: u64,
    pool: &Mutex<Pool>,
) -> Result<Option<Part>> {
    stretch.go_to(at, size as usize + READ)?;
    let search = 8 * SEARCH.min(size as usize);
    let mut tries = 0;
    let mut bit = 0;
    while let Some(candidate) = candidate(&stretch.bytes, bit, search) {
        decoder.start_at(candidate, stretch.input());
        bit = candidate + 1;
        if !decoder.enters(stretch.input()) {
            continue;
        }
        let length = stretch.bytes.len();
        if let Some(part) = inflate(stretch, decoder, candidate, size, pool) {
            return Ok(Some(part));
        }
        if stretch.bytes.len() > length {
            stretch.go_to(at, size as usize + READ)?;
        }
        tries += 1;
        if tries == MOST_TRIES {
            break;
        }
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

/// Inflates to the first block that starts `size` bytes or more into the stretch.
fn inflate(
    stretch: &mut Stretch,
    decoder: &mut Decoder,
    start: usize,
    size: u64,
    pool: &Mutex<Pool>,
) -> Option<Part> {
    let limit = 8 * size as usize;
    let mut ended = false;
    let (mut unknown, mut known) = match pool.lock() {
        Ok(mut pool) => (pool.symbols.pop().unwrap_or_default(), pool.bytes.pop().unwrap_or_default()),
        Err(_) => return None,
    };
    unknown.clear();
    unknown.extend((0..WINDOW as u16).map(|place| PLACE + place));
    known.clear();
    let mut at = WINDOW;
    let mut clear = false;
    while !clear && !ended {
        match step(stretch, decoder, &mut unknown, &mut at)? {
            Stop::Block => {
                let window = unknown[..at].last_chunk::<WINDOW>()?;
                clear = at >= 2 * WINDOW && window.iter().fold(0, |most, &s| most.max(s)) < PLACE;
                if decoder.bit() >= limit {
                    break;
                }
            }
            Stop::End => ended = true,
            Stop::Input | Stop::Output => {}
        }
    }
    unknown.truncate(at);
    if clear && !ended && decoder.bit() < limit {
        known.extend(unknown[at - WINDOW..].iter().map(|&symbol| symbol as u8));
        at = WINDOW;
        loop {
            match step(stretch, decoder, &mut known, &mut at)? {
                Stop::Block if decoder.bit() < limit => {}
                Stop::Block => break,
                Stop::End => {
                    ended = true;
                    break;
                }
                Stop::Input | Stop::Output => {}
            }
        }
        known.truncate(at);
    }
    unknown.drain(..WINDOW);
    if known.len() <= WINDOW {
        known.clear();
    }
    let base = 8 * stretch.base;
    Some(Part { start: base + start as u64, end: base + decoder.bit() as u64, ended, unknown, known })
}

/// Decodes on, and makes place where some is missing; `None` where the stream is none.
fn step<T: Symbol>(
    stretch: &mut Stretch,
    decoder: &mut Decoder,
    out: &mut Vec<T>,
    at: &mut usize,
) -> Option<Stop> {
    if out.len() < *at + 4 * ROOM {
        if out.len() > MOST_OUT {
            return None;
        }
        let more = out.len().max(4 * WINDOW);
        out.resize(out.len() + more, T::default());
    }
    let stop = decoder.run(stretch.input(), out, 0, at).ok()?;
    if stop == Stop::Input {
        stretch.extend(READ).ok()?;
    }
    Some(stop)
}
