//! The programs as a user runs them.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod schema;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A built example, beside the folder of this test.
fn program(name: &str) -> Command {
    let folder = std::env::current_exe().unwrap();
    let folder = folder.parent().and_then(Path::parent).unwrap().join("examples");
    Command::new(folder.join(name))
}

fn run(name: &str, arguments: &[&str]) -> Output {
    program(name).args(arguments).output().unwrap()
}

fn succeed(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name} {arguments:?}: {error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The one sentence with which a program ended.
fn refusal(name: &str, arguments: &[&str]) -> String {
    let output = run(name, arguments);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{name} {arguments:?} succeeded");
    assert!(!error.contains("panicked"), "{error}");
    error.lines().find(|line| line.starts_with("error: ")).unwrap_or(&error).to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A small simulated session on disk.
fn session(folder: &Path, neurons: &str, images: &str) -> (PathBuf, PathBuf) {
    succeed("simulate", &["--out", text(folder), "--neurons", neurons, "--images", images]);
    (folder.join("recording.mat"), folder.join("images.mat"))
}

/// With something to rest on decoding is above chance, and with nothing it is not shown to be far from it.
fn described(basis: &Value) {
    let value = |of: &Value, field: &str| of[field].as_f64().unwrap();
    let conditions = basis["conditions"].as_array().unwrap();
    let names: Vec<&str> = conditions.iter().map(|c| c["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    assert!(value(&conditions[0]["two_way"], "ci_low") > 0.5, "{basis}");
    for nothing in &conditions[1..] {
        let two_way = value(&nothing["two_way"], "value");
        assert!((0.35..0.65).contains(&two_way) && value(&nothing["top1"], "value") < 0.15, "{nothing}");
    }
    let restricted = basis["restricted"].as_array().unwrap();
    assert_eq!(restricted.len(), 4, "{restricted:?}");
    // The default population knows nothing of categories.
    assert!(value(&restricted[3]["two_way"], "value") < value(&restricted[0]["two_way"], "ci_low"));
    assert_eq!(basis["category"].as_array().unwrap().len(), 6);
    for reading in
        ["distractors", "wrong", "category"].iter().flat_map(|part| basis[part].as_array().unwrap())
    {
        assert!(
            value(reading, "ci_low") <= value(reading, "value") && value(reading, "value") <= 1.,
            "{reading}"
        );
    }
    let sets = basis["partition"]["sets"].as_array().unwrap();
    let names: Vec<&str> = sets.iter().map(|set| set["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pixels", "Gabor energy", "texture", "category"]);
    assert_eq!(sets[3]["origin"], "label");
    for set in sets {
        assert!(
            value(set, "features") >= 12. && value(&set["alone"], "value") < 1. && set["unique"].is_object()
        );
    }
    assert!(value(&basis["partition"]["all"], "images") >= 40.);
}

/// That a file has the published form: every field, and no other.
fn conforms(text: &str, found: &Value) {
    let wrong = schema::errors(text, found);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A form that everything has would say nothing.
    let mut other = found.clone();
    other["unknown"] = Value::Null;
    assert_eq!(schema::errors(text, &other), ["/unknown: is not in the schema"]);
    other = found.clone();
    other["hashes"]["data"] = 1.into();
    other.as_object_mut().unwrap().remove("seed");
    assert_eq!(schema::errors(text, &other).len(), 2);
}

#[test]
fn a_smoke_run_writes_a_whole_report() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    succeed("reproduce", &["--profile", "smoke", "--out", text(out)]);
    let results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    for field in ["schema", "profile", "seed", "version", "device", "hashes", "seconds", "peak_memory_bytes"]
    {
        assert!(!results[field].is_null(), "{field}");
    }
    for field in ["neurons", "stimuli", "presentations", "repeats", "signal_variance", "split_half_r"] {
        assert!(results["recording"][field].is_number(), "{field}");
    }
    assert_eq!(results["recording"]["self_retrieval"]["pool"], 200);
    let rows = results["identification"].as_array().unwrap();
    assert_eq!(rows.len(), 4 * 2 * 2);
    for row in rows {
        let value = |field: &str| row[field].as_f64().unwrap_or_else(|| panic!("{field} of {row}"));
        assert!((value("chance_top1") - 1. / value("pool")).abs() < 1e-9);
        assert!(value("ci_low") <= value("top1") && value("top1") <= value("ci_high"));
        assert!(value("top1") <= value("top5") && value("p") > 0. && value("p") <= 1.);
        assert!(value("two_way") <= 1. && value("median_rank") >= 1. && value("n") > 0.);
    }
    let claims = results["claims"].as_array().unwrap();
    let ids: Vec<&str> = claims.iter().map(|claim| claim["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["accuracy", "coarse", "fine", "category", "distributed", "sparse", "interactions"]);
    let known = ["supported", "contradicted", "inconclusive", "instrument_not_validated"];
    for claim in claims {
        assert!(known.contains(&claim["verdict"].as_str().unwrap()), "{claim}");
        assert!(claim["statement"].as_str().unwrap().ends_with('.') && claim["instrument"].is_string());
        for field in ["effect", "ci_low", "ci_high", "p", "p_adjusted", "power", "false_support"] {
            assert!(claim.get(field).is_some(), "{field} of {claim}");
        }
    }
    assert!(results["registration"].is_string());
    described(&results["basis"]);
    assert!(out.join("figures/basis-variance.svg").exists());
    // A coarse, a fine and an empty recording of about this size were studied beside it.
    assert_eq!(std::fs::read_dir(out.join("calibration")).unwrap().count(), 3);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert!(page.contains("id=\"claim-coarse\""));
    assert!(out.join("figures/claim-coarse.svg").exists());
    assert!(page.contains("simulated") && !page.contains("src=\"http"));
    assert!(std::fs::read_dir(out.join("figures")).unwrap().count() >= 8);
    let log = std::fs::read_to_string(out.join("train.jsonl")).unwrap();
    assert!(log.lines().count() > 10);
    assert!(log.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].is_number()));
    assert!(out.join("checkpoints/fold-1-model-1.safetensors").exists());
    conforms(dina_study::Results::JSON_SCHEMA, &results);
    // The finished model is taken over, and the decoding of it is the same.
    succeed("decode", &["--profile", "smoke", "--out", text(out)]);
    let again: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    assert_eq!(again["identification"], results["identification"]);
    // Without claims.
    conforms(dina_study::Results::JSON_SCHEMA, &again);
    interprets(out);
}

/// What `interpret` makes of a finished smoke run.
fn interprets(out: &Path) {
    let said = succeed("interpret", &["--profile", "smoke", "--out", text(out)]);
    for analysis in [
        "alignability: ",
        "spatial profile: ",
        "footprints: ",
        "contributions: ",
        "concentration: ",
        "subset curves",
        "strength against reliability: ",
        "minimal subset",
        "interactions",
        "attribution, image side",
        "attribution, neural side",
        "most exciting image of ",
    ] {
        assert!(said.lines().any(|line| line.starts_with(analysis)), "{analysis}: {said}");
    }
    let found: Value =
        serde_json::from_slice(&std::fs::read(out.join("interpretation.json")).unwrap()).unwrap();
    conforms(dina_study::Interpretation::JSON_SCHEMA, &found);
    assert_eq!((found["schema"].as_u64(), found["chosen_on"].as_str()), (Some(1), Some("training images")));
    let maps = dina_core::TensorFile::read(out.join("maps.safetensors"), &candle_core::Device::Cpu).unwrap();
    let shape = |name: &str| maps.tensor(name).unwrap().dims().to_vec();
    let (images, neurons) =
        (found["images"].as_array().unwrap().len(), found["neurons"].as_array().unwrap().len());
    assert_eq!(shape("image_maps.v1")[0], images);
    assert_eq!(shape("neural_maps.v1"), shape("image_maps.v1"));
    assert_eq!(shape("contributions"), [neurons, shape("image_maps.v1")[1]]);
    // The contributions of all neurons to a channel add up to its alignment.
    let sums = maps.tensor("contributions").unwrap().sum(0).unwrap().to_vec1::<f32>().unwrap();
    let alignment = found["neural"]["contributions"]["alignment"].as_array().unwrap();
    for (channel, (sum, alignment)) in sums.iter().zip(alignment).enumerate() {
        let alignment = alignment.as_f64().unwrap();
        assert!((f64::from(*sum) - alignment).abs() < 1e-5, "channel {channel}: {sum} {alignment}");
    }
    // Every attribution is there, complete where it should be, and carries its checks and the verdict that follows from them.
    let attributions = found["attribution"].as_array().unwrap();
    assert_eq!(attributions.len(), 5);
    for a in attributions {
        assert_eq!(shape(a["tensor"].as_str().unwrap())[0], a["images"].as_array().unwrap().len());
        let checks = a["checks"]["checks"].as_array().unwrap();
        assert_eq!(checks.len(), 7, "{a}");
        let passed = checks.iter().all(|c| c["verdict"] == "passed");
        let complete = a["completeness"].is_null() || a["completeness"]["complete"] == true;
        assert_eq!(a["trusted"], passed && complete);
        assert!(a["method"] != "integrated_gradients" || complete, "{a}");
        assert!(!a["cascade"]["steps"].as_array().unwrap().is_empty());
    }
    assert!(
        found["exciting"]
            .as_array()
            .unwrap()
            .iter()
            .all(|e| !shape(e["tensor"].as_str().unwrap()).is_empty())
    );
    let page = std::fs::read_to_string(out.join("interpretation.html")).unwrap();
    assert!(
        page.contains("prefers-color-scheme:dark")
            && !page.contains("src=\"http")
            && !page.contains("<script")
    );
    for figure in [
        "profile-v1",
        "footprints",
        "attribution-pixels",
        "cascade-image",
        "curves-alignment",
        "most-exciting",
    ] {
        assert!(out.join(format!("figures/{figure}.svg")).exists(), "{figure}");
    }

    let other = refusal("interpret", &["--profile", "smoke", "--seed", "2", "--out", text(out)]);
    assert!(other.contains("another job") && other.contains("--out"), "{other}");
    let other = refusal("interpret", &["--profile", "smoke", "--fold", "2", "--out", text(out)]);
    assert!(other.contains("no fold 2"), "{other}");
}

#[test]
fn threads_and_interruptions_do_not_change_the_weights() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    let weights =
        |name: &str| std::fs::read(out(name).join("checkpoints/fold-1-model-1.safetensors")).unwrap();
    for (name, threads) in [("one", "1"), ("two", "2")] {
        succeed("train", &["--profile", "smoke", "--threads", threads, "--out", text(&out(name))]);
    }
    assert_eq!(weights("one"), weights("two"));

    let mut killed = program("train")
        .args(["--profile", "smoke", "--out", text(&out("killed"))])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let state = out("killed").join("checkpoints/fold-1-model-1.training.safetensors");
    while !state.exists() && killed.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let _ = killed.kill();
    killed.wait().unwrap();
    succeed("train", &["--profile", "smoke", "--resume", "--out", text(&out("killed"))]);
    assert_eq!(weights("killed"), weights("one"));
    let log = |name: &str| std::fs::read_to_string(out(name).join("train.jsonl")).unwrap();
    assert_eq!(log("killed"), log("one"));

    let other =
        refusal("train", &["--profile", "smoke", "--seed", "2", "--resume", "--out", text(&out("one"))]);
    assert!(other.contains("another job") && other.contains("--out"), "{other}");
}

#[test]
fn what_is_simulated_is_what_inspect_finds() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, images) = session(folder.path(), "40", "60");
    let classes = folder.path().join("classes.mat");
    let found = succeed("inspect", &["--json", text(&recording), text(&images), text(&classes)]);
    let found: Value = serde_json::from_str(&found).unwrap();
    let of = &found[0]["recording"];
    assert_eq!((of["neurons"].as_u64(), of["stimuli"].as_u64()), (Some(40), Some(60)));
    assert_eq!(of["repeats"], 2);
    assert_eq!(found[1]["variables"][0]["shape"], serde_json::json!([68, 270, 60]));
    let names: Vec<&str> =
        found[2]["variables"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["class_assignment", "class_names"]);
    let truth: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("truth.json")).unwrap()).unwrap();
    assert_eq!(truth["neurons"].as_array().unwrap().len(), 40);
}

