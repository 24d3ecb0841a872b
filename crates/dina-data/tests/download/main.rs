//! Downloads from a server on the loopback interface that drops, lies, stalls, redirects and changes its mind.

#![cfg(feature = "download")]
// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used, clippy::panic)]

mod folder;
mod server;
mod transfer;

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
