use dina_core::Seed;
use ndarray::{Array2, s};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::estimate::connected;
use super::regression::z_score;
use super::*;
use crate::{Recording, Share, Split, SplitConfig};

/// Images of random overlapping rectangles, `count` of them.
fn images(count: usize, height: usize, width: usize, seed: u64) -> Images {
    let mut stream = Seed::new(seed).stream("images");
    let mut pixels = Array3::from_elem((count, height, width), 128u8);
    for mut image in pixels.axis_iter_mut(Axis(0)) {
        for _ in 0..60 {
            let (y, x) = (stream.random_range(0..height), stream.random_range(0..width));
            let (h, w) = (stream.random_range(2..14), stream.random_range(2..14));
            let grey = stream.random::<u8>();
            image.slice_mut(s![y..(y + h).min(height), x..(x + w).min(width)]).fill(grey);
        }
    }
    Images { pixels, degrees_per_pixel: 1.0 }
}

/// Neurons that answer to the mean grey, or its square, of a disc whose centre scatters by `spread`
/// around (y, x); two repeats with noise of standard deviation `noise` relative to the signal.
fn recording(images: &Images, centre: (f32, f32), spread: f32, neurons: usize, noise: f32) -> Recording {
    let mut stream = Seed::new(99).stream("neurons");
    let mut normal = || -> f32 { StandardNormal.sample(&mut stream) };
    let count = images.len();
    let mut signal = Array2::<f32>::zeros((count, neurons));
    for neuron in 0..neurons {
        let (cy, cx) = (centre.0 + spread * normal(), centre.1 + spread * normal());
        for image in 0..count {
            let (mut sum, mut weight) = (0.0, 0.0);
            for ((y, x), &v) in images.pixels.index_axis(Axis(0), image).indexed_iter() {
                let d = (y as f32 - cy).powi(2) + (x as f32 - cx).powi(2);
                if d < 150.0 {
                    let w = (-d / 32.0).exp();
                    sum += w * (f32::from(v) - 128.0);
                    weight += w;
                }
            }
            let drive = sum / weight / 40.0;
            signal[[image, neuron]] = if neuron % 2 == 0 { drive } else { drive * drive };
        }
    }
    z_score(&mut signal);
    let stimulus: Vec<Option<u32>> = (0..2 * count).map(|t| Some((t % count) as u32)).collect();
    let responses =
        Array2::from_shape_fn((2 * count, neurons), |(t, n)| signal[[t % count, n]] + noise * normal());
    Recording::new("planted", responses, stimulus, count).unwrap()
}

fn split(recording: &Recording) -> Split {
    let groups: Vec<usize> = (0..recording.images()).collect();
    let config = SplitConfig { validation: Share::Fraction(0.1), ..SplitConfig::default() };
    Split::draw(recording, &groups, &config).unwrap()
}

#[test]
fn a_planted_receptive_field_is_found() {
    let images = images(600, 60, 120, 1);
    let recording = recording(&images, (20.0, 85.0), 5.0, 40, 1.0);
    let split = split(&recording);
    let views = split.views(&recording).unwrap();
    let estimate =
        WindowEstimate::fit(&views.train, &images, recording.responses(), &WindowConfig::default()).unwrap();
    let WindowSource::ReceptiveField { correlation, p, .. } = estimate.source else {
        panic!("{estimate:?}");
    };
    assert!(correlation > 0.2 && p < 0.01);
    let Window { top, left, height, width, .. } = estimate.window;
    // Centres within two standard deviations and their fields of 4 degrees are inside ...
    assert!(top <= 10 && top + height >= 30, "{:?}", estimate.window);
    assert!(left <= 75 && left + width >= 95, "{:?}", estimate.window);
    // ... and places far beyond the margin of 10 are not.
    assert!(top + height <= 55 && left >= 35, "{:?}", estimate.window);
    assert_eq!(estimate.window.degrees()[3], width as f32);
}

