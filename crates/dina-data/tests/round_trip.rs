//! What the writer writes, the reader reads.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use dina_data::mat::{Class, Item, MatFile, Selection, Value, write_mat};
use dina_data::{
    Categories, Error, Images, Numeric, Recording, RecordingFile, Session, load_categories, load_images,
    load_recording, write_categories_mat, write_images_mat, write_recording_mat,
};
use ndarray::{Array, Array2, Array3, ArrayD, IxDyn, ShapeBuilder, array};
use proptest::prelude::*;

/// A value of any class that can be written, owned.
#[derive(Debug, Clone)]
enum Tree {
    Bytes(ArrayD<u8>),
    Shorts(ArrayD<i16>),
    Longs(ArrayD<i64>),
    Singles(ArrayD<f32>),
    Doubles(ArrayD<f64>),
    Truth(ArrayD<bool>),
    Text(String),
    Rows(Vec<String>),
    Struct(Vec<(String, Tree)>),
    Entries(Vec<String>, Vec<Vec<Tree>>),
    Cell(Vec<usize>, Vec<Tree>),
}

impl Tree {
    fn item(&self) -> Item<'_> {
        match self {
            Self::Bytes(a) => a.view().into(),
            Self::Shorts(a) => a.view().into(),
            Self::Longs(a) => a.view().into(),
            Self::Singles(a) => a.view().into(),
            Self::Doubles(a) => a.view().into(),
            Self::Truth(a) => a.view().into(),
            Self::Text(text) => Item::Text(text),
            Self::Rows(rows) => Item::Rows(rows.iter().map(String::as_str).collect()),
            Self::Struct(fields) => {
                Item::Struct(fields.iter().map(|(n, v)| (n.as_str(), v.item())).collect())
            }
            Self::Entries(names, entries) => Item::StructArray {
                fields: names.iter().map(String::as_str).collect(),
                entries: entries.iter().map(|e| e.iter().map(Tree::item).collect()).collect(),
            },
            Self::Cell(shape, values) => {
                Item::Cell { shape: shape.clone(), values: values.iter().map(Tree::item).collect() }
            }
        }
    }

    /// Whether a value that was read is this one.
    fn is(&self, value: &Value) -> bool {
        let numbers = |expected: Numeric, class: Class| matches!(value, Value::Numeric { class: c, values } if *c == class && *values == expected);
        match self {
            Self::Bytes(a) => numbers(a.clone().into(), Class::UInt8),
            Self::Shorts(a) => numbers(a.clone().into(), Class::Int16),
            Self::Longs(a) => numbers(a.clone().into(), Class::Int64),
            Self::Singles(a) => numbers(a.clone().into(), Class::Single),
            Self::Doubles(a) => numbers(a.clone().into(), Class::Double),
            Self::Truth(a) => matches!(value, Value::Logical(b) if a == b),
            Self::Text(text) => value.text().as_ref() == Some(text),
            Self::Rows(rows) => {
                let Value::Char(text) = value else {
                    return false;
                };
                let read = text.rows();
                let trimmed = |s: &String| s.trim_end().to_owned();
                // Rows without any column are indistinguishable from no rows.
                (read.is_empty() && rows.iter().all(String::is_empty))
                    || read.iter().map(trimmed).eq(rows.iter().map(trimmed))
            }
            Self::Struct(fields) => {
                let Value::Struct(s) = value else {
                    return false;
                };
                s.shape() == [1, 1]
                    && s.names().eq(fields.iter().map(|(n, _)| n.as_str()))
                    && fields.iter().all(|(n, v)| v.is(&s.field(n).unwrap()[0]))
            }
            Self::Entries(names, entries) => {
                let Value::Struct(s) = value else {
                    return false;
                };
                s.shape() == [1, entries.len()]
                    && names.iter().enumerate().all(|(at, name)| {
                        let read = s.field(name).unwrap();
                        read.len() == entries.len() && entries.iter().zip(read).all(|(e, v)| e[at].is(v))
                    })
            }
            Self::Cell(shape, values) => {
                let Value::Cell(cells) = value else {
                    return false;
                };
                cells.shape() == shape && values.iter().zip(cells.t()).all(|(a, b)| a.is(b))
            }
        }
    }
}

