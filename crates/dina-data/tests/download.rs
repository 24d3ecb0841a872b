//! Downloads from a server on the loopback interface that drops, lies, stalls, redirects and changes its mind.

#![cfg(feature = "download")]
// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod server;

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use dina_data::Error;
use dina_data::download::{
    DownloadConfig, DownloadError, Event, Fetched, How, LockFile, Trust, download, list,
};
use dina_data::manifest::Manifest;
use md5::Digest;
use proptest::prelude::*;
use serde_json::json;
use server::{Reply, Request, Server};

/// Content that repeats nowhere.
fn content(size: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(2).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..size).map(|_| next()).collect()
}

fn md5(bytes: &[u8]) -> String {
    md5::Md5::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A manifest of one file whose content is known.
fn pinned(bytes: &[u8]) -> Manifest {
    manifest(&format!("name = \"a.mat\"\nid = 1\nsize = {}\nmd5 = \"{}\"", bytes.len(), md5(bytes)))
}

/// A manifest of a deposit with the interface of figshare.
fn manifest(files: &str) -> Manifest {
    of("kind = \"figshare\"\narticle = 7", files)
}

/// A manifest of files at web addresses.
fn web(files: &str) -> Manifest {
    of("kind = \"urls\"\nbase = \"https://data.example.org/files\"", files)
}

fn of(source: &str, files: &str) -> Manifest {
    let text = format!(
        "schema = 1\nname = \"lab\"\ntitle = \"Lab\"\nlicence = \"CC0\"\ncitation = \"Us\"\n[source]\n{source}\n[[file]]\n{files}\n"
    );
    Manifest::parse("lab.toml", &text).unwrap()
}

/// Patience of milliseconds.
fn config(folder: &Path, server: &Server) -> DownloadConfig {
    let mut config = DownloadConfig::default();
    config.dir = Some(folder.to_path_buf());
    config.base_url = Some(server.url());
    config.read_timeout = Duration::from_millis(300);
    config.connect_timeout = Duration::from_secs(2);
    config.first_wait = Duration::from_millis(1);
    config.longest_wait = Duration::from_millis(1500);
    config.retries = 3;
    config
}

/// Fetches into a new folder and returns it with what happened.
fn fetch(server: &Server, manifest: &Manifest) -> (tempfile::TempDir, dina_data::Result<Vec<Fetched>>) {
    let folder = tempfile::tempdir().unwrap();
    let result = download(manifest, &config(folder.path(), server), &|_| {});
    (folder, result)
}

fn failure(result: dina_data::Result<Vec<Fetched>>) -> DownloadError {
    match result {
        Err(Error::Download(error)) => *error,
        other => panic!("{other:?}"),
    }
}

/// Names of all that is in a folder, but for our own bookkeeping.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let names = entries.map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| !name.ends_with(".lock.toml") && name != ".dina-download.lock").collect();
    names.sort();
    names
}

fn element(name: &str, id: u64, bytes: &[u8]) -> serde_json::Value {
    json!({
        "id": id, "name": name, "size": bytes.len(), "is_link_only": false, "computed_md5": md5(bytes),
        "supplied_md5": "", "download_url": format!("https://ndownloader.figshare.com/files/{id}")
    })
}

