//! Figures and the report of an image-neural alignment study.
//!
//! A [`Report`] is plain data: whoever ran the study fills it in. [`figures()`] turns it into SVG
//! files fit for a paper, [`html()`] into one self-contained page (no script, no network, readable
//! on paper, on a phone, on light and dark ground), [`verdict()`] into the plain words at its top,
//! and [`write()`] puts all of it into a folder. A piece that could not be computed is
//! [`Part::Absent`] with its reason, which the page prints in its place.
//!
//! ```no_run
//! # fn example(report: dina_report::Report) -> dina_report::Result<()> {
//! println!("{}", dina_report::verdict(&report).headline);
//! dina_report::write(&report, "results")?;
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `png` every SVG has a PNG beside it (`Figure::png`).
//!
//! Other studies compose a [`Page`] from [charts](chart), tables and text in the same style.
//!
//! `cargo run -p dina-report --example sample_report -- FOLDER` writes a page from made-up numbers.

pub mod chart;
mod error;
mod figures;
pub mod format;
mod html;
mod input;
mod page;
mod palette;
#[cfg(feature = "png")]
mod png;
mod svg;
mod verdict;

use std::path::Path;

pub use error::{Error, Result};
pub use figures::{Figure, figures};
pub use html::html;
pub use input::*;
pub use page::{Block, Cell, Page, Section, Summary, Table, Tone};
pub use verdict::{Outcome, Verdict, verdict};

/// Writes `report.html` and, under `figures/`, one SVG file per figure with its numbers as CSV.
/// Each file is written whole or not at all; folders are made.
///
/// # Errors
/// [`Error::Core`] with the path that could not be written.
pub fn write(report: &Report, folder: impl AsRef<Path>) -> Result<()> {
    write_files(folder.as_ref(), "report", &html(report), figures(report))
}

/// A page and its figures.
fn write_files(
    folder: &Path,
    name: &str,
    page: &str,
    figures: impl IntoIterator<Item = Figure>,
) -> Result<()> {
    let save = |name: &str, text: &str| {
        dina_core::write_atomic(folder.join(name), |file| file.write_all(text.as_bytes()))
    };
    save(&format!("{name}.html"), page)?;
    for figure in figures {
        save(&format!("figures/{}.svg", figure.name), &figure.svg)?;
        #[cfg(feature = "png")]
        {
            let png = figure.png()?;
            dina_core::write_atomic(folder.join(format!("figures/{}.png", figure.name)), |file| {
                file.write_all(&png)
            })?;
        }
        if let Some(csv) = &figure.csv {
            save(&format!("figures/{}.csv", figure.name), csv)?;
        }
    }
    Ok(())
}

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