fn numbers<T: std::fmt::Debug + Clone + 'static>(
    element: impl Strategy<Value = T> + Clone + 'static,
) -> impl Strategy<Value = ArrayD<T>> {
    (prop::collection::vec(0_usize..5, 2..4), any::<bool>()).prop_flat_map(move |(shape, fortran)| {
        let count = shape.iter().product::<usize>();
        prop::collection::vec(element.clone(), count)
            .prop_map(move |v| Array::from_shape_vec(IxDyn(&shape).set_f(fortran), v).unwrap())
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        numbers(any::<u8>()).prop_map(Tree::Bytes),
        numbers(any::<i16>()).prop_map(Tree::Shorts),
        numbers(any::<i64>()).prop_map(Tree::Longs),
        numbers(-1e6_f32..1e6).prop_map(Tree::Singles),
        numbers(-1e9_f64..1e9).prop_map(Tree::Doubles),
        numbers(any::<bool>()).prop_map(Tree::Truth),
        "[ -~\u{e9}\u{4e2d}\u{1f600}]{0,9}".prop_map(Tree::Text),
        prop::collection::vec("[a-z]{0,5}", 0..4).prop_map(Tree::Rows),
    ];
    leaf.prop_recursive(3, 20, 4, |inner| {
        let names = prop::collection::btree_set("[a-zA-Z][a-zA-Z0-9_]{0,12}", 0..4)
            .prop_map(|names| names.into_iter().collect::<Vec<_>>());
        let fields = (names, prop::collection::vec(inner.clone(), 12), 0_usize..4);
        prop_oneof![
            fields
                .clone()
                .prop_map(|(names, values, _)| { Tree::Struct(names.into_iter().zip(values).collect()) }),
            fields.prop_map(|(names, values, entries)| {
                let entries = (0..entries)
                    .map(|e| (0..names.len()).map(|f| values[e * 3 + f].clone()).collect())
                    .collect();
                Tree::Entries(names, entries)
            }),
            prop::collection::vec(inner, 0..4).prop_map(|values| Tree::Cell(vec![1, values.len()], values)),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn anything_written_is_read_again(trees in prop::collection::vec(tree(), 1..4)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("any.mat");
        let names: Vec<String> = (0..trees.len()).map(|n| format!("v{n}")).collect();
        let items: Vec<(&str, Item<'_>)> =
            names.iter().map(String::as_str).zip(trees.iter().map(Tree::item)).collect();
        write_mat(&path, &items).unwrap();
        let file = MatFile::open(&path).unwrap();
        let read = file.read_selected(&Selection::all()).unwrap();
        prop_assert_eq!(read.len(), trees.len());
        for (((name, value), tree), listed) in read.iter().zip(&trees).zip(file.variables()) {
            prop_assert_eq!(name, listed.name());
            prop_assert_eq!((listed.class(), listed.shape()), (value.class(), value.shape()));
            prop_assert!(tree.is(value), "{:?} became {:?}", tree, value);
        }
    }

    #[test]
    fn single_is_the_same_matrix_in_row_major_order(
        rows in 1_usize..200, columns in 1_usize..150, fortran: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("single.mat");
        let mut matrix = Array2::<f64>::zeros((rows, columns).set_f(fortran));
        matrix.indexed_iter_mut().for_each(|((r, c), v)| *v = (1000 * r + c) as f64);
        write_mat(&path, &[("m", matrix.view().into_dyn().into())]).unwrap();
        let selection = Selection::all().single(["m"]);
        let read = MatFile::open(&path).unwrap().read_selected(&selection).unwrap();
        let Value::Numeric { class: Class::Double, values: Numeric::Float32(single) } = &read[0].1
        else { panic!("{read:?}") };
        prop_assert!(single.is_standard_layout());
        prop_assert_eq!(single, &matrix.mapv(|v| v as f32).into_dyn());
    }
}

#[test]
fn a_long_stream_is_inflated_in_a_thread() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.mat");
    // Hardly compressible, so that the stream is longer than what is read at once.
    let mut state = 1_u32;
    let noise = Array2::from_shape_simple_fn((700, 1500), || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32
    });
    let stim = Item::Struct(vec![
        ("resp", noise.view().into_dyn().into()),
        ("other", noise.view().into_dyn().into()),
        ("istim", Item::Number(7.0)),
    ]);
    write_mat(&path, &[("stim", stim)]).unwrap();
    assert!(std::fs::metadata(&path).unwrap().len() > 4 << 20);
    let file = MatFile::open(&path).unwrap();
    let selection = Selection::only(["stim.resp", "stim.istim"]).single(["stim.resp"]);
    let mut read = file.read_selected(&selection).unwrap();
    let Some((_, Value::Struct(mut stim))) = read.pop() else { panic!() };
    assert_eq!(stim.names().collect::<Vec<_>>(), ["resp", "istim"]);
    assert_eq!(stim.field("istim").unwrap()[0].scalar(), Some(7.0));
    let Some(Value::Numeric { values, .. }) = stim.take("resp") else { panic!() };
    assert_eq!(values.into_f32(), noise.into_dyn());

    // Cut short or altered far behind the header: found, and said where.
    let bytes = std::fs::read(&path).unwrap();
    let expect_damage = |bytes: &[u8], word: &str| {
        let path = folder.path().join("damaged.mat");
        std::fs::write(&path, bytes).unwrap();
        let error = MatFile::open(&path).and_then(|file| file.read_selected(&selection)).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("damaged.mat"), "{error}");
        assert!(error.to_string().contains(word), "{error}");
    };
    expect_damage(&bytes[..bytes.len() / 2], "bytes where");
    let mut altered = bytes.clone();
    altered[bytes.len() / 2] ^= 0x55;
    expect_damage(&altered, "`stim");
    // Only the checksum at the very end tells.
    let mut altered = bytes.clone();
    *altered.last_mut().unwrap() ^= 1;
    expect_damage(&altered, "damaged");
}

#[test]
fn text_and_narrow_doubles() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.mat");
    write_mat(&path, &[("t", Item::Rows(vec!["ab", "\u{e9}"])), ("e", Item::Text(""))]).unwrap();
    let file = MatFile::open(&path).unwrap();
    let Value::Char(text) = file.read("t").unwrap() else { panic!() };
    assert_eq!((text.shape(), text.rows()), ([2, 2].as_slice(), vec!["ab".into(), "\u{e9} ".into()]));
    assert_eq!(file.read("e").unwrap().text(), Some(String::new()));
    let error = file.read("x").unwrap_err().to_string();
    assert!(error.contains("`x` is not in this file") && error.contains("t, e"), "{error}");
}

#[test]
fn names_and_shapes_that_matlab_refuses_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refused.mat");
    for name in ["", "1a", "_a", "a b", "\u{e9}", &"a".repeat(64)] {
        let error = write_mat(&path, &[(name, Item::Number(1.0))]).unwrap_err();
        assert!(error.to_string().contains("is not a MATLAB name"), "{error}");
    }
    let lame = Item::Cell { shape: vec![2, 2], values: vec![Item::Number(1.0)] };
    assert!(write_mat(&path, &[("c", lame)]).is_err());
    let lame = Item::StructArray { fields: vec!["a", "b"], entries: vec![vec![Item::Number(1.0)]] };
    assert!(write_mat(&path, &[("s", lame)]).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn recording(gray: bool) -> Recording {
    let responses = Array2::from_shape_fn((7, 3), |(t, n)| (t * t + n) as f32 / 3.0);
    let stimulus = [Some(1), None, Some(0), Some(2), Some(2), Some(1), Some(0)];
    let stimulus = stimulus.iter().map(|&id| if gray { id } else { id.or(Some(0)) }).collect();
    Recording::new("made", responses, stimulus, 3)
        .unwrap()
        .with_spontaneous(array![[0.5, 1.5, 2.5], [3.5, 4.5, 5.5]])
        .unwrap()
        .with_positions(array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
        .unwrap()
        .with_red_cells(vec![false, true, false])
        .unwrap()
}

fn same(read: &Recording, written: &Recording, path: &Path) {
    assert_eq!(read.origin(), path.display().to_string());
    assert_eq!(read.responses(), written.responses());
    assert_eq!(read.stimulus(), written.stimulus());
    assert_eq!(read.images(), written.images());
    assert_eq!(read.spontaneous(), written.spontaneous());
    assert_eq!(read.positions(), written.positions());
    assert_eq!(read.red_cells(), written.red_cells());
}

#[test]
fn a_recording_in_the_layout_of_the_deposit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.mat");
    let written = recording(true);
    let session =
        Session { mouse_name: "M1".to_owned(), date: "2026-01-01".to_owned(), pixels: vec![10, 20, 30] };
    write_recording_mat(&path, &written, &session).unwrap();
    same(&load_recording(&path).unwrap(), &written, &path);
    same(&RecordingFile::new(&path).images(3).load().unwrap(), &written, &path);
    let file = MatFile::open(&path).unwrap();
    let names: Vec<&str> = file.variables().map(|v| v.name()).collect();
    assert_eq!(names, ["stim", "stat", "med", "db"]);
    let Value::Struct(stat) = file.read("stat").unwrap() else { panic!() };
    assert_eq!(stat.shape(), [1, 3]);
    assert_eq!(stat.field("npix").unwrap()[2].scalar(), Some(30.0));
    let Value::Struct(db) = file.read("db").unwrap() else { panic!() };
    assert_eq!(db.field("mouse_name").unwrap()[0].text().as_deref(), Some("M1"));

    let error = RecordingFile::new(&path).images(2).load().unwrap_err().to_string();
    assert!(error.contains("`stim.istim` holds the id 4, but there are 2 images"), "{error}");
    let short = Session { pixels: vec![1], ..session };
    assert!(write_recording_mat(&path, &written, &short).is_err());
}

#[test]
fn without_gray_screens_the_number_of_images_has_to_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.mat");
    let written = recording(false);
    write_recording_mat(&path, &written, &Session::default()).unwrap();
    same(&RecordingFile::new(&path).images(3).load().unwrap(), &written, &path);
    assert_eq!(load_recording(&path).unwrap().images(), 2);
}

#[test]
fn images_and_categories() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("images.mat");
    let images = Images {
        pixels: Array3::from_shape_fn((4, 3, 2), |(i, h, w)| (i * 40 + h * 10 + w) as u8),
        degrees_per_pixel: 1.0,
    };
    write_images_mat(&path, &images).unwrap();
    let file = MatFile::open(&path).unwrap();
    assert_eq!(file.variables().next().unwrap().shape(), [3, 2, 4]);
    let read = load_images(&path).unwrap();
    assert_eq!(read, images);
    assert!(read.pixels.is_standard_layout());

    let path = folder.path().join("classes.mat");
    let categories = Categories {
        names: vec!["birds".to_owned(), "cats".to_owned()],
        of: vec![Some(1), None, Some(0), Some(1)],
    };
    write_categories_mat(&path, &categories).unwrap();
    assert_eq!(load_categories(&path, 4).unwrap(), categories);
    let wrong = Categories { of: vec![Some(2)], ..categories };
    assert!(write_categories_mat(&path, &wrong).is_err());
}

