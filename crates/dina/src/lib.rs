//! Dual-Tower Image-Neural Alignment: the crates of DINA under one roof.
//!
//! Every module is a crate of its own, which can be depended on alone; the features of this one say which of them
//! are there. By default all are.
//!
//! | module | feature | what it is for |
//! |---|---|---|
//! | [`core`] | | feature maps, towers, objectives, seeds |
//! | `stats` | `stats` | permutation tests, intervals, effect sizes, reliability, similarity; no tensor library |
//! | `data` | `data` | recordings, formats, splits, preprocessing, the V1 simulator; `hdf5` and `download` add to it |
//! | `ops` | `ops` | fused differentiable operations |
//! | `model` | `model` | the towers |
//! | `loss` | `loss` | objectives |
//! | `train` | `train` | the training loop |
//! | `decode` | `decode` | identification, baselines, ceilings |
//! | `interp` | `interp` | what aligned maps hold |
//! | `report` | `report` | figures and the report |
//! | `study` | `study` | the main job, and the claims with their calibration; takes in all others |
//!
//! The feature `candle` is the tensor library, re-exported under that name, with the traits of towers and objectives and
//! with attribution; `ops`, `model`, `loss`, `train` and `study` ask for it, the others do without. `cuda` and `metal` say
//! where the towers run.

#[cfg(feature = "candle")]
pub use candle_core as candle;
pub use dina_core as core;
#[cfg(feature = "data")]
pub use dina_data as data;
#[cfg(feature = "decode")]
pub use dina_decode as decode;
#[cfg(feature = "interp")]
pub use dina_interp as interp;
#[cfg(feature = "loss")]
pub use dina_loss as loss;
#[cfg(feature = "model")]
pub use dina_model as model;
#[cfg(feature = "ops")]
pub use dina_ops as ops;
#[cfg(feature = "report")]
pub use dina_report as report;
#[cfg(feature = "stats")]
pub use dina_stats as stats;
#[cfg(feature = "study")]
pub use dina_study as study;
#[cfg(feature = "train")]
pub use dina_train as train;

/// Compiles the example of the README.
#[cfg(all(doctest, feature = "study"))]
#[doc = include_str!("../README.md")]
struct Readme;
