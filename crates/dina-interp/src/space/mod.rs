//! Where alignment is: over levels, over positions, and in degrees of visual angle.

mod extent;
mod footprint;
mod levels;
mod profile;

pub use extent::{Extent, ExtentConfig, Place, Spread, mean_distance, spread};
pub use footprint::{Footprint, FootprintConfig, footprint, reverse_correlation};
pub use levels::{AlignedChannel, LevelAlignability, LevelMaps, alignability_levels};
pub use profile::{ProfileConfig, Region, SpatialProfile, spatial_profile};