#[test]
fn what_is_missing_or_misshapen_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lame.mat");
    let message = |variables: &[(&str, Item<'_>)]| {
        write_mat(&path, variables).unwrap();
        load_recording(&path).unwrap_err().to_string()
    };
    let resp = array![[1.0, 2.0], [3.0, 1.0]].into_dyn();
    let resp = || Item::from(resp.view());
    let ids = array![1.0, 2.0].into_dyn();
    let ids = || Item::from(ids.view());
    let half = array![1.5, 2.0].into_dyn();
    let three = array![1.0, 2.0, 3.0].into_dyn();
    let ones = array![1.0, 1.0].into_dyn();
    let stim = |fields: Vec<(&'static str, Item<'_>)>| message(&[("stim", Item::Struct(fields))]);

    let cases = [
        (message(&[("db", Item::Number(1.0))]), "`stim` is not in this file; it holds db"),
        (message(&[("stim", Item::Number(1.0))]), "`stim` is a 1 x 1 double"),
        (stim(vec![("resp", resp())]), "`stim.istim` is not in this file"),
        (stim(vec![("resp", Item::Text("no")), ("istim", ids())]), "`stim.resp` is char"),
        (stim(vec![("resp", resp()), ("istim", half.view().into())]), "the id 1.5"),
        (stim(vec![("resp", resp()), ("istim", three.view().into())]), "3 entries for 2"),
        (stim(vec![("resp", resp()), ("istim", ones.view().into())]), "shows no image"),
        (
            message(&[("stim", Item::Struct(vec![("resp", resp()), ("istim", ids())])), ("med", resp())]),
            "`med` has 2 columns",
        ),
    ];
    for (message, part) in cases {
        assert!(message.contains(part) && message.contains("lame.mat"), "{message}");
    }
    let error = load_recording(folder.path().join("absent.mat")).unwrap_err().to_string();
    assert!(error.contains("absent.mat") && error.contains("check the path"), "{error}");
}
