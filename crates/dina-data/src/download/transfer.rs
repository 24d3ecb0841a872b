use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::hash::{Hashes, Sums};
use super::http::{Answer, Client, Continuation, Failure, read_failure};
use super::known::{Known, present, verify};
use super::lock::{LockFile, stamp};
use super::plan::Target;
use super::retry::Patience;
use super::{BUFFER, DownloadConfig, DownloadError, Event, Fetched, How, Trust};
use crate::manifest::{MAX_FILE_BYTES, Manifest};
use crate::{Error, Result};

/// An attempt that brought so many bytes was worth it: the count of failures starts anew.
const WORTH: u64 = 1 << 20;

const OTHER_BYTES: &str = "what the server sends is not what was published, twice: try later or another mirror, and report it to the deposit if it stays so";

/// The way of one file from the deposit to the disk.
pub(super) struct Transfer<'a> {
    pub manifest: &'a Manifest,
    pub config: &'a DownloadConfig,
    pub folder: &'a Path,
    pub client: &'a Client,
    pub observe: &'a dyn Fn(&Event<'_>),
}

/// Why an attempt ended.
enum Stop {
    Failure(Failure),
    Error(Error),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Error(error)
    }
}

impl Transfer<'_> {
    /// Has the file on disk, verified and pinned.
    pub(super) fn run(&mut self, target: &Target, lock: &mut LockFile) -> Result<Fetched> {
        if let Some(file) = present(self.manifest, self.folder, lock, &target.name)? {
            return Ok(file);
        }
        let path = target.name.below(self.folder);
        if path.exists() {
            let (file, sums) = verify(&target.name, &path, &target.known, self.observe)?;
            self.record(target, &path, &sums, lock)?;
            return Ok(file);
        }
        self.fetch(target, &path, lock)
    }

    fn fetch(&self, target: &Target, path: &Path, lock: &mut LockFile) -> Result<Fetched> {
        let mut partial = Partial::open(path)?;
        let mut kept = partial.len() > 0;
        match self.gather(target, path, &mut partial, &mut kept, lock) {
            Ok((sums, trust)) => {
                partial.finish(path)?;
                self.record(target, path, &sums, lock)?;
                let how = if kept { How::Resumed } else { How::Fetched };
                let (size, sha256) = (sums.bytes, sums.sha256);
                Ok(Fetched { name: target.name.clone(), path: path.to_path_buf(), size, sha256, how, trust })
            }
            Err(error) => {
                if partial.len() == 0 {
                    partial.remove();
                }
                Err(error)
            }
        }
    }

    /// Attempts until all is there and is what it should be. `kept` is cleared where what was there at first is of no use.
    fn gather(
        &self,
        target: &Target,
        path: &Path,
        partial: &mut Partial,
        kept: &mut bool,
        lock: &mut LockFile,
    ) -> Result<(Sums, Trust)> {
        let url = self.client.address(&target.url)?;
        let mut patience = Patience::new(self.config, target.name.as_str(), &url);
        let (mut spoiled, mut lied) = (false, false);
        // More than ever before: a server that lets everything be begun anew would else have us for ever.
        let mut most = partial.len();
        loop {
            let before = partial.len();
            // A part that is complete already was left by a process that ended before it could verify it.
            if target.known.size != Some(before) {
                match self.attempt(target, &url, partial, kept, lock) {
                    Ok(()) => {}
                    Err(Stop::Error(error)) => return Err(error),
                    Err(Stop::Failure(Failure::Restart(problem))) => {
                        partial.reset()?;
                        *kept = false;
                        // A server that cannot continue may send all of it; one that sends something else will not mend.
                        let hopeless = std::mem::replace(&mut lied, before == 0) && before == 0;
                        let failure = if hopeless { Failure::Permanent } else { Failure::Restart };
                        patience.wait(failure(problem), self.observe)?;
                        continue;
                    }
                    Err(Stop::Failure(failure)) => {
                        if partial.len() >= most.saturating_add(WORTH) {
                            most = partial.len();
                            patience.progress();
                        }
                        patience.wait(failure, self.observe)?;
                        continue;
                    }
                }
            }
            let sums = partial.hashes.sums();
            match target.known.compare(path, &sums, OTHER_BYTES) {
                Ok(trust) => return Ok((sums, trust)),
                Err(error) => {
                    partial.reset()?;
                    *kept = false;
                    // The part that was there may have been damaged, or a proxy: all of it is fetched once more.
                    if std::mem::replace(&mut spoiled, true) {
                        return Err(error);
                    }
                    let (name, problem) = (target.name.as_str(), error.to_string());
                    let after = std::time::Duration::ZERO;
                    (self.observe)(&Event::Retry { name, problem: &problem, after });
                }
            }
        }
    }

    /// One request, and what comes of it. `kept` is cleared where the server begins anew.
    fn attempt(
        &self,
        target: &Target,
        url: &str,
        partial: &mut Partial,
        kept: &mut bool,
        lock: &mut LockFile,
    ) -> Result<(), Stop> {
        let known = &target.known;
        let etag = lock.files.get(&target.name).and_then(|pin| pin.etag.clone());
        // Without version and checksum nobody could tell two versions in one file.
        let mixed = etag.is_none() && !known.has_checksum();
        if mixed || known.size.is_some_and(|size| partial.len() > size) {
            partial.reset()?;
        }
        let rest = (partial.len() > 0).then(|| Continuation { from: partial.len(), etag: etag.as_deref() });
        let answer = self.client.get(url, rest)?;
        let total = promised(&answer, known)?;
        if answer.from == 0 {
            *kept = false;
            partial.reset()?;
            if etag != answer.etag {
                lock.pin(&target.name).etag = answer.etag.clone();
                lock.save(self.folder, self.manifest)?;
            }
        }
        self.check_space(target, total, partial.len())?;
        let name = target.name.as_str();
        (self.observe)(&Event::Start { name, from: partial.len(), size: total });
        self.receive(name, answer, total, partial)
    }

    fn receive(
        &self,
        name: &str,
        mut answer: Answer,
        total: Option<u64>,
        partial: &mut Partial,
    ) -> Result<(), Stop> {
        let limit = total.unwrap_or(MAX_FILE_BYTES);
        let mut buffer = vec![0; BUFFER];
        loop {
            let n = match answer.body.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => n,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(read_failure(error).into()),
            };
            if partial.len() + n as u64 > limit {
                return Err(Failure::Restart(format!("sends more than {limit} bytes")).into());
            }
            partial.append(&buffer[..n]).map_err(|error| self.write_error(name, total, partial, error))?;
            (self.observe)(&Event::Bytes { name, done: partial.len() });
        }
        match total.filter(|&total| partial.len() < total) {
            Some(total) => {
                Err(Failure::transient(format!("ends after {} of {total} bytes", partial.len())).into())
            }
            None => Ok(()),
        }
    }

    fn check_space(&self, target: &Target, total: Option<u64>, done: u64) -> Result<()> {
        let needed = total.unwrap_or(0).saturating_sub(done);
        let available = fs4::available_space(self.folder)
            .map_err(|source| Error::Io { path: self.folder.into(), source })?;
        if needed > available {
            let (folder, name) = (self.folder.to_path_buf(), target.name.as_str().to_owned());
            return Err(DownloadError::Space { folder, name, needed, available }.into());
        }
        Ok(())
    }

    /// A disk that fills up while a file comes has its own error.
    fn write_error(
        &self,
        name: &str,
        total: Option<u64>,
        partial: &Partial,
        source: std::io::Error,
    ) -> Error {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match source.kind() {
            StorageFull | QuotaExceeded => DownloadError::Space {
                folder: self.folder.to_path_buf(),
                name: name.to_owned(),
                needed: total.unwrap_or(0).saturating_sub(partial.len()),
                available: 0,
            }
            .into(),
            _ => Error::Io { path: partial.path.clone(), source },
        }
    }

    /// Pins what is there now, verified.
    fn record(&self, target: &Target, path: &Path, sums: &Sums, lock: &mut LockFile) -> Result<()> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        let modified = stamp(path).map_err(io)?.map(|(_, modified)| modified);
        let pin = lock.pin(&target.name);
        (pin.size, pin.md5, pin.sha256) = (Some(sums.bytes), Some(sums.md5), Some(sums.sha256));
        (pin.etag, pin.verified_modified_ns) = (None, modified);
        lock.save(self.folder, self.manifest)
    }
}

