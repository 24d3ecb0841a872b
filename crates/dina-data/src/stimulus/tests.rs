use std::f32::consts::{PI, TAU};

use approx::assert_abs_diff_eq;
use dina_core::Seed;
use ndarray::{Array2, Array3, Axis, s};
use rand::RngExt;
use rand_distr::{Distribution, StandardNormal};

use super::fourier::Spectral;
use super::*;
use crate::{Images, Window};

/// Overlapping rectangles of random grey: edges at all scales, as in photographs.
fn scenes(count: usize, height: usize, width: usize, degrees: f32) -> Stack {
    let mut random = Seed::new(11).stream("scenes");
    let mut pixels = Array3::from_elem((count, height, width), 128.0);
    for mut image in pixels.axis_iter_mut(Axis(0)) {
        for _ in 0..40 {
            let (y, x) = (random.random_range(0..height), random.random_range(0..width));
            let (h, w) = (random.random_range(2..height / 2), random.random_range(2..width / 2));
            let grey = 255.0 * random.random::<f32>();
            image.slice_mut(s![y..(y + h).min(height), x..(x + w).min(width)]).fill(grey);
        }
    }
    Stack::new(pixels, degrees).unwrap()
}

fn noise(count: usize, height: usize, width: usize) -> Stack {
    let mut random = Seed::new(12).stream("noise");
    let pixels = Array3::from_shape_simple_fn((count, height, width), || -> f32 {
        StandardNormal.sample(&mut random)
    });
    Stack::new(pixels * 20.0 + 100.0, 1.0).unwrap()
}

fn run(transform: impl StackTransform, stack: &Stack) -> Stack {
    transform.apply(stack, Seed::new(5)).unwrap()
}

fn close(a: &Stack, b: &Stack, tolerance: f32) -> bool {
    a.pixels().dim() == b.pixels().dim()
        && a.pixels().iter().zip(b.pixels()).all(|(a, b)| (a - b).abs() <= tolerance)
}

fn means(stack: &Stack) -> Vec<f32> {
    stack
        .pixels()
        .axis_iter(Axis(0))
        .map(|i| i.iter().map(|&v| f64::from(v)).sum::<f64>() as f32 / i.len() as f32)
        .collect()
}

/// Amplitudes of every image.
fn amplitudes(stack: &Stack) -> Vec<Vec<f64>> {
    let spectral = Spectral::new(stack.size(), Border::Periodic);
    stack
        .pixels()
        .axis_iter(Axis(0))
        .map(|i| spectral.analyse(i).iter().map(|c| c.norm()).collect())
        .collect()
}

fn total(energy: &BandEnergy) -> f64 {
    energy.energy.iter().flatten().chain(&energy.outside).sum()
}

#[test]
fn bands_add_up_to_the_variance() {
    let stack = scenes(3, 20, 27, 0.7);
    for border in [Border::Mirror, Border::Periodic] {
        let energy = band_energy(&stack, &[0.05, 0.1, 0.4], border).unwrap();
        for (i, image) in stack.pixels().axis_iter(Axis(0)).enumerate() {
            let variance = image.mapv(f64::from).var(0.0);
            let sum = energy.energy[i].iter().sum::<f64>() + energy.outside[i];
            assert!((sum / variance - 1.0).abs() < 1e-6, "{sum} of {variance}");
        }
    }
    for edges in [&[0.1][..], &[0.2, 0.1], &[-0.1, 0.2], &[0.1, f32::NAN]] {
        assert!(band_energy(&stack, edges, Border::Mirror).is_err());
    }
    let edges = octave_edges(&scenes(1, 64, 80, 2.0));
    assert_eq!(edges, [0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25]);
}

