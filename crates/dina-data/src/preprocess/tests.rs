use approx::assert_abs_diff_eq;
use dina_core::Seed;
use proptest::prelude::*;
use rand_distr::{Distribution, StandardNormal};

use super::*;
use crate::Split;
use crate::linear::moments;

const IMAGES: usize = 30;

fn noise(rows: usize, columns: usize, seed: u64) -> Array2<f32> {
    let mut stream = Seed::new(seed).stream("noise");
    Array2::from_shape_simple_fn((rows, columns), || StandardNormal.sample(&mut stream))
}

/// Positive, skewed responses: image plus trial noise; two repeats and four gray screens.
fn recording(neurons: usize, bins: usize) -> Recording {
    let signal = noise(IMAGES, neurons, 1);
    let trials = noise(2 * IMAGES + 4, neurons, 2);
    let responses = Array2::from_shape_fn(trials.dim(), |(t, n)| {
        let image = if t < 2 * IMAGES { signal[[t % IMAGES, n]] } else { 0.0 };
        (1.0 + n as f32) * (image + 0.5 * trials[[t, n]]).exp()
    });
    let stimulus = (0..2 * IMAGES + 4).map(|t| (t < 2 * IMAGES).then_some((t % IMAGES) as u32)).collect();
    let recording = Recording::new("test", responses, stimulus, IMAGES).unwrap();
    if bins == 0 {
        return recording;
    }
    recording.with_spontaneous(noise(bins, neurons, 3) * 2.0 + 5.0).unwrap()
}

fn split() -> Split {
    Split::new(IMAGES, (0..20).collect(), (20..24).collect(), (24..30).collect()).unwrap()
}

fn rows(x: &Array2<f32>, rows: &[usize]) -> Array2<f32> {
    x.select(Axis(0), rows)
}

#[test]
fn training_z_scores_have_mean_0_and_sd_1() {
    let recording = recording(7, 0);
    let views = split().views(&recording).unwrap();
    for steps in [
        vec![Step::ZScore(Reference::Training)],
        vec![Step::Compress(Curve::SignedLog), Step::ZScore(Reference::Training)],
        vec![Step::Compress(Curve::SignedSqrt), Step::ZScore(Reference::Training)],
    ] {
        let fitted = Preprocessing::new(steps).fit(&views.train).unwrap();
        let all = fitted.apply(&recording).unwrap();
        let (mean, sd) = moments(rows(&all, &views.train.rows()).view());
        for n in 0..7 {
            assert_abs_diff_eq!(mean[n], 0.0, epsilon = 1e-5);
            assert_abs_diff_eq!(sd[n], 1.0, epsilon = 1e-5);
        }
        let (mean, _) = moments(rows(&all, &views.test.rows()).view());
        assert!(mean.iter().any(|m| m.abs() > 0.01));
    }
}

#[test]
fn curves_have_their_closed_forms() {
    // One neuron with training responses of standard deviation 2: -2, 2 and so on.
    let responses = Array2::from_shape_fn((8, 1), |(t, _)| if t % 2 == 0 { -2.0 } else { 2.0 });
    let stimulus = (0..8).map(|t| Some(t % 4)).collect();
    let recording = Recording::new("test", responses, stimulus, 4).unwrap();
    let split = Split::new(4, vec![0, 1], vec![2], vec![3]).unwrap();
    let views = split.views(&recording).unwrap();
    for (curve, expected) in [
        (Curve::SignedLog, [-(4f32.ln()), 0.0, 1.5f32.ln()]),
        (Curve::SignedSqrt, [-1.0, 0.0, 1.5f32.sqrt() - 1.0]),
    ] {
        let fitted = Preprocessing::new([Step::Compress(curve)]).fit(&views.train).unwrap();
        let input = ndarray::arr2(&[[-6.0], [0.0], [1.0]]);
        let output = fitted.transform(input.view()).unwrap();
        for (found, expected) in output.iter().zip(expected) {
            assert_abs_diff_eq!(*found, expected, epsilon = 1e-6);
        }
    }
}

