//! Bytes of a file, stored or compressed, read front to back with known limits.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

use crate::inflate::{Inflated, Wrapping};
use crate::numeric::{ByteOrder, DType, Element, Numeric, with_element};

/// Why reading stopped, before the name of the file is known.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The operating system refused.
    Io(std::io::Error),
    /// The bytes are not what the format promises.
    Bytes {
        /// Position in the (inflated) bytes.
        at: u64,
        what: String,
    },
    /// Sound, but not read by this version.
    Unsupported { what: String, remedy: String },
    /// What was asked for is not in the array.
    Picks { what: String },
    /// Sound, and larger than what there is memory for.
    Memory(dina_core::Error),
}

impl Broken {
    /// The error of an array that is too large, with the name of the array.
    pub fn too_large(error: dina_core::Error, path: &Path, name: Option<&str>) -> crate::Error {
        match error {
            dina_core::Error::Memory { what, needed, available, remedy } => {
                let name = name.map_or(String::new(), |name| format!(" `{name}`,"));
                let what = format!("{}:{name} {what}", path.display());
                dina_core::Error::Memory { what, needed, available, remedy }.into()
            }
            other => other.into(),
        }
    }
}

pub(crate) type Outcome<T> = std::result::Result<T, Broken>;

impl From<std::io::Error> for Broken {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

/// How the bytes lie in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    Stored,
    /// A zlib stream (RFC 1950), as in MAT v5.
    Zlib,
    /// A bare deflate stream (RFC 1951), as in zip archives.
    Deflate,
}

/// A stretch of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    pub offset: u64,
    pub length: u64,
    pub packing: Packing,
}

/// Deflate cannot expand a byte into more than this (zlib's technical notes, "Maximum expansion
/// factor"), so a stream that declares more lies, and is refused before memory is reserved.
pub(crate) const MAX_EXPANSION: u64 = 1032;

/// For arrays of at least so many bytes the system is asked whether there is memory.
const WORTH_ASKING: u64 = 16 << 20;

/// Streams shorter than this are not worth threads.
const THREADS_FROM: u64 = 512 << 10;
const STAGE: usize = 256 << 10;

impl Extent {
    /// The most bytes that can come out of it.
    pub fn capacity(&self) -> u64 {
        match self.packing {
            Packing::Stored => self.length,
            _ => self.length.saturating_mul(MAX_EXPANSION),
        }
    }

    /// Runs `read` over the bytes; `read` may stop early. Threads inflate a long stream ahead of
    /// what `read` does with it.
    pub fn with_source<T>(
        &self,
        path: &Path,
        read: impl FnOnce(&mut Source<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let wrapping = match self.packing {
            Packing::Stored => {
                let mut file = File::open(path)?;
                file.seek(SeekFrom::Start(self.offset))?;
                let stored =
                    Stored { reader: BufReader::with_capacity(self.stage(), file), left: self.length };
                return read(&mut Source::new(stored, self.capacity()));
            }
            Packing::Zlib => Wrapping::Zlib,
            Packing::Deflate => Wrapping::Bare,
        };
        if self.length >= THREADS_FROM {
            return std::thread::scope(|scope| {
                let inflated = Inflated::new(path, self.offset, self.length, wrapping, scope);
                let inflated = inflated.map_err(|error| explained(error, 0))?;
                read(&mut Source::new(inflated, self.capacity()))
            });
        }
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let packed = BufReader::with_capacity(self.stage(), file.take(self.length));
        match wrapping {
            Wrapping::Zlib => {
                let inflated = BufReader::new(flate2::bufread::ZlibDecoder::new(packed));
                read(&mut Source::new(inflated, self.capacity()))
            }
            Wrapping::Bare => {
                let inflated = BufReader::new(flate2::bufread::DeflateDecoder::new(packed));
                read(&mut Source::new(inflated, self.capacity()))
            }
        }
    }

    /// Bytes to read at once.
    fn stage(&self) -> usize {
        (self.length.min(STAGE as u64) as usize).max(1)
    }
}

/// Where bytes come from.
trait Feed: BufRead {
    /// Goes forward without reading, by `n` bytes that are not buffered, or not at all.
    fn jump(&mut self, _n: u64) -> std::io::Result<bool> {
        Ok(false)
    }
}

impl Feed for Inflated<'_, '_> {}
impl Feed for &[u8] {}
impl<R: Read> Feed for BufReader<flate2::bufread::ZlibDecoder<R>> where R: BufRead {}
impl<R: Read> Feed for BufReader<flate2::bufread::DeflateDecoder<R>> where R: BufRead {}

/// Bytes that lie in the file as they are.
struct Stored {
    reader: BufReader<File>,
    left: u64,
}

impl Read for Stored {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let n = self.reader.read(&mut buffer[..most])?;
        self.left -= n as u64;
        Ok(n)
    }
}

