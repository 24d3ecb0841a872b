//! Text tables with folders of images, and folders in the layout of Sensorium.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::Path;

use dina_data::sensorium::SensoriumFolder;
use dina_data::table::ResponseTable;
use dina_data::{Format, RecordingFile, contents, load_images, load_recording};
use image::{GrayImage, Luma, Rgb, RgbImage};
use ndarray::array;

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn picture(folder: &Path, name: &str, level: u8) {
    let path = folder.join("images").join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    GrayImage::from_fn(4, 3, |x, y| Luma([level + (y * 4 + x) as u8])).save(path).unwrap();
}

const TABLE: &str = "trial,stimulus,n1,n2\n0,2,1.5,-1\n1,10,2.5,0\n2,gray,3.5,1e1\n3,2,4.5,7\n";

#[test]
fn a_table_and_a_folder_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "responses.csv", TABLE);
    picture(path, "10.png", 100);
    picture(path, "2.png", 20);
    let recording = load_recording(path).unwrap();
    assert_eq!(recording.responses(), array![[1.5, -1.0], [2.5, 0.0], [3.5, 10.0], [4.5, 7.0]]);
    // 2 comes before 10.
    assert_eq!(recording.stimulus(), [Some(0), Some(1), None, Some(0)]);
    assert_eq!((recording.images(), recording.red_cells(), recording.positions()), (2, None, None));
    let images = load_images(path).unwrap();
    assert_eq!(images.pixels.dim(), (2, 3, 4));
    assert_eq!((images.pixels[[0, 0, 0]], images.pixels[[1, 2, 3]]), (20, 111));
    assert_eq!(load_images(path.join("images")).unwrap(), images);
    // The table given itself is the same recording.
    std::fs::rename(path.join("responses.csv"), path.join("any name")).unwrap();
    let table = load_recording(path.join("any name")).unwrap();
    assert_eq!((table.responses(), table.stimulus()), (recording.responses(), recording.stimulus()));

    let part = RecordingFile::new(path.join("any name")).neurons([1]).presentations([3, 0]).load().unwrap();
    assert_eq!(part.responses(), array![[7.0], [-1.0]]);
    assert_eq!(part.stimulus(), [Some(0), Some(0)]);
    let error = RecordingFile::new(path.join("any name")).presentations([4]).load().unwrap_err().to_string();
    assert!(error.contains("has 4 rows, number 4"), "{error}");
    let listed = contents(path.join("any name")).unwrap();
    assert_eq!(listed.format, Format::Csv);
    let names: Vec<&str> = listed.variables.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names, ["responses", "stimulus", "images"]);
    assert_eq!(listed.variables[0].sum, Some(28.0));
    assert!(listed.is_recording());
}

#[test]
fn neurons_spontaneous_activity_and_a_mapping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    write(path, "responses.csv", "stimulus;b;a\nx;1;2\ny;2;3\n-1;3;5\n;4;1\n");
    write(path, "images.csv", "file;stimulus\nsecond.jpg;y\nfirst.PNG;x\n");
    write(path, "neurons.csv", "neuron\tx\ty\tred\na\t1\t2\t1\nb\t3\t4\t0\n");
    write(path, "spontaneous.csv", "b,a\n0.5,0.25\n1,2\n");
    picture(path, "first.PNG", 1);
    let colour = RgbImage::from_pixel(4, 3, Rgb([200, 200, 200]));
    colour.save(path.join("images/second.jpg")).unwrap();
    let recording = load_recording(path).unwrap();
    assert_eq!(recording.stimulus(), [Some(1), Some(0), None, None]);
    assert_eq!(recording.positions(), Some(&array![[3.0, 4.0, 0.0], [1.0, 2.0, 0.0]]));
    assert_eq!(recording.red_cells(), Some([false, true].as_slice()));
    assert_eq!(recording.spontaneous(), Some(&array![[0.5, 0.25], [1.0, 2.0]]));
    let images = load_images(path).unwrap();
    assert!(images.pixels[[0, 1, 1]].abs_diff(200) <= 2 && images.pixels[[1, 0, 0]] == 1);
    let part = RecordingFile::new(path).neurons([1]).load().unwrap();
    assert_eq!(part.positions(), Some(&array![[1.0, 2.0, 0.0]]));
    assert_eq!(part.red_cells(), Some([true].as_slice()));
    assert_eq!(part.spontaneous(), Some(&array![[0.25], [2.0]]));
}