#[test]
fn every_filter_leaves_its_band_and_nothing_else() {
    let stack = scenes(4, 48, 60, 0.5);
    let roll_off = 0.5f32;
    let half = (roll_off / 2.0).exp2();
    // Below, within and above 0.1 to 0.3 cycles per degree, transitions apart.
    let edges = [0.001, 0.1 / half, 0.1 * half, 0.3 / half, 0.3 * half, 1.5];
    for border in [Border::Mirror, Border::Periodic] {
        let before = band_energy(&stack, &edges, border).unwrap().mean();
        let passes: [(Pass, [f64; 5]); 3] = [
            (Pass::Low { cutoff: 0.1 }, [1.0, f64::NAN, 0.0, 0.0, 0.0]),
            (Pass::High { cutoff: 0.3 }, [0.0, 0.0, 0.0, f64::NAN, 1.0]),
            (Pass::Band { low: 0.1, high: 0.3 }, [0.0, f64::NAN, 1.0, f64::NAN, 0.0]),
        ];
        for (pass, expected) in passes {
            let filter = Filter { roll_off, border, ..Filter::new(pass) };
            let filtered = run(filter, &stack);
            let after = band_energy(&filtered, &edges, border).unwrap().mean();
            for (band, expected) in expected.into_iter().enumerate() {
                let kept = after[band] / before[band];
                if expected.is_nan() {
                    assert!((0.05..0.95).contains(&kept), "{pass:?} transition {kept}");
                } else {
                    // What is not exactly 0 is the rounding of grey levels to f32.
                    assert!((kept - expected).abs() < 1e-8, "{pass:?} band {band}: {kept}");
                }
            }
            for (a, b) in means(&filtered).iter().zip(means(&stack)) {
                assert_abs_diff_eq!(*a, b, epsilon = 1e-3);
            }
            let bare = run(Filter { keep_mean: false, ..filter }, &stack);
            let low = matches!(pass, Pass::Low { .. });
            assert!(means(&bare).iter().all(|m| (m.abs() > 1.0) == low));
        }
    }
}

#[test]
fn low_and_high_add_up_to_the_image_and_so_do_neighbouring_bands() {
    let stack = scenes(2, 31, 40, 1.0);
    let bare = |pass| run(Filter { keep_mean: false, ..Filter::new(pass) }, &stack).into_pixels();
    let two = bare(Pass::Low { cutoff: 0.1 }) + bare(Pass::High { cutoff: 0.1 });
    assert!((two - stack.pixels()).iter().all(|d| d.abs() < 1e-3));
    let three = bare(Pass::Low { cutoff: 0.08 })
        + bare(Pass::Band { low: 0.08, high: 0.2 })
        + bare(Pass::High { cutoff: 0.2 });
    assert!((three - stack.pixels()).iter().all(|d| d.abs() < 1e-3));
}

#[test]
fn a_grating_at_the_cut_off_is_halved_without_a_border() {
    // Ten half cycles over 40 pixels of 0.5 degrees: 0.25 cycles per degree.
    let grating = |amplitude: f32| {
        let pixels = Array3::from_shape_fn((1, 12, 40), |(.., x)| {
            90.0 + amplitude * (PI * 10.0 * (x as f32 + 0.5) / 40.0).cos()
        });
        Stack::new(pixels, 0.5).unwrap()
    };
    for pass in [Pass::Low { cutoff: 0.25 }, Pass::High { cutoff: 0.25 }] {
        assert!(close(&run(Filter::new(pass), &grating(20.0)), &grating(10.0), 1e-4));
    }
    // The stated gain, an eighth of an octave above: t = 3/4.
    let gain = Filter::new(Pass::Low { cutoff: 0.25 }).gain(0.25 * 2f64.powf(0.125));
    assert_abs_diff_eq!(gain, 0.5 * (1.0 + (0.75 * std::f64::consts::PI).cos()), epsilon = 1e-7);
}