#[test]
fn what_was_fetched_is_verified_pinned_and_never_fetched_again() {
    let bytes = content(300_000, 1);
    let (served, text) = (bytes.clone(), json!([element("a.mat", 5, &bytes)]).to_string());
    let server = Server::start(move |request| match request.path.as_str() {
        "/v2/articles/7/files?page=1&page_size=1000" => Reply::new(200, text.as_bytes()),
        "/files/5" => Reply::file(request, &served, "\"v1\""),
        _ => Reply::new(404, ""),
    });
    // The manifest knows the name alone: the rest is asked for.
    let manifest = manifest("name = \"a.mat\"");
    let (folder, result) = fetch(&server, &manifest);
    let file = &result.unwrap()[0];
    assert_eq!((file.how, file.trust, file.size), (How::Fetched, Trust::Checksum, 300_000));
    assert_eq!(std::fs::read(&file.path).unwrap(), bytes);
    assert_eq!(files(folder.path()), ["a.mat"]);
    let lock = LockFile::load(folder.path(), &manifest).unwrap();
    let pin = lock.files.values().next().unwrap();
    assert_eq!((pin.id, pin.size), (Some(5), Some(300_000)));
    assert_eq!(pin.md5.unwrap().to_string(), md5(&bytes));
    assert_eq!(pin.sha256, Some(file.sha256));
    assert_eq!(server.requests().len(), 2);

    let again = download(&manifest, &config(folder.path(), &server), &|_| {}).unwrap();
    assert_eq!((again[0].how, again[0].sha256), (How::Present, file.sha256));
    assert_eq!(server.requests().len(), 2);

    // Without a network, with and without the flag, and even where the file was touched.
    let mut offline = config(folder.path(), &server);
    drop(server);
    assert_eq!(download(&manifest, &offline, &|_| {}).unwrap()[0].how, How::Present);
    std::fs::write(&file.path, &bytes).unwrap();
    let touched = std::fs::File::options().write(true).open(&file.path).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(download(&manifest, &offline, &|_| {}).unwrap()[0].how, How::Verified);
    assert_eq!(download(&manifest, &offline, &|_| {}).unwrap()[0].how, How::Present);
    offline.offline = true;
    assert_eq!(download(&manifest, &offline, &|_| {}).unwrap()[0].how, How::Present);
    std::fs::remove_file(&file.path).unwrap();
    assert!(matches!(failure(download(&manifest, &offline, &|_| {})), DownloadError::Offline { .. }));
}

#[test]
fn a_dropped_connection_is_continued() {
    let bytes = content(200_000, 2);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let reply = Reply::file(request, &served, "\"v1\"");
        if request.nth < 2 { reply.cut(50_000) } else { reply }
    });
    let (_folder, result) = fetch(&server, &pinned(&bytes));
    let file = &result.unwrap()[0];
    assert_eq!(std::fs::read(&file.path).unwrap(), bytes);
    let ranges: Vec<_> = server.requests().iter().map(Request::from).collect();
    assert_eq!(ranges, [None, Some(50_000), Some(100_000)]);
    assert_eq!(server.requests()[1].header("if-range"), Some("\"v1\""));
}

#[test]
fn what_an_earlier_run_left_is_continued() {
    let bytes = content(100_000, 3);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let reply = Reply::file(request, &served, "\"v1\"");
        if request.nth < 4 { reply.cut(20_000) } else { reply }
    });
    let manifest = pinned(&bytes);
    let (folder, result) = fetch(&server, &manifest);
    let error = failure(result);
    assert!(matches!(error, DownloadError::Network { attempts: 4, .. }), "{error}");
    assert!(error.to_string().contains("a.mat") && error.to_string().contains("run the same command"));
    assert_eq!(files(folder.path()), [".a.mat.part"]);
    let listed = list(&manifest, &config(folder.path(), &server), &|_| {});
    assert!(listed.is_err(), "the listing is asked for, and this server has none");

    let file = download(&manifest, &config(folder.path(), &server), &|_| {}).unwrap().remove(0);
    assert_eq!(file.how, How::Resumed);
    assert_eq!(server.count("/files/1"), 5);
    assert_eq!(server.requests().last().unwrap().from(), Some(80_000));
    assert_eq!(std::fs::read(&file.path).unwrap(), bytes);
    assert_eq!(files(folder.path()), ["a.mat"]);
}

#[test]
fn a_part_that_is_complete_needs_no_server() {
    let bytes = content(10_000, 4);
    let server = Server::start(|_| Reply::new(404, ""));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".a.mat.part"), &bytes).unwrap();
    let files = download(&pinned(&bytes), &config(folder.path(), &server), &|_| {}).unwrap();
    assert_eq!((files[0].how, server.requests().len()), (How::Resumed, 0));
}

