//! `--example download` as a user runs it, against a server on the loopback interface.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used)]

#[path = "../../crates/dina-data/tests/download/server.rs"]
mod server;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use server::{Reply, Server};

/// The built example, beside the folder of this test, with a manifest of one file.
fn program(folder: &Path, server: &Server, arguments: &[&str]) -> Command {
    let manifest = folder.join("lab.toml");
    let text = "schema = 1\nname = \"lab\"\ntitle = \"Lab\"\nlicence = \"CC BY 4.0\"\ncitation = \"Us\"\n\
        [source]\nkind = \"urls\"\nbase = \"https://data.example.org\"\n[[file]]\nname = \"a.mat\"\n";
    std::fs::write(&manifest, text).unwrap();
    let examples = std::env::current_exe().unwrap();
    let examples = examples.parent().and_then(Path::parent).unwrap().join("examples");
    let mut command = Command::new(examples.join("download"));
    command.arg(manifest).arg("--dir").arg(folder.join("data")).arg("--base-url").arg(server.url());
    command.args(["--retries", "1"]).args(arguments);
    command
}

fn text(output: &[u8]) -> String {
    String::from_utf8_lossy(output).into_owned()
}

fn run(folder: &Path, server: &Server, arguments: &[&str]) -> Output {
    program(folder, server, arguments).output().unwrap()
}

#[test]
fn a_killed_download_goes_on_and_is_made_once() {
    let bytes: Vec<u8> = (0..400_000u32).map(|n| (n % 251) as u8).collect();
    let served = bytes.clone();
    let server = Server::start(move |request| {
        let reply = Reply::file(request, &served, "\"v1\"");
        if request.nth == 0 { reply.cut(150_000).stall() } else { reply }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut killed =
        program(folder.path(), &server, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let part = folder.path().join("data/.a.mat.part");
    while std::fs::metadata(&part).map_or(0, |part| part.len()) < 150_000
        && killed.try_wait().unwrap().is_none()
    {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();

    let output = run(folder.path(), &server, &[]);
    let says = text(&output.stderr);
    assert!(output.status.success(), "{says}");
    assert!(
        says.contains("CC BY 4.0") && says.contains("fetched the rest") && says.contains("pinned"),
        "{says}"
    );
    assert_eq!(server.requests()[1].from(), Some(150_000));
    let path = text(&output.stdout);
    assert_eq!(std::fs::read(path.trim_end()).unwrap(), bytes);

    let again = run(folder.path(), &server, &[]);
    assert!(text(&again.stderr).contains("verified before"));
    assert_eq!((text(&again.stdout), server.requests().len()), (path, 2));
    assert!(run(folder.path(), &server, &["--offline"]).status.success());
    let listed = text(&run(folder.path(), &server, &["--list"]).stdout);
    assert!(listed.contains("a.mat") && listed.contains("400000") && listed.contains("present"), "{listed}");
}

#[test]
fn a_refusal_is_one_sentence() {
    let server = Server::start(|_| Reply::new(404, ""));
    let folder = tempfile::tempdir().unwrap();
    for (arguments, says) in
        [(&[][..], "status 404"), (&["--only", "b*"], "--only b*"), (&["--offline"], "run without --offline")]
    {
        let output = run(folder.path(), &server, arguments);
        let error = text(&output.stderr);
        let last = error.lines().last().unwrap();
        assert!(!output.status.success() && last.starts_with("error: ") && last.contains(says), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn help_says_what_each_flag_does() {
    let server = Server::start(|_| Reply::new(404, ""));
    let folder = tempfile::tempdir().unwrap();
    let help = text(&run(folder.path(), &server, &["--help"]).stdout);
    for flag in ["--only <GLOB>", "--dir <DIR>", "--base-url <URL>", "--list", "--offline", "DINA_DATA_DIR"] {
        assert!(help.contains(flag), "{flag}: {help}");
    }
    assert!(help.contains("[default: 30]") && help.contains("[default: 6]"), "{help}");
}