#[test]
fn clipping_bounds_every_response_by_training_statistics() {
    let recording = recording(5, 0);
    let views = split().views(&recording).unwrap();
    let z = Step::ZScore(Reference::Training);
    let fit = |steps: &[Step]| Preprocessing::new(steps).fit(&views.train);
    let clipped = fit(&[z, Step::Clip { deviations: 1.5 }]).unwrap();
    let plain = fit(&[z]).unwrap().apply(&recording).unwrap();
    let clipped = clipped.apply(&recording).unwrap();
    assert!(plain.iter().any(|v| v.abs() > 1.6));
    for (clipped, plain) in clipped.iter().zip(&plain) {
        assert_abs_diff_eq!(*clipped, plain.clamp(-1.5, 1.5), epsilon = 1e-5);
    }
    assert!(fit(&[Step::Clip { deviations: -1.0 }]).is_err());
}

#[test]
fn removed_components_are_orthonormal_and_gone() {
    // Spontaneous activity with two strong directions, in wide and in tall form.
    for (bins, neurons) in [(40, 120), (200, 30)] {
        let shared = noise(bins, 2, 7).dot(&noise(2, neurons, 8)) * 5.0;
        let spontaneous = shared.clone() + noise(bins, neurons, 9);
        let recording = recording(neurons, 0).with_spontaneous(spontaneous).unwrap();
        let views = split().views(&recording).unwrap();
        let step = Step::RemoveSpontaneous { components: 4 };
        let fitted = Preprocessing::new([step]).fit(&views.train).unwrap();
        let [FittedStep::Remove { directions }] = fitted.steps.as_slice() else {
            panic!("{:?}", fitted.steps);
        };
        assert_eq!(directions.len(), 4);
        for (i, a) in directions.iter().enumerate() {
            for (j, b) in directions.iter().enumerate() {
                let dot: f32 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                assert_abs_diff_eq!(dot, f32::from(u8::from(i == j)), epsilon = 1e-5);
            }
        }
        let after = fitted.apply(&recording).unwrap();
        let size = after.mapv(|v| v * v).sum().sqrt();
        for direction in directions {
            let along = after.dot(&ndarray::arr1(direction));
            assert!(along.iter().all(|v| v.abs() < 1e-4 * size));
        }
        // The planted directions are among those removed.
        let planted = fitted.transform(shared.view()).unwrap();
        let left = planted.mapv(|v| v * v).sum() / shared.mapv(|v| v * v).sum();
        assert!(left < 0.01, "{left} of the shared activity is left");
    }
}

#[test]
fn too_little_spontaneous_activity_is_refused() {
    let recordings = [recording(10, 0), recording(10, 50), recording(200, 50)];
    for (recording, says) in recordings.iter().zip(["is missing", "50 time points of 10", "50 time"]) {
        let views = split().views(recording).unwrap();
        for preset in [Preset::StringerMatlab, Preset::StringerNotebook] {
            let error = preset.fit(&views.train).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("standard"), "{error}");
            assert!(preset.fit_as_published(recording).is_err());
        }
        // The default works on the same recording, and says what it did.
        let fitted = Preset::Standard.fit(&views.train).unwrap();
        assert_eq!(fitted.candidates().len(), 3);
        assert_eq!(fitted.candidates().iter().filter(|c| c.chosen).count(), 1);
    }
}