#[test]
fn filters_out_of_range_are_refused() {
    let stack = scenes(1, 20, 20, 0.5);
    for pass in [
        Pass::Low { cutoff: 0.0 },
        Pass::Low { cutoff: 1.0 },
        Pass::High { cutoff: f32::NAN },
        Pass::Band { low: 0.3, high: 0.2 },
        Pass::Band { low: 0.3, high: 1.2 },
    ] {
        assert!(Filter::new(pass).apply(&stack, Seed::new(0)).is_err(), "{pass:?}");
    }
    let filter = Filter { roll_off: 0.0, ..Filter::new(Pass::Low { cutoff: 0.2 }) };
    assert!(filter.apply(&stack, Seed::new(0)).is_err());
}

#[test]
fn scrambling_keeps_every_amplitude_and_no_phase() {
    // Even and odd sizes: with and without frequencies that are their own negatives.
    for (height, width) in [(24, 30), (21, 33), (20, 27)] {
        let stack = scenes(3, height, width, 1.0);
        let scrambled = run(PhaseScramble::default(), &stack);
        for (a, b) in amplitudes(&stack).iter().zip(&amplitudes(&scrambled)) {
            let largest = a.iter().fold(0.0f64, |m, v| m.max(*v));
            assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-6 * largest));
        }
        for (a, b) in stack.pixels().axis_iter(Axis(0)).zip(scrambled.pixels().axis_iter(Axis(0))) {
            let (a, b) = (a.to_owned() - a.mean().unwrap(), b.to_owned() - b.mean().unwrap());
            let r = (&a * &b).sum() / ((&a * &a).sum() * (&b * &b).sum()).sqrt();
            assert!(r.abs() < 0.5, "{r}");
        }
        assert!(close(&run(PhaseScramble { strength: 0.0 }, &stack), &stack, 1e-3));
    }
    let stack = scenes(2, 16, 16, 1.0);
    let twice = stack.select(&[0, 0]).unwrap();
    let scrambled = run(PhaseScramble::default(), &twice);
    assert!(!close(&scrambled.select(&[0]).unwrap(), &scrambled.select(&[1]).unwrap(), 1.0));
    assert!(PhaseScramble { strength: 1.5 }.apply(&stack, Seed::new(0)).is_err());
}

#[test]
fn scrambled_phases_are_uniform() {
    let stack = scenes(300, 8, 8, 1.0);
    let scrambled = run(PhaseScramble::default(), &stack);
    let spectral = Spectral::new((8, 8), Border::Periodic);
    // Circular mean over images of the phase of a few frequencies: 0 for uniform phases, with
    // standard error 1/sqrt(300) for each part.
    for k in [1, 9, 19] {
        let sum: rustfft::num_complex::Complex<f64> = scrambled
            .pixels()
            .axis_iter(Axis(0))
            .map(|image| spectral.analyse(image)[k])
            .map(|c| c / c.norm())
            .sum();
        assert!((sum / 300.0).norm() < 0.2, "{k}: {sum}");
    }
}

#[test]
fn local_scrambling_keeps_tiles_or_local_grey_and_energy() {
    let stack = scenes(6, 48, 64, 0.5);
    let abutting = run(LocalPhaseScramble { patch: 8.0, tiles: Tiles::Abutting }, &stack);
    // 16 pixels fill both sides evenly.
    for top in (0..48).step_by(16) {
        for left in (0..64).step_by(16) {
            let tile = |stack: &Stack| {
                let part = stack.pixels().slice(s![.., top..top + 16, left..left + 16]).to_owned();
                amplitudes(&Stack::new(part, 0.5).unwrap())
            };
            for (a, b) in tile(&stack).concat().iter().zip(tile(&abutting).concat()) {
                assert!((a - b).abs() < 0.05, "{a} {b}");
            }
        }
    }
    let stack = scenes(40, 48, 64, 0.5);
    let overlapping = run(LocalPhaseScramble { patch: 8.0, tiles: Tiles::Overlapping }, &stack);
    // Finer than a quarter of a tile, energy is kept on average; coarser, the two windows spread it.
    let edges = [0.01, 0.03, 0.25, 0.5, 1.0];
    let [before, after] =
        [&stack, &overlapping].map(|s| band_energy(s, &edges, Border::Mirror).unwrap().mean());
    for (band, off) in [(1, 0.5), (2, 0.5), (3, 0.1)] {
        assert!((after[band] / before[band] - 1.0).abs() < off, "{before:?} {after:?}");
    }
    // Coarser, the image itself stays.
    let coarse = |stack: &Stack| run(Filter::new(Pass::Low { cutoff: 0.04 }), stack).into_pixels();
    let (a, b) = (coarse(&stack) - 128.0, coarse(&overlapping) - 128.0);
    let r = (&a * &b).sum() / ((&a * &a).sum() * (&b * &b).sum()).sqrt();
    assert!(r > 0.95, "{r}");
    let uniform = Stack::new(Array3::from_elem((1, 20, 30), 77.0), 1.0).unwrap();
    assert!(close(
        &run(LocalPhaseScramble { patch: 7.0, tiles: Tiles::Overlapping }, &uniform),
        &uniform,
        1e-3
    ));
    for patch in [0.0, 1.0, 40.0, f32::NAN] {
        assert!(LocalPhaseScramble { patch, tiles: Tiles::Overlapping }.apply(&stack, Seed::new(0)).is_err());
    }
}

