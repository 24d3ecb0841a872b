//! What is measured in each population is what is stated of it.

use std::collections::HashSet;

use dina_core::Seed;
use ndarray::{Array2, Array3, Axis, s};

use super::{
    driven::{Driven, Reference},
    *,
};

fn config(name: &str) -> SimulationConfig {
    SimulationConfig {
        neurons: 100,
        images: 240,
        height: 48,
        width: 90,
        gray_every: 0,
        spontaneous_bins: 0,
        ..SimulationConfig::new(name.parse().unwrap())
    }
}

fn made(name: &str) -> Simulation {
    simulate(&config(name), &|_| ()).unwrap()
}

/// Squared correlation of what two versions of the images drive, mean over informative neurons.
fn agreement(a: &Driven, b: &Driven, neurons: &[NeuronTruth]) -> f32 {
    let squares: Vec<f32> = a
        .rates
        .outer_iter()
        .zip(b.rates.outer_iter())
        .zip(neurons)
        .filter(|(_, n)| n.informative)
        .map(|((a, b), _)| {
            let r = correlation(&a.to_vec(), &b.to_vec());
            r * r
        })
        .collect();
    squares.iter().sum::<f32>() / squares.len() as f32
}

fn correlation(a: &[f32], b: &[f32]) -> f32 {
    let n = a.len() as f32;
    let mean = |v: &[f32]| v.iter().sum::<f32>() / n;
    let (ma, mb) = (mean(a), mean(b));
    let sum = |x: &[f32], mx: f32, y: &[f32], my: f32| {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum::<f32>()
    };
    sum(a, ma, b, mb) / (sum(a, ma, a, ma) * sum(b, mb, b, mb)).sqrt()
}

/// The neurons of a population, and what two sets of images drive in them.
fn compared(name: &str, versions: [&Images; 2]) -> f32 {
    let config = SimulationConfig { neurons: 60, ..config(name) };
    let seed = Seed::new(0).child("simulation");
    let neurons = population(&config, seed);
    let reference = Reference::new(&config, seed);
    let [a, b] = versions.map(|images| {
        let categories = Categories { names: Vec::new(), of: vec![None; images.len()] };
        Driven::new(&config, seed, &reference, (images, &categories), &neurons, &|_| ())
    });
    agreement(&a, &b, &neurons)
}

/// Images with the part of one image below `CUTOFF` and that of another above, about mean grey.
fn hybrid(low: &Array3<f32>, high: &Array3<f32>) -> Images {
    let low = look::filtered(low.clone(), &(0.0..CUTOFF));
    let high = look::filtered(high.clone(), &(CUTOFF..f32::INFINITY));
    let pixels = (low + high).mapv(|v| v.round().clamp(0.0, 255.0) as u8);
    Images { pixels, degrees_per_pixel: 1.0 }
}

#[test]
fn coarse_and_fine_neurons_see_their_side_of_the_cutoff_only() {
    let (images, ..) = show(&config("v1"), Seed::new(9), &|_| ());
    // Half the contrast about mean grey: hardly a pixel is clipped when parts are exchanged.
    let grey = images.pixels.slice(s![..120, .., ..]).mapv(|v| 128.0 + 0.4 * (f32::from(v) - 90.0));
    let (first, second) = (grey.slice(s![..60, .., ..]).to_owned(), grey.slice(s![60.., .., ..]).to_owned());
    let whole = hybrid(&first, &first);
    let other_fine = hybrid(&first, &second);
    let other_coarse = hybrid(&second, &first);
    // Eight bits and the mean luminance of an image leave a little.
    assert!(compared("coarse", [&whole, &other_fine]) > 0.98);
    assert!(compared("coarse", [&whole, &other_coarse]) < 0.1);
    assert!(compared("fine", [&whole, &other_coarse]) > 0.98);
    assert!(compared("fine", [&whole, &other_fine]) < 0.1);
    // Neither is true of V1.
    assert!(compared("v1", [&whole, &other_fine]) < 0.95);
    assert!(compared("v1", [&whole, &other_coarse]) < 0.95);
}