#[test]
fn the_stringer_presets_do_what_the_authors_code_does() {
    let (neurons, bins) = (80, 90);
    let red: Vec<bool> = (0..neurons).map(|n| n % 10 == 3).collect();
    let recording = recording(neurons, bins).with_red_cells(red.clone()).unwrap();
    let fitted = Preset::StringerMatlab.fit_as_published(&recording).unwrap();
    assert_eq!(fitted.neurons().len(), 72);
    assert!(fitted.neurons().iter().all(|&n| !red[n]));
    let notebook = Preset::StringerNotebook.fit_as_published(&recording).unwrap();
    assert_eq!(notebook.neurons().len(), neurons);

    // The same with plain formulas, on all neurons.
    let spontaneous = recording.spontaneous().unwrap();
    let (mean, sd) = moments(spontaneous.view());
    let z = |x: &Array2<f32>| {
        Array2::from_shape_fn(x.dim(), |(t, n)| ((f64::from(x[[t, n]]) - mean[n]) / (sd[n] + 1e-6)) as f32)
    };
    let v = crate::linear::thin(z(spontaneous).view(), 32).unwrap().right;
    let x = z(recording.responses());
    let x = &x - &x.dot(&v).dot(&v.t());
    let shown: Vec<usize> = (0..2 * IMAGES).collect();
    let expected = &x - &rows(&x, &shown).mean_axis(Axis(0)).unwrap();
    let found = notebook.apply(&recording).unwrap();
    let largest = x.iter().fold(0f32, |most, v| most.max(v.abs()));
    let apart = (&found - &expected).iter().fold(0f32, |most, d| most.max(d.abs()));
    assert!(apart < 1e-5 * largest, "{apart} of {largest}");

    // On the training view only the centre differs.
    let views = split().views(&recording).unwrap();
    let held_out = Preset::StringerNotebook.fit(&views.train).unwrap();
    let difference = held_out.apply(&recording).unwrap() - &found;
    for column in difference.columns() {
        assert!(column.iter().all(|v| (v - column[0]).abs() < 1e-3));
    }
    let error = Preset::Standard.fit_as_published(&recording).unwrap_err();
    assert!(error.to_string().contains("no published form"), "{error}");
}

#[test]
fn a_silent_neuron_is_dropped_and_noted() {
    let base = recording(4, 0);
    let views = split().views(&base).unwrap();
    let mut responses = base.responses().clone();
    for row in views.train.rows() {
        responses[[row, 2]] = 0.3;
    }
    let silent = Recording::new("test", responses, base.stimulus().to_vec(), IMAGES).unwrap();
    let views = split().views(&silent).unwrap();
    let fitted = Preset::Standard.fit(&views.train).unwrap();
    assert_eq!(fitted.neurons(), [0, 1, 3]);
    assert!(fitted.notes()[0].contains("1 neurons"), "{:?}", fitted.notes());
    let out = fitted.apply(&silent).unwrap();
    assert_eq!(out.ncols(), 3);
    assert!(out.iter().all(|v| v.is_finite()));
}

#[test]
fn red_cells_without_a_label_are_noted_and_all_red_refused() {
    let plain = recording(4, 0);
    let views = split().views(&plain).unwrap();
    let fitted = Preprocessing::new([Step::DropRedCells]).fit(&views.train).unwrap();
    assert_eq!(fitted.neurons().len(), 4);
    assert!(fitted.notes()[0].contains("does not say"));
    assert_eq!(&fitted.apply(&plain).unwrap(), plain.responses());
    let red = plain.clone().with_red_cells(vec![true; 4]).unwrap();
    let views = split().views(&red).unwrap();
    assert!(Preprocessing::new([Step::DropRedCells]).fit(&views.train).is_err());
}

#[test]
fn another_population_or_a_changed_file_is_refused() {
    let recording = recording(6, 0);
    let views = split().views(&recording).unwrap();
    let fitted = Preset::Standard.fit(&views.train).unwrap();
    assert!(fitted.transform(noise(3, 5, 0).view()).is_err());
    let text = serde_json::to_string(&fitted).unwrap();
    let again: FittedPreprocessing = serde_json::from_str(&text).unwrap();
    assert_eq!(again.apply(&recording).unwrap(), fitted.apply(&recording).unwrap());
    let changed: FittedPreprocessing =
        serde_json::from_str(&text.replace("\"inputs\":6", "\"inputs\":5")).unwrap();
    assert!(changed.transform(noise(3, 5, 0).view()).is_err());
}

