//! Decoding tables of one block's Huffman codes (RFC 1951, section 3.2.2).
//!
//! The next bits of the stream are an index into a table; the entry says what they mean and how
//! many of them it took. Codes longer than the index continue in a table of their own, behind the
//! first. An entry has, from the lowest bit: eight bits of code length, six bits that depend on the
//! kind, two flags, and the value in the upper half.

/// Literals and lengths: 286 symbols, of which a code may have two more that are never used.
pub(super) const LITERAL_SYMBOLS: usize = 288;
pub(super) const DISTANCE_SYMBOLS: usize = 32;
pub(super) const LITERAL_BITS: u32 = 11;
pub(super) const DISTANCE_BITS: u32 = 8;
/// Entries that the tables can need at these widths, by zlib's `enough` for 288 symbols of 15 bits
/// over 11, and 32 of 15 over 8, rounded up.
pub(super) const LITERAL_ENTRIES: usize = 2400;
pub(super) const DISTANCE_ENTRIES: usize = 512;

/// The value is a literal; the only flag of the upper half.
pub(super) const LITERAL: u32 = 1 << 31;
/// The entry is none of a literal, length or distance.
pub(super) const SPECIAL: u32 = 1 << 15;
/// With [`SPECIAL`]: the code goes on in another table. The value is where it starts, the six bits
/// are its width.
pub(super) const CONTINUED: u32 = 1 << 14;
/// With [`SPECIAL`]: the end of the block. Neither: no code has these bits.
const END_MARK: u32 = 1 << 8;
pub(super) const END: u32 = SPECIAL | END_MARK;

/// The length of the code.
#[inline]
pub(super) fn width(entry: u32) -> u32 {
    entry & 0xff
}

/// Extra bits of a length or distance, or the width of the table that continues a code.
#[inline]
pub(super) fn extra(entry: u32) -> u32 {
    (entry >> 8) & 0x3f
}

/// A literal, the base of a length or distance, or where a table starts.
#[inline]
pub(super) fn value(entry: u32) -> usize {
    ((entry >> 16) & 0x7fff) as usize
}

/// Whether an entry marks the end of a block.
#[inline]
pub(super) fn is_end(entry: u32) -> bool {
    entry & (SPECIAL | CONTINUED | END_MARK) == END
}

/// RFC 1951, section 3.2.5: base and extra bits of the length symbols from 257 on.
const LENGTHS: [(u16, u8); 29] = [
    (3, 0),
    (4, 0),
    (5, 0),
    (6, 0),
    (7, 0),
    (8, 0),
    (9, 0),
    (10, 0),
    (11, 1),
    (13, 1),
    (15, 1),
    (17, 1),
    (19, 2),
    (23, 2),
    (27, 2),
    (31, 2),
    (35, 3),
    (43, 3),
    (51, 3),
    (59, 3),
    (67, 4),
    (83, 4),
    (99, 4),
    (115, 4),
    (131, 5),
    (163, 5),
    (195, 5),
    (227, 5),
    (258, 0),
];

/// The same of the distance symbols.
const DISTANCES: [(u16, u8); 30] = [
    (1, 0),
    (2, 0),
    (3, 0),
    (4, 0),
    (5, 1),
    (7, 1),
    (9, 2),
    (13, 2),
    (17, 3),
    (25, 3),
    (33, 4),
    (49, 4),
    (65, 5),
    (97, 5),
    (129, 6),
    (193, 6),
    (257, 7),
    (385, 7),
    (513, 8),
    (769, 8),
    (1025, 9),
    (1537, 9),
    (2049, 10),
    (3073, 10),
    (4097, 11),
    (6145, 11),
    (8193, 12),
    (12289, 12),
    (16385, 13),
    (24577, 13),
];

fn literal_entry(symbol: usize) -> u32 {
    match symbol {
        0..256 => LITERAL | (symbol as u32) << 16,
        256 => END,
        _ => LENGTHS
            .get(symbol - 257)
            .map_or(SPECIAL, |&(base, extra)| u32::from(base) << 16 | u32::from(extra) << 8),
    }
}

fn distance_entry(symbol: usize) -> u32 {
    DISTANCES.get(symbol).map_or(SPECIAL, |&(base, extra)| u32::from(base) << 16 | u32::from(extra) << 8)
}