#[test]
fn bands_explain_what_the_population_is_tuned_to() {
    let of = |name: &str| explained(&made(name).truth.shares);
    let (coarse, fine) = (of("coarse"), of("fine"));
    assert_eq!(coarse[2..], [0.0, 0.0], "{coarse:?}");
    assert_eq!(fine[..2], [0.0, 0.0], "{fine:?}");
    assert!(coarse[0] > 0.2 && coarse[1] > 0.1, "{coarse:?}");
    assert!(fine[2] > 0.2 && fine[3] > 0.1, "{fine:?}");
    let v1 = of("v1");
    // Its median neuron prefers 0.036, and few prefer more than 0.1 cycles per degree.
    assert!(v1[..3].iter().all(|share| *share > 0.1), "{v1:?}");
}

/// What each band explains.
fn explained(shares: &StimulusShares) -> Vec<f32> {
    shares.bands.iter().map(|b| b.explained).collect()
}

#[test]
fn the_dial_is_the_share_of_the_category() {
    let category = made("category");
    assert!(category.truth.shares.category.explained > 0.9999);
    assert!(category.truth.scene.match_low_level);
    assert_eq!(explained(&category.truth.shares), [0.0; 4]);
    // Beyond what shape and texture say one by one: 11 degrees of freedom, of which they have 3 and 2.
    let shares = category.truth.shares;
    assert!((shares.silhouette.explained - 3.0 / 11.0).abs() < 0.08, "{shares:?}");
    assert!((shares.texture.explained - 2.0 / 11.0).abs() < 0.08, "{shares:?}");
    for dial in [0.0, 0.3, 0.7, 1.0] {
        let shares = made(&format!("mixed:{dial}")).truth.shares;
        assert!((shares.category.adjusted - dial).abs() < 0.07, "{dial}: {shares:?}");
        let coarse: f32 = shares.bands[..2].iter().map(|b| b.explained).sum();
        assert!((dial == 1.0) == (coarse == 0.0), "{shares:?}");
    }
    assert_eq!(made("mixed:1").recording.responses(), category.recording.responses());
    let v1 = made("v1").truth.shares.category;
    assert!(v1.adjusted < 0.1, "{v1:?}");
}

/// Share of held-out second repeats whose nearest mean of first repeats is that of their category.
fn classified(simulation: &Simulation) -> f32 {
    let (responses, trials) = (simulation.recording.responses(), simulation.recording.trials());
    let categories: Vec<usize> = simulation.categories.of.iter().map(|c| c.unwrap() as usize).collect();
    let (training, test) = (0..180, 180..categories.len());
    let mean = responses.mean_axis(Axis(0)).unwrap();
    let sd = responses.std_axis(Axis(0), 0.0) + 1e-6;
    let z = |row: usize| (&responses.row(row) - &mean) / &sd;
    let mut centres = Array2::<f32>::zeros((12, responses.ncols()));
    for image in training {
        for &row in &trials[image] {
            centres.row_mut(categories[image]).scaled_add(1.0 / 30.0, &z(row));
        }
    }
    let hits = test.clone().flat_map(|image| trials[image].iter().map(move |&row| (image, row))).filter(
        |&(image, row)| {
            let z = z(row);
            let distance = |c: usize| (&centres.row(c) - &z).mapv(|v| v * v).sum();
            let nearest = (0..12).min_by(|&a, &b| distance(a).total_cmp(&distance(b)));
            nearest == Some(categories[image])
        },
    );
    hits.count() as f32 / (2 * test.len()) as f32
}

#[test]
fn categories_are_read_from_single_responses_where_they_are_coded() {
    // Chance is 0.083, with a standard error of 0.025 over 120 responses.
    let category = classified(&made("category"));
    let mixed = classified(&made("mixed:0.3"));
    let coarse = classified(&made("mixed:0"));
    assert!(category > 0.6, "{category}");
    assert!(mixed > 0.2 && mixed < category, "{mixed}");
    assert!(coarse < 0.2, "{coarse}");
    let null = classified(&made("null"));
    assert!(null < 0.17, "{null}");
}

/// How the front of an image is changed.
#[derive(Clone, Copy)]
enum Change {
    Silhouette,
    Texture,
    /// The same surface, 48 degrees away.
    Patch,
}

/// What images drive with their objects changed: squared correlation with what they drive
/// unchanged, mean over informative neurons.
fn after(change: Change, name: &str) -> f32 {
    after_of(change, SimulationConfig { neurons: 60, ..config(name) })
}

