use std::path::Path;

use glob::{MatchOptions, Pattern};

use super::http::Client;
use super::known::{EDIT, Known, present, verify};
use super::lock::{LockFile, Pin};
use super::{Available, DownloadConfig, DownloadError, Event, Fetched, listing};
use crate::Result;
use crate::manifest::{FileName, Manifest, Source};

/// A file to have, and what is known of it.
pub(super) struct Target {
    pub name: FileName,
    pub url: String,
    pub known: Known,
}

const CHANGED: &str = "the deposit has changed: delete the lock file and the file to have the new version, or keep both and use --offline";
/// The names that are asked for.
struct Selection {
    names: Vec<FileName>,
    /// Whether the deposit may have more of them than manifest and lock file know.
    open: bool,
}

fn patterns(only: &[String]) -> Result<Vec<Pattern>> {
    let compile = |text: &String| {
        Pattern::new(text).map_err(|error| {
            DownloadError::Selection {
                pattern: text.clone(),
                problem: format!("is no pattern ({error})"),
                known: "named by *, ? and [...]".into(),
            }
            .into()
        })
    };
    only.iter().map(compile).collect()
}

fn matches(pattern: &Pattern, name: &FileName) -> bool {
    // As in a shell, but for `*`, which crosses folders: names are few and people write `*.npy`.
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: false,
        require_literal_leading_dot: false,
    };
    pattern.matches_with(name.as_str(), options)
}

/// All names that manifest and lock file know, those of the manifest first.
fn known_names<'a>(manifest: &'a Manifest, lock: &'a LockFile) -> impl Iterator<Item = &'a FileName> {
    let more = lock.files.keys().filter(|name| manifest.file(name.as_str()).is_none());
    manifest.files.iter().map(|file| &file.name).chain(more)
}

fn select(manifest: &Manifest, config: &DownloadConfig, lock: &LockFile) -> Result<Selection> {
    if config.only.is_empty() {
        let names = manifest.files.iter().filter(|file| !file.optional).map(|file| file.name.clone());
        return Ok(Selection { names: names.collect(), open: false });
    }
    let patterns = patterns(&config.only)?;
    let wanted = |name: &&FileName| patterns.iter().any(|pattern| matches(pattern, name));
    let names: Vec<FileName> = known_names(manifest, lock).filter(wanted).cloned().collect();
    // A pattern that is the name of a file of the manifest can match nothing else.
    let literal = |text: &String| manifest.file(text).is_some();
    let asked = lock.listing.is_some() || !matches!(manifest.source, Source::Figshare { .. });
    Ok(Selection { names, open: !asked && !config.only.iter().all(literal) })
}

/// Every pattern has to match something.
fn require_matches(
    manifest: &Manifest,
    config: &DownloadConfig,
    lock: &LockFile,
    names: &[FileName],
) -> Result<()> {
    for (text, pattern) in config.only.iter().zip(patterns(&config.only)?) {
        if !names.iter().any(|name| matches(&pattern, name)) {
            let mut known: Vec<&str> =
                known_names(manifest, lock).map(FileName::as_str).take(SHOWN + 1).collect();
            if known.len() > SHOWN {
                known[SHOWN] = "...";
            }
            let (pattern, problem) = (text.clone(), "matches no file".to_owned());
            return Err(DownloadError::Selection { pattern, problem, known: known.join(", ") }.into());
        }
    }
    Ok(())
}

/// Names that an error shows.
const SHOWN: usize = 12;

/// The files, where all that are asked for were verified before and have not changed.
pub(super) fn all_present(
    manifest: &Manifest,
    config: &DownloadConfig,
    folder: &Path,
) -> Result<Option<Vec<Fetched>>> {
    let lock = LockFile::load(folder, manifest)?;
    let selection = select(manifest, config, &lock)?;
    if selection.names.is_empty() || (selection.open && !config.offline) {
        return Ok(None);
    }
    let names = &selection.names;
    let files = names.iter().map(|name| present(manifest, folder, &lock, name)).collect::<Result<_>>()?;
    if let Option::<Vec<Fetched>>::Some(files) = files {
        require_matches(manifest, config, &lock, names)?;
        return Ok(Some(files));
    }
    Ok(None)
}

