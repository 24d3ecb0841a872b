//! MATLAB v7.3, NWB and plain HDF5, written here and by others.

#![cfg(feature = "hdf5")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use dina_data::hdf5::{Hdf5Array, Hdf5File, Kind};
use dina_data::mat::{MatFile, Value};
use dina_data::nwb::NwbChoice;
use dina_data::{Format, RecordingFile, contents, load_images, load_recording};
use ndarray::{Array2, Axis, array, s};
use rust_hdf5::types::VarLenUnicode;
use rust_hdf5::{H5File, H5Group};

fn shared(folder: &str) -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(folder);
    let there = folder.is_dir();
    if !there {
        eprintln!("skipped: {} is absent", folder.display());
    }
    there.then_some(folder)
}

#[test]
fn v7_3_files_hold_what_their_v7_twins_hold() {
    let Some(folder) = shared("formats/matjl") else { return };
    for name in ["cell", "complex", "partial", "sparse", "string", "struct", "char_unicode", "dynamicprops"] {
        let old = contents(folder.join(format!("v7/{name}.mat"))).unwrap();
        let new = contents(folder.join(format!("v7.3/{name}.mat"))).unwrap();
        assert_eq!(new.format, Format::MatV73);
        let mut compared = 0;
        for expected in &old.variables {
            let found = new.variables.iter().find(|v| v.name == expected.name);
            let found = found.unwrap_or_else(|| panic!("{name}: no {}", expected.name));
            assert_eq!(
                (&found.class, &found.shape),
                (&expected.class, &expected.shape),
                "{name}: {}",
                expected.name
            );
            match (found.sum, expected.sum) {
                (Some(a), Some(b)) => {
                    assert!((a - b).abs() <= 1e-9 * b.abs().max(1.0), "{name}: {a} for {b}")
                }
                (a, b) => assert_eq!(a, b, "{name}: {}", expected.name),
            }
            compared += 1;
        }
        assert!(compared > 0 && old.variables.len() == new.variables.len(), "{name}");
    }
}

#[test]
fn structs_cells_and_text_of_v7_3_have_the_values_of_v7() {
    let Some(folder) = shared("formats/matjl") else { return };
    let read = |version: &str, name: &str, variable: &str| {
        MatFile::open(folder.join(version).join(name)).unwrap().read(variable).unwrap()
    };
    for (name, variable) in [("cell.mat", "cell"), ("string.mat", "cell_strings"), ("char_unicode.mat", "f")]
    {
        let (old, new) = (read("v7", name, variable), read("v7.3", name, variable));
        match (&old, &new) {
            (Value::Cell(old), Value::Cell(new)) => {
                assert_eq!(old.shape(), new.shape());
                for (a, b) in old.t().iter().zip(new.t()) {
                    assert_eq!(
                        (a.shape(), a.to_f64(), a.text()),
                        (b.shape(), b.to_f64(), b.text()),
                        "{name}"
                    );
                }
            }
            (Value::Char(old), Value::Char(new)) => assert_eq!(old.rows(), new.rows()),
            other => panic!("{name}: {other:?}"),
        }
    }
    let (Value::Struct(old), Value::Struct(new)) =
        (read("v7", "struct.mat", "s2"), read("v7.3", "struct.mat", "s2"))
    else {
        panic!("s2 is a struct array");
    };
    assert_eq!((old.shape(), new.shape()), ([1, 2].as_slice(), [1, 2].as_slice()));
    let values = |values: &[Value]| -> Vec<Option<f64>> { values.iter().map(Value::scalar).collect() };
    assert_eq!(values(old.field("a").unwrap()), values(new.field("a").unwrap()));
    let Value::Sparse(sparse) = read("v7.3", "sparse.mat", "sparse_eye") else { panic!() };
    assert_eq!((sparse.shape(), sparse.values().sum()), ([20, 20], 20.0));
}

#[test]
fn what_v7_3_cannot_hold_is_refused_by_name() {
    let Some(folder) = shared("formats/matjl/v7.3") else { return };
    let error = contents(folder.join("corrupted_mcos_object_metadata.mat")).unwrap_err().to_string();
    assert!(error.contains("refers to object") && error.contains("corrupted_mcos"), "{error}");
    let tables = contents(folder.join("struct_table_datetime.mat")).unwrap();
    assert_eq!(
        (tables.variables[0].class.as_str(), tables.variables[0].shape.as_slice()),
        ("struct", [1, 1].as_slice())
    );
    let Value::Struct(s) =
        MatFile::open(folder.join("struct_table_datetime.mat")).unwrap().read("s").unwrap()
    else {
        panic!();
    };
    let Value::Opaque(object) = &s.field("testTable").unwrap()[0] else { panic!() };
    assert_eq!(object.class_name(), "table");
}