#[test]
fn a_server_that_ignores_ranges_is_begun_anew() {
    let bytes = content(100_000, 5);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let reply = Reply::new(200, served.clone());
        if request.nth == 0 { reply.cut(60_000) } else { reply }
    });
    let (_folder, result) = fetch(&server, &pinned(&bytes));
    let file = &result.unwrap()[0];
    assert_eq!((std::fs::read(&file.path).unwrap(), file.how), (bytes, How::Fetched));
    assert_eq!(server.requests()[1].from(), Some(60_000));
}

#[test]
fn two_versions_are_never_mixed() {
    let (old, new) = (content(100_000, 6), content(100_000, 7));
    // The first server respects If-Range, the second continues with the new version all the same.
    for honest in [true, false] {
        let (before, after) = (old.clone(), new.clone());
        let server = Server::start(move |request| match request.nth {
            0 => Reply::file(request, &before, "\"old\"").cut(60_000),
            _ if honest => Reply::file(request, &after, "\"new\""),
            _ => {
                let mut careless = request.clone();
                careless.headers.remove("if-range");
                Reply::file(&careless, &after, "\"new\"")
            }
        });
        // Nobody publishes a checksum here: the versions are all there is to go by.
        let (_folder, result) = fetch(&server, &web("name = \"a.mat\""));
        let file = &result.unwrap()[0];
        assert_eq!((std::fs::read(&file.path).unwrap(), file.trust), (new.clone(), Trust::FirstUse));
    }
}

#[test]
fn without_version_and_checksum_nothing_is_continued() {
    let bytes = content(50_000, 8);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let reply = Reply::new(200, served.clone()).header("ETag", "W/\"weak\"");
        if request.nth == 0 { reply.cut(20_000) } else { reply }
    });
    let (_folder, result) = fetch(&server, &web("name = \"a.mat\""));
    assert_eq!(std::fs::read(&result.unwrap()[0].path).unwrap(), bytes);
    assert!(server.requests().iter().all(|request| request.from().is_none()));
}

#[test]
fn lies_about_the_length_are_noticed() {
    let bytes = content(40_000, 9);
    let says = |reply: fn(&[u8]) -> Reply| {
        let served = bytes.clone();
        let server = Server::start(move |_| reply(&served));
        let (folder, result) = fetch(&server, &pinned(&bytes));
        assert!(!folder.path().join("a.mat").exists());
        failure(result).to_string()
    };
    let short = says(|bytes| Reply::new(200, &bytes[..30_000]));
    assert!(short.contains("offers 30000 bytes, expected 40000"), "{short}");
    let long = says(|bytes| Reply::new(200, [bytes, bytes].concat()).chunked());
    assert!(long.contains("sends more than 40000 bytes"), "{long}");
    let ends = says(|bytes| Reply::new(200, &bytes[..100]).chunked());
    assert!(ends.contains("ends after 100 of 40000"), "{ends}");
    let never = says(|bytes| Reply::new(200, bytes).without_length().header("Content-Length", 40_000).cut(0));
    assert!(never.contains("connection lost"), "{never}");
    let huge = says(|bytes| Reply::new(200, bytes).without_length().header("Content-Length", u64::MAX));
    assert!(huge.contains("a.mat"), "{huge}");
}

