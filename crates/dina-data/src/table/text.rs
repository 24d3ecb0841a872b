use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek};
use std::path::Path;

use csv::{ReaderBuilder, StringRecord};
use ndarray::Array2;

use super::{NO_NEURONS, STIMULUS, wrong};
use crate::source::Picks;
use crate::{Error, Result};

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];

/// Whether a file starts like a table of responses.
pub(crate) fn recognises(head: &[u8]) -> bool {
    let line = head.split(|&byte| byte == b'\n').next().unwrap_or_default();
    // The file may go on in the middle of a character.
    let whole = match std::str::from_utf8(line) {
        Ok(text) => text,
        Err(error) => match std::str::from_utf8(&line[..error.valid_up_to()]) {
            Ok(text) if error.error_len().is_none() => text,
            _ => return false,
        },
    };
    let line = whole.trim_start_matches('\u{feff}');
    let separator = char::from(separator(line.as_bytes()));
    line.split(separator).any(|name| is(name.trim_end_matches('\r').trim_matches('"'), STIMULUS))
}

fn is(name: &str, expected: &str) -> bool {
    name.trim().eq_ignore_ascii_case(expected)
}

/// What separates the columns: the most frequent candidate in the first line.
fn separator(line: &[u8]) -> u8 {
    let count = |separator: u8| line.iter().filter(|&&byte| byte == separator).count();
    SEPARATORS.into_iter().rev().max_by_key(|&separator| count(separator)).unwrap_or(b',')
}

/// A text file of rows and columns.
struct Rows {
    reader: csv::Reader<BufReader<File>>,
    names: Vec<String>,
    length: u64,
    lines: usize,
}

impl Rows {
    fn open(path: &Path) -> Result<Self> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let mut file = BufReader::new(File::open(path).map_err(io)?);
        let length = file.get_ref().metadata().map_err(io)?.len();
        let mut first = Vec::new();
        (&mut file).take(length).read_until(b'\n', &mut first).map_err(io)?;
        let mut lines = 0;
        loop {
            let there = file.fill_buf().map_err(io)?;
            if there.is_empty() {
                break;
            }
            lines += there.iter().filter(|&&byte| byte == b'\n').count();
            let n = there.len();
            file.consume(n);
        }
        file.rewind().map_err(io)?;
        if first.starts_with("\u{feff}".as_bytes()) {
            file.seek_relative(3).map_err(io)?;
        }
        let mut reader = ReaderBuilder::new().delimiter(separator(&first)).from_reader(file);
        let names = reader.headers().map_err(|error| unreadable(path, &error))?;
        let names = names.iter().map(|name| name.trim().to_owned()).collect();
        Ok(Self { reader, names, length, lines: lines + 1 })
    }

    fn next(&mut self, path: &Path, record: &mut StringRecord) -> Result<bool> {
        self.reader.read_record(record).map_err(|error| unreadable(path, &error))
    }

    fn column(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| is(n, name))
    }
}

fn unreadable(path: &Path, error: &csv::Error) -> Error {
    let path = path.to_path_buf();
    match error.kind() {
        csv::ErrorKind::Io(source) => {
            Error::Io { path, source: std::io::Error::new(source.kind(), source.to_string()) }
        }
        _ => Error::Malformed {
            path,
            what: format!("{error}; give every row as many cells as the first, in UTF-8"),
        },
    }
}

/// A matrix of numbers, a column of keys beside it.
pub(super) struct Table {
    /// Names of all columns of numbers.
    pub names: Vec<String>,
    /// The key of every row.
    pub keys: Vec<String>,
    /// What is picked of the numbers.
    pub values: Array2<f32>,
}

impl Table {
    /// Reads the numbers of a table; with a `key`, the column of this name as text.
    pub fn read(path: &Path, key: Option<&str>, picks: &Picks) -> Result<Self> {
        let mut rows = Rows::open(path)?;
        let key = match key {
            None => None,
            Some(key) => Some(rows.column(key).ok_or_else(|| {
                let names = rows.names.iter().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
                wrong(path, key, format!("is not a column; the first are {names}"), "name the column so")
            })?),
        };
        let numbers: Vec<usize> = (0..rows.names.len())
            .filter(|&at| !NO_NEURONS.iter().any(|name| is(&rows.names[at], name)))
            .collect();
        let names: Vec<String> = numbers.iter().map(|&at| rows.names[at].clone()).collect();
        let (_, width) = picks
            .within(usize::MAX, numbers.len())
            .map_err(|what| wrong(path, "columns of neurons", what, "ask for what is in it"))?;
        let wanted: Vec<usize> = match &picks.columns {
            None => numbers,
            Some(columns) => columns.iter().map(|&column| numbers[column]).collect(),
        };
        let mut keys = Vec::new();
        let mut values = Vec::new();
        // A number takes two bytes at least.
        let height = picks.rows.as_ref().map_or(rows.lines, Vec::len).min(rows.lines);
        values.reserve_exact(height.saturating_mul(width).min((rows.length / 2) as usize));
        let mut picked = picks.rows.as_deref().map(|rows| rows.iter().peekable());
        let mut record = StringRecord::new();
        let (mut row, mut height) = (0, 0);
        while rows.next(path, &mut record)? {
            if let Some(key) = key {
                keys.push(record.get(key).unwrap_or_default().trim().to_owned());
            }
            let take = match &mut picked {
                None => true,
                Some(picked) => picked.next_if(|&&pick| pick == row).is_some(),
            };
            row += 1;
            if !take {
                continue;
            }
            height += 1;
            for &column in &wanted {
                let cell = record.get(column).unwrap_or_default().trim();
                values.push(cell.parse().map_err(|_| {
                    wrong(
                        path,
                        &rows.names[column],
                        format!("holds `{cell}` in row {row}, expected a number"),
                        "write numbers with a decimal point, and leave out columns that are no neurons",
                    )
                })?);
            }
        }
        if let Some(missing) = picked.and_then(|mut picked| picked.next()) {
            let problem = format!("has {row} rows, number {missing} (from 0) was asked for");
            return Err(wrong(path, "rows", problem, "ask for what is in it"));
        }
        let values = Array2::from_shape_vec((height, width), values)
            .map_err(|error| wrong(path, "rows", error.to_string(), "give every row all cells"))?;
        Ok(Self { names, keys, values })
    }
}