#[test]
fn equalised_images_share_their_amplitudes_and_keep_their_phases() {
    let stack = scenes(4, 20, 26, 1.0);
    let equal = run(EqualiseAmplitude { isotropic: false }, &stack);
    let before = amplitudes(&stack);
    let after = amplitudes(&equal);
    for k in 0..20 * 26 {
        let mean = before.iter().map(|a| a[k]).sum::<f64>() / 4.0;
        assert!(after.iter().all(|a| (a[k] - mean).abs() < 1e-2), "{k}");
    }
    let spectral = Spectral::new((20, 26), Border::Periodic);
    for (a, b) in stack.pixels().axis_iter(Axis(0)).zip(equal.pixels().axis_iter(Axis(0))) {
        for (a, b) in spectral.analyse(a).iter().zip(spectral.analyse(b)) {
            assert!((a * b.conj()).arg().abs() < 1e-3 || a.norm() < 5.0);
        }
    }
    // In rings: the energy in every direction differs, the mean amplitude of a ring does not.
    let rings = run(EqualiseAmplitude { isotropic: true }, &stack);
    let f = spectral.frequencies(1.0);
    let ring = |a: &[f64]| {
        let chosen: Vec<f64> = (1..a.len()).filter(|&k| (f[k] * 26.0).round() == 4.0).map(|k| a[k]).collect();
        (chosen.iter().sum::<f64>() / chosen.len() as f64, chosen)
    };
    let found: Vec<_> = amplitudes(&rings).iter().map(|a| ring(a)).collect();
    assert!(found.iter().all(|(mean, _)| (mean / found[0].0 - 1.0).abs() < 1e-4));
    assert!(found[0].1.iter().zip(&found[1].1).any(|(a, b)| (a / b - 1.0).abs() > 0.2));
    // Fitted on some, imposed on others.
    let spectrum = AmplitudeSpectrum::measure(&stack.select(&[0, 1]).unwrap(), false).unwrap();
    let imposed = spectrum.impose(&stack).unwrap();
    let own = spectrum.impose(&stack.select(&[3]).unwrap()).unwrap();
    assert!(close(&imposed.select(&[3]).unwrap(), &own, 0.0));
    assert!(spectrum.impose(&scenes(1, 20, 20, 1.0)).is_err());
}

