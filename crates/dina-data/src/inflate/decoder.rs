//! Decoding of deflate blocks (RFC 1951) from any bit of a stream on.

use super::table::{
    CONTINUED, DISTANCE_BITS, DISTANCE_SYMBOLS, LITERAL, LITERAL_BITS, LITERAL_SYMBOLS, SPECIAL, Tables, extra,
    fill, is_end, value, width,
};

/// How far back a match may reach.
pub(super) const WINDOW: usize = 32 << 10;
/// What has to be free in the output before a symbol is decoded: three literals, the longest
/// match, and what copying in groups writes beyond it.
pub(super) const ROOM: usize = 3 + 258 + 2 * GROUP;
/// What has to follow in the input before a symbol is decoded, so that a refill never ends short.
const AHEAD: usize = 32;
/// The longest header of a block in bytes, rounded up: 14 bits, 19 code lengths of 3, and 320 of
/// up to 14.
const HEADER: usize = 640;
/// Symbols that are copied at once.
const GROUP: usize = 8;

/// What is decoded into: bytes, or bytes and places in a window that is not known yet.
pub(super) trait Symbol: Copy + Default + From<u8> + Send + 'static {}

impl Symbol for u8 {}
impl Symbol for u16 {}

/// Why decoding stopped; it can go on from there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// Between two blocks.
    Block,
    /// Behind the last block.
    End,
    /// More input is needed.
    Input,
    /// The output is full.
    Output,
}

/// The stream is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged(pub &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before a block.
    Header,
    /// In a block without compression, of which so much is left.
    Stored(usize),
    /// In a block of symbols.
    Symbols,
    /// Behind the last block.
    End,
}

/// A place in a stream, and the codes of the block there.
pub(super) struct Decoder {
    tables: Tables,
    state: State,
    last: bool,
    /// The next byte of the input that is not in `bits`.
    next: usize,
    bits: u64,
    /// How many of `bits` count.
    count: u32,
}

/// Input of which more may come later.
#[derive(Clone, Copy)]
pub(super) struct Input<'a> {
    /// What is there; behind the end of the stream there are zeros, [`PADDING`] of them.
    pub bytes: &'a [u8],
    /// Whether the stream ends with it.
    pub complete: bool,
}

/// Zeros behind the end of a stream, so that its last symbols are decoded like the others.
pub(super) const PADDING: usize = 2 * AHEAD + HEADER;

impl Decoder {
    pub fn new() -> Self {
        Self { tables: Tables::new(), state: State::Header, last: false, next: 0, bits: 0, count: 0 }
    }

    /// Goes to a bit of the input, where a block starts.
    pub fn start_at(&mut self, bit: usize, input: Input<'_>) {
        self.state = State::Header;
        self.last = false;
        self.next = bit / 8;
        self.bits = 0;
        self.count = 0;
        if !bit.is_multiple_of(8) {
            self.refill(input.bytes);
            self.take((bit % 8) as u32);
        }
    }

    /// Whether a block with codes of its own starts here, as far as its header tells.
    pub fn enters(&mut self, input: Input<'_>) -> bool {
        let nothing: &mut [u8] = &mut [];
        self.run(input, nothing, 0, &mut 0) == Ok(Stop::Output)
    }

    /// The bit of the input where it goes on.
    pub fn bit(&self) -> usize {
        (self.next * 8).saturating_sub(self.count as usize)
    }

    /// The input has lost so many bytes at its start.
    pub fn forget(&mut self, bytes: usize) {
        self.next -= bytes;
    }

    /// The byte of the input before which nothing is needed any more.
    pub fn needed_from(&self) -> usize {
        self.bit() / 8
    }

    #[inline]
    fn refill(&mut self, input: &[u8]) {
        if let Some(word) = input.get(self.next..).and_then(<[u8]>::first_chunk) {
            self.bits |= u64::from_le_bytes(*word) << self.count;
            self.next += (63 - self.count as usize) >> 3;
            self.count |= 56;
        }
    }

    #[inline]
    fn take(&mut self, n: u32) -> u64 {
        let value = self.bits & ((1 << n) - 1);
        self.bits >>= n;
        self.count = self.count.saturating_sub(n);
        value
    }

    /// Decodes until a block ends or something is missing. `out[from..at]` is what matches may
    /// refer to; `at` grows.
    pub fn run<T: Symbol>(
        &mut self,
        input: Input<'_>,
        out: &mut [T],
        from: usize,
        at: &mut usize,
    ) -> Result<Stop, Damaged> {
        loop {
            let stop = match self.state {
                State::End => return Ok(Stop::End),
                State::Header => {
                    if !self.has(input, HEADER) {
                        return Ok(Stop::Input);
                    }
                    self.header(input.bytes)?;
                    None
                }
                State::Stored(left) => self.stored(input, out, at, left)?,
                State::Symbols => self.symbols(input, out, from, at)?,
            };
            if input.complete && self.bit() > 8 * (input.bytes.len().saturating_sub(PADDING)) {
                return Err(Damaged("the data end too early"));
            }
            match stop {
                Some(stop) => return Ok(stop),
                None if self.state == State::Header && self.last => {
                    self.state = State::End;
                    return Ok(Stop::End);
                }
                None if self.state == State::Header => return Ok(Stop::Block),
                None => {}
            }
        }
    }

