//! Decoding of deflate blocks (RFC 1951) from any bit of a stream on.

use super::table::{
    CONTINUED, DISTANCE_BITS, DISTANCE_ENTRIES, DISTANCE_SYMBOLS, LITERAL, LITERAL_BITS, LITERAL_ENTRIES,
    LITERAL_SYMBOLS, SPECIAL, Tables, extra, fill, is_end, value, width,
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
            if let Some(stop) = self.checked(input, stop)? {
                return Ok(stop);
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
        let Some(mut lane) = Lane::enter(self, input, out, from, *at) else {
            return Ok(Some(Stop::Output));
        };
        let result = loop {
            if let Some(result) = lane.step() {
                break result;
            }
        };
        let place = lane.leave();
        self.settle(place, at);
        if result == Ok(None) {
            self.state = State::Header;
        }
        result
    }

    fn settle(&mut self, place: Place, at: &mut usize) {
        self.next = place.next;
        self.bits = place.bits;
        self.count = place.count;
        *at = place.to;
    }

    /// What a stop means for the caller; `None` where it is nothing to him.
    fn checked(&mut self, input: Input<'_>, stop: Option<Stop>) -> Result<Option<Stop>, Damaged> {
        if input.complete && self.bit() > 8 * (input.bytes.len().saturating_sub(PADDING)) {
            return Err(Damaged("the data end too early"));
        }
        Ok(match stop {
            None if self.state == State::Header && self.last => {
                self.state = State::End;
                Some(Stop::End)
            }
            None if self.state == State::Header => Some(Stop::Block),
            other => other,
        })
    }

    /// Whether it is among the symbols of a block, so that [`both`] can go on.
    pub fn in_symbols(&self) -> bool {
        self.state == State::Symbols
    }
}

/// A decoder, its input and what it decodes into.
pub(super) struct Side<'a, T> {
    pub decoder: &'a mut Decoder,
    pub input: Input<'a>,
    pub out: &'a mut [T],
    pub at: &'a mut usize,
}

impl<T: Symbol> Side<'_, T> {
    fn lane(&mut self) -> Option<Lane<'_, T>> {
        Lane::enter(self.decoder, self.input, self.out, 0, *self.at)
    }

    /// Keeps where a lane stopped, and finds out what that means.
    fn settle(self, place: Place, result: Option<Result<Option<Stop>, Damaged>>) -> Paused {
        self.decoder.settle(place, self.at);
        let result = result?;
        if result == Ok(None) {
            self.decoder.state = State::Header;
        }
        result.and_then(|stop| self.decoder.checked(self.input, stop)).transpose()
    }
}

/// Why one of two stopped, where it did.
pub(super) type Paused = Option<Result<Stop, Damaged>>;

/// Decodes two places of a stream in turns until one of them stops; both are among the symbols of a
/// block.
///
/// Where a code starts is known only when the one before was looked up, so a single decoder waits for
/// the memory most of the time. Two that do not depend on each other wait at the same time.
pub(super) fn both<T: Symbol>(mut first: Side<'_, T>, mut second: Side<'_, T>) -> (Paused, Paused) {
    let (Some(mut one), Some(mut two)) = (first.lane(), second.lane()) else {
        return (Some(Ok(Stop::Output)), Some(Ok(Stop::Output)));
    };
    let (mut stop_one, mut stop_two) = (None, None);
    while stop_one.is_none() && stop_two.is_none() {
        stop_one = one.step();
        stop_two = two.step();
    }
    let (place_one, place_two) = (one.leave(), two.leave());
    (first.settle(place_one, stop_one), second.settle(place_two, stop_two))
}

/// Where a decoder is.
struct Place {
    next: usize,
    bits: u64,
    count: u32,
    to: usize,
}

/// A decoder among the symbols of a block, its place in registers.
struct Lane<'a, T> {
    bytes: &'a [u8],
    out: &'a mut [T],
    literals: &'a [u32; LITERAL_ENTRIES],
    distances: &'a [u32; DISTANCE_ENTRIES],
    next: usize,
    bits: u64,
    count: u32,
    to: usize,
    from: usize,
    most_in: usize,
    most_out: usize,
}