/// Two columns of text.
pub(super) fn columns(path: &Path, names: [&str; 2]) -> Result<[Vec<String>; 2]> {
    let mut rows = Rows::open(path)?;
    let mut at = [0; 2];
    for (at, name) in at.iter_mut().zip(names) {
        *at = rows.column(name).ok_or_else(|| {
            wrong(path, name, "is not a column", format!("give the columns {}", names.join(", ")))
        })?;
    }
    let mut columns = [Vec::new(), Vec::new()];
    let mut record = StringRecord::new();
    while rows.next(path, &mut record)? {
        for (column, at) in columns.iter_mut().zip(at) {
            column.push(record.get(at).unwrap_or_default().trim().to_owned());
        }
    }
    Ok(columns)
}

type Neurons = (Option<Array2<f32>>, Option<Vec<bool>>);

/// Positions and red cells, of all neurons or of those that are picked.
pub(super) fn neurons(path: &Path, names: &[String], picks: Option<&[usize]>) -> Result<Neurons> {
    let mut rows = Rows::open(path)?;
    let [name, x, y, z, red] = ["neuron", "x", "y", "z", "red"].map(|name| rows.column(name));
    let mut positions = vec![[0.0_f32; 3]; names.len()];
    let mut reds = vec![false; names.len()];
    let mut filled = vec![false; names.len()];
    let mut record = StringRecord::new();
    let mut row = 0;
    while rows.next(path, &mut record)? {
        let cell = |at: usize| record.get(at).unwrap_or_default().trim();
        let neuron = match name {
            None => Some(row).filter(|&row| row < names.len()),
            Some(at) => names.iter().position(|name| name == cell(at)),
        };
        row += 1;
        let neuron =
            neuron.filter(|&neuron| !std::mem::replace(&mut filled[neuron], true)).ok_or_else(|| {
                let problem = format!("has row {row} for no neuron, or for one that had a row");
                wrong(path, "neuron", problem, "give each column of the responses one row")
            })?;
        let number = |at: usize| {
            cell(at).parse::<f32>().map_err(|_| {
                let problem = format!("holds `{}` in row {row}, expected a number", cell(at));
                wrong(path, &rows.names[at], problem, "write numbers with a decimal point")
            })
        };
        for (slot, at) in positions[neuron].iter_mut().zip([x, y, z]) {
            if let Some(at) = at {
                *slot = number(at)?;
            }
        }
        if let Some(at) = red {
            reds[neuron] = match cell(at).to_lowercase().as_str() {
                "true" => true,
                "false" => false,
                _ => number(at)? > 0.0,
            };
        }
    }
    if let Some(missing) = filled.iter().position(|filled| !filled) {
        let problem = format!("has no row for `{}`", names[missing]);
        return Err(wrong(path, "neuron", problem, "give each column of the responses one row"));
    }
    let all: Vec<usize> = (0..names.len()).collect();
    let picks = picks.unwrap_or(&all);
    let known = x.is_some() && y.is_some();
    let places =
        known.then(|| Array2::from_shape_fn((picks.len(), 3), |(row, axis)| positions[picks[row]][axis]));
    Ok((places, red.map(|_| picks.iter().map(|&neuron| reds[neuron]).collect())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_recognised_by_their_first_line() {
        for head in
            ["stimulus,a,b\n1,2,3\n", "\u{feff}a;Stimulus;b\n", "trial\t\"stimulus\"\r\n", "n1,stimulus"]
        {
            assert!(recognises(head.as_bytes()), "{head}");
        }
        assert!(recognises(b"stimulus,\xc3"), "cut in a character");
        for head in ["", "a,b\nstimulus,1\n", "the stimulus was\n"] {
            assert!(!recognises(head.as_bytes()), "{head}");
        }
        assert!(!recognises(b"\x00\xff\xfestimulus,"));
    }
}