#[test]
fn declared_sizes_are_not_believed_blindly() {
    let server =
        Server::start(|_| Reply::new(200, "x").without_length().header("Content-Length", 1u64 << 41));
    let (_folder, result) = fetch(&server, &web("name = \"a.mat\""));
    let error = failure(result);
    assert!(matches!(error, DownloadError::Refused { .. }), "{error}");

    // As large as a manifest may say, and larger than the disk.
    let size = 1u64 << 40;
    let server = Server::start(move |_| Reply::new(200, "x").without_length().header("Content-Length", size));
    let folder = tempfile::tempdir().unwrap();
    if fs4::available_space(folder.path()).unwrap() >= size {
        eprintln!("skipped: this disk has a tebibyte free");
        return;
    }
    let manifest = web(&format!("name = \"a.mat\"\nsize = {size}"));
    let error = failure(download(&manifest, &config(folder.path(), &server), &|_| {}));
    assert!(matches!(error, DownloadError::Space { needed, .. } if needed == size), "{error}");
    assert!(error.to_string().contains("free"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn an_end_that_nobody_could_tell_is_refused() {
    let bytes = content(10_000, 10);
    let served = bytes.clone();
    let server = Server::start(move |_| Reply::new(200, served.clone()).without_length());
    let error = failure(fetch(&server, &web("name = \"a.mat\"")).1);
    assert!(error.to_string().contains("how long"), "{error}");
    let with_checksum = web(&format!("name = \"a.mat\"\nmd5 = \"{}\"", md5(&bytes)));
    let (_folder, result) = fetch(&server, &with_checksum);
    assert_eq!(std::fs::read(&result.unwrap()[0].path).unwrap(), bytes);
}

#[test]
fn wrong_bytes_are_fetched_twice_and_never_kept() {
    let (right, wrong) = (content(20_000, 11), content(20_000, 12));
    let served = wrong.clone();
    let server = Server::start(move |request| Reply::file(request, &served, "\"v1\""));
    let (folder, result) = fetch(&server, &pinned(&right));
    let error = failure(result);
    assert!(
        matches!(&error, DownloadError::Mismatch { kind: "MD5", expected, .. } if *expected == md5(&right)),
        "{error}"
    );
    assert_eq!(server.requests().len(), 2);
    assert!(files(folder.path()).is_empty());

    // Once may be an accident.
    let (first, then) = (wrong.clone(), right.clone());
    let server = Server::start(move |r| Reply::file(r, if r.nth == 0 { &first } else { &then }, "\"v1\""));
    let (_folder, result) = fetch(&server, &pinned(&right));
    assert_eq!(std::fs::read(&result.unwrap()[0].path).unwrap(), right);

    // A part that was damaged on the disk is as good as none.
    let served = right.clone();
    let server = Server::start(move |request| Reply::file(request, &served, "\"v1\""));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".a.mat.part"), &wrong[..10_000]).unwrap();
    let files = download(&pinned(&right), &config(folder.path(), &server), &|_| {}).unwrap();
    assert_eq!((std::fs::read(&files[0].path).unwrap(), files[0].how), (right, How::Fetched));
}

#[test]
fn sha256_is_compared_too() {
    let bytes = content(1000, 13);
    let served = bytes.clone();
    let server = Server::start(move |request| Reply::file(request, &served, "\"v1\""));
    let good: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let (_folder, result) = fetch(&server, &web(&format!("name = \"a.mat\"\nsha256 = \"{good}\"")));
    assert_eq!(result.unwrap()[0].trust, Trust::Checksum);
    let bad = good.replace(['0', '1'], "2");
    let error = failure(fetch(&server, &web(&format!("name = \"a.mat\"\nsha256 = \"{bad}\""))).1);
    assert!(matches!(error, DownloadError::Mismatch { kind: "SHA-256", .. }), "{error}");
}

#[test]
fn redirects_are_followed_within_reason() {
    let bytes = content(30_000, 14);
    let served = bytes.clone();
    let server = Server::start(move |request| match request.path.as_str() {
        "/files/1" => Reply::new(302, "").header("Location", "/storage/1?signature=2"),
        "/storage/1?signature=2" if request.nth == 0 => Reply::file(request, &served, "\"v\"").cut(10_000),
        "/storage/1?signature=2" => Reply::file(request, &served, "\"v\""),
        _ => Reply::new(404, ""),
    });
    let (_folder, result) = fetch(&server, &pinned(&bytes));
    assert_eq!(std::fs::read(&result.unwrap()[0].path).unwrap(), bytes);
    // Every attempt begins at the address of the deposit, and the range goes along.
    assert_eq!(server.count("/files/1"), 2);
    assert_eq!(server.requests().last().unwrap().from(), Some(10_000));

    for (to, says) in [
        ("/files/1", "redirects more than"),
        ("file:///etc/passwd", "file"),
        ("ftp://127.0.0.1/a", "ftp"),
        ("gopher://127.0.0.1/a", "gopher"),
    ] {
        let server = Server::start(move |_| Reply::new(302, "").header("Location", to));
        let (folder, result) = fetch(&server, &pinned(&bytes));
        let error = failure(result);
        assert!(matches!(error, DownloadError::Refused { .. }), "{to}: {error}");
        assert!(error.to_string().contains(says), "{error}");
        assert!(server.requests().len() <= 6);
        assert!(!folder.path().join("a.mat").exists());
    }
}

#[test]
fn stalls_end_and_are_continued() {
    let bytes = content(80_000, 15);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let reply = Reply::file(request, &served, "\"v1\"");
        match request.nth {
            0 => reply.cut(30_000).stall(),
            // Not even a header is whole.
            1 => Reply::new(200, "").without_length().header("X", "y\r\n").cut(0).stall(),
            _ => reply,
        }
    });
    let (_folder, result) = fetch(&server, &pinned(&bytes));
    assert_eq!(std::fs::read(&result.unwrap()[0].path).unwrap(), bytes);
    assert!(server.requests().len() >= 3);

    let server =
        Server::start(|_| Reply::new(200, "").without_length().header("Content-Length", 80_000).stall());
    let error = failure(fetch(&server, &pinned(&bytes)).1);
    assert!(matches!(error, DownloadError::Network { attempts: 4, .. }), "{error}");
    assert!(error.to_string().contains("time ran out"), "{error}");
}