#[test]
fn whitened_power_is_flat_above_the_floor() {
    let stack = scenes(60, 32, 40, 1.0);
    let spectral = Spectral::new((32, 40), Border::Mirror);
    let power = |stack: &Stack| {
        let mut sum = vec![0.0; spectral.len()];
        for image in stack.pixels().axis_iter(Axis(0)) {
            sum.iter_mut().zip(spectral.analyse(image)).for_each(|(s, c)| *s += c.norm_sqr() / 60.0);
        }
        sum
    };
    let white = run(Whitening::Measured { floor: 1e-3, isotropic: false }, &stack);
    let (before, after) = (power(&stack), power(&white));
    let floor = 1e-3 * before.iter().skip(1).sum::<f64>() / (before.len() - 1) as f64;
    // P' = n P / (P + floor); frequencies that a mirrored image cannot have are 0 in both.
    let n = spectral.len() as f64;
    for (p, q) in before.iter().zip(&after).skip(1) {
        assert!((q / n - p / (p + floor)).abs() < 1e-4, "{p} {q}");
    }
    assert!(means(&white).iter().all(|m| m.abs() < 1e-4));
    // Energy of octaves: before it falls, after it grows with the number of frequencies, fourfold.
    let white = run(Whitening::default(), &stack);
    let edges = [0.03, 0.06, 0.12, 0.24, 0.48];
    let after = band_energy(&white, &edges, Border::Mirror).unwrap().mean();
    let before = band_energy(&stack, &edges, Border::Mirror).unwrap().mean();
    for band in 0..3 {
        assert!(before[band + 1] < 1.3 * before[band], "{before:?}");
        assert!((3.0..5.0).contains(&(after[band + 1] / after[band])), "{after:?}");
    }
    // A spectrum of 1/f, by the slope.
    let spectral = Spectral::new((64, 64), Border::Periodic);
    let falling: Vec<f64> =
        spectral.frequencies(1.0).iter().map(|f| if *f > 0.0 { 1.0 / f } else { 0.0 }).collect();
    let pink = noise(8, 64, 64).each(|_, image, out| spectral.scaled(image, &falling, out));
    let white = run(Whitening::Slope { exponent: 1.0, cutoff: 10.0 }, &pink);
    let after = band_energy(&white, &edges, Border::Mirror).unwrap();
    for band in 1..3 {
        let mean = after.mean();
        assert!((3.2..4.8).contains(&(mean[band + 1] / mean[band])), "{mean:?}");
    }
    assert_abs_diff_eq!(total(&after) / 8.0, 1.0, epsilon = 1e-4);
    for wrong in [
        Whitening::Measured { floor: 0.0, isotropic: true },
        Whitening::Slope { exponent: -1.0, cutoff: 0.2 },
        Whitening::Slope { exponent: 1.0, cutoff: 1e-6 },
    ] {
        assert!(wrong.apply(&stack, Seed::new(0)).is_err(), "{wrong:?}");
    }
    let uniform = Stack::new(Array3::from_elem((2, 8, 8), 3.0), 1.0).unwrap();
    assert!(Whitening::default().apply(&uniform, Seed::new(0)).is_err());
    assert!(Whitening::default().fit(&stack).unwrap().apply(&scenes(1, 32, 41, 1.0)).is_err());
}

#[test]
fn normalised_images_have_the_mean_and_contrast_asked_for() {
    let stack = scenes(3, 20, 30, 1.0);
    let image = run(Normalise { mean: 100.0, rms: Some(25.0), scope: Scope::Image }, &stack);
    for image in image.pixels().axis_iter(Axis(0)) {
        assert_abs_diff_eq!(image.mean().unwrap(), 100.0, epsilon = 1e-3);
        assert_abs_diff_eq!(image.std(0.0), 25.0, epsilon = 1e-3);
    }
    let all = run(Normalise { mean: 100.0, rms: Some(25.0), scope: Scope::Stack }, &stack);
    assert_abs_diff_eq!(all.pixels().mapv(f64::from).std(0.0), 25.0, epsilon = 1e-3);
    assert!(means(&all).iter().any(|m| (m - 100.0).abs() > 1.0));
    let moved = run(Normalise { mean: 0.0, rms: None, scope: Scope::Image }, &stack);
    assert_abs_diff_eq!(
        moved.pixels().index_axis(Axis(0), 1).std(0.0),
        stack.pixels().index_axis(Axis(0), 1).std(0.0),
        epsilon = 1e-2
    );
    let mut pixels = stack.pixels().clone();
    pixels.index_axis_mut(Axis(0), 2).fill(9.0);
    let error = Normalise::default().apply(&Stack::new(pixels, 1.0).unwrap(), Seed::new(0)).unwrap_err();
    assert!(error.to_string().contains("image 2"), "{error}");
}

