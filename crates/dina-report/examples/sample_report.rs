//! Writes three reports of made-up numbers into a folder, to see what a report looks like:
//! `cargo run -p dina-report --example sample_report -- FOLDER`.

mod sample;

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: sample_report FOLDER");
        return ExitCode::FAILURE;
    };
    let samples = [("held-out", sample::HELD_OUT), ("folds", sample::FOLDS), ("wide", sample::WIDE)];
    for (name, extents) in samples {
        let folder = folder.join(name);
        let written = sample::report(extents).and_then(|report| dina_report::write(&report, &folder));
        if let Err(error) = written {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
        println!("{}", folder.join("report.html").display());
    }
    ExitCode::SUCCESS
}
