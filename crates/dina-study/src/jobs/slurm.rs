use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dina_core::write_atomic;

use super::{Store, Work};
use crate::{Error, Progress, Result};

/// Work as a job array of SLURM.
///
/// Every task runs `command` with `--shard K/N` appended, which has to do that part of the same work into the same
/// store. What is done is read from the store and from the exit records that tasks leave beside their logs; a
/// task without one that the queue no longer knows was killed. Shards with work left are submitted again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlurmArray {
    /// The program and its arguments.
    pub command: Vec<OsString>,
    /// Tasks of the array.
    pub shards: usize,
    /// Where the script, the logs and the exit records go: a folder that all machines see.
    pub folder: PathBuf,
    /// Further options of `sbatch`, such as `--partition=long` or `--mem=8G`.
    pub options: Vec<String>,
    /// How often a shard is submitted.
    pub attempts: usize,
    /// Time between two looks at the queue.
    pub poll: Duration,
}

impl SlurmArray {
    /// Two attempts, a look every two seconds.
    pub fn new(command: Vec<OsString>, shards: usize, folder: impl Into<PathBuf>) -> Self {
        let (options, attempts, poll) = (Vec::new(), 2, Duration::from_secs(2));
        Self { command, shards, folder: folder.into(), options, attempts, poll }
    }

    /// The results of all work, in its order.
    ///
    /// # Errors
    /// When there is no `sbatch`, it refuses, or work is left after the last attempt: the message names the logs.
    pub fn run<W: Work>(&self, work: &[W], store: &Store, progress: &dyn Progress) -> Result<Vec<W::Output>> {
        progress.begin("jobs", work.len());
        for attempt in 1..=self.attempts.max(1) {
            let left = self.shards_left(work, store);
            if left.is_empty() {
                break;
            }
            let folder = self.folder.join(format!("attempt-{attempt}"));
            std::fs::create_dir_all(&folder)
                .map_err(|source| dina_core::Error::Io { path: folder.clone(), source })?;
            let job = self.submit(&left, &folder)?;
            self.wait(&job, &left, &folder, || {
                // Looked at every few seconds: results are counted, and not read.
                let done = work.iter().filter(|piece| store.has(piece.key())).count();
                progress.advance(done, &format!("job {job}"));
            })?;
        }
        progress.end();
        let missing = missing(work, store);
        if let Some(&first) = missing.first() {
            return Err(Error::Job(format!(
                "{} of {} pieces of work are not done after {} attempt(s), the first of them {}; the logs are in {}",
                missing.len(),
                work.len(),
                self.attempts.max(1),
                work[first].name(),
                self.folder.display()
            )));
        }
        work.iter()
            .map(|piece| {
                let lost = || Error::Job(format!("{}: its result has vanished; run it again", piece.name()));
                store.get(piece.key()).ok_or_else(lost)
            })
            .collect()
    }

    /// Shards with work that the store lacks, from 1.
    fn shards_left<W: Work>(&self, work: &[W], store: &Store) -> BTreeSet<usize> {
        missing(work, store).into_iter().map(|index| index % self.shards.max(1) + 1).collect()
    }

    fn submit(&self, shards: &BTreeSet<usize>, folder: &Path) -> Result<String> {
        let script = folder.join("array.sh");
        let text = self.script(folder)?;
        write_atomic(&script, |writer| writer.write_all(text.as_bytes()))?;
        let array: Vec<String> = shards.iter().map(usize::to_string).collect();
        let mut command = Command::new("sbatch");
        command
            .arg("--parsable")
            .arg(format!("--array={}", array.join(",")))
            .args(&self.options)
            .arg(&script);
        let output = output(&mut command)?;
        // Some clusters append the name of the cluster.
        Ok(output.trim().split(';').next().unwrap_or_default().to_owned())
    }

    /// The batch script: a shard a task, and its exit status in a file once it is over.
    fn script(&self, folder: &Path) -> Result<String> {
        let quoted = self.command.iter().map(|part| quote(part)).collect::<Result<Vec<_>>>()?;
        let place = quote(folder.as_os_str())?;
        Ok(format!(
            "#!/bin/sh\n\
             #SBATCH --job-name=dina\n\
             #SBATCH --output={}/%a.log\n\
             {} --shard \"$SLURM_ARRAY_TASK_ID/{}\"\n\
             status=$?\n\
             echo $status > {place}/\"$SLURM_ARRAY_TASK_ID\".part\n\
             mv {place}/\"$SLURM_ARRAY_TASK_ID\".part {place}/\"$SLURM_ARRAY_TASK_ID\".exit\n\
             exit $status\n",
            folder.display(),
            quoted.join(" "),
            self.shards.max(1),
        ))
    }

    /// Until every task has left an exit record, or the queue knows none of those that have not.
    fn wait(&self, job: &str, shards: &BTreeSet<usize>, folder: &Path, tell: impl Fn()) -> Result<()> {
        let over = || shards.iter().all(|shard| folder.join(format!("{shard}.exit")).exists());
        loop {
            tell();
            if over() {
                return Ok(());
            }
            let queue = output(Command::new("squeue").args(["--noheader", "--jobs", job]));
            // A job that was forgotten is an error of squeue.
            if queue.map_or(true, |lines| lines.trim().is_empty()) {
                // Records of the last tasks may still be on their way through a network file system.
                std::thread::sleep(self.poll);
                return Ok(());
            }
            std::thread::sleep(self.poll);
        }
    }
}

/// Which pieces the store lacks.
fn missing<W: Work>(work: &[W], store: &Store) -> Vec<usize> {
    (0..work.len()).filter(|&index| store.get::<W::Output>(work[index].key()).is_none()).collect()
}

fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|error| {
        Error::Job(format!(
            "{name}: {error}; the engine `slurm` needs the commands of a cluster, take `local` on a machine without them"
        ))
    })?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Job(format!("{name}: {why}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A word of a shell script.
///
/// Words that are not UTF-8 are refused: a path that is nearly the right one is another path.
fn quote(word: &OsStr) -> Result<String> {
    let text = word.to_str().ok_or_else(|| {
        Error::Job(format!(
            "`{}` is not UTF-8, and a batch script has to be; choose another path for a cluster",
            word.display()
        ))
    })?;
    Ok(format!("'{}'", text.replace('\'', r"'\''")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_path_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;

        let odd = OsString::from_vec(b"/data/\xff.mat".to_vec());
        let array = SlurmArray::new(vec!["program".into(), odd], 1, "/shared");
        let error = array.script(Path::new("/shared/attempt-1")).unwrap_err().to_string();
        assert!(error.contains("not UTF-8") && error.contains("/data/"), "{error}");
    }

    #[test]
    fn the_script_runs_a_shard_and_leaves_a_record() {
        let command = ["/a b/it's".into(), "--seeds".into(), "3".into()];
        let array = SlurmArray::new(command.into(), 4, "/shared");
        let script = array.script(Path::new("/shared/attempt-1")).unwrap();
        assert!(script.contains(r"'/a b/it'\''s' '--seeds' '3' --shard "), "{script}");
        assert!(script.contains("$SLURM_ARRAY_TASK_ID/4") && script.contains(".exit"), "{script}");
    }
}
