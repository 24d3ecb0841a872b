use std::path::{Component, Path};

use proptest::prelude::*;

use super::*;
use crate::mat::Value;

fn text(file: &str) -> String {
    format!(
        "schema = 1\nname = \"lab\"\ntitle = \"Lab\"\nlicence = \"CC0\"\ncitation = \"Us\"\n\
         [source]\nkind = \"figshare\"\narticle = 7\n[[file]]\n{file}\n"
    )
}

fn refusal(text: &str) -> String {
    Manifest::parse("lab.toml", text).unwrap_err().to_string()
}

#[test]
fn what_is_written_comes_back() {
    let manifest = Manifest::parse(
        "lab.toml",
        &(text("name = \"a/b.mat\"\nsize = 3\nmd5 = \"900150983CD24FB0D6963F7D28E17F72\"\nid = 12\noptional = true")
            + "[[session]]\nmouse = \"M\"\ndate = \"2020-02-29\"\nrecording = \"a/b.mat\"\n\
               [[set]]\nname = \"all\"\npattern = \"a/*\"\n"),
    )
    .unwrap();
    let Source::Figshare { article, api, .. } = &manifest.source else { panic!("{manifest:?}") };
    assert_eq!((*article, api.as_str()), (7, "https://api.figshare.com/v2"));
    assert_eq!(manifest.files[0].md5.unwrap().to_string(), "900150983cd24fb0d6963f7d28e17f72");
    let again = Manifest::parse("again", &manifest.to_toml().unwrap()).unwrap();
    assert_eq!(again, manifest);
    let json = serde_json::to_string(&manifest).unwrap();
    assert_eq!(serde_json::from_str::<Manifest>(&json).unwrap(), manifest);
    // Whatever way a manifest is read, it is checked.
    assert!(serde_json::from_str::<Manifest>(&json.replace("a/b.mat", "../b.mat")).is_err());
}

#[test]
fn errors_name_file_and_key() {
    for (file, key) in [
        ("name = \"/etc/passwd\"", "file[0].name"),
        ("name = \"a/../../b\"", "file[0].name"),
        ("name = \"C:\\\\b\"", "file[0].name"),
        ("name = \"a\"\n[[file]]\nname = \"A\"", "file[1].name"),
        ("name = \"a/b\"\n[[file]]\nname = \"a\"", "file[0].name"),
        ("name = \"a\"\nsize = 0", "file[0].size"),
        ("name = \"a\"\nsize = 4611686018427387904", "file[0].size"),
        ("name = \"a\"\nsize = -1", "size"),
        ("name = \"a\"\nmd5 = \"12\"", "file[0].md5"),
        ("name = \"a\"\nsha256 = \"zz\"", "file[0].sha256"),
        ("name = \"a\"\nurl = \"file:///etc/passwd\"", "file[0].url"),
        ("name = \"a\"\nurl = \"https://\"", "file[0].url"),
        ("name = \"a\"\nsise = 3", "sise"),
        ("about = \"a\"", "name"),
        ("name = \"a\"\n[[session]]\nrecording = \"b\"", "session[0].recording"),
        ("name = \"a\"\n[[session]]\nrecording = \"a\"\ndate = \"2020-13-01\"", "session[0].date"),
        ("name = \"a\"\n[[set]]\nname = \"s\"\npattern = \"[\"", "set[0].pattern"),
        ("name = 3", "name"),
    ] {
        let error = refusal(&text(file));
        assert!(error.contains("lab.toml") && error.contains(key), "{key}: {error}");
    }
    for (from, to, key) in [
        ("schema = 1", "schema = 2", "schema"),
        ("name = \"lab\"", "name = \"lab/x\"", "name"),
        ("licence = \"CC0\"", "licence = \" \"", "licence"),
        ("licence = \"CC0\"\n", "", "licence"),
        ("\"figshare\"", "\"gopher\"", "gopher"),
        ("article = 7", "article = 7\napi = \"ftp://x\"", "source.api"),
        ("kind = \"figshare\"\narticle = 7", "kind = \"urls\"", "file[0].url"),
    ] {
        let error = refusal(&text("name = \"a\"").replace(from, to));
        assert!(error.contains("lab.toml") && error.contains(key), "{key}: {error}");
    }
    assert!(Manifest::load("nowhere.toml").unwrap_err().to_string().contains("nowhere.toml"));
}

/// The manifests of the repository.
fn shipped(name: &str) -> Option<Manifest> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data-manifests").join(name);
    match path.exists() {
        true => Some(Manifest::load(path).unwrap()),
        false => {
            eprintln!("skipped: no {name}, which is beside the workspace and not in the published crate");
            None
        }
    }
}

