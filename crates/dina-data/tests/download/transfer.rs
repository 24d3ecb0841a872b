//! One file: dropped, cut, stalled, redirected, exchanged.

use super::*;

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
        assert!(files(folder.path()).iter().all(|name| name == ".a.mat.part"));
        assert!(server.requests().len() <= 4);
        failure(result).to_string()
    };
    let short = says(|bytes| Reply::new(200, &bytes[..30_000]));
    assert!(short.contains("check the address"), "{short}");
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
            1 => reply.stall_in_head(),
            _ => reply,
        }
    });
    let (_folder, result) = fetch(&server, &pinned(&bytes));
    assert_eq!(std::fs::read(&result.unwrap()[0].path).unwrap(), bytes);
    let ranges: Vec<_> = server.requests().iter().map(Request::from).collect();
    assert_eq!(ranges, [None, Some(30_000), Some(30_000)]);

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
fn a_server_that_only_ever_begins_is_left() {
    let bytes = content(5 << 20, 33);
    let served = bytes.clone();
    let server = Server::start(move |request| {
        Reply::new(200, served.clone()).cut(if request.nth % 2 == 0 { 1_200_000 } else { 0 })
    });
    let error = failure(fetch(&server, &pinned(&bytes)).1);
    assert!(matches!(error, DownloadError::Network { .. }), "{error}");
    assert_eq!(server.requests().len(), 4);
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