#[test]
fn bad_input_ends_in_one_sentence_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let (recording, images) = session(&folder.path().join("good"), "20", "40");
    let (_, few) = session(&folder.path().join("few"), "20", "24");
    let out = folder.path().join("out");
    let reproduce = |recording: &Path, images: &Path| {
        refusal(
            "reproduce",
            &[
                "--recording",
                text(recording),
                "--images",
                text(images),
                "--profile",
                "smoke",
                "--out",
                text(&out),
            ],
        )
    };
    let missing = reproduce(&folder.path().join("nowhere.mat"), &images);
    assert!(missing.contains("nowhere.mat"), "{missing}");

    let damaged = folder.path().join("damaged.mat");
    let bytes = std::fs::read(&recording).unwrap();
    std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
    let error = reproduce(&damaged, &images);
    // Cut inside the compressed variable: its name is not known, the place is.
    assert!(
        error.contains("damaged.mat") && error.contains("byte") && error.contains("get it again"),
        "{error}"
    );

    let unknown = reproduce(&recording, &few);
    assert!(unknown.contains("istim") && unknown.contains("24"), "{unknown}");

    let swapped = reproduce(&images, &images);
    assert!(swapped.contains("images.mat") && swapped.contains("stim"), "{swapped}");

    let alone = run("reproduce", &["--recording", text(&recording)]);
    let alone_says = String::from_utf8_lossy(&alone.stderr);
    assert!(!alone.status.success() && alone_says.contains("--images <FILE>"), "{alone_says}");
    assert!(!out.join("results.json").exists());

    let listed = run("inspect", &["--json", text(&damaged)]);
    assert!(!listed.status.success());
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert!(listed[0]["error"].as_str().unwrap().contains("damaged.mat"));
}