#[test]
fn every_container_gives_one_recording() {
    let Some(folder) = shared("allen-visp-l5") else { return };
    let mat = load_recording(folder.join("recording.mat")).unwrap();
    assert_eq!((mat.presentations(), mat.neurons(), mat.images()), (5950, 54, 118));
    for name in ["recording_v73.mat", "recording.nwb", "recording.npz"] {
        let other = load_recording(folder.join(name)).unwrap();
        assert_eq!(other.responses(), mat.responses(), "{name}");
        assert_eq!(other.stimulus(), mat.stimulus(), "{name}");
        assert_eq!((other.images(), other.gray_screens()), (118, 50), "{name}");
        assert!(other.responses().is_standard_layout(), "{name}");
        // Only MATLAB files hold the blank trials a second time, as spontaneous activity.
        let spontaneous = if name.ends_with("mat") { mat.spontaneous() } else { None };
        assert_eq!(other.spontaneous(), spontaneous, "{name}");
    }
    let images = load_images(folder.join("images.mat")).unwrap();
    assert_eq!(images, load_images(folder.join("recording.nwb")).unwrap());
    assert_eq!(Format::detect(folder.join("recording.nwb")).unwrap(), Format::Nwb);
}

#[test]
fn parts_of_every_container_are_parts_of_the_recording() {
    let Some(folder) = shared("allen-visp-l5") else { return };
    let whole = load_recording(folder.join("recording.mat")).unwrap();
    let neurons = [7, 3, 50, 51, 3];
    let presentations: Vec<usize> = (100..1100).chain([5, 5900, 0]).collect();
    let expected = whole.responses().select(Axis(0), &presentations).select(Axis(1), &neurons);
    for name in ["recording.mat", "recording_v73.mat", "recording.nwb", "recording.npz"] {
        let file = RecordingFile::new(folder.join(name)).images(118).neurons(neurons);
        let part = file.clone().presentations(presentations.iter().copied()).load().unwrap();
        assert_eq!(part.responses(), &expected, "{name}");
        let stimulus: Vec<_> = presentations.iter().map(|&row| whole.stimulus()[row]).collect();
        assert_eq!(part.stimulus(), stimulus, "{name}");
        if let Some(spontaneous) = part.spontaneous() {
            assert_eq!(*spontaneous, whole.spontaneous().unwrap().select(Axis(1), &neurons), "{name}");
        }
        let error = file.clone().neurons([54]).load().unwrap_err().to_string();
        assert!(error.contains("54") && error.contains("was asked for"), "{name}: {error}");
        let error = file.clone().presentations([5950]).load().unwrap_err().to_string();
        assert!(error.contains("5950"), "{name}: {error}");
        let error = file.neurons([]).load().unwrap_err().to_string();
        assert!(error.contains("choose at least one"), "{name}: {error}");
    }
}

#[test]
fn nwb_files_of_every_version_are_listed() {
    let Some(folder) = shared("formats/nwb") else { return };
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let listed = contents(&path).unwrap();
        assert_eq!(listed.format, Format::Nwb, "{}", path.display());
        assert!(listed.variables.iter().any(|v| v.name == "identifier"), "{}", path.display());
        let error = load_recording(&path).unwrap_err().to_string();
        let version_1 = error.contains("NWB 1");
        assert!(version_1 || error.contains("a table of presentations"), "{error}");
        assert_eq!(version_1, path.ends_with("496908818s.nwb"), "{error}");
        seen += 1;
    }
    assert!(seen > 5);
}

fn with_type(file: &H5File, path: &str, neurodata_type: &str) -> H5Group {
    let mut group = file.root_group();
    for name in path.split('/') {
        group = group.create_group(name).or_else(|_| group.group(name)).unwrap();
    }
    group.set_attr_string("neurodata_type", neurodata_type).unwrap();
    group
}

fn numbers(group: &H5Group, name: &str, values: &[f64]) -> rust_hdf5::H5Dataset {
    let dataset = group.new_dataset::<f64>().shape([values.len()]).create(name).unwrap();
    dataset.write_raw(values).unwrap();
    dataset
}

/// Three presentations of two images and one of gray, at 10 Hz, two neurons.
fn nwb(folder: &Path, write: impl FnOnce(&H5File)) -> PathBuf {
    let path = folder.join("made.nwb");
    let file = H5File::create(&path).unwrap();
    file.set_attr_string("nwb_version", "2.7.0").unwrap();
    let trials = with_type(&file, "intervals/trials", "TimeIntervals");
    numbers(&trials, "start_time", &[0.0, 1.0, 2.0, 3.0]);
    numbers(&trials, "stop_time", &[0.5, 1.5, 2.5, 3.5]);
    write(&file);
    file.close().unwrap();
    path
}

