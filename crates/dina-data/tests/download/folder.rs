//! A folder of files: what is pinned, listed, locked, verified, asked for.

use super::*;

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
        (with(|e| e["name"] = "/a.mat".into()), "absolute"),
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