fn after_of(change: Change, config: SimulationConfig) -> f32 {
    let seed = Seed::new(0).child("simulation");
    let neurons = population(&config, seed);
    let reference = Reference::new(&config, seed);
    let cortex = config.cortex();
    let taller = maker(&SimulationConfig { height: 96, ..config.clone() }, seed);
    let images = 72;
    let mut shown = Array3::zeros((2 * images, config.height, config.width));
    for (i, mut plane) in shown.outer_iter_mut().enumerate() {
        let (image, changed) = (i % images, i >= images);
        let (seed, category) = (Seed::new(11).index(image), image % 12);
        let category = match change {
            Change::Silhouette if changed => (category + 3) % 12,
            Change::Texture if changed => category / 3 * 3 + (category + 1) % 3,
            _ => category,
        };
        if cortex.look == Look::Silhouettes {
            reference.maker.silhouette_plane(seed, category, plane);
        } else if changed && matches!(change, Change::Patch) {
            let mut tall = Array2::zeros((96, config.width));
            taller.surface_plane(seed, category, tall.view_mut());
            plane.assign(&tall.slice(s![48.., ..]));
        } else {
            reference.maker.surface_plane(seed, category, plane);
        }
    }
    let adapted = cortex.look.planes(&reference.maker, &reference.images, reference.seed);
    let retina = retina::Retina::of(&[shown.view(), adapted.view()]);
    let scales = 2 * images..retina.images();
    let energy = energy::Energy::new(&retina, &config, scales.clone());
    let squares: Vec<f32> = neurons
        .iter()
        .filter(|n| n.informative)
        .map(|n| {
            let rates = drive::drive(n, &retina, &energy, &scales, &mut Vec::new(), cortex.semi_saturation);
            correlation(&rates[..images], &rates[images..2 * images]).powi(2)
        })
        .collect();
    squares.iter().sum::<f32>() / squares.len() as f32
}

#[test]
fn shape_follows_silhouettes_and_texture_surfaces() {
    let silhouette = after(Change::Silhouette, "shape");
    assert!(after(Change::Texture, "shape") > 0.9999);
    assert!(silhouette < 0.7, "{silhouette}");
    let [texture, patch] = [Change::Texture, Change::Patch].map(|change| after(change, "texture"));
    // V1 neurons that look at the same surfaces do not pool.
    let cortex = CortexStatistics { look: Look::Surfaces, ..CortexStatistics::default() };
    let local =
        after_of(Change::Patch, SimulationConfig { neurons: 60, cortex: Some(cortex), ..config("v1") });
    assert!(after(Change::Silhouette, "texture") > 0.9999);
    assert!(texture < 0.3, "{texture}");
    assert!(patch > 0.4 && local < 0.2, "{patch} {local}");

    // Over images, a factor that does not matter explains what chance does.
    let (shape, texture) = (made("shape").truth.shares, made("texture").truth.shares);
    assert!(shape.silhouette.adjusted > 0.015 && shape.texture.adjusted.abs() < 0.01, "{shape:?}");
    assert!(texture.texture.adjusted > 0.04 && texture.silhouette.adjusted.abs() < 0.01, "{texture:?}");
}

#[test]
fn fields_lie_in_one_region_or_in_six() {
    let sized = |name: &str| {
        let config = SimulationConfig { neurons: 150, images: 24, height: 68, width: 270, ..config(name) };
        simulate(&config, &|_| ()).unwrap().truth
    };
    let spread = |name: &str| sized(name).measured.field_spread;
    // 6 degrees uniformly and 1.5 of scatter: 2.3.
    assert!(spread("local").iter().all(|sd| (1.8..2.8).contains(sd)), "{:?}", spread("local"));
    // 36 x 54 degrees and 5 of scatter: 11.5 and 16.4.
    let v1 = spread("v1");
    assert!((9.5..13.0).contains(&v1[0]) && (14.0..19.0).contains(&v1[1]), "{v1:?}");
    let distributed = sized("distributed");
    let [down, across] = distributed.measured.field_spread;
    // Six places at a quarter and three quarters down, a sixth, a half and five sixths across.
    assert!((15.0..21.0).contains(&down) && (65.0..83.0).contains(&across), "{down} {across}");
    let mut regions = HashSet::new();
    for neuron in &distributed.neurons {
        let (row, column) = ((neuron.row / 34.0) as usize, (neuron.column / 90.0) as usize);
        regions.insert((row, column));
        let [y, x] = [34.0 * (row as f32 + 0.5), 90.0 * (column as f32 + 0.5)];
        // Half of the region and four standard deviations of scatter.
        assert!((neuron.row - y).abs() < 16.5 && (neuron.column - x).abs() < 22.5);
    }
    assert_eq!(regions.len(), 6);
}