/// Neurons of a planted population are found where they are; the quality figure tells good from
/// noisy, and the test trials have no say.
#[test]
fn planted_centres_are_found() {
    let images = images(500, 50, 80, 8);
    let mut recording = recording(&images, (22.0, 50.0), 6.0, 30, 1.0);
    // Ten more without any field.
    let mut responses = Array2::zeros((recording.presentations(), 40));
    responses.slice_mut(s![.., ..30]).assign(recording.responses());
    let mut stream = Seed::new(3).stream("noise");
    responses.slice_mut(s![.., 30..]).mapv_inplace(|_: f32| StandardNormal.sample(&mut stream));
    recording = Recording::new("planted", responses, recording.stimulus().to_vec(), 500).unwrap();
    let split = split(&recording);
    let views = split.views(&recording).unwrap();
    let fit = |responses: &Array2<f32>| {
        ReceptiveFields::fit(&views.train, &images, responses, &FieldConfig::default()).unwrap()
    };
    let found = fit(recording.responses());
    assert!(found.reason.is_none());
    // The centres as `recording` drew them.
    let mut stream = Seed::new(99).stream("neurons");
    let mut normal = || -> f32 { StandardNormal.sample(&mut stream) };
    let truth: Vec<[f32; 2]> = (0..30).map(|_| [22.0 + 6.0 * normal(), 50.0 + 6.0 * normal()]).collect();
    // Every other neuron answers to grey itself, the rest to its square, which cells say little about.
    let mut errors: Vec<f32> = (0..30)
        .step_by(2)
        .filter_map(|n| {
            found.fields[n].centre.map(|c| (c[0] - truth[n][0] - 0.5).hypot(c[1] - truth[n][1] - 0.5))
        })
        .collect();
    errors.sort_by(f32::total_cmp);
    assert_eq!(errors.len(), 15);
    assert!(errors[7] < 1.0 && errors[14] < 2.5, "{errors:?}");
    let false_centres = found.fields[30..].iter().filter(|f| f.centre.is_some()).count();
    assert!(false_centres <= 2, "{false_centres}");
    let quality = |n: usize| found.fields[n].correlation;
    assert!((0..30).step_by(2).all(|n| quality(n) > 0.5) && (30..40).all(|n| quality(n) < 0.2));

    let mut changed = recording.responses().clone();
    for row in views.test.rows().into_iter().chain(views.validation.rows()) {
        changed.row_mut(row).fill(1e3);
    }
    assert_eq!(fit(&changed), found);
}

/// The truth of the simulator has the centre of every neuron.
#[test]
fn centres_of_simulated_cortex_are_found_and_none_without_signal() {
    use crate::simulate::{Population, SimulationConfig, simulate};
    for population in [Population::V1, Population::Null] {
        let config = SimulationConfig {
            neurons: 60,
            images: if population == Population::Null { 200 } else { 900 },
            height: 48,
            width: 96,
            spontaneous_bins: 0,
            ..SimulationConfig::new(population)
        };
        let simulated = simulate(&config, &|_| ()).unwrap();
        let recording = &simulated.recording;
        let split = split(recording);
        let views = split.views(recording).unwrap();
        let fitted = crate::Preset::Standard.fit(&views.train).unwrap();
        let responses = fitted.apply(recording).unwrap();
        let found =
            ReceptiveFields::fit(&views.train, &simulated.images, &responses, &FieldConfig::default())
                .unwrap();
        assert!(found.fields.iter().all(|f| f.p > 0.0 && f.p <= f.q && f.q <= 1.0));
        if population == Population::Null {
            assert!(found.fields.iter().all(|f| f.centre.is_none()));
            assert!(found.reason.unwrap().contains("not predicted"));
            continue;
        }
        let truth = |n: usize| &simulated.truth.neurons[fitted.neurons()[n]];
        let informative = (0..found.fields.len()).filter(|&n| truth(n).informative).count();
        let centred: Vec<(usize, [f32; 2])> =
            found.fields.iter().enumerate().filter_map(|(n, f)| Some((n, f.centre?))).collect();
        let median = |mut errors: Vec<f32>| {
            errors.sort_by(f32::total_cmp);
            errors[errors.len() / 2]
        };
        let error = median(
            centred.iter().map(|&(n, c)| (c[0] - truth(n).row).hypot(c[1] - truth(n).column)).collect(),
        );
        // What knowing the middle of the population alone would give.
        let count = centred.len() as f32;
        let middle = [0, 1]
            .map(|k| centred.iter().map(|&(n, _)| [truth(n).row, truth(n).column][k]).sum::<f32>() / count);
        let blind = median(
            centred
                .iter()
                .map(|&(n, _)| (middle[0] - truth(n).row).hypot(middle[1] - truth(n).column))
                .collect(),
        );
        assert!(2 * centred.len() > informative, "{} of {informative}", centred.len());
        // Fields are 16 degrees wide; with more images the error falls below 4.
        assert!(error < 8.0 && error < 0.5 * blind, "{error} against {blind}");
    }
}

#[test]
fn a_region_grows_from_what_stands_out_only() {
    let energy = [
        0.9, 0.3, 0.0, 0.0, 0.0, //
        0.0, 0.3, 0.1, 0.0, 0.4, //
        0.0, 0.0, 0.3, -0.15, 0.4,
    ];
    // The chain of 0.3 hangs on 0.9; 0.4 on the right touches nothing above 0.5.
    assert_eq!(connected(&energy, 0.5, 0.2, (3, 5)), [0, 1, 6, 12]);
    // Cells no further above 0 than the lowest is below do not count.
    assert_eq!(connected(&energy, 0.5, 0.05, (3, 5)), [0, 1, 6, 12]);
    // Nor does what is surely there, and small.
    assert_eq!(connected(&energy, 0.05, 0.5, (3, 5)), [0]);
    assert!(connected(&energy, 1.0, 0.2, (3, 5)).is_empty());
}