#[test]
fn a_server_that_asks_for_patience_gets_it() {
    let bytes = content(1000, 16);
    for status in [429, 503] {
        let served = bytes.clone();
        let server = Server::start(move |request| match request.nth {
            0 => Reply::new(status, "busy").header("Retry-After", "1"),
            _ => Reply::file(request, &served, "\"v1\""),
        });
        let folder = tempfile::tempdir().unwrap();
        let waits = Mutex::new(Vec::new());
        let watch = |event: &Event<'_>| {
            if let Event::Retry { after, problem, .. } = event {
                waits.lock().unwrap().push((*after, (*problem).to_owned()));
            }
        };
        download(&pinned(&bytes), &config(folder.path(), &server), &watch).unwrap();
        let waits = waits.into_inner().unwrap();
        assert_eq!(waits.len(), 1);
        assert_eq!(waits[0].0, Duration::from_secs(1));
        assert!(waits[0].1.contains(&status.to_string()));
    }
    let server = Server::start(|_| Reply::new(503, "").header("Retry-After", "86400"));
    let error = failure(fetch(&server, &pinned(&bytes)).1);
    assert!(error.to_string().contains("86400 s"), "{error}");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn answers_that_will_not_change_are_asked_for_once() {
    let bytes = content(1000, 17);
    for status in [202, 204, 304, 400, 401, 403, 404, 410, 501] {
        let server = Server::start(move |_| Reply::new(status, ""));
        let error = failure(fetch(&server, &pinned(&bytes)).1);
        assert!(matches!(error, DownloadError::Refused { .. }), "{status}: {error}");
        assert!(error.to_string().contains(&status.to_string()), "{error}");
        assert_eq!(server.requests().len(), 1);
    }
    let served = bytes.clone();
    let server = Server::start(move |_| Reply::new(200, served.clone()).header("Content-Encoding", "gzip"));
    let error = failure(fetch(&server, &pinned(&bytes)).1);
    assert!(error.to_string().contains("gzip"), "{error}");
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
}

#[test]
fn every_mebibyte_renews_the_patience() {
    let bytes = content(5 << 20, 18);
    let served = bytes.clone();
    let server = Server::start(move |request| Reply::file(request, &served, "\"v1\"").cut(1_200_000));
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), &server);
    config.retries = 1;
    let files = download(&pinned(&bytes), &config, &|_| {}).unwrap();
    assert_eq!(std::fs::read(&files[0].path).unwrap(), bytes);
    assert_eq!(server.requests().len(), 5);
}