/// Both tables of a block.
pub(super) struct Tables {
    pub literals: Box<[u32; LITERAL_ENTRIES]>,
    pub distances: Box<[u32; DISTANCE_ENTRIES]>,
}

impl Tables {
    pub fn new() -> Self {
        Self {
            literals: Box::new([SPECIAL; LITERAL_ENTRIES]),
            distances: Box::new([SPECIAL; DISTANCE_ENTRIES]),
        }
    }

    /// Builds both from the lengths of the codes; `None` where they are no codes.
    pub fn build(&mut self, literals: &[u8], distances: &[u8]) -> Option<()> {
        if literals.get(256).is_none_or(|&length| length == 0) {
            return None;
        }
        fill(self.literals.as_mut_slice(), LITERAL_BITS, literals, literal_entry)?;
        fill(self.distances.as_mut_slice(), DISTANCE_BITS, distances, distance_entry)
    }

    /// The codes of blocks that bring none (RFC 1951, section 3.2.6).
    pub fn build_fixed(&mut self) -> Option<()> {
        let mut lengths = [8; LITERAL_SYMBOLS];
        lengths[144..256].fill(9);
        lengths[256..280].fill(7);
        self.build(&lengths, &[5; DISTANCE_SYMBOLS])
    }
}

/// Fills a table of `bits` bits, and what continues it, for codes of these lengths.
///
/// A set of codes has to be complete, as zlib demands it, but for none at all and a single one of
/// one bit, which distances may have.
pub(super) fn fill(table: &mut [u32], bits: u32, lengths: &[u8], entry: impl Fn(usize) -> u32) -> Option<()> {
    let mut count = [0_u32; 16];
    for &length in lengths {
        *count.get_mut(usize::from(length))? += 1;
    }
    count[0] = 0;
    let used: u32 = count.iter().sum();
    let sum: u32 = (1..16).map(|length| count[length] << (15 - length)).sum();
    if sum != 1 << 15 && !(used == 0 || (used == 1 && count[1] == 1)) {
        return None;
    }
    let size = 1_usize << bits;
    if sum != 1 << 15 {
        table.get_mut(..size)?.fill(SPECIAL);
    }
    let mut next = [0_u32; 16];
    for length in 1..16 {
        next[length] = (next[length - 1] + count[length - 1]) << 1;
    }
    // Where codes that go on are continued: the first free place, and per start the widest code.
    let mut free = size;
    let longest = (1..16).rev().find(|&length| count[length] > 0).unwrap_or(0) as u32;
    if longest > bits {
        let mut widest = [0_u8; 1 << LITERAL_BITS];
        let mut at = next;
        for &length in lengths.iter().filter(|&&length| u32::from(length) > bits) {
            let code = reversed(at[usize::from(length)], length.into());
            at[usize::from(length)] += 1;
            let start = code & (size - 1);
            widest[start] = widest[start].max(length);
        }
        for (start, &length) in widest[..size].iter().enumerate().filter(|&(_, &length)| length > 0) {
            let wide = u32::from(length) - bits;
            table[start] = SPECIAL | CONTINUED | bits | wide << 8 | (free as u32) << 16;
            free += 1 << wide;
            table.get(..free)?;
        }
    }
    for (symbol, &length) in lengths.iter().enumerate().filter(|&(_, &length)| length > 0) {
        let length = u32::from(length);
        let code = reversed(next[length as usize], length);
        next[length as usize] += 1;
        if length <= bits {
            let value = entry(symbol) | length;
            for slot in table[..size].iter_mut().skip(code).step_by(1 << length) {
                *slot = value;
            }
        } else {
            let continued = table[code & (size - 1)];
            let (start, wide) = (value(continued), extra(continued));
            let entry = entry(symbol) | (length - bits);
            for slot in
                table[start..start + (1 << wide)].iter_mut().skip(code >> bits).step_by(1 << (length - bits))
            {
                *slot = entry;
            }
        }
    }
    Some(())
}

/// The bits of a code in the order in which they are in the stream.
fn reversed(code: u32, length: u32) -> usize {
    (code.reverse_bits() >> (32 - length)) as usize
}
