//! The figures, one file each.

mod alignability;
mod claims;
mod identification;
mod maps;
mod pool_size;
mod ranks;
pub(crate) mod raster;
mod reliability;
mod retrievals;
mod series;
mod towers;
mod training;

use serde::{Deserialize, Serialize};

use crate::Report;
use crate::svg::Drawing;

pub(crate) use alignability::panel as alignability;
pub(crate) use series::{Series, condition_words, decoder_name};

/// A figure as a file of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figure {
    /// The file name without its ending, such as `ranks`.
    pub name: String,
    /// The title.
    pub title: String,
    /// What is seen: the quantities, n, the test and its correction.
    pub caption: String,
    /// The picture, complete with its style, on white.
    pub svg: String,
    /// The numbers behind the picture, where it is drawn from numbers.
    pub csv: Option<String>,
}

/// A figure before it is known whether it goes into a page or into a file.
pub(crate) struct Panel {
    pub name: String,
    pub title: String,
    pub caption: String,
    pub drawing: Drawing,
    pub csv: Option<String>,
}

impl Panel {
    /// The panel as a file.
    pub fn figure(&self) -> Figure {
        Figure {
            svg: self.drawing.standalone(&self.name, &self.title, &self.caption),
            name: self.name.clone(),
            title: self.title.clone(),
            caption: self.caption.clone(),
            csv: self.csv.clone(),
        }
    }
}

/// A panel, or a clause that says why there is none.
pub(crate) type Drawn = std::result::Result<Panel, String>;

/// Every panel of a report.
pub(crate) struct Panels {
    /// One a claim.
    pub claims: Vec<Drawn>,
    /// One a figure beside the claims.
    pub beside: Vec<Drawn>,
    pub identification: Drawn,
    pub pool_size: Drawn,
    pub ranks: Drawn,
    pub retrievals: Drawn,
    pub maps: Vec<Drawn>,
    pub alignability: Vec<Drawn>,
    pub towers: Drawn,
    pub training: Drawn,
    pub reliability: Drawn,
}

impl Panels {
    pub fn of(report: &Report) -> Self {
        let claims = report.claims.get();
        Self {
            beside: claims.as_ref().map_or(Vec::new(), |c| c.beside.iter().map(claims::beside).collect()),
            claims: claims.map_or(Vec::new(), |c| c.claims.iter().map(claims::panel).collect()),
            identification: identification::panel(report),
            pool_size: pool_size::panel(report),
            ranks: ranks::panel(report),
            retrievals: retrievals::panel(report),
            maps: each_level(&report.maps, |maps| maps::panel(maps, report)),
            alignability: each_level(&report.alignability, alignability::panel),
            towers: towers::panel(report),
            training: training::panel(report),
            reliability: reliability::panel(report),
        }
    }

    fn into_drawn(self) -> impl Iterator<Item = Panel> {
        [self.identification, self.pool_size, self.ranks, self.retrievals]
            .into_iter()
            .chain(self.claims)
            .chain(self.beside)
            .chain(self.maps)
            .chain(self.alignability)
            .chain([self.towers, self.training, self.reliability])
            .filter_map(Drawn::ok)
    }
}

fn each_level<T>(part: &crate::Part<Vec<T>>, draw: impl Fn(&T) -> Drawn) -> Vec<Drawn> {
    match part.get() {
        Err(reason) => vec![Err(reason)],
        Ok(levels) if levels.is_empty() => vec![Err("there is no aligned level".to_owned())],
        Ok(levels) => levels.iter().map(draw).collect(),
    }
}

/// Every figure that the report has the numbers for. What is missing is left out here; the page of
/// [`html()`](crate::html()) says why.
pub fn figures(report: &Report) -> Vec<Figure> {
    Panels::of(report).into_drawn().map(|panel| panel.figure()).collect()
}

/// A table as comma-separated values; a field that holds a comma, a quote or a line end is quoted.
pub(crate) fn csv<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |fields: [String; N]| {
        let fields = fields.map(|field| {
            if field.contains(['"', ',', '\n', '\r']) {
                format!("\"{}\"", field.replace('"', "\"\""))
            } else {
                field
            }
        });
        fields.join(",") + "\n"
    };
    std::iter::once(header.map(str::to_owned)).chain(rows).map(line).collect()
}

/// A number for a machine to read; nothing where it is not finite.
pub(crate) fn raw(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

/// The name of a level as part of a file name or an id: lower-case letters and digits.
pub(crate) fn slug(text: &str) -> String {
    let mut slug = String::new();
    for character in text.chars() {
        if character.is_ascii_alphanumeric() {
            slug.push(character.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { "level" } else { slug }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_names_are_made_safe() {
        let table = csv(["a", "b"], [["1,2".into(), "say \"x\"".into()]]);
        assert_eq!(table, "a,b\n\"1,2\",\"say \"\"x\"\"\"\n");
        assert_eq!(slug("../Level <1>"), "level-1");
        assert_eq!(slug("///"), "level");
        assert_eq!(raw(f64::NAN), "");
    }
}