#[test]
fn the_standard_preset_removes_spontaneous_activity_where_that_helps() {
    // Strong shared activity that no image drives, the same in spontaneous activity.
    let (neurons, bins, images) = (640, 320, 40);
    let modes = noise(10, neurons, 11);
    let signal = noise(images, neurons, 12);
    let stimulus: Vec<Option<u32>> = (0..2 * images).map(|t| Some((t % images) as u32)).collect();
    let mut responses = noise(2 * images, 10, 13).dot(&modes) * 3.0 + noise(2 * images, neurons, 14);
    for (t, mut row) in responses.rows_mut().into_iter().enumerate() {
        row += &(&signal.row(t % images) * 0.3);
    }
    let spontaneous = noise(bins, 10, 15).dot(&modes) * 3.0 + noise(bins, neurons, 16);
    let recording = Recording::new("test", responses, stimulus, images)
        .and_then(|r| r.with_spontaneous(spontaneous))
        .unwrap();
    let ids = |range: std::ops::Range<u32>| range.collect::<Vec<_>>();
    let split = Split::new(images, ids(0..30), ids(30..35), ids(35..40)).unwrap();
    let views = split.views(&recording).unwrap();
    let fitted = Preset::Standard.fit(&views.train).unwrap();
    let chosen = fitted.candidates().iter().find(|c| c.chosen).unwrap();
    assert!(
        chosen.preprocessing.steps.contains(&Step::RemoveSpontaneous { components: 32 }),
        "{:?}",
        fitted.candidates()
    );
}

/// Neurons with known signal and noise variance, three repeats, some images shown four times.
fn with_components(signal: &[f32], noise_sd: &[f32], images: usize) -> Recording {
    let truth = noise(images, signal.len(), 21);
    let stimulus: Vec<Option<u32>> =
        (0..3 * images).chain(0..images / 2).map(|t| Some((t % images) as u32)).collect();
    let trials = noise(stimulus.len(), signal.len(), 22);
    let responses = Array2::from_shape_fn(trials.dim(), |(t, n)| {
        7.0 + signal[n].sqrt() * truth[[t % images, n]] + noise_sd[n] * trials[[t, n]]
    });
    Recording::new("components", responses, stimulus, images).unwrap()
}

fn halves_of(images: usize) -> Split {
    let ids = |range: std::ops::Range<usize>| range.map(|i| i as u32).collect::<Vec<_>>();
    Split::new(images, ids(0..images - 20), ids(images - 20..images - 10), ids(images - 10..images)).unwrap()
}

#[test]
fn variance_components_have_their_closed_form_and_find_the_truth() {
    // Two images, two repeats: means 2 and 6, noise variance 2 each; MSB = 2 (4 + 4), signal (16 - 2) / 2.
    let responses = ndarray::arr2(&[[1.0], [3.0], [5.0], [7.0]]);
    let found = VarianceComponents::of(responses.view(), &[vec![0, 1], vec![2, 3]], "test").unwrap();
    assert_eq!((found.signal[0], found.noise[0]), (7.0, 2.0));
    assert_abs_diff_eq!(found.reliability()[0], 7.0 / 9.0, epsilon = 1e-12);
    assert!(VarianceComponents::of(responses.view(), &[vec![0, 1], vec![2]], "test").is_err());

    let recording = with_components(&[1.0, 0.25, 0.0], &[0.5, 1.0, 2.0], 1500);
    let views = halves_of(1500).views(&recording).unwrap();
    let found = views.train.variance_components(recording.responses()).unwrap();
    for (n, (signal, noise)) in [(1.0, 0.25), (0.25, 1.0), (0.0, 4.0)].into_iter().enumerate() {
        assert!((found.signal[n] - signal).abs() < 0.1, "{:?}", found.signal);
        assert!((found.noise[n] / noise - 1.0).abs() < 0.06, "{:?}", found.noise);
    }
    assert!(views.train.variance_components(&Array2::zeros((3, 3))).is_err());
}

