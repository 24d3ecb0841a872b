//! Images made out of images: what a stimulus loses, and what of it stays, in physical units.
//!
//! A [`Stack`] holds images as `f32` grey levels with the degrees of visual angle of a pixel. Every
//! transform is a plain struct with parameters in degrees or cycles per degree, implements
//! [`StackTransform`], and can be written to a configuration as a [`Transform`] or a [`Pipeline`] of
//! them. `docs/stimuli.md` has a table of all, with formulas and sources.
//!
//! - place and resolution: [`Crop`], [`Resize`];
//! - grey levels: [`Normalise`];
//! - spatial frequency: [`Filter`] (low-pass, high-pass, band-pass), [`EqualiseAmplitude`],
//!   [`Whitening`]; [`band_energy`] measures what they do;
//! - layout: [`PhaseScramble`], [`LocalPhaseScramble`], [`Texture`], [`ShufflePatches`];
//! - shape: [`Silhouette`], [`Contour`];
//! - parts: [`Occlude`].

mod amplitude;
mod bands;
mod filter;
mod fourier;
mod geometry;
mod normalise;
mod patches;
mod phase;
mod segment;
mod shape;
mod stack;
#[cfg(test)]
mod tests;
mod texture;
mod transform;

pub use amplitude::{AmplitudeSpectrum, EqualiseAmplitude, FittedWhitening, Whitening};
pub use bands::{BandEnergy, band_energy, octave_edges};
pub use filter::{Filter, Pass};
pub use fourier::Border;
pub use geometry::{Area, Crop, Kernel, Resize};
pub use normalise::{Normalise, Scope};
pub use patches::{Cover, Fill, Occlude, ShufflePatches};
pub use phase::{LocalPhaseScramble, PhaseScramble, Tiles};
pub use shape::{Contour, Silhouette};
pub use stack::Stack;
pub use texture::{
    GroupError, StatisticsGroup, Texture, TextureConfig, TextureReport, TextureStatistics, similarity,
};
pub use transform::{Pipeline, StackTransform, Transform};
