use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A gray picture, row by row, one byte a pixel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawPicture")]
pub struct Picture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

#[derive(Deserialize)]
struct RawPicture {
    width: usize,
    height: usize,
    pixels: Vec<u8>,
}

impl TryFrom<RawPicture> for Picture {
    type Error = Error;

    fn try_from(raw: RawPicture) -> Result<Self> {
        Self::new(raw.height, raw.width, raw.pixels)
    }
}

impl Picture {
    /// A picture from its pixels, `height` rows of `width`, 0 black and 255 white.
    ///
    /// # Errors
    /// [`Error::Shape`] when the pixels do not fill the shape or there is none.
    pub fn new(height: usize, width: usize, pixels: Vec<u8>) -> Result<Self> {
        filled("picture", &[height, width], pixels.len())?;
        Ok(Self { width, height, pixels })
    }

    /// A picture from values in any unit: `low` becomes black and `high` white, what lies beyond
    /// is cut off, and what is not finite becomes black.
    ///
    /// # Errors
    /// As [`Picture::new`].
    pub fn from_values(height: usize, width: usize, values: &[f32], low: f32, high: f32) -> Result<Self> {
        let span = (high - low).max(f32::MIN_POSITIVE);
        // The cast saturates, and takes NaN to 0.
        let pixels = values.iter().map(|value| ((value - low) / span * 255.).round() as u8).collect();
        Self::new(height, width, pixels)
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The pixels, row by row.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}

/// The feature maps of one input at one level, channel by channel, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawMaps")]
pub struct Maps {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct RawMaps {
    channels: usize,
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl TryFrom<RawMaps> for Maps {
    type Error = Error;

    fn try_from(raw: RawMaps) -> Result<Self> {
        Self::new(raw.channels, raw.height, raw.width, raw.values)
    }
}

impl Maps {
    /// Maps from their values, in the order channels, rows, columns.
    ///
    /// # Errors
    /// [`Error::Shape`] when the values do not fill the shape or there is none.
    pub fn new(channels: usize, height: usize, width: usize, values: Vec<f32>) -> Result<Self> {
        filled("feature maps", &[channels, height, width], values.len())?;
        Ok(Self { channels, height, width, values })
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Number of rows.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Number of columns.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The values of one channel, row by row; empty for a channel that is not there.
    pub fn channel(&self, channel: usize) -> &[f32] {
        let mut channels = self.values.chunks_exact(self.height * self.width);
        channels.nth(channel).unwrap_or(&[])
    }
}

/// Checks that `found` values fill the shape and that the shape holds any.
fn filled(what: &str, shape: &[usize], found: usize) -> Result<()> {
    let size = shape.iter().try_fold(1usize, |size, &extent| size.checked_mul(extent));
    if found > 0 && size == Some(found) {
        return Ok(());
    }
    let sides: Vec<String> = shape.iter().map(usize::to_string).collect();
    Err(Error::Shape {
        what: what.to_owned(),
        expected: sides.join(" x "),
        found,
        remedy: "give the values of the whole array, rows last but one and columns last",
    })
}