impl BufRead for Stored {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let buffer = self.reader.fill_buf()?;
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        Ok(&buffer[..most])
    }

    fn consume(&mut self, amount: usize) {
        self.left -= amount as u64;
        self.reader.consume(amount);
    }
}

impl Feed for Stored {
    fn jump(&mut self, n: u64) -> std::io::Result<bool> {
        let Some(offset) = i64::try_from(n).ok().filter(|_| n <= self.left) else {
            return Ok(false);
        };
        self.reader.seek_relative(offset)?;
        self.left -= n;
        Ok(true)
    }
}

/// Rows and columns of a matrix that are wanted: ascending, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Picks {
    /// All rows where there is none.
    pub rows: Option<Vec<usize>>,
    pub columns: Option<Vec<usize>>,
}

impl Picks {
    /// Everything.
    pub const ALL: Self = Self { rows: None, columns: None };

    pub fn is_all(&self) -> bool {
        self.rows.is_none() && self.columns.is_none()
    }

    /// Checks them against a shape; returns how many rows and columns there will be.
    pub fn within(&self, rows: usize, columns: usize) -> Result<(usize, usize), String> {
        let count = |picks: &Option<Vec<usize>>, extent: usize, what: &str| match picks {
            None => Ok(extent),
            Some(picks) => match picks.last() {
                Some(last) if *last >= extent => {
                    Err(format!("has {extent} {what}, number {last} (from 0) was asked for"))
                }
                _ => Ok(picks.len()),
            },
        };
        Ok((count(&self.rows, rows, "rows")?, count(&self.columns, columns, "columns")?))
    }

    /// Stretches of consecutive numbers among the picks of one axis.
    pub fn runs(picks: Option<&[usize]>, extent: usize) -> Vec<Range<usize>> {
        let Some(picks) = picks else {
            return std::iter::once(0..extent).filter(|r| !r.is_empty()).collect();
        };
        let mut runs: Vec<Range<usize>> = Vec::new();
        for &pick in picks {
            match runs.last_mut() {
                Some(run) if run.end == pick => run.end += 1,
                _ => runs.push(pick..pick + 1),
            }
        }
        runs
    }
}

/// What becomes of the numbers of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'p> {
    /// The stored type in the file's order.
    AsStored,
    /// `f32`; matrices in row-major order, and of them what is picked.
    Single(&'p Picks),
}

/// The order of the elements of an array in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryOrder {
    /// First axis fastest: MATLAB, Fortran.
    ColumnMajor,
    /// Last axis fastest: C, numpy by default.
    RowMajor,
}

/// Bytes front to back, with the position for messages.
pub(crate) struct Source<'a> {
    reader: Box<dyn Feed + 'a>,
    at: u64,
    capacity: u64,
    crc: Option<flate2::Crc>,
}

impl<'a> Source<'a> {
    fn new(reader: impl Feed + 'a, capacity: u64) -> Self {
        Self { reader: Box::new(reader), at: 0, capacity, crc: None }
    }

    /// Bytes in memory.
    pub fn of_bytes(bytes: &'a [u8]) -> Self {
        Self::new(bytes, bytes.len() as u64)
    }