#[test]
fn weights_are_those_of_the_formulas() {
    let recording = with_components(&[1.0, 0.3], &[0.5, 1.0], 400);
    let views = halves_of(400).views(&recording).unwrap();
    let training = rows(recording.responses(), &views.train.rows());
    let (mean, _) = moments(training.view());
    let found = views.train.variance_components(recording.responses()).unwrap();
    let weigh = |weight| Preprocessing::new([Step::Weigh(weight)]).fit(&views.train).unwrap();
    for (weight, factor) in [
        (Weight::Wiener, found.reliability()),
        (Weight::InverseNoise, found.noise.iter().map(|n| 1.0 / n.sqrt()).collect()),
    ] {
        let out = weigh(weight).transform(ndarray::arr2(&[[9.0, 9.0]]).view()).unwrap();
        for n in 0..2 {
            assert_abs_diff_eq!(f64::from(out[[0, n]]), (9.0 - mean[n]) * factor[n], epsilon = 1e-5);
        }
    }
    // Wiener's weight brings single responses nearest to what the image evokes.
    let truth = noise(400, 2, 21);
    let error = |factor: f64| -> f64 {
        let test = views.test.rows();
        test.iter()
            .map(|&row| {
                let image = recording.stimulus()[row].unwrap() as usize;
                let evoked = 0.3f64.sqrt() * f64::from(truth[[image, 1]]);
                (factor * (f64::from(recording.responses()[[row, 1]]) - 7.0) - evoked).powi(2)
            })
            .sum()
    };
    let best = found.reliability()[1];
    assert!(error(best) < error(1.0) && error(best) < error(0.05));
    // A neuron without signal is dropped and noted, one whose estimate is above 0 by chance may stay.
    let silent = with_components(&[1.0, 0.0, 0.0, 0.0, 0.0, 0.0], &[1.0; 6], 200);
    let views = halves_of(200).views(&silent).unwrap();
    let fitted = Preprocessing::new([Step::Weigh(Weight::Wiener)]).fit(&views.train).unwrap();
    assert!(fitted.neurons().len() < 6 && fitted.neurons()[0] == 0);
    assert!(fitted.notes()[0].contains("without measurable signal"));
    assert!(fitted.apply(&silent).unwrap().iter().all(|v| v.is_finite()));
}

#[test]
fn reliable_neurons_are_kept_and_the_side_is_used_up() {
    let recording = with_components(&[1.0, 0.05, 0.6, 0.0, 0.3], &[1.0; 5], 300);
    let split = halves_of(300);
    let views = split.views(&recording).unwrap();
    let fit = |keep| Preprocessing::new([Step::SelectReliable(keep)]).fit(&views.train);
    assert_eq!(fit(Keep::Count(2)).unwrap().neurons(), [0, 2]);
    assert_eq!(fit(Keep::Fraction(0.6)).unwrap().neurons(), [0, 2, 4]);
    assert_eq!(fit(Keep::AtLeast(0.3)).unwrap().neurons(), [0, 2]);
    assert_eq!(fit(Keep::Count(99)).unwrap().neurons().len(), 5);
    for keep in [
        Keep::Count(0),
        Keep::Fraction(0.0),
        Keep::Fraction(f32::NAN),
        Keep::AtLeast(0.99),
        Keep::AtLeast(f32::NAN),
    ] {
        assert!(fit(keep).is_err(), "{keep:?}");
    }
    let fitted = fit(Keep::Count(2)).unwrap();
    let [selection] = fitted.selections() else { panic!("{:?}", fitted.selections()) };
    assert_eq!((selection.side.as_str(), selection.split), ("train", Some(split.hash())));
    assert!(fitted.notes()[0].contains("2 of 5"));
    let text = serde_json::to_string(&fitted).unwrap();
    assert_eq!(serde_json::from_str::<FittedPreprocessing>(&text).unwrap(), fitted);
    assert!(Preprocessing::default().fit(&views.train).unwrap().selections().is_empty());

    let report = |selection: &NeuronSelection| {
        let groups: Vec<usize> = (0..300).collect();
        crate::LeakageReport::new(&split, &recording, &groups).unwrap().with_selection(selection)
    };
    assert!(report(selection).unwrap().is_clean());
    assert!(report(selection).unwrap().to_string().contains("chosen by reliability on train"));
    // On the test side it is a leak.
    let leaky = NeuronSelection::reliable(views.test, Keep::Count(2)).unwrap();
    assert_eq!(leaky.neurons, [0, 2]);
    let leaky = report(&leaky).unwrap();
    assert!(!leaky.is_clean() && leaky.to_string().contains("LEAKAGE"));
    // A selection of another split cannot be judged.
    let other =
        NeuronSelection { split: Some(dina_core::ContentHash::of([b"x".as_slice()])), ..selection.clone() };
    assert!(report(&other).is_err());
    let whole = NeuronSelection { split: None, side: "whole recording".into(), ..selection.clone() };
    assert!(!report(&whole).unwrap().is_clean());
}