#[test]
fn a_listing_that_cannot_be_used_is_refused() {
    let bytes = content(10, 19);
    let with = |change: fn(&mut serde_json::Value)| {
        let mut element = element("a.mat", 5, &bytes);
        change(&mut element);
        json!([element]).to_string()
    };
    for (text, says) in [
        ("<html>maintenance</html>".to_owned(), "JSON"),
        ("[{\"id\": 5, ".to_owned(), "JSON"),
        (with(|e| e["name"] = "../a.mat".into()), "../a.mat"),
        (with(|e| e["name"] = "/tmp/a.mat".into()), "absolute"),
        (with(|e| e["name"] = "lab.lock.toml".into()), "lock.toml"),
        (with(|e| e["size"] = u64::MAX.into()), "declares"),
        (with(|e| e["download_url"] = "file:///etc/passwd".into()), "address"),
        (with(|e| e["computed_md5"] = "xyz".into()), "MD5"),
        (with(|e| e["name"] = "b.mat".into()), "none of this name"),
        (json!([element("a.mat", 5, &bytes), element("a.mat", 6, &bytes)]).to_string(), "one name"),
    ] {
        let answer = text.clone();
        let server = Server::start(move |_| Reply::new(200, answer.as_bytes()));
        let (folder, result) = fetch(&server, &manifest("name = \"a.mat\""));
        let error = failure(result).to_string();
        assert!(error.contains(says), "{text}: {error}");
        assert!(files(folder.path()).is_empty());
        assert_eq!(server.count("/files"), 0);
    }
    let server = Server::start(|_| Reply::new(500, ""));
    let error = failure(fetch(&server, &manifest("name = \"a.mat\"")).1);
    assert!(matches!(error, DownloadError::Network { attempts: 4, .. }), "{error}");
    let server = Server::start(|_| Reply::new(200, vec![b' '; (16 << 20) + 1]));
    let error = failure(fetch(&server, &manifest("name = \"a.mat\"")).1);
    assert!(error.to_string().contains("listing of more than"), "{error}");
}

#[test]
fn what_manifest_and_deposit_say_has_to_agree() {
    let bytes = content(10, 20);
    let text = json!([element("a.mat", 5, &bytes)]).to_string();
    let server = Server::start(move |_| Reply::new(200, text.as_bytes()));
    let error = failure(fetch(&server, &manifest("name = \"a.mat\"\nsize = 11")).1);
    assert!(matches!(error, DownloadError::Conflict { .. }), "{error}");
    let says = error.to_string();
    assert!(says.contains("11 in the manifest") && says.contains("10 in the deposit"), "{says}");
}

