//! MATLAB v7.3 files: HDF5 with MATLAB's conventions.
//!
//! The axes are reversed, attributes say the class, structs are groups, struct arrays are groups of
//! datasets of references, cells are datasets of references, and what is empty is stored as its
//! shape. MathWorks documents none of it; this follows what MATLAB writes, as `hdf5storage` and
//! MAT.jl read it. Fields of a struct come in alphabetical order, which is the order of the links.

use std::collections::HashSet;
use std::path::Path;

use ndarray::{Array1, ArrayD, IxDyn, ShapeBuilder};

use super::value::{Class, Complex, Opaque, Sparse, Struct, Text, Value};
use super::{Selection, Variable, opaque};
use crate::hdf5::{Dataset, Hdf5Array, Hdf5File, Kind};
use crate::source::{Target, elements};
use crate::{DType, Error, Numeric, Result};

/// Deeper nesting than this has no use.
const MAX_DEPTH: usize = 64;
/// Every value takes at least this much of a file, if only as a reference.
const LEAST_VALUE: u64 = 4;
/// Objects may be referred to several times, as MATLAB does with its empty one.
const REPEATED: u64 = 1 << 20;
/// Objects of classes defined in MATLAB are kept here.
const SUBSYSTEM: &str = "#subsystem#/MCOS";

/// Variables of a file, without their values.
pub(super) fn variables(path: &Path) -> Result<Vec<Variable>> {
    let everything = Selection::all();
    let reader = Reader::open(path, &everything)?;
    reader.names().into_iter().map(|name| reader.variable(name)).collect()
}

/// Calls `f` with each selected variable and its value.
pub(super) fn for_each(
    path: &Path,
    selection: &Selection,
    mut f: impl FnMut(Variable, Value) -> Result<()>,
) -> Result<()> {
    let mut reader = Reader::open(path, selection)?;
    let names: Vec<String> = reader.names().into_iter().map(str::to_owned).collect();
    for name in names.iter().filter(|name| selection.wants(name)) {
        let variable = reader.variable(name)?;
        let value = reader.value(name, name, 0)?;
        f(variable, value)?;
    }
    Ok(())
}

struct Reader<'s> {
    file: Hdf5File,
    length: u64,
    selection: &'s Selection,
    /// Objects that were read, and what reading them again took.
    seen: HashSet<String>,
    repeated: u64,
    values: u64,
    objects: Option<Option<usize>>,
}

impl<'s> Reader<'s> {
    fn open(path: &Path, selection: &'s Selection) -> Result<Self> {
        let length = super::file_length(path)?;
        let file = Hdf5File::open(path)?;
        Ok(Self { file, length, selection, seen: HashSet::new(), repeated: 0, values: 0, objects: None })
    }