impl<'a, T: Symbol> Lane<'a, T> {
    #[inline(always)]
    fn enter(d: &'a Decoder, input: Input<'a>, out: &'a mut [T], from: usize, to: usize) -> Option<Self> {
        let most_out = out.len().checked_sub(ROOM)?;
        Some(Self {
            bytes: input.bytes,
            literals: &d.tables.literals,
            distances: &d.tables.distances,
            next: d.next,
            bits: d.bits,
            count: d.count,
            to,
            from,
            most_in: input.bytes.len().saturating_sub(AHEAD),
            most_out,
            out,
        })
    }
    #[inline(always)]
    fn leave(self) -> Place {
        Place { next: self.next, bits: self.bits, count: self.count, to: self.to }
    }

    #[inline(always)]
    fn refill(&mut self) {
        if let Some(word) = self.bytes.get(self.next..).and_then(<[u8]>::first_chunk) {
            self.bits |= u64::from_le_bytes(*word) << self.count;
            self.next += (63 - self.count as usize) >> 3;
            self.count |= 56;
        }
    }
    #[inline(always)]
    fn consume(&mut self, n: u32) {
        self.bits >>= n;
        self.count = self.count.wrapping_sub(n);
    }

    #[inline(always)]
    fn literal(&mut self, entry: u32) {
        self.consume(width(entry));
        self.out[self.to] = T::from((entry >> 16) as u8);
        self.to += 1;
    }
    /// A few symbols; a result where it cannot go on. `Ok(None)` is the end of the block.
    #[inline(always)]
    fn step(&mut self) -> Option<Result<Option<Stop>, Damaged>> {
        const LITERALS: u64 = (1 << LITERAL_BITS) - 1;
        if self.next > self.most_in {
            return Some(Ok(Some(Stop::Input)));
        }
        if self.to > self.most_out {
            return Some(Ok(Some(Stop::Output)));
        }
        self.refill();
        // 56 bits are there: three codes of at most 15 fit.
        let mut entry = self.literals[(self.bits & LITERALS) as usize];
        if entry & LITERAL != 0 {
            self.literal(entry);
            entry = self.literals[(self.bits & LITERALS) as usize];
            if entry & LITERAL != 0 {
                self.literal(entry);
                entry = self.literals[(self.bits & LITERALS) as usize];
                if entry & LITERAL != 0 {
                    self.literal(entry);
                    return None;
                }
            }
            self.refill();
        }
        self.other(entry)
    }
    /// A length and its distance, the end of the block, or a code that goes on.
    #[inline(always)]
    fn other(&mut self, mut entry: u32) -> Option<Result<Option<Stop>, Damaged>> {
        const DISTANCES: u64 = (1 << DISTANCE_BITS) - 1;
        if entry & SPECIAL != 0 {
            if entry & CONTINUED != 0 {
                self.consume(LITERAL_BITS);
                let index = value(entry) + (self.bits & ((1 << extra(entry)) - 1)) as usize;
                entry = self.literals.get(index).copied().unwrap_or(SPECIAL);
            }
            if entry & LITERAL != 0 {
                self.literal(entry);
                return None;
            }
            if is_end(entry) {
                self.consume(width(entry));
                return Some(Ok(None));
            }
            if entry & SPECIAL != 0 {
                return Some(Err(Damaged("a code is not one of its block")));
            }
        }
        // A length: at most 15 + 5 bits, and a distance: at most 15 + 13.
        self.consume(width(entry));
        let length = value(entry) + (self.bits & ((1 << extra(entry)) - 1)) as usize;
        self.consume(extra(entry));
        let mut entry = self.distances[(self.bits & DISTANCES) as usize];
        if entry & (SPECIAL | CONTINUED) == SPECIAL | CONTINUED {
            self.consume(DISTANCE_BITS);
            let index = value(entry) + (self.bits & ((1 << extra(entry)) - 1)) as usize;
            entry = self.distances.get(index).copied().unwrap_or(SPECIAL);
        }
        if entry & SPECIAL != 0 {
            return Some(Err(Damaged("a distance is not one of its block")));
        }
        self.consume(width(entry));
        let distance = value(entry) + (self.bits & ((1 << extra(entry)) - 1)) as usize;
        self.consume(extra(entry));
        if distance > self.to - self.from {
            return Some(Err(Damaged("a match reaches before the start")));
        }
        copy(self.out, self.to, distance, length);
        self.to += length;
        None
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
