use std::path::Path;

use dina_data::Format;
use dina_data::npz::{NpyArray, NpzFile};
use dina_study::{Error, Result};
use ndarray::{Array2, ShapeBuilder};

/// A matrix of numbers from a file, with the names of its columns where the file has them.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The file.
    pub name: String,
    /// Names of the columns.
    pub header: Option<Vec<String>>,
    /// Rows x columns; a list of numbers is one column.
    pub values: Array2<f64>,
}

impl Table {
    /// Reads a `.npy` file, a `.npz` file with one array, or text: numbers separated by commas, semicolons, tabs or
    /// spaces, one row a line, with or without a line of names above.
    ///
    /// # Errors
    /// When the file cannot be read, is no matrix, or a cell is no finite number; the message names file, line and
    /// column.
    pub fn read(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let table = match Format::detect(path) {
            Ok(Format::Npy | Format::Npz) => Self::from_numpy(path, name)?,
            _ => {
                let bytes = std::fs::read(path).map_err(|error| fail(&name, error))?;
                let text = String::from_utf8(bytes)
                    .map_err(|_| fail(&name, "is neither a numpy file nor text; save it as .npy or .csv"))?;
                Self::from_text(&text, name)?
            }
        };
        match table.values.indexed_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(table),
            Some(((row, column), value)) => Err(fail(
                &table.name,
                format!("row {}, column {} is {value}; remove or repair it first", row + 1, column + 1),
            )),
        }
    }

    fn from_numpy(path: &Path, name: String) -> Result<Self> {
        let file = NpzFile::open(path)?;
        let names: Vec<&str> = file.names().collect();
        let [only] = names[..] else {
            return Err(fail(&name, format!("holds the arrays {}; save one as .npy", names.join(", "))));
        };
        let array = match file.read(only)? {
            NpyArray::Numeric(array) => array,
            other => return Err(fail(&name, format!("has type {}; save numbers", other.dtype()))),
        };
        let shape = match *array.shape() {
            [rows] => (rows, 1),
            [rows, columns] => (rows, columns),
            ref other => return Err(fail(&name, format!("has shape {other:?}; save a matrix or a list"))),
        };
        // First axis fastest.
        let values = Array2::from_shape_vec(shape.f(), array.to_f64()).map_err(|error| fail(&name, error))?;
        Ok(Self { name, header: None, values })
    }

    fn from_text(text: &str, name: String) -> Result<Self> {
        let mut header = None;
        let mut width = None;
        let mut values = Vec::new();
        for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let cells = cells(line);
            if cells.is_empty() {
                continue;
            }
            let parsed: Vec<Option<f64>> = cells.iter().map(|cell| cell.parse().ok()).collect();
            if width.is_none() && parsed.iter().any(Option::is_none) {
                header = Some(cells.iter().map(|cell| cell.trim_matches('"').to_owned()).collect());
                width = Some(cells.len());
                continue;
            }
            let expected = *width.get_or_insert(cells.len());
            if cells.len() != expected {
                return Err(fail(
                    &name,
                    format!("line {} has {} columns, expected {expected}", number + 1, cells.len()),
                ));
            }
            for (column, (value, cell)) in parsed.into_iter().zip(&cells).enumerate() {
                values.push(value.ok_or_else(|| {
                    let place = format!("line {}, column {}", number + 1, column + 1);
                    fail(&name, format!("{place}: expected a number, found '{cell}'"))
                })?);
            }
        }
        let width = width.unwrap_or(0);
        if values.is_empty() {
            return Err(fail(&name, "holds no numbers"));
        }
        let values = Array2::from_shape_vec((values.len() / width, width), values)
            .map_err(|error| fail(&name, error))?;
        Ok(Self { name, header, values })
    }
}

/// The cells of a line. Commas, semicolons and tabs keep empty cells apart, spaces do not.
fn cells(line: &str) -> Vec<&str> {
    let line = line.trim_end();
    if line.trim().is_empty() || line.starts_with('#') {
        return Vec::new();
    }
    match [',', ';', '\t'].into_iter().find(|&separator| line.contains(separator)) {
        Some(separator) => line.split(separator).map(str::trim).collect(),
        None => line.split_whitespace().collect(),
    }
}

fn fail(name: &str, why: impl std::fmt::Display) -> Error {
    Error::Job(format!("{name}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Table> {
        Table::from_text(text, "t.csv".into())
    }

    #[test]
    fn text_with_and_without_names() {
        let plain = parse("1,2\n3,4.5\n\n").unwrap();
        assert_eq!(plain.values, ndarray::array![[1.0, 2.0], [3.0, 4.5]]);
        let named = parse("\u{feff}\"a\";b\n1;-2e3\n").unwrap();
        assert_eq!(named.header.unwrap(), ["a", "b"]);
        assert_eq!(named.values, ndarray::array![[1.0, -2000.0]]);
        assert_eq!(parse("# made by hand\n1 2\n3  4\n").unwrap().values.dim(), (2, 2));
        assert_eq!(parse("1\n2\n").unwrap().values.dim(), (2, 1));
    }

    #[test]
    fn cells_that_are_no_numbers_are_named() {
        let message = parse("1,2\n3,x\n").unwrap_err().to_string();
        assert_eq!(message, "t.csv: line 2, column 2: expected a number, found 'x'");
        assert!(parse("1,2\n3\n").unwrap_err().to_string().contains("line 2 has 1 columns, expected 2"));
        assert!(parse("1,\n").unwrap_err().to_string().contains("holds no numbers"));
        assert!(parse("").is_err());
    }
}
