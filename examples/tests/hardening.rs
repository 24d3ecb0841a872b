//! The programs where something goes wrong: a full disk, a folder that cannot be written, a killed process, a second run,
//! odd clocks, odd names, sizes and numbers. Each ends in one sentence that names it, and leaves nothing half written.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use dina_core::FolderLock;
use dina_data::mat::{Item, write_mat};
use ndarray::{Array, ArrayD, IxDyn};

/// A built example, beside the folder of this test.
fn path_of(name: &str) -> PathBuf {
    let folder = std::env::current_exe().unwrap();
    folder.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

fn program(name: &str) -> Command {
    Command::new(path_of(name))
}

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The one sentence with which a program ended.
fn refusal(command: &mut Command) -> String {
    refused(&command.output().unwrap())
}

fn refused(output: &Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    error.lines().find(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{error}")).to_owned()
}

/// A small simulated session on disk.
fn session(folder: &Path, neurons: usize, images: usize) {
    let (neurons, images) = (neurons.to_string(), images.to_string());
    succeed(program("simulate").arg("--out").arg(folder).args(["--neurons", &neurons, "--images", &images]));
}

/// Training on the files of a session.
fn on_session(command: &mut Command, session: &Path, out: &Path) {
    command.args(["--profile", "smoke", "--folds", "1", "--out"]).arg(out);
    command.arg("--recording").arg(session.join("recording.mat"));
    command.arg("--images").arg(session.join("images.mat"));
}

fn train(session: &Path, out: &Path) -> Command {
    let mut command = program("train");
    on_session(&mut command, session, out);
    command
}

const MODEL: &str = "checkpoints/fold-1-model-1.safetensors";
const STATE: &str = "checkpoints/fold-1-model-1.training.safetensors";

fn model(out: &Path) -> Vec<u8> {
    std::fs::read(out.join(MODEL)).unwrap()
}

/// Names in a folder, those of hidden files too.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn is_root() -> bool {
    let found = Command::new("id").arg("-u").output();
    found.is_ok_and(|found| String::from_utf8_lossy(&found.stdout).trim() == "0")
}

/// Whether file systems can be mounted for one process alone; says why not.
fn can_mount() -> bool {
    let tried = Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"]).output();
    let can = tried.is_ok_and(|tried| tried.status.success());
    if !can {
        println!("skipped: no right to mount a file system (needs root and `unshare`)");
    }
    can
}

/// A program in a shell that first runs `before`, where `$D` is `folder`; mounts end with it.
fn in_mounts(before: &str, folder: &Path, command: &Command) -> Command {
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", &format!("{before}; exec \"$0\" \"$@\"")]).env("D", folder);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

/// A program whose files may have `blocks` of 512 bytes; past that a write fails, or the program is killed.
#[cfg(unix)]
fn limited(blocks: usize, killed: bool, command: &Command) -> Command {
    let ignore = if killed { "" } else { "trap '' XFSZ; " };
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{ignore}ulimit -f {blocks}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

#[test]
fn a_second_run_into_a_folder_is_refused_and_a_dead_one_blocks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (files, out) = (folder.path().join("session"), folder.path().join("out"));
    session(&files, 12, 24);
    // Long enough to be met, as its simulated recording is larger.
    let mut running = program("train")
        .args(["--profile", "smoke", "--out"])
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lock = out.join(FolderLock::NAME);
    while std::fs::read(&lock).unwrap_or_default().is_empty() && running.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let error = refusal(&mut train(&files, &out));
    let holder = format!("`train`, process {}", running.id());
    assert!(error.contains(out.to_str().unwrap()) && error.contains(&holder), "{error}");
    running.kill().unwrap();
    running.wait().unwrap();
    succeed(&mut train(&files, &out));

    let held = FolderLock::acquire(&out).unwrap();
    let holder = format!("process {}", std::process::id());
    for name in ["reproduce", "decode", "interpret"] {
        let mut command = program(name);
        on_session(&mut command, &files, &out);
        let error = refusal(&mut command);
        assert!(error.contains(&holder), "{name}: {error}");
    }
    let error = refusal(program("simulate").arg("--out").arg(&out));
    assert!(error.contains(&holder), "{error}");
    drop(held);
}