/// Share of the summed single-trial signal variance that the best tenth of neurons has.
fn best_tenth(truth: &Truth) -> f32 {
    let mut signal: Vec<f32> = truth.neurons.iter().map(|n| n.signal_variance).collect();
    signal.sort_by(|a, b| b.total_cmp(a));
    signal[..signal.len() / 10].iter().sum::<f32>() / signal.iter().sum::<f32>()
}

#[test]
fn few_neurons_carry_a_sparse_code_and_all_a_dense_one() {
    let sized = |name: &str| {
        let config = SimulationConfig { neurons: 150, ..config(name) };
        simulate(&config, &|_| ()).unwrap().truth
    };
    let (sparse, v1, dense) = (sized("sparse"), sized("v1"), sized("dense"));
    assert!((2..=15).contains(&sparse.measured.informative_neurons));
    assert_eq!(dense.measured.informative_neurons, 150);
    let [a, b, c] = [&sparse, &v1, &dense].map(best_tenth);
    assert!(a > 0.95 && b > 0.2 && c < 0.2, "{a} {b} {c}");
    let [a, b, c] = [&sparse, &v1, &dense].map(|t| t.measured.concentration);
    assert!(a > 0.9 && (0.3..0.7).contains(&b) && c < 0.25, "{a} {b} {c}");
    let strong = sparse.neurons.iter().filter(|n| n.informative);
    let strength = strong.clone().map(|n| n.signal_variance).sum::<f32>() / strong.count() as f32;
    assert!(strength > 0.25, "{strength}");
    assert!((0.03..0.15).contains(&dense.measured.expected_signal_variance), "{:?}", dense.measured);
}

#[test]
fn interacting_neurons_say_nothing_alone() {
    let made = made("interacting");
    let truth = &made.truth;
    assert!(truth.measured.expected_signal_variance.abs() < 1e-4);
    // Its standard error is about 1 / sqrt(images * neurons), more with shared activity.
    assert!(truth.measured.signal_variance.unwrap().abs() < 0.03);
    for rates in truth.rates.outer_iter() {
        assert!(rates.iter().all(|r| *r == rates[0]));
    }
    let signs = truth.pair_signs.as_ref().unwrap();
    let (responses, trials) = (made.recording.responses(), made.recording.trials());
    let sd = responses.std_axis(Axis(0), 0.0);
    // z-scores of the mean, the power and the product of a pair against the sign of the image.
    let mut scores = [Vec::new(), Vec::new(), Vec::new()];
    for (pair, signs) in signs.outer_iter().enumerate() {
        let (a, b) = (2 * pair, 2 * pair + 1);
        let neurons = &truth.neurons;
        assert_eq!((neurons[a].partner, neurons[b].partner), (Some(b), Some(a)));
        assert_eq!(neurons[a].subunits, neurons[b].subunits);
        if !neurons[a].informative {
            continue;
        }
        assert!(signs.sum().abs() < 0.5 * signs.len() as f32, "{}", signs.sum());
        let mut values = [Vec::new(), Vec::new(), Vec::new()];
        let mut sign = Vec::new();
        for (image, rows) in trials.iter().enumerate() {
            for &row in rows {
                let [a, b] = [a, b].map(|n| (responses[[row, n]] - truth.rates[[n, image]]) / sd[n]);
                sign.push(signs[image]);
                for (to, value) in values.iter_mut().zip([b, b * b, a * b]) {
                    to.push(value);
                }
            }
        }
        let root = (sign.len() as f32).sqrt();
        for (to, values) in scores.iter_mut().zip(&values) {
            to.push(root * correlation(values, &sign));
        }
    }
    let [mean, power, product] = scores.map(|z| z.iter().sum::<f32>() / (z.len() as f32).sqrt());
    // Each is a standard normal where the image does not matter; noise common to pairs widens it.
    assert!(mean.abs() < 4.0 && power.abs() < 4.0, "{mean} {power}");
    assert!(product > 8.0, "{product}");
    let shares = &truth.shares;
    assert!(shares.bands.iter().any(|b| b.explained > 0.1), "{shares:?}");
    assert!(shares.category.adjusted.abs() < 0.1);
}

