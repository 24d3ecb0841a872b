//! Fetches the files of a data deposit.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use dina_data::Result;
use dina_data::download::{Available, DownloadConfig, Event, Fetched, How, Trust, download, list};
use dina_data::manifest::Manifest;
use dina_examples::{Terminal, exit, note};
use dina_study::Progress;

/// Fetches the files that a manifest names, verifies them, and prints where they are.
///
/// Shows the licence. What is there already is not fetched again, and what was interrupted goes on. Sizes and checksums that the manifest
/// does not pin are asked of the deposit and pinned in NAME.lock.toml beside the files.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Manifest of the deposit, such as data-manifests/stringer-natimg2800.toml
    #[arg(value_name = "MANIFEST")]
    manifest: PathBuf,
    /// Files to fetch: *, ? and [...] stand for characters; may be given again [default: all that are not optional]
    #[arg(long, value_name = "GLOB")]
    only: Vec<String>,
    /// Folder of the files [default: DINA_DATA_DIR/NAME, else dina/NAME in the platform's folder for caches]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Mirror: takes the place of scheme and host of every address
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
    /// Print what could be fetched, and fetch nothing
    #[arg(long)]
    list: bool,
    /// Ask no server: verify what is there, fail where something is missing
    #[arg(long)]
    offline: bool,
    /// Seconds without a byte after which a connection is given up
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
    /// How often an attempt that brought nothing is repeated
    #[arg(long, value_name = "N", default_value_t = 6)]
    retries: u32,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let manifest = Manifest::load(&flags.manifest)?;
    let mut config = DownloadConfig::default();
    config.dir = flags.dir.clone();
    config.only = flags.only.clone();
    config.base_url = flags.base_url.clone();
    config.offline = flags.offline;
    config.read_timeout = Duration::from_secs(flags.timeout);
    config.retries = flags.retries;
    note!("{}\n", manifest.notice());
    let terminal = Terminal::default();
    let watch = |event: &Event<'_>| show(&terminal, event);
    if flags.list {
        print(list(&manifest, &config, &watch)?.iter().map(row));
        return Ok(());
    }
    note!("into {}", config.folder(&manifest)?.display());
    print(download(&manifest, &config, &watch)?.iter().map(|file| file.path.display().to_string()));
    Ok(())
}

fn print(lines: impl Iterator<Item = String>) {
    let mut out = std::io::stdout().lock();
    for line in lines {
        // Whoever reads may have seen enough.
        if writeln!(out, "{line}").is_err() {
            return;
        }
    }
}

fn show(terminal: &Terminal, event: &Event<'_>) {
    match event {
        Event::Waiting { folder } => {
            terminal.say(&format!("another process downloads into {}: waiting for it", folder.display()));
        }
        Event::Listing { url } => terminal.say(&format!("asking {url}")),
        Event::Start { name, from, size } => terminal.begin_bytes(name, *from, size.unwrap_or(0)),
        Event::Verifying { name, size } => terminal.begin_bytes(&format!("verify {name}"), 0, *size),
        Event::Bytes { done, .. } => terminal.advance(usize::try_from(*done).unwrap_or(usize::MAX), ""),
        Event::Retry { name, problem, after } => {
            terminal.say(&format!("{name}: {problem}; once more in {:.1} s", after.as_secs_f64()));
        }
        Event::Done { file } => {
            terminal.end();
            terminal.say(&outcome(file));
        }
        // Events of a later version are not worth a line.
        _ => {}
    }
}

fn outcome(file: &Fetched) -> String {
    let how = match file.how {
        How::Present => "is there, verified before",
        How::Verified => "was there, verified now",
        How::Resumed => "fetched the rest, verified",
        _ => "fetched, verified",
    };
    let trust = match file.trust {
        Trust::FirstUse => "; nobody publishes a checksum, this content is pinned from now on",
        _ => "",
    };
    format!("{}: {how}; {} bytes, SHA-256 {}{trust}", file.name, file.size, file.sha256)
}

fn row(file: &Available) -> String {
    let unknown = || "unknown".to_owned();
    let size = file.size.map_or_else(unknown, |size| size.to_string());
    let md5 = file.md5.map_or_else(unknown, |sum| sum.to_string());
    let state = match file.present {
        0 => "missing",
        present if file.size.is_none_or(|size| size == present) => "present",
        _ => "partial",
    };
    let optional = if file.optional { "optional" } else { "default" };
    let about = file.about.as_deref().unwrap_or_default();
    format!("{:60} {size:>12} {md5:32} {state:8} {optional:8} {about}", file.name).trim_end().to_owned()
}