/// What is asked for, from disk alone. Writes nothing, so that it works in a folder that is only to be read.
pub(super) fn offline(
    manifest: &Manifest,
    config: &DownloadConfig,
    folder: &Path,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<Fetched>> {
    let lock = LockFile::load(folder, manifest)?;
    let names = select(manifest, config, &lock)?.names;
    require_matches(manifest, config, &lock, &names)?;
    let mut files = Vec::with_capacity(names.len());
    for name in &names {
        let path = name.below(folder);
        let file = match present(manifest, folder, &lock, name)? {
            Some(file) => file,
            None if !path.exists() => return Err(DownloadError::Offline { path }.into()),
            None => {
                let known = Known::of(name, manifest.file(name.as_str()), lock.files.get(name))?;
                verify(name, &path, &known, observe)?.0
            }
        };
        observe(&Event::Done { file: &file });
        files.push(file);
    }
    Ok(files)
}

/// What is asked for, with address and checksums. Asks the deposit where manifest and lock file leave something open, and pins
/// the answer.
pub(super) fn targets(
    manifest: &Manifest,
    config: &DownloadConfig,
    folder: &Path,
    client: &Client,
    lock: &mut LockFile,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<Target>> {
    let mut selection = select(manifest, config, lock)?;
    if let Source::Figshare { article, api, .. } = &manifest.source {
        let mut lacking = selection.open;
        for name in &selection.names {
            let pin = lock.files.get(name);
            let known = Known::of(name, manifest.file(name.as_str()), pin)?;
            let told = lock.listing.is_some() && pin.is_some_and(|pin| pin.url.is_some());
            let complete =
                address(manifest, name, pin).is_some() && known.size.is_some() && known.has_checksum();
            lacking |= !complete && !told;
        }
        if lacking {
            let url = format!("{api}/articles/{article}/files");
            let listed = listing::ask(client, config, &url, observe)?;
            let count = listed.len();
            pin_listing(manifest, lock, &url, listed)?;
            selection = select(manifest, config, lock)?;
            for name in &selection.names {
                if address(manifest, name, lock.files.get(name)).is_none() {
                    let name = name.as_str().to_owned();
                    return Err(DownloadError::Unlisted { name, url, listed: count }.into());
                }
            }
            lock.save(folder, manifest)?;
        }
    }
    require_matches(manifest, config, lock, &selection.names)?;
    let mut targets = Vec::with_capacity(selection.names.len());
    for name in selection.names {
        let (file, pin) = (manifest.file(name.as_str()), lock.files.get(&name));
        let known = Known::of(&name, file, pin)?;
        // A file that only the lock file knows was listed, with its address.
        let Some(url) = address(manifest, &name, pin) else {
            let url = String::new();
            return Err(DownloadError::Unlisted { name: name.into(), url, listed: lock.files.len() }.into());
        };
        targets.push(Target { name, url, known });
    }
    Ok(targets)
}

/// Where a file is fetched from: its own address, or what the source makes of its name or id, or what the deposit listed.
fn address(manifest: &Manifest, name: &FileName, pin: Option<&Pin>) -> Option<String> {
    let file = manifest.file(name.as_str());
    if let Some(url) = file.and_then(|file| file.url.clone()) {
        return Some(url);
    }
    match &manifest.source {
        Source::Figshare { files, .. } => match file.and_then(|file| file.id) {
            Some(id) => Some(format!("{files}/{id}")),
            None => pin.and_then(|pin| pin.url.clone()),
        },
        Source::Urls { base } => base.as_ref().map(|base| format!("{base}/{}", escaped(name.as_str()))),
    }
}

/// A name as a part of an address: RFC 3986 lets only these characters stand for themselves.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    name.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

/// Takes a listing into the lock file. What was verified before has to be what the deposit still says.
fn pin_listing(
    manifest: &Manifest,
    lock: &mut LockFile,
    url: &str,
    listed: Vec<listing::Listed>,
) -> Result<()> {
    let mut seen = std::collections::HashMap::new();
    for file in listed {
        let stated = manifest.file(file.name.as_str());
        // Deposits may hold two files of one name; the id of the manifest says which is meant.
        if stated.and_then(|stated| stated.id).is_some_and(|id| id != file.id) {
            continue;
        }
        if let Some(other) = seen.insert(file.name.key(), file.id) {
            let problem = format!(
                "has the files {other} and {} of one name, {}; an `id` in the manifest says which",
                file.id, file.name
            );
            return Err(DownloadError::Listing { url: url.into(), problem }.into());
        }
        let now = Known { size: Some(file.size), md5: file.md5, sha256: None };
        if let Some(stated) = stated {
            let pinned = Known { size: stated.size, md5: stated.md5, sha256: None };
            pinned.with(now, &file.name, ["the manifest", "the deposit"], EDIT)?;
        }
        let pin = lock.pin(&file.name);
        let before = Known { size: pin.size, md5: pin.md5, sha256: None };
        let known = before.with(now, &file.name, ["the lock file", "the deposit"], CHANGED)?;
        (pin.id, pin.url) = (Some(file.id), Some(file.url));
        (pin.size, pin.md5) = (known.size, known.md5);
    }
    lock.listing = Some(url.to_owned());
    Ok(())
}

/// All files that could be fetched.
pub(super) fn available(
    manifest: &Manifest,
    config: &DownloadConfig,
    folder: &Path,
    observe: &dyn Fn(&Event<'_>),
) -> Result<Vec<Available>> {
    let mut lock = LockFile::load(folder, manifest)?;
    if let (Source::Figshare { article, api, .. }, false, None) =
        (&manifest.source, config.offline, &lock.listing)
    {
        let url = format!("{api}/articles/{article}/files");
        let listed = listing::ask(&Client::new(config)?, config, &url, observe)?;
        pin_listing(manifest, &mut lock, &url, listed)?;
    }
    let patterns = patterns(&config.only)?;
    let names: Vec<FileName> = known_names(manifest, &lock)
        .filter(|name| patterns.is_empty() || patterns.iter().any(|pattern| matches(pattern, name)))
        .cloned()
        .collect();
    require_matches(manifest, config, &lock, &names)?;
    names.into_iter().map(|name| describe(manifest, folder, &lock, name)).collect()
}

fn describe(manifest: &Manifest, folder: &Path, lock: &LockFile, name: FileName) -> Result<Available> {
    let file = manifest.file(name.as_str());
    let known = Known::of(&name, file, lock.files.get(&name))?;
    let path = name.below(folder);
    let size = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.len());
    let present = size(&path).or_else(|| size(&super::transfer::partial_path(&path))).unwrap_or(0);
    let set = || {
        let of = |set: &&crate::manifest::FileSet| {
            Pattern::new(&set.pattern).is_ok_and(|pattern| matches(&pattern, &name))
        };
        manifest.sets.iter().find(of).and_then(|set| set.about.clone())
    };
    Ok(Available {
        about: file.and_then(|file| file.about.clone()).or_else(set),
        optional: file.is_none_or(|file| file.optional),
        size: known.size,
        md5: known.md5,
        present,
        name,
    })
}