#[cfg(unix)]
#[test]
fn a_full_disk_ends_in_an_error_and_a_later_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (files, out, whole) =
        (folder.path().join("session"), folder.path().join("out"), folder.path().join("whole"));
    session(&files, 12, 24);
    succeed(&mut train(&files, &whole));

    // Writing fails.
    let error = refusal(&mut limited(4, false, &train(&files, &out)));
    assert!(error.contains("fold-1-model-1") && error.contains("too large"), "{error}");
    assert_eq!(names(&out.join("checkpoints")), [""; 0]);
    succeed(train(&files, &out).arg("--resume"));
    assert_eq!(model(&out), model(&whole));

    // Writing kills: what is half there has another name, is not read, and goes away.
    let out = folder.path().join("killed");
    let output = limited(4, true, &train(&files, &out)).output().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&output.status), Some(25), "{output:?}");
    let left = names(&out.join("checkpoints"));
    assert!(left.len() == 1 && left[0].starts_with(".fold-1") && left[0].ends_with(".partial"), "{left:?}");
    succeed(train(&files, &out).arg("--resume"));
    assert_eq!(names(&out.join("checkpoints")), ["fold-1-model-1.safetensors"]);
    assert_eq!(model(&out), model(&whole));

    // Nowhere to print to.
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    if Path::new("/dev/full").exists() {
        let printed = program("inspect").arg(files.join("images.mat")).stdout(full()).output().unwrap();
        let error = refused(&printed);
        assert!(error.contains("standard output"), "{error}");
        // A log that cannot be written is no reason to lose the work.
        let silent = train(&files, &folder.path().join("silent")).stderr(full()).output().unwrap();
        assert!(silent.status.success());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_system_without_room_is_named() {
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (files, out) = (folder.path().join("session"), folder.path().join("out"));
    session(&files, 12, 24);
    std::fs::create_dir(&out).unwrap();
    let mount = "mount -t tmpfs -o size=16k none $D";
    let error = refusal(&mut in_mounts(mount, &out, &train(&files, &out)));
    assert!(error.contains("fold-1-model-1") && error.contains("No space left"), "{error}");
    // What is on the small disk afterwards.
    let command = format!("{mount}; \"$0\" \"$@\"; ls -A $D/checkpoints");
    let train = train(&files, &out);
    let mut shell = Command::new("unshare");
    shell.args(["-m", "sh", "-c", &command]).env("D", &out).arg(train.get_program()).args(train.get_args());
    assert_eq!(succeed(&mut shell), "");
    let mut simulate = program("simulate");
    simulate.args(["--neurons", "12", "--images", "24", "--out"]).arg(&out);
    let simulate = in_mounts(mount, &out, &simulate).output().unwrap();
    let error = refused(&simulate);
    assert!(error.contains("recording.mat") && error.contains("No space left"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (files, out) = (folder.path().join("session"), folder.path().join("closed"));
    session(&files, 12, 24);
    std::fs::create_dir(&out).unwrap();
    // Permissions do not bind root; a file system that is mounted for reading does.
    let (before, reason) = if is_root() {
        if !can_mount() {
            return;
        }
        ("mount --bind $D $D && mount -o remount,bind,ro $D", "Read-only")
    } else {
        std::fs::set_permissions(&out, std::os::unix::fs::PermissionsExt::from_mode(0o555)).unwrap();
        ("true", "denied")
    };
    let closed = |command: &Command| match before {
        "true" => {
            let mut plain = Command::new(command.get_program());
            plain.args(command.get_args());
            plain
        }
        _ => in_mounts(before, &out, command),
    };
    for inner in ["", "new/folder"] {
        let error = refusal(&mut closed(&train(&files, &out.join(inner))));
        assert!(error.contains("closed") && error.contains(reason), "{error}");
        let error = refusal(&mut closed(program("simulate").arg("--out").arg(out.join(inner))));
        assert!(error.contains("closed") && error.contains(reason), "{error}");
    }
    // Reading from such a folder is no trouble.
    let read_only =
        closed(program("inspect").arg(files.join("recording.mat"))).env("D", &files).output().unwrap();
    assert!(read_only.status.success());
    assert_eq!(names(&out), [""; 0]);
}

#[test]
fn what_does_not_fit_into_memory_is_refused_before_it_begins() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let both = |error: &str| error.contains("would take about") && error.contains("are available");
    // More than any machine has.
    let error = refusal(program("simulate").args(["--neurons", "2000000000", "--out"]).arg(&out));
    assert!(both(&error) && error.contains("2000000000 neurons") && error.contains("DINA_MEMORY"), "{error}");
    // More than one may take, in either program.
    let mut full = program("train");
    full.args(["--profile", "full", "--out"]).arg(&out).env("DINA_MEMORY", "200MB");
    let error = refusal(&mut full);
    assert!(both(&error) && error.contains("10000 neurons") && error.contains("190.7 MiB"), "{error}");
    let error = refusal(full.env("DINA_MEMORY", "much"));
    assert!(error.contains("DINA_MEMORY") && error.contains("`much`"), "{error}");

    // Images of 32 GiB, nearly all hole.
    let header = "{'descr': '|u1', 'fortran_order': False, 'shape': (32768, 1024, 1024), }";
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend([118, 0]);
    bytes.extend(format!("{header:<117}\n").as_bytes());
    let sparse = folder.path().join("huge.npy");
    std::fs::write(&sparse, &bytes).unwrap();
    File::options().write(true).open(&sparse).unwrap().set_len(128 + (1 << 35)).unwrap();
    session(&folder.path().join("session"), 12, 24);
    let mut command = program("train");
    command.arg("--images").arg(&sparse).arg("--out").arg(&out).env("DINA_MEMORY", "1GiB");
    command.arg("--recording").arg(folder.path().join("session/recording.mat"));
    let error = refusal(&mut command);
    assert!(both(&error) && error.contains("huge.npy") && error.contains("32.0 GiB"), "{error}");
    // A recording that was read, and whose analysis would be too large.
    let mut command = train(&folder.path().join("session"), &out);
    let error = refusal(command.env("DINA_MEMORY", "20MiB"));
    assert!(both(&error) && error.contains("12 neurons"), "{error}");
    assert!(!out.join("checkpoints").exists());
}

/// Responses, stimulus ids, spontaneous activity and positions as in the deposit, from which a test may take a
/// number away.
struct Deposit {
    responses: ArrayD<f64>,
    ids: ArrayD<f64>,
    spontaneous: ArrayD<f64>,
    positions: ArrayD<f64>,
}

impl Deposit {
    fn new(images: usize, repeats: usize, neurons: usize) -> Self {
        let rows = images * repeats;
        let wave = |shape: [usize; 2]| {
            let count = shape[0] * shape[1];
            let values = (0..count).map(|k| ((k * k % 97) as f64).sin() + 2.).collect();
            ArrayD::from_shape_vec(IxDyn(&shape), values).unwrap()
        };
        let ids = Array::from_iter((0..rows).map(|row| (row % images + 1) as f64));
        Self {
            responses: wave([rows, neurons]),
            ids: ids.into_shape_with_order(IxDyn(&[rows, 1])).unwrap(),
            spontaneous: wave([30, neurons]),
            positions: wave([neurons, 3]),
        }
    }

    fn write(&self, path: &Path) {
        let item = |values| Item::Float64(values);
        let stim = vec![
            ("resp", item(self.responses.view())),
            ("istim", item(self.ids.view())),
            ("spont", item(self.spontaneous.view())),
        ];
        write_mat(path, &[("stim", Item::Struct(stim)), ("med", item(self.positions.view()))]).unwrap();
    }
}

/// Noise of so many images of a size, as a MATLAB file.
fn write_images(path: &Path, [height, width, images]: [usize; 3]) {
    let count = height * width * images;
    let values: Vec<u8> =
        (0..count as u64).map(|k| (k.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let pixels = ArrayD::from_shape_vec(IxDyn(&[height, width, images]), values).unwrap();
    write_mat(path, &[("imgs", Item::UInt8(pixels.view()))]).unwrap();
}

#[test]
fn numbers_that_are_none_are_named_with_their_place() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording.mat");
    let images = folder.path().join("images.mat");
    write_images(&images, [24, 40, 24]);
    let refused = |deposit: &Deposit| {
        deposit.write(&path);
        let error = refusal(&mut train(folder.path(), &folder.path().join("out")));
        assert!(error.contains("recording.mat"), "{error}");
        error
    };
    let deposit = || Deposit::new(24, 2, 5);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
        let mut bad = deposit();
        bad.responses[[6, 3]] = value;
        let error = refused(&bad);
        assert!(error.contains("`stim.resp`") && error.contains("column 4, whose row 7 is"), "{error}");
        let mut bad = deposit();
        bad.spontaneous[[2, 1]] = value;
        let error = refused(&bad);
        assert!(error.contains("`stim.spont`") && error.contains("row 3, column 2"), "{error}");
        let mut bad = deposit();
        bad.positions[[4, 0]] = value;
        let error = refused(&bad);
        assert!(error.contains("`med`") && error.contains("row 5, column 1"), "{error}");
    }
    for value in [f64::NAN, f64::INFINITY, -1., 0.5] {
        let mut bad = deposit();
        bad.ids[[3, 0]] = value;
        let error = refused(&bad);
        assert!(error.contains("`stim.istim`"), "{value}: {error}");
    }
    // Pixels are bytes: an image with room for NaN is refused by its type.
    let floats = ArrayD::<f32>::from_elem(IxDyn(&[24, 40, 24]), f32::NAN);
    write_mat(&images, &[("imgs", Item::Float32(floats.view()))]).unwrap();
    deposit().write(&path);
    let error = refusal(&mut train(folder.path(), &folder.path().join("out")));
    assert!(error.contains("images.mat") && error.contains("expected uint8"), "{error}");
    // Numbers of the command line.
    for (name, flag, value) in [
        ("simulate", "--dial", "NaN"),
        ("simulate", "--dial", "inf"),
        ("simulate", "--dial", "-0.5"),
        ("simulate", "--neurons", "-3"),
        ("train", "--folds", "0"),
        ("train", "--seed", "-1"),
    ] {
        let mut command = program(name);
        let output = command
            .arg("--out")
            .arg(folder.path().join("no"))
            .arg(format!("{flag}={value}"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && !error.contains("panicked"), "{flag} {value}: {error}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn names_that_are_no_text_work_or_are_refused() {
    use std::os::unix::ffi::OsStringExt;

    let folder = tempfile::tempdir().unwrap();
    let odd = |byte: u8| {
        let mut name = b"odd-".to_vec();
        name.push(byte);
        folder.path().join(std::ffi::OsString::from_vec(name))
    };
    // Two names that look the same where they are printed.
    for byte in [0xfe, 0xff] {
        session(&odd(byte), 12, usize::from(byte) - 230);
        succeed(&mut train(&odd(byte), &odd(byte).join("out")));
        succeed(program("inspect").arg("--json").arg(odd(byte).join("recording.mat")));
    }
    assert_ne!(model(&odd(0xfe).join("out")), model(&odd(0xff).join("out")));
    assert_eq!(names(folder.path()).len(), 2);
    let mut decode = program("decode");
    on_session(&mut decode, &odd(0xff), &odd(0xff).join("out"));
    succeed(&mut decode);
    assert!(odd(0xff).join("out/report.html").exists());
    // An error about such a file is one sentence, too.
    let error = refusal(&mut train(&odd(0x80), &odd(0x80)));
    assert!(error.contains("odd-") && error.contains("No such file"), "{error}");
}

#[test]
fn sizes_at_the_lower_end_work_or_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    // Simulated.
    session(&at("least"), 1, 2);
    succeed(program("inspect").arg(at("least/recording.mat")));
    for (neurons, images) in [("0", "24"), ("1", "1"), ("1", "0")] {
        let mut command = program("simulate");
        command.args(["--neurons", neurons, "--images", images, "--out"]).arg(at("none"));
        let error = refusal(&mut command);
        assert!(error.contains("ask for at least"), "{error}");
    }
    // Recorded: images, repeats, neurons, and the size of an image; what is refused names it.
    let out = at("out");
    let run = |images: usize, repeats: usize, neurons: usize, [height, width]: [usize; 2]| {
        Deposit::new(images, repeats, neurons).write(&at("recording.mat"));
        write_images(&at("images.mat"), [height, width, images]);
        train(folder.path(), &out).output().unwrap()
    };
    let screen = [24, 40];
    for (images, repeats, neurons, what) in [
        (1, 1, 3, "stim.resp"),
        (1, 2, 3, "at least 12"),
        (2, 2, 3, "at least 12"),
        (24, 1, 3, "at least twice"),
        (0, 2, 3, ""),
        (24, 0, 3, ""),
        (24, 2, 0, ""),
    ] {
        let error = refused(&run(images, repeats, neurons, screen));
        assert!(error.contains(what) && error.contains(".mat"), "{images} {repeats} {neurons}: {error}");
    }
    let one_neuron = run(24, 2, 1, screen);
    assert!(one_neuron.status.success(), "{}", String::from_utf8_lossy(&one_neuron.stderr));
    // A brightness, and nothing else: little to align, and nothing that has to be refused.
    let one_pixel = run(24, 2, 3, [1, 1]);
    assert!(one_pixel.status.success(), "{}", String::from_utf8_lossy(&one_pixel.stderr));
    let mut decode = program("decode");
    on_session(&mut decode, folder.path(), &out);
    let decoded = decode.output().unwrap();
    if !decoded.status.success() {
        println!("{}", refused(&decoded));
    }
}

#[test]
fn the_time_of_a_file_decides_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (files, whole, out) =
        (folder.path().join("session"), folder.path().join("whole"), folder.path().join("out"));
    session(&files, 12, 24);
    succeed(&mut train(&files, &whole));
    let year = std::time::Duration::from_secs(365 * 86_400);
    let now = std::time::SystemTime::now();
    for time in [now + 50 * year, now - 40 * year, std::time::UNIX_EPOCH] {
        let _ = std::fs::remove_dir_all(&out);
        let mut running = train(&files, &out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        while !out.join(STATE).exists() && running.try_wait().unwrap().is_none() {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let _ = running.kill();
        running.wait().unwrap();
        let paths = [files.join("recording.mat"), files.join("images.mat"), out.join(STATE), out.join(MODEL)];
        for path in paths.iter().chain([&out.join(FolderLock::NAME)]).filter(|path| path.exists()) {
            File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
        }
        succeed(train(&files, &out).arg("--resume"));
        assert_eq!(model(&out), model(&whole));
        // The finished model is taken over whatever its time is.
        File::options().write(true).open(out.join(MODEL)).unwrap().set_modified(time).unwrap();
        succeed(train(&files, &out).arg("--resume"));
        assert_eq!(model(&out), model(&whole));
        assert_eq!(std::fs::metadata(out.join(MODEL)).unwrap().modified().unwrap(), time);
    }
}