    /// Number of bytes read so far.
    pub fn at(&self) -> u64 {
        self.at
    }

    /// The most bytes that can follow from the start.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// A [`Broken::Bytes`] at the present position.
    pub fn broken(&self, what: impl Into<String>) -> Broken {
        Broken::Bytes { at: self.at, what: what.into() }
    }

    fn explain(&self, error: std::io::Error) -> Broken {
        explained(error, self.at)
    }

    /// Fills the buffer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Outcome<()> {
        self.reader.read_exact(buffer).map_err(|error| self.explain(error))?;
        self.at += buffer.len() as u64;
        if let Some(crc) = &mut self.crc {
            crc.update(buffer);
        }
        Ok(())
    }

    /// Computes the CRC-32 of everything from here on.
    pub fn checksum(&mut self) {
        self.crc = Some(flate2::Crc::new());
    }

    /// The CRC-32 so far, where it is computed.
    pub fn checked(&self) -> Option<u32> {
        self.crc.as_ref().map(flate2::Crc::sum)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut bytes = [0; N];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    /// The next `n` bytes; the caller has checked `n` against what its element may hold.
    pub fn bytes(&mut self, n: usize) -> Outcome<Vec<u8>> {
        let mut bytes = Vec::new();
        self.in_stages(n as u64, 1, |stage| bytes.extend_from_slice(stage))?;
        Ok(bytes)
    }

    /// Goes forward to a position.
    pub fn skip_to(&mut self, position: u64) -> Outcome<()> {
        let mut left = position.saturating_sub(self.at);
        // What is skipped does not come into the checksum, so with one everything is read.
        if self.crc.is_none() && left > 0 {
            match self.reader.jump(left) {
                Ok(true) => {
                    self.at += left;
                    left = 0;
                }
                Ok(false) => {}
                Err(error) => return Err(self.explain(error)),
            }
        }
        self.in_stages(left, 1, |_| {})
    }

    /// Expects the end of the stream, which also checks its checksum.
    pub fn finish(&mut self) -> Outcome<()> {
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.broken("more data than the element declares")),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Calls `f` with the next `n` bytes piece by piece; pieces are multiples of `unit` bytes, at
    /// most 8, and lie where the reader has them.
    fn in_stages(&mut self, n: u64, unit: usize, mut f: impl FnMut(&[u8])) -> Outcome<()> {
        let mut left = n;
        while left > 0 {
            let there = match self.reader.fill_buf() {
                Ok(there) => there,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.explain(error)),
            };
            let usable = there.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            let whole = usable - usable % unit;
            if whole > 0 {
                let piece = &there[..whole];
                if let Some(crc) = &mut self.crc {
                    crc.update(piece);
                }
                f(piece);
                self.reader.consume(whole);
                self.at += whole as u64;
                left -= whole as u64;
            } else {
                // A number lies across the border of two buffers.
                let mut number = [0; 8];
                let number = &mut number[..unit];
                self.read(number)?;
                f(number);
                left = left.saturating_sub(unit as u64);
            }
        }
        Ok(())
    }

    /// An array of `shape`, whose product is known to fit the bytes that follow.
    pub fn numeric(
        &mut self,
        stored: DType,
        order: ByteOrder,
        shape: &[usize],
        memory: MemoryOrder,
        target: Target<'_>,
    ) -> Outcome<Numeric> {
        with_element!(stored, T => match (target, memory, shape) {
            (Target::Single(picks), MemoryOrder::ColumnMajor, &[rows, columns]) => {
                self.transposed::<T>(order, rows, columns, picks)
            }
            (Target::Single(picks), MemoryOrder::RowMajor, &[rows, columns]) if !picks.is_all() => {
                self.picked::<T>(order, rows, columns, picks)
            }
            (Target::Single(_), ..) => self
                .array_of::<T, f32>(order, shape, memory, T::single)
                .map(Numeric::Float32),
            (Target::AsStored, ..) => self
                .array_of::<T, T>(order, shape, memory, |v| v)
                .map(T::numeric),
        })
    }

    /// An array whose elements pass through `convert`, in the order of the file.
    pub fn array_of<T: Element, U>(
        &mut self,
        order: ByteOrder,
        shape: &[usize],
        memory: MemoryOrder,
        convert: impl Fn(T) -> U,
    ) -> Outcome<ArrayD<U>> {
        let count = elements(shape)
            .filter(|n| n.checked_mul(T::SIZE).is_some())
            .ok_or_else(|| self.broken(format!("shape {shape:?} is impossible")))?;
        let mut values: Vec<U> = Vec::new();
        self.reserve(&mut values, count)?;
        self.in_stages(count as u64 * T::SIZE as u64, T::SIZE, |stage| {
            T::decode(stage, order, |v| values.push(convert(v)));
        })?;
        let columns = memory == MemoryOrder::ColumnMajor;
        ArrayD::from_shape_vec(IxDyn(shape).set_f(columns), values)
            .map_err(|error| self.broken(format!("shape {shape:?} is impossible ({error})")))
    }

    fn reserve<T>(&self, values: &mut Vec<T>, count: usize) -> Outcome<()> {
        // A compressed file may hold a thousand times its size, and the system promises memory that it does not have.
        let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
        if bytes >= WORTH_ASKING {
            dina_core::require_memory(
                format!("an array of {count} elements"),
                bytes,
                "use a machine with more memory, export fewer presentations, neurons or images",
            )
            .map_err(Broken::Memory)?;
        }
        values
            .try_reserve_exact(count)
            .map_err(|_| self.broken(format!("{count} elements do not fit into memory")))
    }

    /// What is picked of a column-major matrix, as row-major `f32`.
    ///
    /// A few columns at a time are collected and written row by row, so that each row receives
    /// whole cache lines.
    fn transposed<T: Element>(
        &mut self,
        order: ByteOrder,
        rows: usize,
        columns: usize,
        picks: &Picks,
    ) -> Outcome<Numeric> {
        const BLOCK_BYTES: usize = 2 << 20;
        const BLOCK_COLUMNS: usize = 64;
        if picks.is_all() && (rows <= 1 || columns <= 1) {
            let shape = [rows, columns];
            return self.array_of(order, &shape, MemoryOrder::RowMajor, T::single).map(Numeric::Float32);
        }
        let start = self.at;
        let (height, wide) = picks.within(rows, columns).map_err(|what| Broken::Picks { what })?;
        let column_bytes = rows as u64 * T::SIZE as u64;
        let mut out = self.zeros(height, wide)?;
        // An odd number of cache lines from column to column, or columns evict each other.
        let stride = (rows.div_ceil(16) | 1) * 16;
        let width = (BLOCK_BYTES / (4 * stride)).clamp(1, BLOCK_COLUMNS);
        let mut block = vec![0.0_f32; stride * width.min(wide)];
        let mut first = 0;
        for run in Picks::runs(picks.columns.as_deref(), columns) {
            self.skip_to(start + run.start as u64 * column_bytes)?;
            let mut left = run.len();
            while left > 0 {
                let now = width.min(left);
                for column in block.chunks_exact_mut(stride).take(now) {
                    self.singles_into::<T>(order, &mut column[..rows])?;
                }
                match &picks.rows {
                    None => scatter(&block, stride, now, &mut out, wide, first),
                    Some(rows) => {
                        for (out, &row) in out.chunks_exact_mut(wide).zip(rows) {
                            for column in 0..now {
                                out[first + column] = block[column * stride + row];
                            }
                        }
                    }
                }
                first += now;
                left -= now;
            }
        }
        self.skip_to(start + columns as u64 * column_bytes)?;
        self.matrix(height, wide, out)
    }

    /// What is picked of a row-major matrix, as `f32`.
    fn picked<T: Element>(
        &mut self,
        order: ByteOrder,
        rows: usize,
        columns: usize,
        picks: &Picks,
    ) -> Outcome<Numeric> {
        let start = self.at;
        let (height, wide) = picks.within(rows, columns).map_err(|what| Broken::Picks { what })?;
        let row_bytes = columns as u64 * T::SIZE as u64;
        let mut out = self.zeros(height, wide)?;
        let mut row = vec![0.0_f32; columns];
        let mut slots = out.chunks_exact_mut(wide.max(1));
        for run in Picks::runs(picks.rows.as_deref(), rows) {
            self.skip_to(start + run.start as u64 * row_bytes)?;
            for _ in run {
                let Some(slots) = slots.next() else { break };
                match &picks.columns {
                    None => self.singles_into::<T>(order, slots)?,
                    Some(columns) => {
                        self.singles_into::<T>(order, &mut row)?;
                        slots.iter_mut().zip(columns).for_each(|(slot, &column)| *slot = row[column]);
                    }
                }
            }
        }
        self.skip_to(start + rows as u64 * row_bytes)?;
        self.matrix(height, wide, out)
    }

    fn singles_into<T: Element>(&mut self, order: ByteOrder, slots: &mut [f32]) -> Outcome<()> {
        let mut done = 0;
        self.in_stages(slots.len() as u64 * T::SIZE as u64, T::SIZE, |stage| {
            T::decode_singles(stage, order, &mut slots[done..]);
            done += stage.len() / T::SIZE;
        })
    }

    /// Zeros, which cost no memory before they are written to.
    fn zeros(&self, rows: usize, columns: usize) -> Outcome<Vec<f32>> {
        let count = elements(&[rows, columns])
            .filter(|n| n.checked_mul(8).is_some())
            .ok_or_else(|| self.broken(format!("{rows} x {columns} is impossible")))?;
        // Refuses politely what the allocation of zeros would abort on.
        let mut probe = Vec::<f32>::new();
        self.reserve(&mut probe, count)?;
        drop(std::hint::black_box(probe));
        Ok(vec![0.0; count])
    }

    fn matrix(&self, rows: usize, columns: usize, values: Vec<f32>) -> Outcome<Numeric> {
        ArrayD::from_shape_vec(IxDyn(&[rows, columns]), values)
            .map(Numeric::Float32)
            .map_err(|error| self.broken(format!("{rows} x {columns} is impossible ({error})")))
    }
}

