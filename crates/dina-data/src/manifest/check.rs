use std::collections::HashMap;

use serde::Deserialize;

use super::{
    FileName, FileSet, HexDigest, MAX_FILE_BYTES, Manifest, ManifestFile, SCHEMA, SessionFiles, Source,
};
use crate::{Error, Result};

/// A manifest as it is written: types are right, values are not looked at yet.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Raw {
    schema: u32,
    name: String,
    title: String,
    doi: Option<String>,
    licence: String,
    licence_url: Option<String>,
    citation: String,
    notes: Option<String>,
    source: Source,
    #[serde(rename = "file")]
    files: Vec<RawFile>,
    #[serde(rename = "session", default)]
    sessions: Vec<RawSession>,
    #[serde(rename = "set", default)]
    sets: Vec<RawSet>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    name: String,
    about: Option<String>,
    id: Option<u64>,
    url: Option<String>,
    size: Option<u64>,
    md5: Option<String>,
    sha256: Option<String>,
    #[serde(default)]
    optional: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSession {
    mouse: Option<String>,
    date: Option<String>,
    recording: String,
    images: Option<String>,
    stimuli: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSet {
    name: String,
    pattern: String,
    about: Option<String>,
}

impl TryFrom<Raw> for Manifest {
    type Error = Error;

    fn try_from(raw: Raw) -> Result<Self> {
        let origin = raw.name.clone();
        raw.check(&origin)
    }
}

/// Where a value stands, for errors.
struct Key<'a> {
    origin: &'a str,
    table: String,
}

impl Key<'_> {
    fn error(&self, field: &str, problem: impl Into<String>, remedy: &str) -> Error {
        let key = match self.table.as_str() {
            "" => field.to_owned(),
            table => format!("{table}.{field}"),
        };
        Error::variable(self.origin, key, problem, remedy)
    }

    fn name(&self, field: &str, name: String) -> Result<FileName> {
        FileName::new(name).map_err(|error| {
            let problem = format!("is {error}");
            self.error(field, problem, "give a relative name below the data folder, with / between its parts")
        })
    }

    fn filled(&self, field: &str, text: String) -> Result<String> {
        match text.trim().is_empty() {
            true => Err(self.error(
                field,
                "is empty",
                "fill it in, or leave the key out where it may be left out",
            )),
            false => Ok(text),
        }
    }

    fn optional(&self, field: &str, text: Option<String>) -> Result<Option<String>> {
        text.map(|text| self.filled(field, text)).transpose()
    }

    fn url(&self, field: &str, url: String) -> Result<String> {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let clean = url.bytes().all(|byte| byte.is_ascii_graphic());
        match rest {
            Some(rest) if clean && !rest.is_empty() && !rest.starts_with('/') => Ok(url),
            _ => Err(self.error(
                field,
                format!("is {url:?}, which is no http or https address"),
                "give a whole address, with blanks and letters beyond ASCII percent-encoded",
            )),
        }
    }

    fn digest<const N: usize>(&self, field: &str, text: Option<String>) -> Result<Option<HexDigest<N>>> {
        text.map(|text| text.parse())
            .transpose()
            .map_err(|problem: String| self.error(field, problem, "leave it out where it is not known"))
    }
}

impl Raw {
    pub(super) fn check(self, origin: &str) -> Result<Manifest> {
        let top = Key { origin, table: String::new() };
        if self.schema != SCHEMA {
            return Err(top.error(
                "schema",
                format!("is {}, this version reads {SCHEMA}", self.schema),
                "use the version of dina-data that the manifest was written for",
            ));
        }
        let name = top.name("name", self.name)?;
        if name.as_str().contains('/') {
            return Err(top.error("name", "has a `/`", "give a short name without folders"));
        }
        let files = self.files.into_iter().enumerate().map(|(n, file)| file.check(origin, n, &self.source));
        let files = files.collect::<Result<Vec<_>>>()?;
        unique(origin, &files)?;
        let sessions = self.sessions.into_iter().enumerate().map(|(n, raw)| raw.check(origin, n, &files));
        let sessions = sessions.collect::<Result<Vec<_>>>()?;
        let sets = self.sets.into_iter().enumerate().map(|(n, set)| set.check(origin, n));
        Ok(Manifest {
            schema: self.schema,
            name,
            title: top.filled("title", self.title)?,
            doi: top.optional("doi", self.doi)?,
            licence: top.filled("licence", self.licence)?,
            licence_url: self.licence_url.map(|url| top.url("licence_url", url)).transpose()?,
            citation: top.filled("citation", self.citation)?,
            notes: top.optional("notes", self.notes)?,
            sets: sets.collect::<Result<_>>()?,
            source: check_source(origin, self.source)?,
            files,
            sessions,
        })
    }
}

