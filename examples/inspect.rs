//! What is in a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use dina_data::{Contents, Format, RecordingFile, VariableInfo, contents};
use dina_examples::{note, out, summary_lines};
use dina_study::RecordingSummary;
use serde::Serialize;

/// Lists format and variables of files; for recordings also repeats, reliability and the self-retrieval ceiling.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Files and folders to look into: MATLAB, HDF5, NWB, numpy, CSV, images, Sensorium
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print one JSON array with an object a file
    #[arg(long)]
    json: bool,
    /// Number of images shown; ids above are the gray screen [default: the largest id is the gray screen]
    #[arg(long, value_name = "S")]
    images: Option<usize>,
}

/// One file.
#[derive(Serialize)]
struct Entry {
    file: String,
    format: Option<Format>,
    variables: Vec<VariableInfo>,
    recording: Option<RecordingSummary>,
    error: Option<String>,
}

fn main() -> ExitCode {
    let flags = Flags::parse();
    let entries: Vec<Entry> = flags.files.iter().map(|file| look(file, flags.images)).collect();
    if flags.json {
        match serde_json::to_string_pretty(&entries) {
            Ok(text) => out!("{text}"),
            Err(error) => {
                note!("error: {error}");
                return ExitCode::FAILURE;
            }
        }
    } else {
        entries.iter().for_each(print);
    }
    match entries.iter().all(|entry| entry.error.is_none()) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn look(path: &Path, images: Option<usize>) -> Entry {
    let mut entry = Entry {
        file: path.display().to_string(),
        format: Format::detect(path).ok(),
        variables: Vec::new(),
        recording: None,
        error: None,
    };
    let mut recording = false;
    match contents(path) {
        Ok(contents) => {
            recording = contents.is_recording();
            let Contents { format, variables } = contents;
            entry.format = Some(format);
            entry.variables = variables;
        }
        Err(error) => entry.error = Some(error.to_string()),
    }
    if recording {
        let mut file = RecordingFile::new(path);
        if let Some(images) = images {
            file = file.images(images);
        }
        let summary = file.load().map_err(Into::into).and_then(|recording| RecordingSummary::new(&recording));
        match summary {
            Ok(summary) => entry.recording = Some(summary),
            Err(error) => entry.error = Some(error.to_string()),
        }
    }
    entry
}

fn print(entry: &Entry) {
    out!("{}", entry.file);
    if let Some(format) = entry.format {
        out!(
            "  format {}",
            serde_json::to_value(format).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        );
    }
    for variable in &entry.variables {
        let shape: Vec<String> = variable.shape.iter().map(usize::to_string).collect();
        let sum = variable.sum.map(|sum| format!("  sum {sum}")).unwrap_or_default();
        out!("  {:24} {:10} {:18} {}{sum}", variable.name, variable.class, shape.join(" x "), variable.dtype);
    }
    if let Some(summary) = &entry.recording {
        for line in summary_lines(summary) {
            out!("  {line}");
        }
    }
    if let Some(error) = &entry.error {
        note!("error: {error}");
    }
}