    /// Whether `bytes` more follow.
    fn has(&self, input: Input<'_>, bytes: usize) -> bool {
        input.bytes.len().saturating_sub(self.next) >= bytes + AHEAD
    }

    fn header(&mut self, input: &[u8]) -> Result<(), Damaged> {
        self.refill(input);
        self.last = self.take(1) == 1;
        match self.take(2) {
            0 => {
                // The rest of the byte is skipped; whole bytes go back.
                let odd = self.count % 8;
                self.take(odd);
                self.next = self.bit() / 8;
                self.bits = 0;
                self.count = 0;
                let sizes = input.get(self.next..).and_then(<[u8]>::first_chunk::<4>);
                let &[a, b, c, d] = sizes.ok_or(Damaged("the data end too early"))?;
                let (size, check) = (u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]));
                if size != !check {
                    return Err(Damaged("the length of a stored block is wrong"));
                }
                self.next += 4;
                self.state = State::Stored(size.into());
            }
            1 => {
                self.tables.build_fixed().ok_or(Damaged("the fixed codes are wrong"))?;
                self.state = State::Symbols;
            }
            2 => {
                self.codes(input)?;
                self.state = State::Symbols;
            }
            _ => return Err(Damaged("a block is of no known type")),
        }
        Ok(())
    }

    /// Reads the codes of a block (RFC 1951, section 3.2.7).
    fn codes(&mut self, input: &[u8]) -> Result<(), Damaged> {
        const ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];
        const WIDTH: u32 = 7;
        let wrong = Damaged("the codes of a block are wrong");
        let literals = self.take(5) as usize + 257;
        let distances = self.take(5) as usize + 1;
        let given = self.take(4) as usize + 4;
        if literals > 286 || distances > 30 {
            return Err(wrong);
        }
        let mut widths = [0_u8; 19];
        for &symbol in &ORDER[..given] {
            if self.count < 3 {
                self.refill(input);
            }
            widths[symbol] = self.take(3) as u8;
        }
        let mut table = [SPECIAL; 1 << WIDTH];
        fill(&mut table, WIDTH, &widths, |symbol| (symbol as u32) << 16).ok_or(wrong)?;
        let mut lengths = [0_u8; LITERAL_SYMBOLS + DISTANCE_SYMBOLS];
        let total = literals + distances;
        let mut at = 0;
        while at < total {
            self.refill(input);
            let entry = table[(self.bits & ((1 << WIDTH) - 1)) as usize];
            if entry & SPECIAL != 0 {
                return Err(wrong);
            }
            self.take(width(entry));
            let (length, times) = match value(entry) {
                length @ 0..16 => (length as u8, 1),
                16 => {
                    let previous = at.checked_sub(1).map(|at| lengths[at]).ok_or(wrong)?;
                    (previous, 3 + self.take(2) as usize)
                }
                17 => (0, 3 + self.take(3) as usize),
                _ => (0, 11 + self.take(7) as usize),
            };
            if at + times > total {
                return Err(wrong);
            }
            lengths[at..at + times].fill(length);
            at += times;
        }
        let (literal_lengths, rest) = lengths.split_at(literals);
        self.tables.build(literal_lengths, &rest[..distances]).ok_or(wrong)
    }

    fn stored<T: Symbol>(
        &mut self,
        input: Input<'_>,
        out: &mut [T],
        at: &mut usize,
        left: usize,
    ) -> Result<Option<Stop>, Damaged> {
        let padding = if input.complete { PADDING } else { 0 };
        let there = input.bytes.len().saturating_sub(padding + self.next);
        let free = out.len().saturating_sub(*at);
        let now = left.min(there).min(free);
        for (slot, &byte) in out[*at..*at + now].iter_mut().zip(&input.bytes[self.next..self.next + now]) {
            *slot = T::from(byte);
        }
        *at += now;
        self.next += now;
        if now == left {
            self.state = State::Header;
            return Ok(None);
        }
        self.state = State::Stored(left - now);
        match (now == free, input.complete) {
            (true, _) => Ok(Some(Stop::Output)),
            (false, false) => Ok(Some(Stop::Input)),
            (false, true) => Err(Damaged("the data end too early")),
        }
    }

    /// Symbols to the end of the block, as far as input and output last. `None` is the end.
    fn symbols<T: Symbol>(
        &mut self,
        input: Input<'_>,
        out: &mut [T],
        from: usize,
        at: &mut usize,
    ) -> Result<Option<Stop>, Damaged> {
        const LITERALS: u64 = (1 << LITERAL_BITS) - 1;
        const DISTANCES: u64 = (1 << DISTANCE_BITS) - 1;
        let literals = &self.tables.literals;
        let distances = &self.tables.distances;
        let bytes = input.bytes;
        let Self { mut next, mut bits, mut count, .. } = *self;
        let mut to = *at;
        let most_in = bytes.len().saturating_sub(AHEAD);
        let Some(most_out) = out.len().checked_sub(ROOM) else {
            return Ok(Some(Stop::Output));
        };
        macro_rules! refill {
            () => {
                if let Some(word) = bytes.get(next..).and_then(<[u8]>::first_chunk) {
                    bits |= u64::from_le_bytes(*word) << count;
                    next += (63 - count as usize) >> 3;
                    count |= 56;
                }
            };
        }
        macro_rules! consume {
            ($n:expr) => {
                bits >>= $n;
                count = count.wrapping_sub($n);
            };
        }
        let result = loop {
            if next > most_in {
                break Ok(Some(Stop::Input));
            }
            if to > most_out {
                break Ok(Some(Stop::Output));
            }
            refill!();
            // 56 bits are there: three codes of at most 15 fit.
            let mut entry = literals[(bits & LITERALS) as usize];
            if entry & LITERAL != 0 {
                consume!(width(entry));
                out[to] = T::from((entry >> 16) as u8);
                to += 1;
                entry = literals[(bits & LITERALS) as usize];
                if entry & LITERAL != 0 {
                    consume!(width(entry));
                    out[to] = T::from((entry >> 16) as u8);
                    to += 1;
                    entry = literals[(bits & LITERALS) as usize];
                    if entry & LITERAL != 0 {
                        consume!(width(entry));
                        out[to] = T::from((entry >> 16) as u8);
                        to += 1;
                        continue;
                    }
                }
                refill!();
            }
            if entry & SPECIAL != 0 {
                if entry & CONTINUED != 0 {
                    consume!(LITERAL_BITS);
                    let index = value(entry) + (bits & ((1 << extra(entry)) - 1)) as usize;
                    entry = literals.get(index).copied().unwrap_or(SPECIAL);
                }
                if entry & LITERAL != 0 {
                    consume!(width(entry));
                    out[to] = T::from((entry >> 16) as u8);
                    to += 1;
                    continue;
                }
                if is_end(entry) {
                    consume!(width(entry));
                    break Ok(None);
                }
                if entry & SPECIAL != 0 {
                    break Err(Damaged("a code is not one of its block"));
                }
            }
            // A length: at most 15 + 5 bits, and a distance: at most 15 + 13.
            consume!(width(entry));
            let length = value(entry) + (bits & ((1 << extra(entry)) - 1)) as usize;
            consume!(extra(entry));
            let mut entry = distances[(bits & DISTANCES) as usize];
            if entry & (SPECIAL | CONTINUED) == SPECIAL | CONTINUED {
                consume!(DISTANCE_BITS);
                let index = value(entry) + (bits & ((1 << extra(entry)) - 1)) as usize;
                entry = distances.get(index).copied().unwrap_or(SPECIAL);
            }
            if entry & SPECIAL != 0 {
                break Err(Damaged("a distance is not one of its block"));
            }
            consume!(width(entry));
            let distance = value(entry) + (bits & ((1 << extra(entry)) - 1)) as usize;
            consume!(extra(entry));
            if distance > to - from {
                break Err(Damaged("a match reaches before the start"));
            }
            copy(out, to, distance, length);
            to += length;
        };
        self.next = next;
        self.bits = bits;
        self.count = count;
        *at = to;
        if result == Ok(None) {
            self.state = State::Header;
        }
        result
    }
}

/// Repeats what lies `distance` back; there is [`ROOM`] behind.
#[inline]
fn copy<T: Symbol>(out: &mut [T], to: usize, distance: usize, length: usize) {
    let start = to - distance;
    if distance >= GROUP {
        let mut done = 0;
        while done < length {
            let Some(group) = out.get(start + done..).and_then(<[T]>::first_chunk::<GROUP>).copied() else {
                return;
            };
            if let Some(slot) = out.get_mut(to + done..).and_then(<[T]>::first_chunk_mut::<GROUP>) {
                *slot = group;
            }
            done += GROUP;
        }
    } else if distance == 1 {
        let symbol = out[start];
        out[to..to + length].fill(symbol);
    } else {
        for at in to..to + length {
            out[at] = out[at - distance];
        }
    }
}