fn check_source(origin: &str, source: Source) -> Result<Source> {
    let key = Key { origin, table: "source".into() };
    let trimmed =
        |field: &str, url: String| key.url(field, url).map(|url| url.trim_end_matches('/').to_owned());
    Ok(match source {
        Source::Figshare { article, api, files } => {
            Source::Figshare { article, api: trimmed("api", api)?, files: trimmed("files", files)? }
        }
        Source::Urls { base } => Source::Urls { base: base.map(|base| trimmed("base", base)).transpose()? },
    })
}

impl RawFile {
    fn check(self, origin: &str, n: usize, source: &Source) -> Result<ManifestFile> {
        let key = Key { origin, table: format!("file[{n}]") };
        let name = key.name("name", self.name)?;
        if let Some(size) = self.size.filter(|&size| size == 0 || size > MAX_FILE_BYTES) {
            return Err(key.error(
                "size",
                format!("is {size}, expected 1 to {MAX_FILE_BYTES} bytes"),
                "leave it out where it is not known",
            ));
        }
        if self.url.is_none() && matches!(source, Source::Urls { base: None }) {
            return Err(key.error("url", "is missing, and `source.base` is too", "give one of them"));
        }
        Ok(ManifestFile {
            name,
            about: key.optional("about", self.about)?,
            id: self.id,
            url: self.url.map(|url| key.url("url", url)).transpose()?,
            size: self.size,
            md5: key.digest("md5", self.md5)?,
            sha256: key.digest("sha256", self.sha256)?,
            optional: self.optional,
        })
    }
}

/// No name twice, whatever the case of its letters, and no file where another needs a folder.
fn unique(origin: &str, files: &[ManifestFile]) -> Result<()> {
    let mut seen = HashMap::new();
    for (n, file) in files.iter().enumerate() {
        if let Some(first) = seen.insert(file.name.key(), n) {
            return Err(Key { origin, table: format!("file[{n}]") }.error(
                "name",
                format!("is {:?}, which is the name of file[{first}] too", file.name.as_str()),
                "give every file once",
            ));
        }
    }
    for (n, file) in files.iter().enumerate() {
        let key = file.name.key();
        let folders = key.match_indices('/').map(|(at, _)| &key[..at]);
        for folder in folders {
            if let Some(other) = seen.get(folder) {
                return Err(Key { origin, table: format!("file[{n}]") }.error(
                    "name",
                    format!("is {:?}, below file[{other}], which is no folder", file.name.as_str()),
                    "rename one of them",
                ));
            }
        }
    }
    Ok(())
}

impl RawSession {
    fn check(self, origin: &str, n: usize, files: &[ManifestFile]) -> Result<SessionFiles> {
        let key = Key { origin, table: format!("session[{n}]") };
        let listed = |field: &str, name: String| {
            let name = key.name(field, name)?;
            match files.iter().any(|file| file.name == name) {
                true => Ok(name),
                false => Err(key.error(
                    field,
                    format!("is {:?}, which no [[file]] is called", name.as_str()),
                    "list the file too",
                )),
            }
        };
        let date = key.optional("date", self.date)?;
        if let Some(date) = date.as_ref().filter(|date| !is_date(date)) {
            return Err(key.error("date", format!("is {date:?}"), "write YYYY-MM-DD"));
        }
        Ok(SessionFiles {
            mouse: key.optional("mouse", self.mouse)?,
            date,
            recording: listed("recording", self.recording)?,
            images: self.images.map(|name| listed("images", name)).transpose()?,
            stimuli: key.optional("stimuli", self.stimuli)?,
        })
    }
}

fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut number = |digits: usize, range: std::ops::RangeInclusive<u32>| {
        parts.next().is_some_and(|part| {
            part.len() == digits
                && part.bytes().all(|byte| byte.is_ascii_digit())
                && part.parse().is_ok_and(|value| range.contains(&value))
        })
    };
    number(4, 1900..=2999) && number(2, 1..=12) && number(2, 1..=31) && text.len() == 10
}

impl RawSet {
    fn check(self, origin: &str, n: usize) -> Result<FileSet> {
        let key = Key { origin, table: format!("set[{n}]") };
        let pattern = key.filled("pattern", self.pattern)?;
        if let Err(error) = glob::Pattern::new(&pattern) {
            let problem = format!("is {pattern:?}, which is no pattern ({error})");
            return Err(key.error("pattern", problem, "use *, ? and [...]"));
        }
        Ok(FileSet {
            name: key.filled("name", self.name)?,
            pattern,
            about: key.optional("about", self.about)?,
        })
    }
}
