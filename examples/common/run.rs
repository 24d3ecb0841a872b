use std::path::PathBuf;
use std::process::ExitCode;

use candle_core::Device;
use dina_study::{Error, Job, JobConfig, Parts, Prepared, Profile, RecordingSummary, Result, Trained};

use crate::{DeviceKind, JobFlags, Terminal, note, out};

/// Makes the job that the flags ask for, with its threads and its device.
///
/// # Errors
/// When the device is not there or was not built in.
pub fn job(flags: &JobFlags, resume: bool) -> Result<Job> {
    dina_ops::keep_large_blocks();
    let threads = set_threads(flags.threads.map(usize::from));
    Ok(Job { config: flags.config(), device: device(flags.device)?, threads, out: flags.out.clone(), resume })
}

/// The job that the flags ask for, with what it has trained: the models in its output folder.
///
/// # Errors
/// When the data cannot be used, or there are no models of this job.
pub fn trained(flags: &JobFlags, progress: &Terminal) -> Result<(Job, Prepared, Vec<Trained>)> {
    let job = job(flags, true)?;
    let prepared = job.prepare(progress)?;
    let trained = job.load_trained(&prepared)?;
    Ok((job, prepared, trained))
}

/// Fixes the number of threads of everything that computes. Has to come before any of it starts.
pub fn set_threads(threads: Option<usize>) -> usize {
    let Some(threads) = threads else {
        return std::thread::available_parallelism().map_or(1, usize::from);
    };
    // SAFETY: called from `main` before any thread is started. The tensor library and rayon read this
    // variable when they first compute; neither has another way to be told.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    threads
}

/// The device, where it is there and was built in.
///
/// # Errors
/// When it is not.
pub fn device(kind: DeviceKind) -> Result<Device> {
    let missing = |feature: &str, why: String| {
        Error::Job(format!(
            "--device {feature}: {why}; build with `--features {feature}` on a machine that has one, or use --device cpu"
        ))
    };
    match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda => Device::new_cuda(0).map_err(|e| missing("cuda", first_line(&e))),
        DeviceKind::Metal => Device::new_metal(0).map_err(|e| missing("metal", first_line(&e))),
    }
}

fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Ends a program: with one sentence on standard error where something went wrong.
pub fn exit<E: std::fmt::Display>(result: Result<(), E>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            note!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A recording in lines for people.
pub fn summary_lines(summary: &RecordingSummary) -> Vec<String> {
    let mut lines = vec![format!(
        "{} presentations of {} stimuli ({} repeats at least, {} gray screens), {} neurons, {} spontaneous bins",
        summary.presentations,
        summary.stimuli,
        summary.repeats,
        summary.gray_screens,
        summary.neurons,
        summary.spontaneous_bins
    )];
    if let (Some(signal), Some(half)) = (summary.signal_variance, summary.split_half_r) {
        lines.push(format!(
            "signal variance {signal:.3}, split-half r {half:.3} (median), on {}",
            summary.measured_on
        ));
    }
    if let Some(found) = &summary.self_retrieval {
        lines.push(format!(
            "self-retrieval: top-1 {:.3}, top-5 {:.3} of {} (chance {:.4})",
            found.top1,
            found.top5,
            found.pool,
            1. / found.pool as f64
        ));
    }
    lines
}

/// Runs a smoke-size job on a simulated recording with parts of a user's own, into the folder that the first argument names
/// (`dina-out` without one), and prints how well held-out images are identified.
///
/// # Errors
/// As [`Job::run`].
pub fn run_with(parts: Parts) -> Result<()> {
    let mut config = JobConfig::simulated(Profile::Smoke, 1);
    config.parts = parts;
    let out = std::env::args_os().nth(1).map_or_else(|| "dina-out".into(), PathBuf::from);
    let threads = set_threads(None);
    let job = Job { config, device: Device::Cpu, threads, out, resume: false };
    // The claims are measured by the towers of dina-study whatever the parts are.
    let results = job.run(&[], &Terminal::default())?;
    for row in &results.identification {
        let f = &row.figures;
        out!(
            "{:?}, {:?}, {:?}: top-1 {:.3}, two-way {:.3} of {} images, p {:.4}",
            row.decoder,
            row.trials,
            row.direction,
            f.top1,
            f.two_way,
            f.pool,
            f.p
        );
    }
    out!("report: {}", job.out.join("report.html").display());
    Ok(())
}