/// A series whose value is its sample number for neuron 0, its square for neuron 1.
fn series(file: &H5File, path: &str) {
    let group = with_type(file, path, "RoiResponseSeries");
    let data = group.new_dataset::<f32>().shape([40, 2]).chunk(&[7, 1]).deflate(3).create("data").unwrap();
    let values: Vec<f32> = (0..40).flat_map(|n| [n as f32, (n * n) as f32]).collect();
    data.write_raw(&values).unwrap();
    let start = group.new_dataset::<f64>().scalar().create("starting_time").unwrap();
    start.write_raw(&[0.05_f64]).unwrap();
    start.new_attr::<f64>().shape(()).create("rate").unwrap().write_numeric(&10.0_f64).unwrap();
}

#[test]
fn a_series_is_averaged_over_each_presentation() {
    let folder = tempfile::tempdir().unwrap();
    let path = nwb(folder.path(), |file| {
        let trials = file.root_group().group("intervals").unwrap().group("trials").unwrap();
        numbers(&trials, "stimulus_id", &[1.0, f64::NAN, 0.0, 1.0]);
        series(file, "processing/ophys/DfOverF/all");
        series(file, "processing/ophys/Fluorescence/raw");
    });
    let recording = load_recording(&path).unwrap();
    // Samples 0 to 4, 10 to 14 and so on.
    let mean = |first: usize| (first..first + 5).map(|n| (n * n) as f32).sum::<f32>() / 5.0;
    assert_eq!(
        recording.responses(),
        array![[2.0, mean(0)], [12.0, mean(10)], [22.0, mean(20)], [32.0, mean(30)]]
    );
    assert_eq!(recording.stimulus(), [Some(1), None, Some(0), Some(1)]);
    let part = RecordingFile::new(&path).neurons([1]).presentations([2, 0]).load().unwrap();
    assert_eq!(part.responses(), recording.responses().select(Axis(0), &[2, 0]).slice(s![.., 1..]));

    let mut choice = NwbChoice::default();
    choice.window = Some([0.5, 0.7]);
    choice.responses = Some("processing/ophys/Fluorescence/raw".to_owned());
    let later = RecordingFile::new(&path).nwb(choice.clone()).load().unwrap();
    assert_eq!(later.responses().column(0), array![5.5, 15.5, 25.5, 35.5]);
    choice.window = Some([1.5, 1.7]);
    let error = RecordingFile::new(&path).nwb(choice).load().unwrap_err().to_string();
    assert!(error.contains("no sample for presentation 3"), "{error}");
}

#[test]
fn spikes_are_counted_per_second_and_images_are_found_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = nwb(folder.path(), |file| {
        let trials = file.root_group().group("intervals").unwrap().group("trials").unwrap();
        trials.write_vlen_strings("image_name", &["scene_10", "gray", "scene_2", "scene_10"]).unwrap();
        let units = with_type(file, "units", "Units");
        numbers(&units, "spike_times", &[0.1, 0.2, 0.49, 0.5, 2.4, 3.0, 1.1, 3.2]);
        let ends = units.new_dataset::<u32>().shape([2]).create("spike_times_index").unwrap();
        ends.write_raw(&[6_u32, 8]).unwrap();
        let templates = with_type(file, "stimulus/templates/scenes", "Images");
        for (name, level) in [("scene_10", 10_u8), ("scene_2", 2)] {
            let image = templates.new_dataset::<u8>().shape([2, 3]).create(name).unwrap();
            image.write_raw(&[level; 6]).unwrap();
        }
    });
    let recording = load_recording(&path).unwrap();
    assert_eq!(recording.responses(), array![[6.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 2.0]]);
    assert_eq!(recording.stimulus(), [Some(1), None, Some(0), Some(1)]);
    let images = load_images(&path).unwrap();
    assert_eq!(images.pixels.dim(), (2, 2, 3));
    assert_eq!((images.pixels[[0, 0, 0]], images.pixels[[1, 1, 2]]), (2, 10));
    let part = RecordingFile::new(&path).neurons([1]).load().unwrap();
    assert_eq!(part.responses(), array![[0.0], [2.0], [0.0], [2.0]]);
}

#[test]
fn choices_are_asked_for_and_never_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = nwb(folder.path(), |file| {
        for table in ["intervals/natural_presentations", "intervals/grating_presentations"] {
            let group = with_type(file, table, "TimeIntervals");
            numbers(&group, "start_time", &[0.0, 1.0]);
            numbers(&group, "stop_time", &[0.5, 1.5]);
            numbers(&group, "stimulus_id", &[0.0, 1.0]);
        }
        series(file, "processing/ophys/DfOverF/all");
    });
    let error = load_recording(&path).unwrap_err().to_string();
    assert!(error.contains("natural_presentations") && error.contains("NwbChoice::table"), "{error}");
    let mut choice = NwbChoice::default();
    choice.table = Some("intervals/natural_presentations".to_owned());
    assert_eq!(RecordingFile::new(&path).nwb(choice).load().unwrap().presentations(), 2);
}