#[test]
fn stimuli_without_images_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let read = |table: &str| {
        write(folder.path(), "responses.csv", table);
        load_recording(folder.path())
    };
    let named = read("stimulus,n\nb10,1\nb9,2\nblank,3\nb10,4\n").unwrap();
    assert_eq!(named.stimulus(), [Some(1), Some(0), None, Some(1)]);
    let counted = read("stimulus,n\n3,1\n0,2\n-1,3\n").unwrap();
    assert_eq!((counted.stimulus(), counted.images()), ([Some(3), Some(0), None].as_slice(), 4));
}

#[test]
fn wrong_tables_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let message = |table: &str| {
        write(path, "responses.csv", table);
        load_recording(path).unwrap_err().to_string()
    };
    let cases = [
        (message("image,n\n0,1\n"), "`stimulus` is not a column"),
        (message("stimulus,n,m\n0,1,2\n1,2\n"), "give every row as many cells"),
        (message("stimulus,n\n0,1\n1,\"1,5\"\n"), "`n` holds `1,5` in row 2"),
        (message("stimulus,n\n0,1\n0,1\n"), "never change"),
        (message("stimulus,n\n"), "shows no image"),
    ];
    for (message, part) in cases {
        assert!(message.contains(part) && message.contains(path.to_str().unwrap()), "{message}");
    }
    picture(path, "a.png", 1);
    picture(path, "b.png", 2);
    let error = message("stimulus,n\na,1\nc,2\n");
    assert!(error.contains("holds `c`, which is none of the 2 images"), "{error}");
    for file in ["../secret.png", "/etc/passwd", ""] {
        write(path, "images.csv", format!("stimulus,file\na,{file}\n"));
        let error = message("stimulus,n\na,1\na,2\n");
        assert!(error.contains("lies outside of `images`"), "{error}");
    }
    std::fs::remove_file(path.join("images.csv")).unwrap();
    GrayImage::new(9, 9).save(path.join("images/b.png")).unwrap();
    let error = load_images(path).unwrap_err().to_string();
    assert!(error.contains("is 9 x 9") && error.contains("one size"), "{error}");
    std::fs::write(path.join("images/b.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let error = load_images(path).unwrap_err().to_string();
    assert!(error.contains("b.png") && error.contains("damaged"), "{error}");
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn doubles(values: &[f64]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// Four trials of two images, two neurons.
fn sensorium(folder: &Path) {
    let levels = [[9_u8, 8, 7, 6, 5, 4], [1, 2, 3, 4, 5, 6]];
    for (trial, image) in [0, 1, 0, 1].into_iter().enumerate() {
        let name = format!("data/images/{trial}.npy");
        let pixels = levels[image];
        // Both types that are in use.
        match trial % 2 {
            0 => write(folder, &name, npy("|u1", "(1, 2, 3)", &pixels)),
            _ => write(folder, &name, npy("<f8", "(1, 2, 3)", &doubles(&pixels.map(f64::from)))),
        }
        let response = [trial as f64, (trial * trial) as f64 + 1.0];
        write(folder, &format!("data/responses/{trial}.npy"), npy("<f8", "(2,)", &doubles(&response)));
    }
    let ids: Vec<u8> = [50_i64, 7, 50, 7].iter().flat_map(|id| id.to_le_bytes()).collect();
    write(folder, "meta/trials/frame_image_id.npy", npy("<i8", "(4,)", &ids));
    let tiers: Vec<u8> = ["train", "test\0", "train", "test\0"]
        .iter()
        .flat_map(|tier| tier.chars().flat_map(|c| (c as u32).to_le_bytes()))
        .collect();
    write(folder, "meta/trials/tiers.npy", npy("<U5", "(4,)", &tiers));
    let positions = doubles(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    write(folder, "meta/neurons/cell_motor_coordinates.npy", npy("<f8", "(2, 3)", &positions));
}

#[test]
fn a_sensorium_folder() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    sensorium(path);
    assert_eq!(Format::detect(path).unwrap(), Format::Sensorium);
    let recording = load_recording(path).unwrap();
    assert_eq!(recording.responses(), array![[0.0, 1.0], [1.0, 2.0], [2.0, 5.0], [3.0, 10.0]]);
    // The smaller id is the first image.
    assert_eq!(recording.stimulus(), [Some(1), Some(0), Some(1), Some(0)]);
    assert_eq!(recording.positions(), Some(&array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]));
    let images = load_images(path).unwrap();
    assert_eq!(images.pixels, array![[[1, 2, 3], [4, 5, 6]], [[9, 8, 7], [6, 5, 4]]]);
    let tiers = SensoriumFolder::open(path).unwrap().tiers().unwrap().unwrap();
    assert_eq!(tiers, ["train", "test", "train", "test"]);

    let train = RecordingFile::new(path).tiers(["train"]).neurons([1]).load().unwrap();
    assert_eq!(train.responses(), array![[1.0], [5.0]]);
    assert_eq!((train.stimulus(), train.images()), ([Some(1), Some(1)].as_slice(), 2));
    let error = RecordingFile::new(path).tiers(["live"]).load().unwrap_err().to_string();
    assert!(error.contains("do not include `live`; choose among test, train"), "{error}");
    let listed = contents(path).unwrap();
    let found = |name: &str| listed.variables.iter().find(|v| v.name == name).unwrap();
    assert_eq!(
        (found("data/responses").shape.as_slice(), found("data/responses").sum),
        ([4, 2].as_slice(), Some(24.0))
    );
    assert_eq!(found("meta/trials/tiers.npy").dtype, "<U5");

    // Without ids, equal pixels are one image.
    std::fs::remove_file(path.join("meta/trials/frame_image_id.npy")).unwrap();
    let stimulus = load_recording(path).unwrap().stimulus().to_vec();
    assert!(stimulus[0] == stimulus[2] && stimulus[1] == stimulus[3] && stimulus[0] != stimulus[1]);
}

#[test]
fn withheld_and_misshapen_trials_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    sensorium(path);
    for trial in [1, 3] {
        write(path, &format!("data/responses/{trial}.npy"), npy("<f8", "(2,)", &doubles(&[0.0, 0.0])));
    }
    let error = load_recording(path).unwrap_err().to_string();
    assert!(error.contains("tier `test`") && error.contains("RecordingFile::tiers`: train"), "{error}");
    assert_eq!(RecordingFile::new(path).tiers(["train"]).load().unwrap().presentations(), 2);
    write(path, "data/responses/1.npy", npy("<f8", "(2, 1)", &doubles(&[0.0, 1.0])));
    assert!(load_recording(path).unwrap_err().to_string().contains("films"));
    write(path, "data/images/2.npy", npy("|u1", "(2, 3)", &[0; 6]));
    assert!(load_images(path).unwrap_err().to_string().contains("is not the image of trial 0"));
    std::fs::remove_file(path.join("data/responses/2.npy")).unwrap();
    assert!(load_recording(path).unwrap_err().to_string().contains("has no trial 2"));
    let table = tempfile::tempdir().unwrap();
    let error = ResponseTable::open(table.path()).unwrap_err().to_string();
    assert!(error.contains("a folder of another layout"), "{error}");
}