#[test]
fn cropping_is_in_degrees() {
    let stack = scenes(2, 30, 40, 0.5);
    let area = Area { top: 2.0, left: 5.0, height: 6.0, width: 10.0 };
    let cut = run(Crop { area }, &stack);
    assert_eq!(cut.pixels(), stack.pixels().slice(s![.., 4..16, 10..30]));
    // The same window from an image of another resolution.
    let window = Window { top: 1, left: 2, height: 3, width: 5, degrees_per_pixel: 2.0 };
    assert_eq!(run(Crop { area: window.into() }, &stack).size(), (12, 20));
    let whole = Window::whole(&Images { pixels: Array3::zeros((1, 30, 40)), degrees_per_pixel: 0.5 });
    assert!(close(&run(Crop { area: whole.into() }, &stack), &stack, 0.0));
    for area in [Area { top: 12.0, ..area }, Area { width: 0.0, ..area }, Area { left: f32::NAN, ..area }] {
        assert!(Crop { area }.apply(&stack, Seed::new(0)).is_err());
    }
}

#[test]
fn resizing_keeps_what_fits_and_aliases_little() {
    let grating = |cycles: f32| {
        let pixels = Array3::from_shape_fn((1, 48, 96), |(.., x)| {
            100.0 + 50.0 * (TAU * cycles * (x as f32 + 0.5) / 96.0).sin()
        });
        Stack::new(pixels, 0.5).unwrap()
    };
    // To a third: the highest frequency left has 16 cycles over the width.
    for (kernel, fine, coarse) in [(Kernel::Area, 0.32, 0.9), (Kernel::Lanczos, 0.05, 0.95)] {
        let resize = |cycles| run(Resize { degrees_per_pixel: 1.5, kernel }, &grating(cycles));
        assert_eq!((resize(3.0).size(), resize(3.0).degrees_per_pixel()), ((16, 32), 1.5));
        // Away from the ends, where the kernel is cut.
        let amplitude = |stack: &Stack| {
            let middle = stack.pixels().slice(s![.., .., 6..26]);
            middle.std(0.0) * 2f32.sqrt() / 50.0
        };
        assert!(amplitude(&resize(26.0)) < fine, "{kernel:?} {}", amplitude(&resize(26.0)));
        assert!(amplitude(&resize(6.4)) > coarse, "{kernel:?} {}", amplitude(&resize(6.4)));
        let uniform = Stack::new(Array3::from_elem((1, 9, 14), 80.0), 1.0).unwrap();
        for degrees in [0.4, 1.0, 2.7, 50.0] {
            let made = run(Resize { degrees_per_pixel: degrees, kernel }, &uniform);
            assert!(made.pixels().iter().all(|v| (v - 80.0).abs() < 1e-3));
        }
        let same = run(Resize { degrees_per_pixel: 0.5, kernel }, &grating(7.0));
        assert!(close(&same, &grating(7.0), 1e-3));
        let tiny = Resize { degrees_per_pixel: 1e-9, kernel };
        assert!(tiny.apply(&uniform, Seed::new(0)).is_err());
    }
}