#[test]
fn null_has_nothing_to_share() {
    let shares = made("null").truth.shares;
    assert_eq!(explained(&shares), [0.0; 4]);
    for group in [shares.category, shares.silhouette, shares.texture] {
        assert_eq!((group.explained, group.adjusted), (0.0, 0.0));
    }
}

#[test]
fn mice_see_the_same_images_with_other_neurons() {
    let of = |mouse: u32| simulate(&SimulationConfig { mouse, ..config("v1") }, &|_| ()).unwrap();
    let (first, second) = (of(0), of(1));
    assert_eq!(first.images, second.images);
    assert_eq!(first.truth.images, second.truth.images);
    assert_eq!(first.recording, made("v1").recording);
    assert_ne!(first.recording.stimulus(), second.recording.stimulus());
    assert!(second.recording.origin().contains("mouse 1"));
    assert!(first.truth.neurons.iter().zip(&second.truth.neurons).all(|(a, b)| a.row != b.row));
    let drive: Vec<f32> = (0..100)
        .map(|n| correlation(&first.truth.rates.row(n).to_vec(), &second.truth.rates.row(n).to_vec()).abs())
        .filter(|r| r.is_finite())
        .collect();
    assert!(drive.iter().sum::<f32>() / (drive.len() as f32) < 0.25);
    let signal = |s: &Simulation| s.truth.measured.expected_signal_variance;
    assert!((signal(&first) - signal(&second)).abs() < 0.04, "{} {}", signal(&first), signal(&second));
}

#[test]
fn every_population_keeps_the_variability_of_v1() {
    let v1 = population(&config("v1"), Seed::new(1));
    for name in Population::ALL {
        let other = population(&config(&name.to_string()), Seed::new(1));
        for (a, b) in v1.iter().zip(&other) {
            assert_eq!((a.gain, a.baseline, a.fano), (b.gain, b.baseline, b.fano), "{name}");
            assert_eq!((a.shared_variance, a.state_gain), (b.shared_variance, b.state_gain), "{name}");
        }
    }
}

#[test]
fn the_truth_is_stated_in_words_unless_numbers_are_changed() {
    let small = SimulationConfig { neurons: 10, images: 12, ..config("mixed:0.3") };
    let truth = simulate(&small, &|_| ()).unwrap().truth;
    assert!(truth.statement.as_ref().unwrap().contains("0.3"));
    let text = serde_json::to_string(&truth).unwrap();
    let again: Truth = serde_json::from_str(&text).unwrap();
    assert_eq!((&again.shares, &again.neurons), (&truth.shares, &truth.neurons));
    let cortex = CortexStatistics { category_share: 0.4, ..small.cortex() };
    let changed = simulate(&SimulationConfig { cortex: Some(cortex), ..small }, &|_| ()).unwrap().truth;
    assert_eq!(changed.statement, None);
}

#[test]
fn fewer_are_a_subsample_in_every_kind_of_population() {
    for name in ["mixed:0.3", "texture", "interacting"] {
        let small = SimulationConfig { neurons: 12, images: 20, height: 36, width: 64, ..config(name) };
        let all = simulate(&small, &|_| ()).unwrap();
        let few = simulate(&SimulationConfig { neurons: 7, images: 13, ..small }, &|_| ()).unwrap();
        let rates = all.truth.rates.slice(s![..7, ..13]);
        assert!(few.truth.rates.iter().zip(rates).all(|(a, b)| (a - b).abs() <= 1e-3 * (1e-3 + a.abs())));
        let (a, b) = (&all.recording, &few.recording);
        for (rows, again) in a.trials().iter().zip(b.trials()) {
            for (&row, again) in rows.iter().zip(again) {
                for n in 0..7 {
                    let (a, b) = (a.responses()[[row, n]], b.responses()[[again, n]]);
                    assert!((a - b).abs() <= 1e-3 * (1e-3 + a.abs().max(b.abs())), "{name}: {a} and {b}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_looked_at_is_refused() {
    let cortex = |cortex| SimulationConfig { cortex: Some(cortex), ..config("v1") }.check();
    let v1 = CortexStatistics::default();
    assert!(cortex(v1).is_ok());
    for wrong in [
        CortexStatistics { look: Look::Below(0.5), ..v1 },
        CortexStatistics { look: Look::From(f32::NAN), ..v1 },
        CortexStatistics { category_share: -0.1, ..v1 },
        CortexStatistics { regions: [0, 1], ..v1 },
    ] {
        assert!(cortex(wrong).unwrap_err().to_string().contains("cortex."));
    }
}
