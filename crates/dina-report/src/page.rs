use std::path::Path;

use crate::chart::Chart;
use crate::{Figure, Result, html, write_files};

/// A page of any study: a summary, then sections of text, charts and tables, in the style of the [report](crate::Report).
pub struct Page {
    /// The heading.
    pub title: String,
    /// One line on what was analysed.
    pub subject: String,
    /// A warning printed above everything else, such as that the data are simulated.
    pub notice: Option<String>,
    /// What was found.
    pub summary: Summary,
    /// The sections.
    pub sections: Vec<Section>,
}

/// How a summary is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// Something was found.
    Found,
    /// Nothing was found, or a check failed.
    NotFound,
    /// Neither.
    Open,
}

/// The box at the top of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// How it is marked.
    pub tone: Tone,
    /// One sentence.
    pub headline: String,
    /// The numbers behind it, a sentence each.
    pub details: Vec<String>,
}

/// A section of a page.
pub struct Section {
    /// Its heading, also in the contents.
    pub title: String,
    /// What it holds, in order.
    pub blocks: Vec<Block>,
}

/// A part of a section.
pub enum Block {
    /// A paragraph.
    Text(String),
    /// Charts, side by side where there is room.
    Charts(Vec<Chart>),
    /// A table.
    Table(Table),
    /// Something that is not there.
    Absent {
        /// What.
        what: String,
        /// A clause that completes "left out, because ...".
        reason: String,
    },
}

/// A field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// Words, to the left.
    Words(String),
    /// A number, to the right.
    Number(String),
    /// A failure, in a colour of its own.
    Failed(String),
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its title.
    pub title: String,
    /// What stands under the title: n, the test, its correction.
    pub text: String,
    /// The heads of the columns; those of words are to the left.
    pub head: Vec<Cell>,
    /// The rows; the first field names the row.
    pub rows: Vec<Vec<Cell>>,
}

impl Page {
    /// The page as one self-contained file: no script, nothing fetched.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// Every figure that could be drawn.
    pub fn figures(&self) -> impl Iterator<Item = Figure> {
        let blocks = self.sections.iter().flat_map(|section| &section.blocks);
        blocks
            .filter_map(|block| match block {
                Block::Charts(charts) => Some(charts),
                _ => None,
            })
            .flatten()
            .filter_map(Chart::figure)
    }

    /// Writes `NAME.html` and, under `figures/`, one SVG file per figure with its numbers as CSV. Each file is written whole or not at all;
    /// folders are made.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) with the path that could not be written.
    pub fn write(&self, folder: impl AsRef<Path>, name: &str) -> Result<()> {
        write_files(folder.as_ref(), name, &self.html(), self.figures())
    }
}