#[test]
fn statistics_of_files_print_their_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let ours = file("ours.csv", "gain\n5.31\n4.12\n6.48\n5.22\n7.85\n5.43\n");
    let theirs = file("theirs.csv", "5\n4\n6\n5\n7\n5\n");
    let said = succeed("stats", &["--test", "paired", text(&ours), text(&theirs)]);
    assert!(said.starts_with("mean difference 0.402, 95 % CI ["), "{said}");
    assert!(
        said.contains("p = 0.0312 (all 64 sign flips") && said.contains("smallest possible p 1/32"),
        "{said}"
    );
    let found = succeed("stats", &["--test", "correlation", "--ranks", "--json", text(&ours), text(&theirs)]);
    let found: Value = serde_json::from_str(&found).unwrap();
    assert_eq!((found["n"].as_u64(), found["coefficient"].as_str()), (Some(6), Some("spearman")));
    assert_eq!(found["permutation"]["exact"], true);
    let described = succeed("stats", &[text(&ours)]);
    assert!(
        described.contains("6 rows x 1 columns") && described.contains("gain: mean 5.7350"),
        "{described}"
    );
    let p = file("p.csv", "0.01\n0.04\n0.03\n0.005\n");
    let adjusted = succeed("stats", &["--test", "fdr", text(&p)]);
    assert!(adjusted.starts_with("Benjamini-Hochberg: 4 of 4"), "{adjusted}");

    let broken = file("broken.csv", "1,2\n3,x\n");
    let refused = refusal("stats", &["--test", "cka", text(&broken), text(&ours)]);
    assert!(refused.contains("broken.csv: line 2, column 2: expected a number, found 'x'"), "{refused}");
    let refused = refusal("stats", &["--test", "two-sample", text(&ours)]);
    assert!(refused.contains("--test two-sample takes 2 file(s), found 1"), "{refused}");
}

