//! Bytes of a file, stored or compressed, read front to back with known limits.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use ndarray::{ArrayD, IxDyn, ShapeBuilder};

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
const MAX_EXPANSION: u64 = 1032;

/// Streams shorter than this are not worth a thread.
const THREAD_FROM: u64 = 256 << 10;
const CHUNK: usize = 512 << 10;
const CHUNKS_AHEAD: usize = 4;
const STAGE: usize = 256 << 10;

impl Extent {
    /// The most bytes that can come out of it.
    pub fn capacity(&self) -> u64 {
        match self.packing {
            Packing::Stored => self.length,
            _ => self.length.saturating_mul(MAX_EXPANSION),
        }
    }

    /// Runs `read` over the bytes. Inflating a long stream runs ahead in a thread of its own, so
    /// that it overlaps with what `read` does with them; `read` may stop early.
    pub fn with_source<T>(
        &self,
        path: &Path,
        read: impl FnOnce(&mut Source<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.offset))?;
        let capacity = (self.length.min(STAGE as u64) as usize).max(1);
        let packed = BufReader::with_capacity(capacity, file.take(self.length));
        match self.packing {
            Packing::Stored => read(&mut Source::new(packed, self.capacity())),
            Packing::Zlib => self.with_inflated(flate2::bufread::ZlibDecoder::new(packed), read),
            Packing::Deflate => self.with_inflated(flate2::bufread::DeflateDecoder::new(packed), read),
        }
    }

    fn with_inflated<T>(
        &self,
        decoder: impl Read + Send,
        read: impl FnOnce(&mut Source<'_>) -> Outcome<T>,
    ) -> Outcome<T> {
        if self.length < THREAD_FROM {
            return read(&mut Source::new(decoder, self.capacity()));
        }
        let (send, receive) = sync_channel(CHUNKS_AHEAD);
        // Used buffers go back, so that a long stream needs no more than a few.
        let (give_back, used) = sync_channel(CHUNKS_AHEAD + 2);
        std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("inflate".to_owned())
                .spawn_scoped(scope, move || inflate(decoder, &send, &used))?;
            let chunks = Chunks { receive, give_back, chunk: Vec::new(), taken: 0 };
            read(&mut Source::new(chunks, self.capacity()))
        })
    }
}

type Chunk = std::io::Result<Vec<u8>>;

/// Sends chunk after chunk until the end, an error, or nobody listens.
fn inflate(mut decoder: impl Read, send: &SyncSender<Chunk>, used: &Receiver<Vec<u8>>) {
    loop {
        let mut chunk = used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK, 0);
        let filled = fill(&mut decoder, &mut chunk);
        let done = !matches!(filled, Ok(n) if n == CHUNK);
        let sent = match filled {
            Ok(n) => {
                chunk.truncate(n);
                send.send(Ok(chunk))
            }
            Err(error) => send.send(Err(error)),
        };
        if done || sent.is_err() {
            return;
        }
    }
}

/// As many bytes as there are, up to the length of the buffer.
fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // What came before the error is delivered first: it may be all that is wanted.
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The receiving end of [`inflate`].
struct Chunks {
    receive: Receiver<Chunk>,
    give_back: SyncSender<Vec<u8>>,
    chunk: Vec<u8>,
    taken: usize,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.taken == self.chunk.len() {
            let Ok(next) = self.receive.recv() else {
                return Ok(0);
            };
            let old = std::mem::replace(&mut self.chunk, next?);
            self.taken = 0;
            // A full return channel only means one more allocation later.
            let _ = self.give_back.try_send(old);
        }
        let n = buffer.len().min(self.chunk.len() - self.taken);
        buffer[..n].copy_from_slice(&self.chunk[self.taken..self.taken + n]);
        self.taken += n;
        Ok(n)
    }
}

/// What becomes of the numbers of an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// The stored type in the file's order.
    AsStored,
    /// `f32`; matrices in row-major order.
    Single,
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
    reader: Box<dyn Read + 'a>,
    at: u64,
    capacity: u64,
    stage: Vec<u8>,
    crc: Option<flate2::Crc>,
}

impl<'a> Source<'a> {
    fn new(reader: impl Read + 'a, capacity: u64) -> Self {
        Self { reader: Box::new(reader), at: 0, capacity, stage: Vec::new(), crc: None }
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
        match error.kind() {
            ErrorKind::UnexpectedEof => self.broken("the data end too early"),
            // flate2's kinds for a damaged stream or a wrong checksum.
            ErrorKind::InvalidInput | ErrorKind::InvalidData => {
                self.broken(format!("the compressed data are damaged ({error})"))
            }
            _ => Broken::Io(error),
        }
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
        let n = position.saturating_sub(self.at);
        self.in_stages(n, 1, |_| {})
    }