#[test]
fn winsorising_bounds_at_quantiles_of_training_trials() {
    // Training responses 0 to 100, and a transient elsewhere.
    let responses = Array2::from_shape_fn((105, 1), |(t, _)| if t < 101 { t as f32 } else { 1e4 });
    let stimulus = (0..105).map(|t| Some(if t < 101 { t % 50 } else { 50 + t % 2 } as u32)).collect();
    let recording = Recording::new("test", responses, stimulus, 52).unwrap();
    let split = Split::new(52, (0..50).collect(), vec![50], vec![51]).unwrap();
    let views = split.views(&recording).unwrap();
    let fit = |tail| Preprocessing::new([Step::Winsorise { tail }]).fit(&views.train);
    let out = fit(0.05).unwrap().apply(&recording).unwrap();
    assert_eq!((out[[0, 0]], out[[40, 0]], out[[100, 0]], out[[104, 0]]), (5.0, 40.0, 95.0, 95.0));
    assert!(fit(0.5).is_err() && fit(0.0).is_err() && fit(f32::NAN).is_err());
}

#[test]
fn means_of_a_view_are_those_of_preprocessed_presentations() {
    let recording = recording(5, 0);
    let views = split().views(&recording).unwrap();
    let fitted = Preset::Standard.fit(&views.train).unwrap();
    let all = fitted.apply(&recording).unwrap();
    let found = fitted.repeat_means(&views.test).unwrap();
    assert!((found - views.test.repeat_means(&all).unwrap()).iter().all(|d| d.abs() < 1e-6));
}

#[test]
fn one_thread_and_two_agree() {
    let recording = recording(90, 100);
    let split = split();
    let views = split.views(&recording).unwrap();
    for preset in Preset::ALL {
        let run = |threads| {
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
                let fitted = preset.fit(&views.train).unwrap();
                let out = fitted.apply(&recording).unwrap();
                (fitted, out)
            })
        };
        assert_eq!(run(1), run(2));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the other sides hold, the fitted steps are the same to the last bit.
    #[test]
    fn statistics_ignore_every_row_but_the_training_rows(
        seed in any::<u64>(),
        scale in 0.1f32..1e4,
        preset in prop::sample::select(Preset::ALL.to_vec()),
    ) {
        let original = recording(70, 90);
        let split = split();
        let views = split.views(&original).unwrap();
        let training = views.train.rows();
        let mut responses = noise(original.presentations(), 70, seed) * scale;
        for &row in &training {
            responses.row_mut(row).assign(&original.responses().row(row));
        }
        let changed = Recording::new("test", responses, original.stimulus().to_vec(), IMAGES)
            .and_then(|r| r.with_spontaneous(original.spontaneous().unwrap().clone()))
            .unwrap();
        let fitted = preset.fit(&views.train).unwrap();
        let again = preset.fit(&split.views(&changed).unwrap().train).unwrap();
        prop_assert_eq!(fitted, again);
    }
}