#[test]
fn help_says_what_each_flag_does() {
    for (name, flags) in [
        (
            "reproduce",
            vec![
                "--recording",
                "--images",
                "--classes",
                "--profile",
                "--seed",
                "--threads",
                "--device",
                "--out",
                "--resume",
            ],
        ),
        ("simulate", vec!["--out", "--neurons", "--images", "--population", "--seed"]),
        ("inspect", vec!["--json"]),
        ("interpret", vec!["--profile", "--seed", "--out", "--fold", "--model"]),
        (
            "stats",
            vec![
                "--test",
                "--permutations",
                "--stop-after",
                "--tail",
                "--level",
                "--blocks",
                "--seed",
                "--json",
            ],
        ),
    ] {
        let help = succeed(name, &["--help"]);
        for flag in flags {
            // The text stands behind the flag or on the line below it.
            let (_, text) = help
                .split_once(&format!("  {flag} "))
                .or(help.split_once(&format!("  {flag}\n")))
                .unwrap_or_default();
            let text: String = text.lines().take(2).collect();
            assert!(text.split_whitespace().count() > 2, "{flag}: {text}");
        }
    }
}

/// On the recorded session, where it is.
#[test]
fn the_recorded_session_is_measured_as_elsewhere() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/allen-visp-l5");
    if !data.exists() {
        eprintln!("skipped: no recorded session at {}", data.display());
        return;
    }
    for name in ["recording.mat", "recording.npz"] {
        let found = succeed("inspect", &["--json", text(&data.join(name))]);
        let found: Value = serde_json::from_str(&found).unwrap();
        let of = &found[0]["recording"];
        assert_eq!((of["neurons"].as_u64(), of["presentations"].as_u64()), (Some(54), Some(5950)));
        // Measured independently: split-half 0.58, self-retrieval 0.31 and 0.55 of 118.
        assert!((of["split_half_r"].as_f64().unwrap() - 0.58).abs() < 0.01, "{of}");
        assert!((of["self_retrieval"]["top1"].as_f64().unwrap() - 0.31).abs() < 0.02, "{of}");
        assert!((of["self_retrieval"]["top5"].as_f64().unwrap() - 0.55).abs() < 0.02, "{of}");
    }
}

