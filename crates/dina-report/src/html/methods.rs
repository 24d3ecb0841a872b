//! The methods text, written from the configuration.

use maud::{Markup, html};

use crate::figures::decoder_name;
use crate::format::{count, counted, list, sentence, setting};
use crate::{Inference, Optimisation, Report, Scheme, Split, Towers};

/// A paragraph for each step, in the order in which they are taken.
pub fn text(report: &Report) -> Markup {
    let methods = &report.methods;
    let steps = |subject: &str, steps: &[String]| match steps {
        [] => format!("{subject} were taken as they are."),
        steps => format!("{subject} were {}.", list(steps)),
    };
    html! {
        h3 { "Data" }
        p { (sentence(&methods.data)) " " (steps("Images", &methods.images)) " "
            (steps("Responses", &methods.responses)) }
        p { (split(&methods.split)) }
        @if let Ok(towers) = report.towers.get() {
            h3 { "Towers" }
            p { (model(towers)) }
        }
        h3 { "Training" }
        p { (optimisation(&methods.optimisation)) }
        h3 { "Baselines" }
        @if methods.baselines.is_empty() {
            p { "No baseline was run." }
        } @else {
            ul {
                @for baseline in &methods.baselines {
                    li { strong { (decoder_name(&baseline.decoder)) } ": " (sentence(&baseline.description)) }
                }
            }
        }
        h3 { "Statistics" }
        p { (inference(&methods.inference)) }
    }
}

fn split(split: &Split) -> String {
    let sizes = format!(
        "{} for training, {} for validation and {} for testing",
        counted(split.train, "image"),
        count(split.validation as u64),
        count(split.test as u64)
    );
    let scheme = match split.scheme {
        Scheme::HeldOut => format!("Images were divided once: {sizes}."),
        Scheme::CrossValidated { folds } => format!(
            "Images were divided into {} so that each is tested exactly once (the first fold has \
             {sizes}).",
            counted(folds, "fold")
        ),
    };
    format!("{scheme} {} stay on one side.", sentence(&split.kept_together).trim_end_matches('.'))
}

fn model(towers: &Towers) -> String {
    format!(
        "The image tower ({}) and the neural tower ({}) end in maps of the same shape at {}. \
         Similarity of two sets of maps: {}. Objective: {}.",
        counted(towers.image.parameters, "trained value"),
        counted(towers.neural.parameters, "trained value"),
        counted(towers.levels.len(), "level"),
        towers.similarity.trim_end_matches('.'),
        towers.objective.trim_end_matches('.'),
    )
}

fn optimisation(optimisation: &Optimisation) -> String {
    let mut text = format!(
        "{} with a learning rate of at most {} ({}), decoupled weight decay {}, batches of {}, at \
         most {} steps",
        optimisation.optimiser,
        setting(optimisation.learning_rate),
        optimisation.schedule.trim_end_matches('.'),
        setting(optimisation.weight_decay),
        counted(optimisation.batch, "image"),
        count(optimisation.steps),
    );
    match optimisation.clip_norm {
        Some(norm) => text += &format!(", gradients clipped at a global norm of {}.", setting(norm)),
        None => text.push('.'),
    }
    for detail in std::iter::once(&optimisation.stopping).chain(&optimisation.details) {
        text.push(' ');
        text += &sentence(detail);
    }
    text
}

fn inference(inference: &Inference) -> String {
    format!(
        "Intervals cover {:.0}\u{a0}% ({}, {}). Identification is tested against chance by {} ({}), where \
         p = (1 + k) / (1 + B) with k of B permutations at least as good. DINA is compared with each \
         baseline by {}, corrected over the baselines ({}). The level of significance is {}. DINA is \
         said to beat a baseline only if it is better, the interval of the difference excludes nought \
         and the corrected p is below that level.",
        100. * inference.coverage,
        inference.interval,
        counted(inference.bootstrap_samples, "sample"),
        inference.null,
        counted(inference.permutations, "permutation"),
        inference.comparison,
        inference.correction,
        setting(inference.alpha),
    )
}