/// Writes `columns` columns, `stride` apart, into the rows of a matrix of width `wide`, from its
/// column `first` on.
///
/// In squares of a cache line of `f32` by as many, so that both sides are read and written by lines.
fn scatter(block: &[f32], stride: usize, columns: usize, out: &mut [f32], wide: usize, first: usize) {
    const SIDE: usize = 16;
    for (band, rows) in out.chunks_mut(SIDE * wide).enumerate() {
        let top = band * SIDE;
        let height = rows.len() / wide;
        for left in (0..columns).step_by(SIDE) {
            let width = SIDE.min(columns - left);
            let mut square = [[0.0_f32; SIDE]; SIDE];
            for (column, line) in square.iter_mut().take(width).enumerate() {
                let start = (left + column) * stride + top;
                // Columns are padded to whole lines.
                if let Some(values) = block.get(start..start + SIDE) {
                    line.copy_from_slice(values);
                }
            }
            for (row, out) in rows.chunks_exact_mut(wide).take(height).enumerate() {
                let out = &mut out[first + left..first + left + width];
                for (slot, line) in out.iter_mut().zip(&square) {
                    *slot = line[row];
                }
            }
        }
    }
}

fn explained(error: std::io::Error, at: u64) -> Broken {
    let what = match error.kind() {
        ErrorKind::UnexpectedEof => "the data end too early".to_owned(),
        // What flate2 and `inflate` say of a damaged stream or a wrong checksum.
        ErrorKind::InvalidInput | ErrorKind::InvalidData => {
            format!("the compressed data are damaged ({error})")
        }
        _ => return Broken::Io(error),
    };
    Broken::Bytes { at, what }
}

/// Number of elements of a shape, where it is a number at all.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))
}