#[test]
fn test_trials_do_not_move_the_window() {
    let images = images(150, 40, 40, 2);
    let recording = recording(&images, (20.0, 20.0), 3.0, 10, 0.5);
    let split = split(&recording);
    let views = split.views(&recording).unwrap();
    let mut responses = recording.responses().clone();
    let fit = |responses: &Array2<f32>| {
        WindowEstimate::fit(&views.train, &images, responses, &WindowConfig::default()).unwrap()
    };
    let before = fit(&responses);
    for row in views.test.rows().into_iter().chain(views.validation.rows()) {
        responses.row_mut(row).fill(1e3);
    }
    assert_eq!(fit(&responses), before);
}

#[test]
fn without_signal_or_data_the_whole_image_is_used_and_the_reason_given() {
    let images = images(200, 40, 60, 3);
    let noise = recording(&images, (20.0, 20.0), 3.0, 20, 1e4);
    for (config, count, says) in
        [(WindowConfig::default(), 200, "not predicted"), (WindowConfig::default(), 45, "too few")]
    {
        let ids = |range: std::ops::Range<u32>| range.collect::<Vec<_>>();
        let split = Split::new(200, ids(0..count - 10), ids(190..195), ids(195..200)).unwrap();
        let views = split.views(&noise).unwrap();
        let estimate = WindowEstimate::fit(&views.train, &images, noise.responses(), &config).unwrap();
        assert_eq!(estimate.window, Window::whole(&images));
        let fields = FieldConfig { window: config, ..FieldConfig::default() };
        let fields = ReceptiveFields::fit(&views.train, &images, noise.responses(), &fields).unwrap();
        assert!(fields.reason.unwrap().contains(says) && fields.fields.iter().all(|f| f.centre.is_none()));
        let WindowSource::WholeImage { reason } = estimate.source else {
            panic!("{estimate:?}");
        };
        assert!(reason.contains(says), "{reason}");
    }
}

#[test]
fn one_thread_and_two_agree() {
    let images = images(150, 40, 60, 4);
    let recording = recording(&images, (20.0, 30.0), 3.0, 12, 0.5);
    let split = split(&recording);
    let views = split.views(&recording).unwrap();
    let run = |threads| {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| {
            ReceptiveFields::fit(&views.train, &images, recording.responses(), &FieldConfig::default())
                .unwrap()
        })
    };
    assert_eq!(run(1), run(2));
}

#[test]
fn standardised_training_images_have_mean_0_and_sd_1() {
    let images = images(60, 30, 40, 5);
    let recording = recording(&images, (15.0, 20.0), 2.0, 3, 0.5);
    let split = split(&recording);
    let views = split.views(&recording).unwrap();
    let window = Window { top: 4, left: 5, height: 20, width: 31, degrees_per_pixel: 1.0 };
    let resized = images.crop_resize(&window, 2.5).unwrap();
    assert_eq!(resized.dim(), (60, 8, 12));
    let statistics = PixelStatistics::fit(&views.train, &resized).unwrap();
    let train = images.standardised(&views.train, &window, 2.5, &statistics).unwrap();
    assert!(train.mean_axis(Axis(0)).unwrap().iter().all(|m| m.abs() < 1e-4));
    let variance = train.mapv(|v| v * v).mean().unwrap();
    assert!((variance - 1.0).abs() < 1e-4);
    // The test images had no say.
    let mut changed = resized.clone();
    for &image in views.test.images() {
        changed.index_axis_mut(Axis(0), image as usize).fill(7.0);
    }
    assert_eq!(PixelStatistics::fit(&views.train, &changed).unwrap(), statistics);
    assert!(statistics.apply(&mut Array3::zeros((2, 8, 11))).is_err());
    changed.fill(3.0);
    assert!(PixelStatistics::fit(&views.train, &changed).is_err());
}

#[test]
fn a_window_outside_the_image_is_refused() {
    let images = images(2, 30, 40, 6);
    let whole = Window::whole(&images);
    assert_eq!(images.crop_resize(&whole, 1.0).unwrap(), images.pixels.mapv(f32::from));
    for window in
        [Window { height: 0, ..whole }, Window { top: 1, ..whole }, Window { left: usize::MAX, ..whole }]
    {
        assert!(images.crop_resize(&window, 1.0).is_err());
    }
    assert!(images.crop_resize(&whole, 0.0).is_err());
    assert!(images.crop_resize(&whole, f32::NAN).is_err());
    let uniform = Images { pixels: Array3::from_elem((60, 30, 40), 9), degrees_per_pixel: 1.0 };
    let answers = recording(&self::images(60, 30, 40, 6), (15.0, 20.0), 2.0, 3, 0.5);
    let split = split(&answers);
    let views = split.views(&answers).unwrap();
    let fields =
        ReceptiveFields::fit(&views.train, &uniform, answers.responses(), &FieldConfig::default()).unwrap();
    assert!(fields.reason.is_some() && fields.fields.iter().all(|f| f.correlation == 0.0 && f.p == 1.0));
    // Larger pixels than the image: one is left.
    assert_eq!(images.crop_resize(&whole, 1000.0).unwrap().dim(), (2, 1, 1));
}