#[test]
fn listings_of_many_pages_are_read_to_the_end() {
    let bytes = content(10, 21);
    let body = bytes.clone();
    let element = move |id: u64| element(&format!("{id}.mat"), id, &bytes);
    let server = Server::start(move |request| {
        let page = |range: std::ops::Range<u64>| json!(range.map(&element).collect::<Vec<_>>()).to_string();
        match request.path.as_str() {
            "/v2/articles/7/files?page=1&page_size=1000" => Reply::new(200, page(0..1000)),
            "/v2/articles/7/files?page=2&page_size=1000" => Reply::new(200, page(1000..1003)),
            _ => Reply::file(request, &body, "\"v\""),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path(), &server);
    config.only = vec!["100?.mat".into()];
    let found = download(&manifest("name = \"0.mat\""), &config, &|_| {}).unwrap();
    assert_eq!(
        found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
        ["1000.mat", "1001.mat", "1002.mat"]
    );
    // The listing is pinned, so another pattern asks for files alone.
    config.only = vec!["7.mat".into()];
    download(&manifest("name = \"0.mat\""), &config, &|_| {}).unwrap();
    assert_eq!(server.count("/v2"), 2);
    let listed = list(&manifest("name = \"0.mat\""), &config, &|_| {}).unwrap();
    assert_eq!((listed.len(), listed[0].present, listed[0].size), (1, 10, Some(10)));
    assert_eq!(server.count("/v2"), 2);
}

#[test]
fn a_mirror_without_pages_will_do() {
    let bytes = content(10, 22);
    let (body, text) = (bytes.clone(), json!([element("a.mat", 5, &bytes)]).to_string());
    let server = Server::start(move |request| match request.path.as_str() {
        "/v2/articles/7/files" => Reply::new(200, text.as_bytes()),
        "/files/5" => Reply::file(request, &body, "\"v\""),
        _ => Reply::new(404, ""),
    });
    assert!(fetch(&server, &manifest("name = \"a.mat\"")).1.is_ok());
}

#[test]
fn two_at_once_fetch_once() {
    let bytes = content(500_000, 23);
    let served = bytes.clone();
    let server = Server::start(move |request| Reply::file(request, &served, "\"v1\""));
    let (folder, manifest) = (tempfile::tempdir().unwrap(), pinned(&bytes));
    let config = config(folder.path(), &server);
    let results: Vec<_> = std::thread::scope(|scope| {
        let run = || scope.spawn(|| download(&manifest, &config, &|_| {}).unwrap());
        let threads: Vec<_> = (0..4).map(|_| run()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(results.iter().filter(|files| files[0].how == How::Fetched).count(), 1);
    assert_eq!(results.iter().filter(|files| files[0].how == How::Present).count(), 3);
    assert_eq!(server.count("/files/1"), 1);
    assert_eq!(std::fs::read(folder.path().join("a.mat")).unwrap(), bytes);
}

#[test]
fn a_folder_that_another_process_holds_is_waited_for() {
    let bytes = content(10, 24);
    let server = Server::start(|_| Reply::new(404, ""));
    let folder = tempfile::tempdir().unwrap();
    let held = std::fs::File::create(folder.path().join(".dina-download.lock")).unwrap();
    held.lock().unwrap();
    let mut config = config(folder.path(), &server);
    config.folder_patience = Some(Duration::from_millis(1));
    let told = Mutex::new(0);
    let watch = |event: &Event<'_>| {
        if matches!(event, Event::Waiting { .. }) {
            *told.lock().unwrap() += 1;
        }
    };
    let error = failure(download(&pinned(&bytes), &config, &watch));
    assert!(matches!(error, DownloadError::Busy { .. }), "{error}");
    assert_eq!((*told.lock().unwrap(), server.requests().len()), (1, 0));
}

#[test]
fn what_the_user_has_is_verified_and_never_overwritten() {
    let bytes = content(5000, 25);
    let server = Server::start(|_| Reply::new(404, ""));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mat");
    let run = || download(&pinned(&bytes), &config(folder.path(), &server), &|_| {});
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(run().unwrap()[0].how, How::Verified);
    assert_eq!(run().unwrap()[0].how, How::Present);

    let other = content(5000, 26);
    std::fs::write(&path, &other).unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    let error = failure(run());
    assert!(matches!(error, DownloadError::Mismatch { .. }), "{error}");
    assert!(error.to_string().contains("never overwritten"), "{error}");
    assert_eq!(std::fs::read(&path).unwrap(), other);
    std::fs::write(&path, &bytes[..100]).unwrap();
    assert!(matches!(failure(run()), DownloadError::Mismatch { kind: "size", .. }));
    assert!(server.requests().is_empty());
}

#[test]
fn what_came_first_is_pinned_where_nobody_publishes_a_checksum() {
    let (first, second) = (content(2000, 27), content(2000, 28));
    let (a, b) = (first.clone(), second.clone());
    let server = Server::start(move |r| Reply::file(r, if r.nth == 0 { &a } else { &b }, "\"v\""));
    let manifest = web("name = \"sub folder/a.mat\"");
    let (folder, result) = fetch(&server, &manifest);
    let file = result.unwrap().remove(0);
    assert_eq!((file.trust, std::fs::read(&file.path).unwrap()), (Trust::FirstUse, first));
    assert!(file.path.ends_with("sub folder/a.mat"));
    assert_eq!(server.requests()[0].path, "/files/sub%20folder/a.mat");

    std::fs::remove_file(&file.path).unwrap();
    let error = failure(download(&manifest, &config(folder.path(), &server), &|_| {}));
    assert!(matches!(error, DownloadError::Mismatch { kind: "SHA-256", .. }), "{error}");
}

#[test]
fn what_is_asked_for_has_to_exist() {
    let bytes = content(10, 29);
    let (one, two) = (element("a.mat", 1, &bytes), element("deep/b.npy", 2, &bytes));
    let text = json!([one, two]).to_string();
    let server = Server::start(move |request| match request.path.starts_with("/v2") {
        true => Reply::new(200, text.as_bytes()),
        false => Reply::file(request, &bytes, "\"v\""),
    });
    let manifest = manifest("name = \"a.mat\"\noptional = true\n[[file]]\nname = \"deep/b.npy\"");
    let folder = tempfile::tempdir().unwrap();
    let names = |only: &[&str]| {
        let mut config = config(folder.path(), &server);
        config.only = only.iter().map(|text| (*text).to_owned()).collect();
        download(&manifest, &config, &|_| {})
            .map(|files| files.into_iter().map(|file| file.name.as_str().to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(names(&[]).unwrap(), ["deep/b.npy"]);
    assert_eq!(names(&["*.npy"]).unwrap(), ["deep/b.npy"]);
    assert_eq!(names(&["a.mat", "*b*"]).unwrap(), ["a.mat", "deep/b.npy"]);
    let none = names(&["*.mat", "c*"]).unwrap_err().to_string();
    assert!(none.contains("--only c*") && none.contains("deep/b.npy"), "{none}");
    let broken = names(&["["]).unwrap_err().to_string();
    assert!(broken.contains("--only [") && broken.contains("pattern"), "{broken}");
}

#[test]
fn a_lock_file_that_is_damaged_or_hostile_is_refused() {
    let bytes = content(10, 30);
    let server = Server::start(|_| Reply::new(404, ""));
    let folder = tempfile::tempdir().unwrap();
    let path = LockFile::path(folder.path(), &pinned(&bytes));
    for text in [
        "schema = ",
        "schema = 9\nmanifest = \"lab\"",
        "schema = 1\nmanifest = \"other\"",
        "schema = 1\nmanifest = \"lab\"\n[file.\"../../a\"]\nsize = 3",
        "schema = 1\nmanifest = \"lab\"\n[file.\"a.mat\"]\nmd5 = \"3\"",
        "schema = 1\nmanifest = \"lab\"\nsurprise = 3",
    ] {
        std::fs::write(&path, text).unwrap();
        let error = download(&pinned(&bytes), &config(folder.path(), &server), &|_| {}).unwrap_err();
        assert!(matches!(error, Error::Malformed { .. }), "{error}");
        assert!(error.to_string().contains("lab.lock.toml"), "{error}");
    }
    let stated = "schema = 1\nmanifest = \"lab\"\n[file.\"a.mat\"]\nsize = 3";
    std::fs::write(&path, stated).unwrap();
    let error = failure(download(&pinned(&bytes), &config(folder.path(), &server), &|_| {}));
    assert!(error.to_string().contains("3 in the lock file"), "{error}");
    assert!(server.requests().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a server does, a file that has its name has the right content.
    #[test]
    fn no_mischief_gets_a_wrong_file_past(script in proptest::collection::vec((0usize..8, 0usize..40_000), 0..6)) {
        let (bytes, other) = (content(40_000, 31), content(40_000, 32));
        let served = bytes.clone();
        let server = Server::start(move |request| {
            let good = Reply::file(request, &served, "\"v1\"");
            match script.get(request.nth) {
                None | Some((0, _)) => good,
                Some((1, cut)) => good.cut(*cut),
                Some((2, cut)) => Reply::new(200, served.clone()).cut(*cut),
                Some((3, cut)) => Reply::file(request, &other, "\"v1\"").cut(*cut),
                Some((4, _)) => Reply::new(503, "busy"),
                Some((5, size)) => Reply::new(200, &served[..*size]).chunked(),
                Some((6, from)) => Reply::new(206, &served[*from..])
                    .header("Content-Range", format!("bytes {from}-39999/40000")),
                Some((_, size)) => Reply::new(206, &other[..*size]).header("Content-Range", "nonsense"),
            }
        });
        let (folder, result) = fetch(&server, &pinned(&bytes));
        let path = folder.path().join("a.mat");
        prop_assert_eq!(result.is_ok(), path.exists());
        match result {
            Ok(files) => prop_assert_eq!(std::fs::read(&files[0].path).unwrap(), bytes),
            Err(Error::Download(_)) => {}
            Err(error) => prop_assert!(false, "{}", error),
        }
    }
}