    /// Names at the top, without those that MATLAB keeps for itself.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.file.members("").chain(self.file.subgroups("")).collect();
        names.retain(|name| !name.starts_with('#'));
        names.sort_unstable();
        names
    }

    fn is_group(&self, object: &str) -> bool {
        self.file.groups().binary_search_by(|group| group.as_str().cmp(object)).is_ok()
    }

    fn class_name(&self, object: &str) -> Result<Option<String>> {
        self.file.text_attribute(object, "MATLAB_class")
    }

    /// The value of an attribute that is a small number; 0 where there is none.
    fn flag(&self, object: &str, name: &str) -> Result<u32> {
        let value = self.file.number_attribute(object, name)?;
        Ok(value.filter(|v| (0.0..256.0).contains(v)).map_or(0, |v| v as u32))
    }

    fn variable(&self, name: &str) -> Result<Variable> {
        let (class, shape, complex) = if self.is_group(name) {
            let class = self.group_class(name)?;
            let shape = match class {
                Class::Struct | Class::Object => self.struct_shape(name)?.unwrap_or_else(|| vec![1, 1]),
                _ => self.sparse_shape(name)?.map_or_else(|| vec![1, 1], |shape| shape.to_vec()),
            };
            let complex = self.sparse_values(name)?.is_some_and(|d| matches!(d.kind(), Kind::Complex(_)));
            (class, shape, complex)
        } else {
            let dataset = self.file.dataset(name)?;
            let class = self.dataset_class(&dataset)?;
            let shape = match class {
                Class::Opaque => self.opaque_shape(&dataset)?,
                _ => self.shape(&dataset)?,
            };
            (class, shape, matches!(dataset.kind(), Kind::Complex(_)))
        };
        Ok(Variable { name: name.to_owned(), class, shape, complex })
    }

    fn group_class(&self, group: &str) -> Result<Class> {
        let name = self.class_name(group)?;
        let sparse = self.file.members(group).any(|member| member == "jc")
            && !matches!(name.as_deref(), None | Some("struct"));
        Ok(match name.as_deref() {
            Some("logical") if sparse => Class::Logical,
            _ if sparse => Class::Sparse,
            None | Some("struct") => Class::Struct,
            Some("function_handle") => Class::Function,
            Some(_) => Class::Object,
        })
    }

    fn dataset_class(&self, dataset: &Dataset) -> Result<Class> {
        let object = dataset.path();
        let name = self.class_name(object)?;
        match self.flag(object, "MATLAB_object_decode")? {
            0 => {}
            1 => return Ok(Class::Function),
            _ => return Ok(Class::Opaque),
        }
        Ok(match name.as_deref() {
            Some("canonical empty") => Class::Double,
            Some("function_handle") => Class::Function,
            Some(name) => Class::numeric(name).unwrap_or(match name {
                "char" => Class::Char,
                "cell" => Class::Cell,
                "struct" => Class::Struct,
                "logical" => Class::Logical,
                _ => Class::Opaque,
            }),
            // Written by something else: what the elements are.
            None => match dataset.kind() {
                Kind::Number(stored) => Class::of(*stored),
                Kind::Half => Class::Single,
                Kind::Bool => Class::Logical,
                Kind::Complex(stored) => Class::of(*stored),
                Kind::Reference => Class::Cell,
                _ => Class::Opaque,
            },
        })
    }

    /// MATLAB's shape: the axes reversed, two at least; of what is empty, the content.
    fn shape(&self, dataset: &Dataset) -> Result<Vec<usize>> {
        if self.flag(dataset.path(), "MATLAB_empty")? == 1 {
            let axes = self.file.numbers(dataset.path())?;
            let shape: Vec<usize> = axes.iter().map(|&n| n.clamp(0.0, 1e15) as usize).collect();
            if shape.len() < 2 || !shape.contains(&0) {
                return Err(self.file.damaged(dataset, format!("it is empty, and has the shape {axes:?}")));
            }
            return Ok(shape);
        }
        Ok(reversed(dataset.shape()))
    }

    fn value(&mut self, object: &str, path: &str, depth: usize) -> Result<Value> {
        self.values += 1;
        if depth > MAX_DEPTH || self.values > (self.length / LEAST_VALUE).max(1 << 10) {
            return Err(Error::Malformed {
                path: self.file.path().to_path_buf(),
                what: format!(
                    "`{path}` nests more than {MAX_DEPTH} deep or holds more values than its file of {} bytes \
                     can; the file is damaged, get it again",
                    self.length
                ),
            });
        }
        if self.is_group(object) {
            return self.group(object, path, depth);
        }
        let dataset = self.file.dataset(object)?;
        if !self.seen.insert(object.to_owned()) {
            let count = elements(dataset.shape()).unwrap_or(usize::MAX) as u64;
            self.repeated = self.repeated.saturating_add(count.saturating_mul(8));
            if self.repeated > self.length.max(REPEATED) {
                return Err(self.file.damaged(&dataset, "it is referred to more often than has a use"));
            }
        }
        let class = self.dataset_class(&dataset)?;
        if class == Class::Opaque || class == Class::Function {
            return self.opaque(&dataset, class);
        }
        let shape = self.shape(&dataset)?;
        if shape.contains(&0) {
            return Ok(empty(class, shape));
        }
        match class {
            Class::Cell => self.cells(&dataset, shape, path, depth),
            Class::Char => self.text(&dataset, shape),
            Class::Logical => {
                let truth = self.file.numbers(object)?.into_iter().map(|v| v != 0.0).collect();
                self.columns(&dataset, &shape, truth).map(Value::Logical)
            }
            _ => self.numbers(&dataset, class, &shape, path),
        }
    }

    fn numbers(&self, dataset: &Dataset, class: Class, shape: &[usize], path: &str) -> Result<Value> {
        if let Target::Single(picks) = self.selection.target(path)
            && matches!(dataset.kind(), Kind::Number(_))
            && dataset.shape().len() == 2
        {
            let values = self.file.matrix(dataset, true, picks)?;
            return Ok(Value::Numeric { class, values: values.into_dyn().into() });
        }
        let reshape =
            |values: Numeric| values.reshaped(shape, true).map_err(|what| self.file.damaged(dataset, what));
        match self.file.read(dataset.path())? {
            Hdf5Array::Numeric(values) => Ok(Value::Numeric { class, values: reshape(values)? }),
            Hdf5Array::Complex { real, imaginary } => {
                let (real, imaginary) = (reshape(real)?, reshape(imaginary)?);
                Ok(Value::Complex(Box::new(Complex { class, real, imaginary })))
            }
            _ => Err(self.file.variable(
                dataset.path(),
                format!("is of class {} and has type {}", class.name(), dataset.dtype()),
                "save it again in MATLAB",
            )),
        }
    }

    /// Column-major elements in MATLAB's shape.
    fn columns<T>(&self, dataset: &Dataset, shape: &[usize], values: Vec<T>) -> Result<ArrayD<T>> {
        let count = values.len();
        ArrayD::from_shape_vec(IxDyn(shape).set_f(true), values).map_err(|_| {
            self.file.damaged(dataset, format!("{count} elements do not make the shape {shape:?}"))
        })
    }

    fn text(&self, dataset: &Dataset, shape: Vec<usize>) -> Result<Value> {
        let codes = self.file.numbers(dataset.path())?;
        let unit = |&code: &f64| (0.0..65536.0).contains(&code).then_some(code as u16);
        let units: Option<Vec<u16>> = codes.iter().map(unit).collect();
        let units =
            units.ok_or_else(|| self.file.damaged(dataset, "text holds numbers that are no characters"))?;
        Ok(Value::Char(Text { shape, units }))
    }

    fn references(&self, dataset: &Dataset) -> Result<Vec<String>> {
        match self.file.read(dataset.path())? {
            Hdf5Array::Reference(paths) => paths
                .into_iter()
                .map(|path| path.ok_or_else(|| self.file.damaged(dataset, "a reference leads nowhere")))
                .collect(),
            _ => Err(self.file.damaged(dataset, "references were expected")),
        }
    }

    fn cells(&mut self, dataset: &Dataset, shape: Vec<usize>, path: &str, depth: usize) -> Result<Value> {
        let targets = self.references(dataset)?;
        let values: Vec<Value> =
            targets.iter().map(|target| self.value(target, path, depth + 1)).collect::<Result<_>>()?;
        self.columns(dataset, &shape, values).map(Value::Cell)
    }

    fn group(&mut self, group: &str, path: &str, depth: usize) -> Result<Value> {
        let class = self.group_class(group)?;
        match class {
            Class::Sparse | Class::Logical => return self.sparse(group, class == Class::Logical),
            Class::Function => {
                let class_name = "function_handle".to_owned();
                return Ok(Value::Opaque(Opaque { class, shape: vec![1, 1], class_name }));
            }
            _ => {}
        }
        let shape = self.struct_shape(group)?;
        let class_name = if class == Class::Object { self.class_name(group)? } else { None };
        let mut names: Vec<String> =
            self.file.members(group).chain(self.file.subgroups(group)).map(str::to_owned).collect();
        names.sort();
        let mut fields = Vec::new();
        for name in names {
            let field = format!("{path}.{name}");
            if !self.selection.wants(&field) {
                continue;
            }
            let object = format!("{group}/{name}");
            let values = match &shape {
                None => vec![self.value(&object, &field, depth + 1)?],
                Some(shape) => {
                    let dataset = self.file.dataset(&object)?;
                    let targets = self.references(&dataset)?;
                    if elements(shape) != Some(targets.len()) {
                        let problem =
                            format!("has {} values for a struct array of shape {shape:?}", targets.len());
                        return Err(self.file.damaged(&dataset, problem));
                    }
                    let read = |target: &String| self.value(target, &field, depth + 1);
                    targets.iter().map(read).collect::<Result<_>>()?
                }
            };
            fields.push((name, values));
        }
        Ok(Value::Struct(Struct { shape: shape.unwrap_or_else(|| vec![1, 1]), fields, class_name }))
    }

    /// The shape of a struct array; `None` of a single struct, whose fields are not references of
    /// the group's own.
    fn struct_shape(&self, group: &str) -> Result<Option<Vec<usize>>> {
        let Some(first) = self.file.members(group).next() else {
            return Ok(None);
        };
        let object = format!("{group}/{first}");
        let dataset = self.file.dataset(&object)?;
        let array = *dataset.kind() == Kind::Reference && self.class_name(&object)?.is_none();
        Ok(array.then(|| reversed(dataset.shape())))
    }

    fn sparse_shape(&self, group: &str) -> Result<Option<[usize; 2]>> {
        let rows = self.file.number_attribute(group, "MATLAB_sparse")?;
        let Some(rows) = rows.filter(|&rows| (0.0..f64::from(u32::MAX)).contains(&rows)) else {
            return Ok(None);
        };
        let starts = self.file.dataset(&format!("{group}/jc"))?;
        Ok(Some([rows as usize, elements(starts.shape()).unwrap_or(0).saturating_sub(1)]))
    }

    fn sparse_values(&self, group: &str) -> Result<Option<Dataset>> {
        let sparse =
            self.file.members(group).any(|m| m == "jc") && self.file.members(group).any(|m| m == "data");
        sparse.then(|| self.file.dataset(&format!("{group}/data"))).transpose()
    }

    fn sparse(&self, group: &str, logical: bool) -> Result<Value> {
        let wrong = |problem: String| {
            self.file.variable(group, problem, "the file is damaged or incomplete, get it again")
        };
        let [rows, columns] = self
            .sparse_shape(group)?
            .ok_or_else(|| wrong("is sparse, and does not say how many rows".into()))?;
        let indices = |name: &str| -> Result<Vec<u32>> {
            let object = format!("{group}/{name}");
            // Without any value the datasets are left out.
            if !self.file.contains(&object) {
                return Ok(Vec::new());
            }
            let index = |v: f64| (v >= 0.0 && v <= f64::from(u32::MAX)).then_some(v as u32);
            let indices: Option<Vec<u32>> = self.file.numbers(&object)?.into_iter().map(index).collect();
            indices.ok_or_else(|| wrong(format!("holds wrong indices in `{name}`")))
        };
        let (starts, row_of) = (indices("jc")?, indices("ir")?);
        let (values, imaginary) = match self.sparse_values(group)? {
            None => (Numeric::from(Array1::<f64>::zeros(0).into_dyn()), None),
            Some(dataset) => match self.file.read(dataset.path())? {
                Hdf5Array::Numeric(values) => (values, None),
                Hdf5Array::Complex { real, imaginary } => (real, Some(imaginary)),
                _ => return Err(wrong("has values that are no numbers".into())),
            },
        };
        let sound = starts.len() == columns + 1
            && starts.first() == Some(&0)
            && starts.windows(2).all(|w| w[0] <= w[1])
            && starts.last().is_some_and(|&last| last as usize == row_of.len())
            && row_of.len() == values.len()
            && row_of.iter().all(|&row| (row as usize) < rows);
        if !sound {
            return Err(wrong(format!(
                "has indices that are not those of a sparse {rows} x {columns} matrix"
            )));
        }
        Ok(Value::Sparse(Box::new(Sparse {
            shape: [rows, columns],
            rows: row_of,
            starts,
            values,
            imaginary,
            logical,
        })))
    }

    /// The words of a reference to objects; see the module `opaque`.
    fn object_reference(&self, dataset: &Dataset) -> Result<Option<Vec<u32>>> {
        if *dataset.kind() != Kind::Number(DType::UInt32) {
            return Ok(None);
        }
        let words = self.file.numbers(dataset.path())?;
        Ok(Some(words.into_iter().map(|v| v as u32).collect()))
    }

    fn opaque_shape(&self, dataset: &Dataset) -> Result<Vec<usize>> {
        let words = self.object_reference(dataset)?;
        Ok(words.and_then(|words| opaque::dimensions(&words)).unwrap_or_else(|| vec![1, 1]))
    }

    fn opaque(&mut self, dataset: &Dataset, class: Class) -> Result<Value> {
        let class_name = self.class_name(dataset.path())?.unwrap_or_else(|| "unknown".to_owned());
        if class == Class::Function {
            let class_name = "function_handle".to_owned();
            return Ok(Value::Opaque(Opaque { class, shape: vec![1, 1], class_name }));
        }
        let shape = self.opaque_shape(dataset)?;
        if let Some(words) = self.object_reference(dataset)?
            && opaque::dimensions(&words).is_some()
            && let Some(objects) = self.objects()?
        {
            opaque::check(&[words], objects).map_err(|what| self.file.damaged(dataset, what))?;
        }
        Ok(Value::Opaque(Opaque { class, shape, class_name }))
    }

    /// The number of objects in the subsystem, where there is one of a known layout.
    fn objects(&mut self) -> Result<Option<usize>> {
        if let Some(known) = self.objects {
            return Ok(known);
        }
        let mut objects = None;
        if self.file.contains(SUBSYSTEM) {
            let store = self.file.dataset(SUBSYSTEM)?;
            if let Some(first) = self.references(&store)?.first()
                && let Hdf5Array::Numeric(bytes @ Numeric::UInt8(_)) = self.file.read(first)?
            {
                let class = Class::UInt8;
                let cells = Array1::from_vec(vec![Value::Numeric { class, values: bytes }]).into_dyn();
                objects = opaque::objects(&Value::Cell(cells));
            }
        }
        self.objects = Some(objects);
        Ok(objects)
    }
}

fn reversed(shape: &[usize]) -> Vec<usize> {
    match shape {
        [] => vec![1, 1],
        [n] => vec![*n, 1],
        _ => shape.iter().rev().copied().collect(),
    }
}

/// A value without elements.
fn empty(class: Class, shape: Vec<usize>) -> Value {
    let axes = IxDyn(&shape);
    match class {
        Class::Char => Value::Char(Text { shape, units: Vec::new() }),
        Class::Cell => Value::Cell(ArrayD::from_shape_fn(axes, |_| empty(Class::Double, vec![0, 0]))),
        Class::Struct => Value::Struct(Struct { shape, fields: Vec::new(), class_name: None }),
        Class::Logical => Value::Logical(ArrayD::from_elem(axes, false)),
        Class::Single => Value::Numeric { class, values: ArrayD::<f32>::zeros(axes).into() },
        _ => Value::Numeric { class, values: ArrayD::<f64>::zeros(axes).into() },
    }
}
