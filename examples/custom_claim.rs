//! A claim of your own: registered, measured, decided and calibrated like those of the paper.

use candle_core::Device;
use dina_core::Seed;
use dina_data::simulate::Population;
use dina_examples::{Terminal, exit};
use dina_stats::{permutation::Permutation, reliability::Correlation};
use dina_study::claims::{Case, Claim, Effect, Experiment, Measured, standard};
use dina_study::{Job, JobConfig, Profile, Result};

/// Bright images drive the population more.
struct Brightness;

impl Claim for Brightness {
    fn experiment(&self) -> Experiment {
        let mut it =
            Experiment::new("brightness", "Claim of our own", "Bright images drive the population more.");
        it.statistic = "correlation, over test images, of mean luminance with the mean response".into();
        it.null = "it is 0".into();
        it.exchangeable = "which response belongs to which image".into();
        it.effect = "correlation".into();
        it.smallest = 0.1;
        it.fails_on = vec![Population::Fine, Population::Null];
        it
    }

    fn measure(&self, case: &Case<'_>, seed: Seed) -> Result<Measured> {
        let (dataset, fold) = (case.dataset, &case.folds[0]);
        let view = fold.views(dataset)?.test;
        let means = view.repeat_means(&fold.responses)?;
        let response: Vec<f64> = means.rows().into_iter().map(|row| f64::from(row.sum())).collect();
        let luminance = |&id: &u32| dataset.images.pixels.index_axis(ndarray::Axis(0), id as usize);
        let bright: Vec<f64> =
            view.images().iter().map(|id| luminance(id).iter().map(|&v| f64::from(v)).sum()).collect();
        let correlation = |pairs: &mut dyn Iterator<Item = (f64, f64)>| {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.unzip();
            Correlation::pearson(&a, &b).map_or(0., Correlation::get)
        };
        let drawn = |items: &[usize]| correlation(&mut items.iter().map(|&i| (bright[i], response[i])));
        let mut effect = Effect::resampled(bright.len(), drawn, 0.1, &case.settings, seed)?;
        let test = Permutation { count: case.settings.permutations, ..Permutation::default() };
        let dealt = |to: &[usize]| correlation(&mut to.iter().zip(&bright).map(|(&i, &b)| (b, response[i])));
        effect.p = test.labels(bright.len(), None, dealt, seed.child("labels"))?.p;
        Ok(Measured::Effect(effect))
    }
}

fn run() -> Result<()> {
    let (config, out) = (JobConfig::simulated(Profile::Smoke, 1), "dina-custom-claim".into());
    let job = Job { config, device: Device::Cpu, threads: 1, out, resume: false };
    let mut claims = standard();
    claims.push(Box::new(Brightness));
    job.run(&claims, &Terminal::default()).map(|_| ())
}

fn main() -> std::process::ExitCode {
    exit(run())
}
