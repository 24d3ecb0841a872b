//! Every hot path alone, with criterion: to see whether a change made one faster.
//!
//!     cargo bench -p dina-benches --bench hot_paths -- [FILTER]
//!
//! Sizes are those of a small recording, so that all of it takes about two minutes. Comparisons with other libraries are in `training`,
//! `analyses` and `load`; ceilings in `profile`.

use std::hint::black_box;
use std::time::Duration;

use candle_core::{DType, Device, Tensor, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use dina_benches::normal as matrix;
use dina_core::Seed;
use dina_decode::correlate;
use dina_decode::ridge::RidgeDesign;
use dina_interp::{AlignabilityConfig, alignability};
use dina_ops::check::normal;
use dina_ops::{
    AdamWStep, Convolution, Positives, StackParameters, adamw, convolve, grouped_cosine, image_stack,
    info_nce, normalized_mix, read_in,
};
use dina_stats::permutation::{Permutation, Scheme, mass};
use ndarray::Array4;

/// Images, channels, rows and columns of the maps, quadrature pairs, hidden channels, neurons.
const BATCH: usize = 64;
const CHANNELS: usize = 32;
const MAP: (usize, usize) = (18, 24);
const PAIRS: usize = 24;
const NEURONS: usize = 1000;

/// A variable of small random values.
fn var(name: &str, dims: &[usize]) -> Var {
    let tensor = normal(name, dims).and_then(|t| (t * 0.1)?.to_dtype(DType::F32));
    tensor.and_then(|t| Var::from_tensor(&t)).expect("a tensor of any size on the CPU")
}

/// Forward, and forward with backward.
fn operation(c: &mut Criterion, name: &str, run: impl Fn() -> candle_core::Result<Tensor>) {
    c.bench_function(&format!("{name}/forward"), |b| b.iter(|| black_box(run().expect("shapes that fit"))));
    let both = || run()?.sum_all()?.backward();
    c.bench_function(&format!("{name}/both"), |b| b.iter(|| black_box(both().expect("shapes that fit"))));
}

fn operations(c: &mut Criterion) {
    let positions = MAP.0 * MAP.1;
    let bank = Convolution { stride: 2, dilations: vec![1, 2, 4] };
    let pyramid = var("pyramid", &[BATCH, 3, 2 * MAP.0, 2 * MAP.1]).as_tensor().detach();
    let kernels = var("kernels", &[2 * PAIRS, 1, 9, 9]);
    operation(c, "convolve", || convolve(&pyramid, &kernels, &bank));

    let filtered = var("filtered", &[BATCH, 2 * PAIRS, MAP.0, MAP.1]);
    let pool =
        Var::from_tensor(&(var("pool", &[5 * PAIRS + 1]).abs().and_then(|t| t + 0.1)).expect("a tensor"))
            .expect("a tensor");
    let mixing = var("mixing", &[CHANNELS, 5 * PAIRS]);
    operation(c, "normalized_mix", || normalized_mix(&filtered, &pool, &mixing));

    let local_in = var("local in", &[CHANNELS, CHANNELS, 3, 3]);
    let square = var("square", &[CHANNELS, CHANNELS]);
    let (bias, center) = (var("bias", &[CHANNELS]), var("center", &[CHANNELS, MAP.0, MAP.1]));
    let parameters = StackParameters {
        kernels: &kernels,
        pool: &pool,
        mixing: &mixing,
        local_in: &local_in,
        local_bias: &bias,
        local_out: &square,
        gain: &square,
        shift: &square,
        center: &center,
    };
    operation(c, "image_stack", || image_stack(&pyramid, &parameters, &bank));

    let responses = var("responses", &[BATCH, NEURONS]).as_tensor().detach();
    let (features, masks) =
        (var("features", &[NEURONS, 4, CHANNELS]), var("masks", &[NEURONS, 4, positions]));
    operation(c, "read_in", || read_in(&responses, &features, &masks));

    let (trials, images) =
        (var("trials", &[BATCH, CHANNELS * positions]), var("images", &[BATCH, CHANNELS * positions]));
    operation(c, "grouped_cosine/flat", || grouped_cosine(&trials, &images, 1));
    operation(c, "grouped_cosine/per channel", || grouped_cosine(&trials, &images, CHANNELS));

    let ids: Vec<u32> = (0..256).collect();
    let positives = Positives::new(&ids, &ids).expect("a positive for everyone");
    let (similarity, scale) =
        (var("similarity", &[256, 256]), Var::new(2f32, &Device::Cpu).expect("a scalar"));
    operation(c, "info_nce", || info_nce(&similarity, &scale, &positives));

    let [w, g, m, v] = ["weights", "gradient", "first", "second"].map(|name| var(name, &[1 << 21]));
    let v = Var::from_tensor(&v.abs().expect("a tensor")).expect("a tensor");
    let step =
        AdamWStep { rate: 1e-6, weight_decay: 0., betas: (0.9, 0.99), epsilon: 1e-8, step: 1, scale: 1. };
    c.bench_function("adamw", |b| b.iter(|| adamw(&w, &g, &m, &v, &step).expect("equal shapes")));
}

fn analyses(c: &mut Criterion) {
    let (a, b) = (matrix("a", 700, 2_500), matrix("b", 700, 2_500));
    c.bench_function("correlate", |bench| bench.iter(|| correlate(a.view(), b.view())));
    let (x, y) = (matrix("x", 500, 400), matrix("y", 500, 1_000));
    c.bench_function("ridge", |bench| {
        bench.iter(|| RidgeDesign::new(x.view(), None).and_then(|design| design.regress(y.view())));
    });
    let scheme = Scheme::sign_flip(100).expect("items to flip");
    let permutation = Permutation { count: 2_000, ..Permutation::default() };
    let data = matrix("data", 100, 2_500);
    c.bench_function("max_t", |bench| {
        bench.iter(|| mass::one_sample(&permutation, data.view(), &scheme, Seed::new(1)));
    });
    let maps = |name: &str| {
        let values = matrix(name, 100, 8 * 100).into_raw_vec_and_offset().0;
        Array4::from_shape_vec((100, 8, 10, 10), values).expect("as many values as the shape has")
    };
    let (image, neural) = (maps("image"), maps("neural"));
    let config = AlignabilityConfig::default();
    c.bench_function("alignability", |bench| {
        bench.iter(|| alignability(&image, &neural, &config, Seed::new(1)));
    });
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default().sample_size(10).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    targets = operations, analyses
}
criterion_main!(hot_paths);
