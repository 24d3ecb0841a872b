//! How decoders look and are called, the same in every figure.

use crate::palette::SERIES;
use crate::svg::Marker;
use crate::{Direction, Report, Trials};

/// The decoders that have a place of their own, `dina` first.
const KNOWN: [(&str, &str); 4] = [
    ("dina", "DINA"),
    ("ridge_encoding", "ridge encoding"),
    ("ridge_decoding", "ridge decoding"),
    ("nearest_neighbour", "nearest neighbour"),
];

/// What readers call a decoder.
pub fn decoder_name(decoder: &str) -> String {
    KNOWN.iter().find(|(id, _)| *id == decoder).map_or(decoder, |(_, name)| name).to_owned()
}

/// `single trials, response to image`.
pub fn condition_words(trials: Trials, direction: Direction) -> String {
    let trials = match trials {
        Trials::Single => "single trials",
        Trials::Mean => "means over repeats",
    };
    let direction = match direction {
        Direction::NeuralToImage => "response to image",
        Direction::ImageToNeural => "image to response",
    };
    format!("{trials}, {direction}")
}

/// How one decoder is drawn.
#[derive(Debug, Clone)]
pub struct Series {
    pub decoder: String,
    pub name: String,
    pub marker: Marker,
    colour: &'static str,
    leading: bool,
}

impl Series {
    /// Every decoder of a report, the known ones first and in their order.
    pub fn all(report: &Report) -> Vec<Self> {
        let mut named: Vec<&str> = KNOWN.iter().map(|(id, _)| *id).collect();
        let rows = report.identification.iter().map(|row| &row.decoder);
        let ranks = report.ranks.get().into_iter().flatten();
        let pools = report.pool_size.get().into_iter().flat_map(|p| &p.curves);
        let given: Vec<&str> = rows
            .chain(ranks.map(|ranks| &ranks.decoder))
            .chain(pools.map(|curve| &curve.decoder))
            .map(String::as_str)
            .collect();
        for decoder in &given {
            if !named.contains(decoder) {
                named.push(decoder);
            }
        }
        named
            .iter()
            .enumerate()
            .filter(|(_, decoder)| given.contains(decoder))
            .map(|(place, decoder)| Self {
                decoder: (*decoder).to_owned(),
                name: decoder_name(decoder),
                marker: Marker::SERIES[place % Marker::SERIES.len()],
                colour: SERIES[place % SERIES.len()],
                leading: place == 0,
            })
            .collect()
    }

    /// The class of a line; the decoder on trial is thicker.
    pub fn line(&self) -> String {
        let width = if self.leading { "d-thick" } else { "d-mid" };
        format!("d-round {width} d-s-{}", self.colour)
    }

    /// The class of a filled shape.
    pub fn fill(&self) -> String {
        format!("d-f-{}", self.colour)
    }
}