#[test]
fn occlusion_covers_what_is_asked() {
    let stack = scenes(5, 30, 40, 1.0);
    let area = Area { top: 3.0, left: 4.0, height: 5.0, width: 6.0 };
    let covered = run(Occlude { cover: Cover::Area(area), fill: Fill::Grey(-1.0) }, &stack);
    for ((i, y, x), v) in covered.pixels().indexed_iter() {
        let inside = (3..8).contains(&y) && (4..10).contains(&x);
        assert_eq!(*v, if inside { -1.0 } else { stack.pixels()[[i, y, x]] });
    }
    let half =
        run(Occlude { cover: Cover::Random { patch: 5.0, share: 0.5 }, fill: Fill::Grey(-1.0) }, &stack);
    for image in half.pixels().axis_iter(Axis(0)) {
        assert_eq!(image.iter().filter(|v| **v == -1.0).count(), 600);
    }
    let places = |i: u32| half.select(&[i]).unwrap().pixels().mapv(|v| v == -1.0);
    assert_ne!(places(0), places(1));
    let patch =
        run(Occlude { cover: Cover::Random { patch: 5.0, share: 1.0 }, fill: Fill::PatchMean }, &stack);
    assert_abs_diff_eq!(
        patch.pixels()[[1, 7, 8]],
        stack.pixels().slice(s![1, 5..10, 5..10]).mean().unwrap(),
        epsilon = 1e-2
    );
    let mean =
        run(Occlude { cover: Cover::Random { patch: 5.0, share: 1.0 }, fill: Fill::ImageMean }, &stack);
    assert_abs_diff_eq!(mean.pixels()[[2, 0, 0]], means(&stack)[2], epsilon = 1e-2);
    assert!(
        Occlude { cover: Cover::Random { patch: 5.0, share: 1.1 }, fill: Fill::ImageMean }
            .apply(&stack, Seed::new(0))
            .is_err()
    );
}

#[test]
fn shuffling_moves_every_tile_and_loses_none() {
    let stack = scenes(4, 31, 42, 0.5);
    let labels = stack.pixels().mapv(|v| v as u16);
    let stack = stack.with_labels(labels).unwrap();
    // Tiles of 10 pixels: 3 x 4 with a rim.
    let shuffled = run(ShufflePatches { patch: 5.0 }, &stack);
    for i in 0..4 {
        let sorted = |stack: &Stack| {
            let mut pixels: Vec<f32> = stack.pixels().index_axis(Axis(0), i).iter().copied().collect();
            pixels.sort_by(f32::total_cmp);
            pixels
        };
        assert_eq!(sorted(&stack), sorted(&shuffled));
    }
    assert_eq!(shuffled.pixels().mapv(|v| v as u16), shuffled.labels().unwrap());
    // Every pixel its own value: no tile stays, the rim does.
    let numbered =
        Stack::new(Array3::from_shape_fn((1, 31, 42), |(_, y, x)| (y * 42 + x) as f32), 0.5).unwrap();
    let moved = run(ShufflePatches { patch: 5.0 }, &numbered);
    for ((_, y, x), v) in moved.pixels().indexed_iter() {
        let rim = y >= 30 || !(1..41).contains(&x);
        assert_eq!(*v == (y * 42 + x) as f32, rim, "({y}, {x})");
    }
    assert!(ShufflePatches { patch: 20.0 }.apply(&stack, Seed::new(0)).is_err());
}

