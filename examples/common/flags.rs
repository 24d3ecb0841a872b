use std::path::PathBuf;

use clap::{Args, ValueEnum};
use dina_data::simulate::Population;
use dina_model::BackboneFile;
use dina_study::{JobConfig, ObjectiveKind, Profile, Source, Start};

/// Where the recording comes from.
#[derive(Debug, Clone, Args)]
pub struct DataFlags {
    /// Recording to read, a file or folder of any format that `inspect` reads; without it a population is simulated
    #[arg(long, value_name = "FILE", requires = "images")]
    pub recording: Option<PathBuf>,
    /// Images that were shown in the recording, a file or folder
    #[arg(long, value_name = "FILE", requires = "recording")]
    pub images: Option<PathBuf>,
    /// Categories of the images (MATLAB)
    #[arg(long, value_name = "FILE", requires = "recording")]
    pub classes: Option<PathBuf>,
}

/// Flags of every program that runs the job or a stage of it.
#[derive(Debug, Clone, Args)]
pub struct JobFlags {
    /// Recording and images
    #[command(flatten)]
    pub data: DataFlags,
    /// Simulated population to take in the place of the default one, such as coarse, fine, category or null
    #[arg(long, value_name = "NAME", conflicts_with = "recording")]
    pub population: Option<Population>,
    /// How much work: smoke (seconds), quick (minutes), full (hours)
    #[arg(long, default_value_t = Profile::Quick)]
    pub profile: Profile,
    /// What every random draw comes from
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Where the towers run
    #[arg(long, value_enum, default_value_t = DeviceKind::Cpu)]
    pub device: DeviceKind,
    /// Folds of cross-validation over images; 1 is one held-out test set [default: 6 below 500 images, else 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(1..))]
    pub folds: Option<u16>,
    /// Preprocessing: standard, stringer-matlab or stringer-notebook
    #[arg(long, default_value_t = dina_data::Preset::Standard)]
    pub preset: dina_data::Preset,
    /// What the towers are trained for: info-nce, sig-lip, vic-reg, classification (needs categories), reconstruction,
    /// or weighted, the sum of info-nce, classification and reconstruction
    #[arg(long, value_name = "NAME", default_value_t = ObjectiveKind::InfoNce)]
    pub objective: ObjectiveKind,
    /// What the towers start from: closed-form, a ridge regression that aligns them already, or random
    #[arg(long, value_name = "NAME", default_value_t = Start::ClosedForm)]
    pub start: Start,
    /// Network with weights whose layers are compared with the responses, as in vgg16:relu3_3,relu5_3=vgg16.safetensors;
    /// may be given several times
    #[arg(long = "backbone", value_name = "NAME=FILE")]
    pub backbones: Vec<BackboneFile>,
    /// Output folder
    #[arg(long, value_name = "DIR", default_value = "dina-out")]
    pub out: PathBuf,
}

/// Where the towers run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The processor
    Cpu,
    /// An NVIDIA card; needs a build with `--features cuda`
    Cuda,
    /// An Apple GPU; needs a build with `--features metal`
    Metal,
}

impl DataFlags {
    /// The job on this recording, or on a simulated one.
    pub fn config(&self, population: Option<Population>, profile: Profile, seed: u64) -> JobConfig {
        let mut config = match (&self.recording, &self.images) {
            (Some(recording), Some(images)) => {
                JobConfig::recorded(recording.clone(), images.clone(), self.classes.clone(), profile, seed)
            }
            _ => JobConfig::simulated(profile, seed),
        };
        if let (Some(population), Source::Simulated(simulation)) = (population, &mut config.source) {
            simulation.population = population;
        }
        config
    }
}

impl JobFlags {
    /// The configuration that these flags mean.
    pub fn config(&self) -> JobConfig {
        let mut config = self.data.config(self.population, self.profile, self.seed);
        if let Some(folds) = self.folds {
            config.folds = Some(folds.into());
        }
        config.preset = self.preset;
        config.objective = self.objective;
        config.start = self.start;
        config.backbones.clone_from(&self.backbones);
        config
    }
}
