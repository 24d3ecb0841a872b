//! Files that other people's tools wrote, in `shared/data` beside the repository. What is expected
//! was read with scipy.io.loadmat and numpy.load.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};

use dina_data::{Error, Format, contents, load_categories, load_images, load_recording};

/// The folder, or `None` with a note where it is absent.
fn data() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: {} is absent", folder.display());
    None
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "mat" || e == "nwb" || e == "npz") {
            found.push(path);
        }
    }
}

#[test]
fn every_file_loads_or_is_refused_for_a_reason() {
    let Some(folder) = data() else { return };
    let mut found = Vec::new();
    files(&folder, &mut found);
    assert!(found.len() > 90, "only {} files", found.len());
    for path in found {
        let name = path.file_name().unwrap().to_str().unwrap();
        let damaged = ["corrupted", "bad_", "broken", "malformed", "debigged"]
            .iter()
            .any(|word| name.starts_with(word));
        let format = Format::detect(&path).unwrap();
        match (format, contents(&path)) {
            (Format::MatV73 | Format::Hdf5, Err(Error::Unsupported { remedy, .. }))
                if cfg!(not(feature = "hdf5")) =>
            {
                assert!(remedy.contains("save"), "{remedy}");
            }
            (format, Err(Error::Malformed { what, .. })) if damaged => {
                assert!(what.contains("byte") || format == Format::MatV73, "{name}: {what}");
            }
            (_, Ok(contents)) if !damaged => assert!(!contents.variables.is_empty(), "{name}"),
            (format, other) => panic!("{name} ({format:?}): {other:?}"),
        }
    }
}

#[test]
fn spot_values_are_those_of_scipy() {
    let Some(folder) = data() else { return };
    let expected: &[(&str, &str, &[usize], f64)] = &[
        ("allen-visp-l5/images.mat", "imgs", &[94, 120, 118], 155532325.0),
        ("stringer-meta/stimuli_class_assignment.mat", "class_assignment", &[1, 2800], 17122.0),
        ("stringer-meta/dbstims.mat", "stype", &[1, 32], 116.0),
        ("formats/matjl/v6/partial.mat", "var1", &[128, 128], 8144.986572828489),
        ("formats/matjl/v7/partial.mat", "var2", &[128, 128], 8232.01625716411),
        ("formats/matjl/v4/testmulti_4.2c_SOL2.mat", "theta", &[1, 9], 28.27433388230814),
        ("formats/scipy/testdouble_6.1_SOL2.mat", "testdouble", &[1, 9], 28.27433388230814),
        ("formats/scipy/testminus_6.1_SOL2.mat", "testminus", &[1, 1], -1.0),
        ("formats/scipy/testmatrix_7.4_GLNX86.mat", "testmatrix", &[3, 5], 20.0),
        ("formats/scipy/testsparse_7.4_GLNX86.mat", "testsparse", &[3, 5], 20.0),
        ("formats/scipy/logical_sparse.mat", "sp_log_5_4", &[5, 4], 5.0),
        ("formats/matjl/v6/sparse.mat", "sparse_random", &[3, 3], 24.0),
        ("formats/scipy/miuint32_for_miint32.mat", "an_array", &[1, 10], 45.0),
        ("formats/scipy/test_mat4_le_floats.mat", "a", &[1, 2], 1.3),
        ("formats/scipy/testbool_8_WIN64.mat", "testbools", &[2, 1], 1.0),
        ("formats/scipy/little_endian.mat", "floats", &[2, 2], 12.0),
        ("formats/scipy/testvec_4_GLNX86.mat", "fit_params", &[2, 1], 1276613640.6245465),
    ];
    for (file, variable, shape, sum) in expected {
        let contents = contents(folder.join(file)).unwrap();
        let found = contents.variables.iter().find(|v| v.name == *variable).unwrap();
        assert_eq!(&found.shape, shape, "{file}");
        let difference = (found.sum.unwrap() - sum).abs();
        assert!(difference <= 1e-9 * sum.abs().max(1.0), "{file}: {:?} for {sum}", found.sum);
    }
}

#[test]
fn structs_cells_text_and_objects_are_listed_with_their_classes() {
    let Some(folder) = data() else { return };
    let expected: &[(&str, &str, &str, &[usize])] = &[
        ("stringer-meta/dbstims.mat", "dbstims", "struct", &[1, 32]),
        ("stringer-meta/dbstims.mat", "stimset", "cell", &[1, 7]),
        ("formats/scipy/testobject_7.4_GLNX86.mat", "testobject", "object", &[1, 1]),
        ("formats/scipy/testfunc_7.4_GLNX86.mat", "testfunc", "function", &[1, 1]),
        ("formats/scipy/testcomplex_6.5.1_GLNX86.mat", "testcomplex", "double", &[1, 9]),
        ("formats/matjl/v6/sparse.mat", "sparse_logical", "logical", &[5, 5]),
        ("formats/matjl/v7/dynamicprops.mat", "obj", "opaque", &[1, 1]),
        ("formats/matjl/v7/char_unicode.mat", "f", "char", &[3, 8, 2]),
    ];
    for (file, variable, class, shape) in expected {
        let contents = contents(folder.join(file)).unwrap();
        let found = contents.variables.iter().find(|v| v.name == *variable).unwrap();
        assert_eq!((found.class.as_str(), found.shape.as_slice()), (*class, *shape), "{file}");
    }
}

#[test]
fn two_containers_give_one_recording() {
    let Some(folder) = data().map(|d| d.join("allen-visp-l5")) else {
        return;
    };
    let mat = load_recording(folder.join("recording.mat")).unwrap();
    let npz = load_recording(folder.join("recording.npz")).unwrap();
    assert_eq!((mat.presentations(), mat.neurons()), (5950, 54));
    assert_eq!((mat.images(), mat.gray_screens(), mat.repeats()), (118, 50, 50));
    assert_eq!(mat.responses(), npz.responses());
    assert!(mat.responses().is_standard_layout() && npz.responses().is_standard_layout());
    assert_eq!(mat.stimulus(), npz.stimulus());
    assert_eq!(mat.images(), npz.images());
    // Only the MATLAB file holds the blank trials a second time, as spontaneous activity.
    let blank: Vec<usize> = (0..mat.presentations()).filter(|&row| mat.stimulus()[row].is_none()).collect();
    let blank = npz.responses().select(ndarray::Axis(0), &blank);
    assert_eq!(mat.spontaneous(), Some(&blank));
    let images = load_images(folder.join("images.mat")).unwrap();
    assert_eq!(images, load_images(folder.join("recording.npz")).unwrap());
    assert_eq!(images.pixels.dim(), (118, 94, 120));
}

#[test]
fn categories_of_the_deposit() {
    let Some(folder) = data().map(|d| d.join("stringer-meta")) else {
        return;
    };
    let all = load_categories(folder.join("stimuli_class_assignment.mat"), 2800).unwrap();
    assert_eq!((all.names.len(), all.names[0].as_str()), (15, "birds"));
    assert_eq!(all.of.iter().flatten().count(), 2800 - 101);
    let sure = load_categories(folder.join("stimuli_class_assignment_confident.mat"), 2800).unwrap();
    assert_eq!(sure.names.len(), 11);
    assert_eq!(sure.of.iter().flatten().count(), 2457);
    let error = load_categories(folder.join("stimuli_class_assignment.mat"), 32).unwrap_err();
    assert!(error.to_string().contains("2800 entries for 32 images"), "{error}");
}
