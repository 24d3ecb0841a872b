//! The main job: a recording, or a simulated one, to a finished report.

use std::process::ExitCode;

use clap::Parser;
use dina_examples::{JobFlags, Terminal, exit, job, out, summary_lines};
use dina_study::claims::{Judged, standard};
use dina_study::{Progress, Result, Results};

/// Aligns images and V1 responses, decodes held-out images, and writes a report.
///
/// Writes into the output folder: report.html, results.json, figures/*.svg, checkpoints/*.safetensors, train.jsonl.
#[derive(Parser)]
#[command(version)]
struct Flags {
    #[command(flatten)]
    job: JobFlags,
    /// Take over finished models and unfinished trainings of the same job in the output folder
    #[arg(long)]
    resume: bool,
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let job = job(&flags.job, flags.resume)?;
    let progress = Terminal::default();
    let mut prepared = job.prepare(&progress)?;
    for line in summary_lines(&prepared.summary) {
        progress.say(&line);
    }
    let trained = job.train(&mut prepared, &progress)?;
    let studied = job.study(&mut prepared, &standard(), &progress)?;
    let results = job.finish(prepared, &trained, Some(&studied), &progress)?;
    print(&results);
    print_claims(&results.claims);
    out!("report: {}", job.out.join("report.html").display());
    Ok(())
}

fn print(results: &Results) {
    out!(
        "{:18} {:6} {:16} {:>6} {:>7} {:>7} {:>8} {:>8} {:>8}",
        "decoder",
        "trials",
        "direction",
        "pool",
        "chance",
        "top-1",
        "top-5",
        "two-way",
        "p"
    );
    for row in &results.identification {
        let name = |value: serde_json::Result<serde_json::Value>| {
            value.ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let f = &row.figures;
        out!(
            "{:18} {:6} {:16} {:>6} {:>7.4} {:>7.3} {:>8.3} {:>8.3} {:>8.4}",
            name(serde_json::to_value(row.decoder)),
            name(serde_json::to_value(row.trials)),
            name(serde_json::to_value(row.direction)),
            f.pool,
            f.chance_top1,
            f.top1,
            f.top5,
            f.two_way,
            f.p
        );
    }
}

fn print_claims(claims: &[Judged]) {
    out!(
        "{:13} {:26} {:>8} {:>18} {:>8} {:>7} {:>7}",
        "claim",
        "verdict",
        "effect",
        "interval",
        "p",
        "power",
        "false"
    );
    for claim in claims {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        let interval = match (claim.ci_low, claim.ci_high) {
            (Some(low), Some(high)) => format!("[{low:.3}, {high:.3}]"),
            _ => "-".to_owned(),
        };
        out!(
            "{:13} {:26} {:>8} {:>18} {:>8} {:>7} {:>7}",
            claim.id,
            claim.verdict.to_string(),
            number(claim.effect),
            interval,
            number(claim.p_adjusted),
            number(claim.power),
            number(claim.false_support)
        );
    }
}
