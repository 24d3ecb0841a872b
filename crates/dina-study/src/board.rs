//! Training curves for TensorBoard.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use dina_train::{LogEntry, TrainConfig, events_name, write_events};

use crate::Result;

/// The event files of one training: `tensorboard/fold-F-model-M/`, a file for the steps up to each validation.
///
/// A resumed training goes on where its checkpoint is, and replaces what was shown of later steps.
pub(crate) struct Board {
    folder: PathBuf,
    /// Steps that are shown.
    shown: usize,
}

impl Board {
    /// Files of steps after `from` are those of another training, or of one that was killed after its last checkpoint.
    pub(crate) fn new(out: &Path, fold: usize, member: usize, from: usize) -> Result<Self> {
        let folder = out.join("tensorboard").join(format!("fold-{}-model-{}", fold + 1, member + 1));
        let io = |path: &Path, source| dina_core::Error::Io { path: path.to_path_buf(), source };
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self { folder, shown: from });
            }
            entries => entries.map_err(|source| io(&folder, source))?,
        };
        let kept = events_name(&folder, from);
        for entry in entries {
            let path = entry.map_err(|source| io(&folder, source))?.path();
            let is_ours =
                path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"events."));
            if is_ours && (from == 0 || path > kept) {
                std::fs::remove_file(&path).map_err(|source| io(&path, source))?;
            }
        }
        Ok(Self { folder, shown: from })
    }

    /// Shows what is new in the log, once a validation or the last step is reached.
    pub(crate) fn show(&mut self, log: &[LogEntry], config: &TrainConfig) -> Result<()> {
        let step = log.last().map_or(0, |entry| entry.step);
        if !step.is_multiple_of(config.validate_every) && step != config.steps {
            return Ok(());
        }
        let first = log.partition_point(|entry| entry.step <= self.shown);
        write_events(events_name(&self.folder, step), &log[first..], SystemTime::now())?;
        self.shown = step;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_training_replaces_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let config = TrainConfig { steps: 25, validate_every: 10, ..TrainConfig::default() };
        let log: Vec<LogEntry> = (1..=25)
            .map(|step| LogEntry { step, rate: 0.1, loss: 1., gradient_norm: 1., validation: None })
            .collect();
        let run = |from: usize, to: usize| {
            let mut board = Board::new(folder.path(), 0, 0, from).unwrap();
            (from + 1..=to).for_each(|step| board.show(&log[..step], &config).unwrap());
        };
        let steps = || {
            let files = std::fs::read_dir(folder.path().join("tensorboard/fold-1-model-1")).unwrap();
            let mut steps: Vec<String> =
                files.map(|file| file.unwrap().file_name().to_string_lossy()[20..30].to_owned()).collect();
            steps.sort();
            steps.iter().map(|step| step.parse().unwrap()).collect::<Vec<usize>>()
        };
        run(0, 25);
        assert_eq!(steps(), [10, 20, 25]);
        run(10, 20);
        assert_eq!(steps(), [10, 20]);
        run(0, 9);
        assert_eq!(steps(), [0; 0]);
    }
}