#[test]
fn shapes_come_from_labels_where_there_are_some() {
    let disc = |y: usize, x: usize| (y as f32 - 15.0).hypot(x as f32 - 22.0) < 9.0;
    let pixels =
        Array3::from_shape_fn(
            (2, 32, 44),
            |(i, y, x)| if i == 0 && disc(y, x) { 190.0 } else { 60.0 + 0.4 * x as f32 },
        );
    let stack = Stack::new(pixels, 1.0).unwrap();
    let found = run(Silhouette::default(), &stack);
    assert!(found.notes()[0].contains("segmentation; 1 of 2"), "{:?}", found.notes());
    let wrong = found
        .pixels()
        .index_axis(Axis(0), 0)
        .indexed_iter()
        .filter(|((y, x), v)| (**v == 40.0) != disc(*y, *x))
        .count();
    // The rim of 56 pixels may go either way.
    assert!(wrong < 30, "{wrong}");
    assert!(found.pixels().index_axis(Axis(0), 1).iter().all(|v| *v == 200.0));

    let labels = Array3::from_shape_fn((2, 32, 44), |(i, y, x)| u16::from(i == 1 && disc(y, x)) * 3);
    let labelled = stack.with_labels(labels).unwrap();
    let known = run(Silhouette::default(), &labelled);
    for ((i, y, x), v) in known.pixels().indexed_iter() {
        assert_eq!(*v, if i == 1 && disc(y, x) { 40.0 } else { 200.0 });
    }
    let lines = run(Contour::default(), &labelled);
    let drawn: Array2<bool> = lines.pixels().index_axis(Axis(0), 1).mapv(|v| v == 40.0);
    for ((y, x), line) in drawn.indexed_iter() {
        let r = (y as f32 - 15.0).hypot(x as f32 - 22.0);
        assert!(!line || (7.0..9.0).contains(&r), "{r}");
    }
    assert!(drawn.iter().filter(|l| **l).count() > 40);
    // Thicker lines cover more, and edges are found without labels.
    let thick = run(Contour { width: 4.0, ..Contour::default() }, &labelled);
    assert!(thick.pixels().iter().filter(|v| **v == 40.0).count() > 2 * drawn.iter().filter(|l| **l).count());
    let edges = run(Contour::default(), &found.select(&[0]).unwrap());
    assert!(edges.pixels().iter().any(|v| *v == 40.0));
    assert!(Contour { edges: 0.0, ..Contour::default() }.apply(&labelled, Seed::new(0)).is_err());
    assert!(Silhouette { smoothing: -1.0, ..Silhouette::default() }.apply(&labelled, Seed::new(0)).is_err());
}

/// One of each.
fn all() -> Vec<Transform> {
    let texture = TextureConfig { scales: 2, orientations: 3, neighbourhood: 5, iterations: 2 };
    vec![
        Crop { area: Area { top: 0.0, left: 2.0, height: 16.0, width: 20.0 } }.into(),
        Resize { degrees_per_pixel: 1.7, kernel: Kernel::Lanczos }.into(),
        Normalise::default().into(),
        Filter::new(Pass::Band { low: 0.05, high: 0.2 }).into(),
        PhaseScramble::default().into(),
        LocalPhaseScramble { patch: 6.0, tiles: Tiles::Overlapping }.into(),
        EqualiseAmplitude::default().into(),
        Whitening::default().into(),
        Whitening::Slope { exponent: 1.0, cutoff: 0.3 }.into(),
        Texture { config: texture }.into(),
        Silhouette::default().into(),
        Contour::default().into(),
        Occlude { cover: Cover::Random { patch: 4.0, share: 0.3 }, fill: Fill::Grey(3.0) }.into(),
        ShufflePatches { patch: 5.0 }.into(),
    ]
}

#[test]
fn every_transform_is_stored_repeatable_and_the_same_for_any_number_of_threads() {
    let stack = scenes(5, 24, 32, 1.0);
    let chain = Pipeline(all());
    let text = serde_json::to_string(&chain).unwrap();
    assert_eq!(serde_json::from_str::<Pipeline>(&text).unwrap(), chain);
    for transform in all() {
        let run = |threads| {
            rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap()
                .install(|| transform.apply(&stack, Seed::new(3)).unwrap())
        };
        let made = run(1);
        assert_eq!(made, run(2), "{}", transform.name());
        assert_eq!(made.len(), 5);
        assert!(made.pixels().iter().all(|v| v.is_finite()));
        // An image on its own becomes the same, unless the stack is measured.
        if !matches!(transform, Transform::EqualiseAmplitude(_) | Transform::Whiten(_)) {
            let first = transform.apply(&stack.select(&[0]).unwrap(), Seed::new(3)).unwrap();
            assert!(close(&first, &made.select(&[0]).unwrap(), 0.0), "{}", transform.name());
        }
    }
    let steps = chain.0[..3].to_vec();
    let by_hand =
        steps.iter().enumerate().fold(stack.clone(), |s, (i, t)| t.apply(&s, Seed::new(3).index(i)).unwrap());
    assert_eq!(Pipeline(steps).apply(&stack, Seed::new(3)).unwrap(), by_hand);
}