/// The size of the whole file, where somebody says it and nobody says otherwise.
fn promised(answer: &Answer, known: &Known) -> Result<Option<u64>, Failure> {
    if let Some((offered, expected)) = answer.size.zip(known.size).filter(|(a, b)| a != b) {
        return Err(Failure::Restart(format!("offers {offered} bytes, expected {expected}")));
    }
    let total = known.size.or(answer.size);
    if total.is_some_and(|total| total > MAX_FILE_BYTES) {
        return Err(Failure::Permanent(format!("declares a file of more than {MAX_FILE_BYTES} bytes")));
    }
    if total.is_none() && !answer.delimited && !known.has_checksum() {
        let problem =
            "says nowhere how long the file is, and no checksum is known: its end could not be told";
        return Err(Failure::Permanent(problem.into()));
    }
    Ok(total)
}

/// Where a file is gathered before it has its name.
pub(super) fn partial_path(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".part");
    path.with_file_name(name)
}

/// A file that is not complete, and the checksums of what is there.
struct Partial {
    path: PathBuf,
    file: File,
    hashes: Hashes,
}

impl Partial {
    /// Opens what an earlier run left, and reads it; makes it where there is nothing.
    fn open(path: &Path) -> Result<Self> {
        let path = partial_path(path);
        let io = |source| Error::Io { path: path.clone(), source };
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).map_err(|source| Error::Io { path: parent.into(), source })?;
        }
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(io)?;
        let mut hashes = Hashes::default();
        hashes.read(&mut file, |_| {}).map_err(io)?;
        Ok(Self { path, file, hashes })
    }

    fn len(&self) -> u64 {
        self.hashes.bytes
    }

    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if let Err(error) = self.file.write_all(bytes) {
            // What was written of it is not hashed: cut it off again.
            let kept = self.len();
            self.file.set_len(kept)?;
            self.file.seek(SeekFrom::Start(kept))?;
            return Err(error);
        }
        self.hashes.update(bytes);
        Ok(())
    }

    fn reset(&mut self) -> Result<()> {
        self.hashes = Hashes::default();
        let cut = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        cut.map(|_| ()).map_err(|source| Error::Io { path: self.path.clone(), source })
    }

    /// Gives the file its name, after its content is on the disk.
    fn finish(self, path: &Path) -> Result<()> {
        let io = |source| Error::Io { path: path.to_path_buf(), source };
        self.file.sync_all().map_err(io)?;
        let Self { path: partial, file, .. } = self;
        drop(file);
        std::fs::rename(partial, path).map_err(io)
    }

    fn remove(self) {
        let Self { path, file, .. } = self;
        drop(file);
        // What remains of it is cut by the next run.
        let _ = std::fs::remove_file(path);
    }
}