#[test]
fn the_stringer_deposit_is_complete_in_structure() {
    let Some(manifest) = shipped("stringer-natimg2800.toml") else { return };
    assert_eq!(manifest.doi.as_deref(), Some("10.25378/janelia.6845348"));
    assert_eq!(manifest.licence, "CC BY-NC 4.0");
    let main: Vec<_> =
        manifest.sessions.iter().filter(|s| s.stimuli.as_deref() == Some("natimg2800")).collect();
    assert_eq!(main.len(), 7);
    let mut mice: Vec<_> = main.iter().filter_map(|session| session.mouse.as_deref()).collect();
    mice.dedup();
    let known = [
        "M160825_MP027",
        "M161025_MP030",
        "M170604_MP031",
        "M170714_MP032",
        "M170717_MP033",
        "M170717_MP034",
    ];
    assert_eq!(mice, known);
    assert!(
        main.iter().all(|s| s.images.as_ref().is_some_and(|i| i.as_str() == "images_natimg2800_all.mat"))
    );
    // Names are made of stimulus set, mouse and date, as in the deposit's own scripts.
    for session in &manifest.sessions {
        let field = |field: &Option<String>| field.clone().unwrap();
        let name =
            format!("{}_{}_{}.mat", field(&session.stimuli), field(&session.mouse), field(&session.date));
        assert_eq!(session.recording.as_str(), name);
    }
    let default: Vec<_> = manifest.files.iter().filter(|file| !file.optional).collect();
    assert_eq!(default.len(), 8);
    let pinned = manifest.file("natimg2800_M170714_MP032_2017-09-14.mat").unwrap();
    assert_eq!((pinned.id, pinned.size), (Some(12_462_698), Some(244_220_197)));
    assert_eq!(pinned.md5.unwrap().to_string(), "597145257e2571213d51bcbbcae263fa");
    for set in ["white", "8D", "4D", "small"] {
        assert!(manifest.sets.iter().any(|known| known.name == format!("natimg2800_{set}")), "{set}");
    }
}

/// dbstims.mat is the deposit's own table: every recording it has is in the manifest, and no other.
#[test]
fn recordings_are_those_of_the_deposits_own_table() {
    let table = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/stringer-meta/dbstims.mat");
    let (Some(manifest), true) = (shipped("stringer-natimg2800.toml"), table.exists()) else {
        eprintln!("skipped: no {}", table.display());
        return;
    };
    let file = crate::mat::MatFile::open(&table).unwrap();
    let (Value::Struct(recordings), Value::Cell(sets)) =
        (file.read("dbstims").unwrap(), file.read("stimset").unwrap())
    else {
        panic!("dbstims.mat has another structure");
    };
    let texts = |values: &[Value]| values.iter().map(|value| value.text().unwrap()).collect::<Vec<_>>();
    let field = |name: &str| texts(recordings.field(name).unwrap());
    let (mice, dates, sets) = (field("mouse_name"), field("date"), texts(sets.as_slice().unwrap()));
    let kinds = file.read("stype").unwrap().to_f64().unwrap();
    let mut expected: Vec<String> = (0..mice.len())
        .map(|n| format!("{}_{}_{}.mat", sets[kinds[n] as usize - 1], mice[n], dates[n]))
        .collect();
    let mut found: Vec<String> = manifest.sessions.iter().map(|s| s.recording.as_str().to_owned()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert_eq!(manifest.sessions.len(), 32);
}

#[test]
fn the_other_manifests_load() {
    for (name, files) in [("allen-visual-coding.toml", 2), ("sensorium.toml", 7)] {
        let Some(manifest) = shipped(name) else { return };
        assert_eq!(manifest.files.len(), files, "{name}");
        assert!(manifest.notice().contains(&manifest.licence));
    }
}

proptest! {
    /// No manifest panics, and no file of one that is accepted leaves the folder.
    #[test]
    fn names_stay_below_the_folder(name in "[a-z./\\\\: \u{0}~-]{0,12}", noise in "\\PC{0,200}") {
        let _ = Manifest::parse("noise", &noise);
        let quoted = toml::Value::from(name.as_str()).to_string();
        if let Ok(manifest) = Manifest::parse("lab", &text(&format!("name = {quoted}"))) {
            let folder = Path::new("data");
            let path = manifest.files[0].name.below(folder);
            prop_assert!(path.starts_with(folder) && path.components().count() > 1);
            prop_assert!(path.components().all(|part| matches!(part, Component::Normal(_))));
            prop_assert_eq!(path.components().count(), 2 + name.matches('/').count());
        } else {
            prop_assert!(FileName::new(name).is_err());
        }
    }

    #[test]
    fn escapes_are_refused(before in "[a-z]{0,3}", up in "(\\.\\./){1,4}", after in "[a-z]{1,5}") {
        for name in [format!("{before}/{up}{after}"), format!("{up}{after}"), format!("/{before}{after}"),
            format!("{before}\\..\\{after}"), format!("{after}/..")] {
            prop_assert!(FileName::new(name.clone()).is_err(), "{}", name);
        }
    }
}