    /// Expects the end of the stream, which also checks its checksum.
    pub fn finish(&mut self) -> Outcome<()> {
        match self.reader.read(&mut [0]) {
            Ok(0) => Ok(()),
            Ok(_) => Err(self.broken("more data than the element declares")),
            Err(error) => Err(self.explain(error)),
        }
    }

    /// Calls `f` with the next `n` bytes piece by piece; pieces are multiples of `unit` bytes.
    fn in_stages(&mut self, n: u64, unit: usize, mut f: impl FnMut(&[u8])) -> Outcome<()> {
        let mut stage = std::mem::take(&mut self.stage);
        let mut left = n;
        let mut result = Ok(());
        while left > 0 && result.is_ok() {
            let now = left.min((STAGE - STAGE % unit) as u64) as usize;
            if stage.len() < now {
                stage.resize(now, 0);
            }
            result = self.read(&mut stage[..now]);
            if result.is_ok() {
                f(&stage[..now]);
            }
            left -= now as u64;
        }
        self.stage = stage;
        result
    }

    /// An array of `shape`, whose product is known to fit the bytes that follow.
    pub fn numeric(
        &mut self,
        stored: DType,
        order: ByteOrder,
        shape: &[usize],
        memory: MemoryOrder,
        target: Target,
    ) -> Outcome<Numeric> {
        with_element!(stored, T => match (target, memory, shape) {
            (Target::Single, MemoryOrder::ColumnMajor, &[rows, columns]) => {
                self.transposed::<T>(order, rows, columns)
            }
            (Target::Single, ..) => self
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
        values
            .try_reserve_exact(count)
            .map_err(|_| self.broken(format!("{count} elements do not fit into memory")))
    }

    /// A column-major matrix as row-major `f32`.
    ///
    /// A few columns at a time are collected and written row by row, so that each row receives
    /// whole cache lines.
    fn transposed<T: Element>(&mut self, order: ByteOrder, rows: usize, columns: usize) -> Outcome<Numeric> {
        const BLOCK_BYTES: usize = 2 << 20;
        const BLOCK_COLUMNS: usize = 64;
        if rows <= 1 || columns <= 1 {
            let shape = [rows, columns];
            return self.array_of(order, &shape, MemoryOrder::RowMajor, T::single).map(Numeric::Float32);
        }
        let count = elements(&[rows, columns])
            .filter(|n| n.checked_mul(T::SIZE.max(4)).is_some())
            .ok_or_else(|| self.broken(format!("{rows} x {columns} is impossible")))?;
        // Refuses politely what the allocation of zeros (which costs no memory before it is
        // written to, and is therefore preferred) would abort on.
        let mut probe = Vec::<f32>::new();
        self.reserve(&mut probe, count)?;
        drop(std::hint::black_box(probe));
        let mut out = vec![0.0_f32; count];
        // An odd number of cache lines from column to column, or columns evict each other.
        let stride = (rows.div_ceil(16) | 1) * 16;
        let width = (BLOCK_BYTES / (4 * stride)).clamp(1, BLOCK_COLUMNS);
        let mut block = vec![0.0_f32; stride * width.min(columns)];
        let mut first = 0;
        while first < columns {
            let now = width.min(columns - first);
            for column in block.chunks_exact_mut(stride).take(now) {
                let mut row = 0;
                self.in_stages(rows as u64 * T::SIZE as u64, T::SIZE, |stage| {
                    let slots = &mut column[row..row + stage.len() / T::SIZE];
                    let mut slots = slots.iter_mut();
                    T::decode(stage, order, |v| {
                        if let Some(slot) = slots.next() {
                            *slot = v.single();
                        }
                    });
                    row += stage.len() / T::SIZE;
                })?;
            }
            for (row, out) in out.chunks_exact_mut(columns).enumerate() {
                for (slot, column) in out[first..first + now].iter_mut().zip(block.chunks_exact(stride)) {
                    *slot = column[row];
                }
            }
            first += now;
        }
        ArrayD::from_shape_vec(IxDyn(&[rows, columns]), out)
            .map(Numeric::Float32)
            .map_err(|error| self.broken(format!("{rows} x {columns} is impossible ({error})")))
    }
}

/// Number of elements of a shape, where it is a number at all.
pub(crate) fn elements(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1_usize, |n, &d| n.checked_mul(d))
}