#[test]
fn plain_hdf5_is_listed_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.h5");
    let file = H5File::create(&path).unwrap();
    let group = file.create_group("a").unwrap();
    let data =
        group.new_dataset::<i16>().shape([100, 3]).chunk(&[10, 2]).shuffle_deflate(4).create("b").unwrap();
    let values: Vec<i16> = (0..300).map(|n| n - 100).collect();
    data.write_raw(&values).unwrap();
    file.write_vlen_strings("names", &["x", "", "\u{e9}t\u{e9}"]).unwrap();
    file.create_soft_link("link", "/a/b").unwrap();
    let scalar = file.new_dataset::<f64>().scalar().create("scalar").unwrap();
    scalar.write_raw(&[2.5_f64]).unwrap();
    let unit = scalar.new_attr::<VarLenUnicode>().shape(()).create("unit").unwrap();
    unit.write_string("s").unwrap();
    file.close().unwrap();

    let listed = contents(&path).unwrap();
    assert_eq!(listed.format, Format::Hdf5);
    let found = |name: &str| listed.variables.iter().find(|v| v.name == name).unwrap();
    assert_eq!((found("a/b").shape.as_slice(), found("a/b").dtype.as_str()), ([100, 3].as_slice(), "int16"));
    assert_eq!(found("a/b").sum, Some(values.iter().map(|&v| f64::from(v)).sum()));
    assert_eq!((found("names").dtype.as_str(), found("names").sum), ("object", None));
    assert_eq!((found("scalar").shape.len(), found("scalar").sum), (0, Some(2.5)));

    let file = Hdf5File::open(&path).unwrap();
    assert_eq!(file.dataset("link").unwrap().path(), "a/b");
    assert_eq!(*file.dataset("names").unwrap().kind(), Kind::Text);
    let Hdf5Array::Text(names) = file.read("names").unwrap() else { panic!() };
    assert_eq!(names.as_slice().unwrap(), ["x", "", "\u{e9}t\u{e9}"]);
    let block = file.read_block("a/b", &[95..97, 1..3]).unwrap();
    assert_eq!(block.to_f64(), [186.0, 189.0, 187.0, 190.0]);
    assert_eq!(file.text_attribute("scalar", "unit").unwrap().as_deref(), Some("s"));
    assert!(file.read_block("a/b", &[0..1, 2..4]).unwrap_err().to_string().contains("not a part of"));
    let error = file.read("b").unwrap_err().to_string();
    assert!(error.contains("is not in this file; it holds a/b"), "{error}");
    let error = load_recording(&path).unwrap_err().to_string();
    assert!(error.contains("neither MATLAB v7.3 nor NWB 2"), "{error}");
}

#[test]
fn recordings_of_v7_3_are_read_in_tiles() {
    // More rows and columns than a block takes, and chunks that do not divide them.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.mat");
    let (presentations, neurons) = (700_usize, 900_usize);
    let resp = Array2::from_shape_fn((presentations, neurons), |(t, n)| ((t * 31 + n * 17) % 1009) as f64);
    let file = H5File::options().userblock(512).create(&path).unwrap();
    let stim = file.create_group("stim").unwrap();
    stim.set_attr_string("MATLAB_class", "struct").unwrap();
    let class = |dataset: &rust_hdf5::H5Dataset| {
        let attribute = dataset.new_attr::<VarLenUnicode>().shape(()).create("MATLAB_class").unwrap();
        attribute.write_string("double").unwrap();
    };
    let data = stim.new_dataset::<f64>().shape([neurons, presentations]).chunk(&[70, 130]).deflate(1);
    let data = data.create("resp").unwrap();
    data.write_raw(&resp.t().iter().copied().collect::<Vec<_>>()).unwrap();
    class(&data);
    let ids: Vec<f64> = (0..presentations).map(|t| (t % 100 + 1) as f64).collect();
    let data = stim.new_dataset::<f64>().shape([1, presentations]).create("istim").unwrap();
    data.write_raw(&ids).unwrap();
    class(&data);
    file.close().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[..10].copy_from_slice(b"MATLAB 7.3");
    std::fs::write(&path, bytes).unwrap();

    let recording = RecordingFile::new(&path).images(100).load().unwrap();
    assert_eq!(recording.responses(), resp.mapv(|v| v as f32));
    let picked = [5, 6, 7, 300, 899];
    let rows: Vec<usize> = (120..140).chain([699]).collect();
    let part =
        RecordingFile::new(&path).images(100).neurons(picked).presentations(rows.clone()).load().unwrap();
    assert_eq!(part.responses(), resp.mapv(|v| v as f32).select(Axis(0), &rows).select(Axis(1), &picked));
}