#[test]
fn a_calibration_is_the_same_in_shards() {
    let folder = tempfile::tempdir().unwrap();
    let calibrate = |out: &str, more: &[&str]| {
        let out = folder.path().join(out);
        let mut arguments = vec!["--seeds", "1", "--neurons", "40", "--images", "90", "--out", text(&out)];
        arguments.extend(["--population", "coarse", "--population", "null"]);
        arguments.extend(more);
        let said = succeed("calibration", &arguments);
        (said, std::fs::read_to_string(out.join("calibration.json")).ok())
    };
    let (said, whole) = calibrate("whole", &[]);
    assert!(said.contains("false support"));
    let (_, part) = calibrate("shared", &["--shard", "1/2"]);
    assert!(part.is_none());
    assert_eq!(std::fs::read_dir(folder.path().join("shared/cells")).unwrap().count(), 1);
    calibrate("shared", &["--shard", "2/2"]);
    assert_eq!(calibrate("shared", &[]).1, whole);
    let table = std::fs::read_to_string(folder.path().join("shared/calibration.md")).unwrap();
    assert!(table.contains("| coarse | true: ") && table.contains("not calibrated"), "{table}");
    let error = run("calibration", &["--shard", "3/2"]);
    assert!(!error.status.success() && String::from_utf8_lossy(&error.stderr).contains("2/4"));
}

#[test]
fn a_claim_of_ones_own_is_studied_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let output = program("custom_claim").current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let out = folder.path().join("dina-custom-claim");
    let results: Value = serde_json::from_slice(&std::fs::read(out.join("results.json")).unwrap()).unwrap();
    let claim = results["claims"].as_array().unwrap().last().unwrap();
    // Whatever it is worth: its instrument is not calibrated.
    assert_eq!(
        (claim["id"].as_str(), claim["instrument"].as_str()),
        (Some("brightness"), Some("not_calibrated"))
    );
    assert!(claim["effect"].as_f64().is_some_and(|r| r.abs() <= 1.));
    assert!(out.join("figures/claim-brightness.svg").exists());
}

#[test]
fn a_cohort_does_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let study = |threads: &str| {
        let out = folder.path().join(threads);
        let arguments = ["--profile", "smoke", "--mice", "2", "--workers", threads, "--out", text(&out)];
        let done = program("cohort").env("RAYON_NUM_THREADS", threads).args(arguments).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        std::fs::read_to_string(out.join("cohort.json")).unwrap()
    };
    let one = study("1");
    assert_eq!(one, study("2"));
    let found: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(found["mice"].as_array().unwrap().len(), 2);
    // Two mice are two values: no verdict, but a mean with its interval.
    let claim = &found["claims"][0];
    assert!(claim["mean"]["low"].as_f64() <= claim["mean"]["estimate"].as_f64(), "{claim}");
    // Four towers above chance and three differences, in two measures.
    assert_eq!(found["shared"]["identification"].as_array().unwrap().len(), 14);
    assert_eq!(found["shared"]["clean"].as_bool(), Some(true));
    let page = std::fs::read_to_string(folder.path().join("1/cohort.html")).unwrap();
    assert!(page.contains("channels of the other mice") && !page.contains("<script"));
    assert!(folder.path().join("1/figures/cohort-neural.csv").exists());
}
