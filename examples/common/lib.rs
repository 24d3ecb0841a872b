//! What the programs share: flags, devices, threads, progress, and output, and how an error ends them.

#[cfg(doctest)]
mod book;
mod flags;
mod jobs;
mod output;
mod progress;
mod run;
mod table;

pub use flags::{DataFlags, DeviceKind, JobFlags};
pub use jobs::{EngineKind, JobsFlags};
pub use output::{print_line, print_note};
pub use progress::Terminal;
pub use run::{device, exit, job, run_with, set_threads, summary_lines, trained};
pub use table::Table;
