use ndarray::{Array2, ArrayView2};

use super::super::{PhaseScramble, similarity};
use super::*;

/// Discs of one size, lit from above, on a grey ground: edges, polarity, sparse and not normal.
fn pebbles(size: usize, seed: u64) -> Array2<f32> {
    use rand::RngExt;
    let mut random = Seed::new(seed).stream("pebbles");
    let mut image = Array2::from_elem((size, size), 90.0f32);
    for _ in 0..size * size / 80 {
        let (cy, cx) = (random.random::<f32>() * size as f32, random.random::<f32>() * size as f32);
        let level = 120.0 + 90.0 * random.random::<f32>();
        for ((y, x), v) in image.indexed_iter_mut() {
            let wrap = |d: f32| (d + 1.5 * size as f32) % size as f32 - 0.5 * size as f32;
            let (dy, dx) = (wrap(y as f32 - cy), wrap(x as f32 - cx));
            if dy.hypot(dx) < 4.5 {
                *v = level - 10.0 * dy;
            }
        }
    }
    image
}

fn errors(target: &TextureStatistics, image: ArrayView2<'_, f32>, config: &TextureConfig) -> Vec<GroupError> {
    target.compare(&TextureStatistics::measure(image, config).unwrap()).unwrap()
}

#[test]
fn a_synthesis_has_the_statistics_and_is_no_copy() {
    let config = TextureConfig::default();
    let source = pebbles(64, 1);
    let target = TextureStatistics::measure(source.view(), &config).unwrap();
    assert!(errors(&target, source.view(), &config).iter().all(|g| g.error == 0.0));

    let (made, report) = target.synthesise((64, 64), Seed::new(2)).unwrap();
    // What the report says is what is measured on the picture handed out (rounded to f32).
    let again = errors(&target, made.view(), &config);
    for (a, b) in report.groups.iter().zip(&again) {
        assert!((a.error - b.error).abs() < 1e-3, "{a:?} {b:?}");
    }
    let stack = Stack::new(source.clone().insert_axis(Axis(0)), 1.0).unwrap();
    let scrambled = PhaseScramble::default().apply(&stack, Seed::new(3)).unwrap();
    let scrambled = errors(&target, scrambled.pixels().index_axis(Axis(0), 0), &config);
    for (made, scrambled) in again.iter().zip(&scrambled) {
        assert!(made.error < TOLERANCE, "{made:?}");
        // The spectrum is what scrambling keeps.
        use StatisticsGroup as G;
        if !matches!(made.group, G::Autocorrelation | G::HighPass | G::CoefficientsAcrossOrientations) {
            assert!(made.error < 0.5 * scrambled.error, "{made:?} {scrambled:?}");
        }
    }
    let alike = similarity(source.view(), made.view()).unwrap();
    assert!(alike < 0.5, "{alike}");
    // Unrelated pictures of the same kind are as alike.
    let other = similarity(source.view(), pebbles(64, 9).view()).unwrap();
    assert!(alike < other + 0.15, "{alike} against {other}");
}

/// Relative error of every group after the default rounds; 0.05 was reached.
const TOLERANCE: f64 = 0.08;

#[test]
fn a_copy_is_known_however_moved() {
    let source = pebbles(32, 4);
    let moved = Array2::from_shape_fn((32, 32), |(y, x)| 3.0 * source[[(y + 5) % 32, (x + 30) % 32]] - 7.0);
    assert!((similarity(source.view(), moved.view()).unwrap() - 1.0).abs() < 1e-5);
    assert_eq!(similarity(source.view(), Array2::zeros((32, 32)).view()).unwrap(), 0.0);
    assert!(similarity(source.view(), Array2::zeros((32, 31)).view()).is_err());
}

/// A picture without noise has bands in which nothing is, and magnitudes that never change: errors
/// have to stay numbers that mean something.
#[test]
fn a_texture_of_few_frequencies() {
    let stripes = Array2::from_shape_fn((32, 32), |(y, x)| ((x + y / 4) % 8) as f32 * 20.0);
    let config = TextureConfig { scales: 2, ..TextureConfig::default() };
    let target = TextureStatistics::measure(stripes.view(), &config).unwrap();
    let (_, report) = target.synthesise((32, 48), Seed::new(1)).unwrap();
    assert!(report.worst() < 0.15, "{report:?}");
}

#[test]
fn sizes_that_are_no_power_and_stacks() {
    let config = TextureConfig { scales: 2, orientations: 3, neighbourhood: 5, iterations: 8 };
    let pixels = Array3::from_shape_fn((2, 37, 50), |(i, y, x)| pebbles(64, i as u64)[[y, x]]);
    let stack = Stack::new(pixels, 1.5).unwrap();
    let texture = Texture { config };
    let (made, reports) = texture.synthesise(&stack, Seed::new(5)).unwrap();
    assert_eq!((made.pixels().dim(), reports.len()), ((2, 37, 50), 2));
    assert!(reports.iter().all(|r| r.worst().is_finite() && r.iterations == 8));
    let run = |threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| texture.apply(&stack, Seed::new(5)).unwrap())
    };
    assert_eq!(run(1), run(2));
    assert_eq!(run(1).pixels(), made.pixels());
    assert!(run(1).notes()[0].contains("largest relative error"));
    // A larger picture from a small source.
    let target = TextureStatistics::measure(stack.pixels().index_axis(Axis(0), 0), &config).unwrap();
    assert_eq!(target.synthesise((64, 70), Seed::new(1)).unwrap().0.dim(), (64, 70));
}

#[test]
fn what_cannot_be_is_refused() {
    let config = TextureConfig::default();
    let measure =
        |image: &Array2<f32>, config: &TextureConfig| TextureStatistics::measure(image.view(), config);
    let small = measure(&pebbles(24, 1), &config).unwrap_err().to_string();
    assert!(small.contains("fewer scales"), "{small}");
    assert!(measure(&Array2::from_elem((64, 64), 7.0), &config).is_err());
    for config in [
        TextureConfig { scales: 0, ..config },
        TextureConfig { orientations: 1, ..config },
        TextureConfig { neighbourhood: 4, ..config },
        TextureConfig { iterations: 0, ..config },
    ] {
        assert!(measure(&pebbles(64, 1), &config).is_err());
    }
    let target = measure(&pebbles(64, 1), &config).unwrap();
    assert!(target.synthesise((20, 64), Seed::new(0)).is_err());
    let other = measure(&pebbles(64, 1), &TextureConfig { scales: 2, ..config }).unwrap();
    assert!(target.compare(&other).is_err());
}
