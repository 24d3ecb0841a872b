//! Where the time of a training step goes, against what the machine could do.
//!
//!     cargo bench -p dina-benches --bench profile -- [--neurons N] [--batch N] [--threads N]
//!
//! First the two ceilings are measured: the rate of a large matrix product, and the bandwidth of a copy. Then every part
//! of a step of the default towers runs alone: milliseconds, floating-point operations counted from the shapes, the rate, and its
//! share of the measured ceiling. Medians.

use std::convert::Infallible;
use std::error::Error;
use std::time::Instant;

use candle_core::{CpuStorage, CustomOp1, Device, Layout, Shape, Tensor, Var};
use dina_benches::{Flags, IMAGE, median, timed};
use dina_core::{Mode, Objective, Seed, Targets, Tower};
use dina_loss::{InfoNce, InfoNceConfig, Similarity, cosine_logits};
use dina_model::{Factorised, GaborConfig, ImageTower, ImageTowerConfig, LEVEL};
use dina_ops::{Convolution, convolve, normalized_mix, read_in};
use dina_train::{AdamW, TrainConfig};
use rand_distr::{Distribution, StandardNormal};
use rayon::prelude::*;

const REPEATS: usize = 9;

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse(&["--neurons", "--batch", "--threads"], &[])?;
    let (neurons, batch) = (flags.number("--neurons", 3000)?, flags.number("--batch", 256)?);
    dina_ops::keep_large_blocks();
    rayon::ThreadPoolBuilder::new().num_threads(flags.number("--threads", 2)?).build_global()?;
    let ceiling = product_rate();
    println!(
        "{neurons} neurons, batch {batch}, {} threads; matrix product {ceiling:.0} GFLOP/s, copy {:.1} GB/s",
        rayon::current_num_threads(),
        copy_rate()
    );
    let mut table = Table { ceiling };
    parts(&mut table, neurons, batch)?;
    whole(&mut table, neurons, batch)
}

/// GFLOP/s of a 2048 x 2048 x 2048 product.
fn product_rate() -> f64 {
    let n = 2048;
    let (a, b) = (vec![0.5f32; n * n], vec![0.25f32; n * n]);
    let mut c = vec![0f32; n * n];
    let Ok(seconds) = timed(REPEATS, || {
        // SAFETY: three row-major n x n matrices, the result borrowed exclusively.
        unsafe {
            gemm::gemm(
                n,
                n,
                n,
                c.as_mut_ptr(),
                1,
                n as isize,
                false,
                a.as_ptr(),
                1,
                n as isize,
                b.as_ptr(),
                1,
                n as isize,
                0.,
                1.,
                false,
                false,
                false,
                gemm::Parallelism::Rayon(0),
            );
        }
        Ok::<_, Infallible>(())
    });
    2. * (n as f64).powi(3) / seconds / 1e9
}

/// GB/s read plus written by a copy on all threads.
fn copy_rate() -> f64 {
    let from = vec![1f32; 1 << 26];
    let mut to = vec![0f32; 1 << 26];
    let Ok(seconds) = timed(REPEATS, || {
        to.par_chunks_mut(1 << 16)
            .zip(from.par_chunks(1 << 16))
            .for_each(|(to, from)| to.copy_from_slice(from));
        Ok::<_, Infallible>(())
    });
    8. * from.len() as f64 / seconds / 1e9
}

struct Table {
    ceiling: f64,
}

impl Table {
    fn line(&self, name: &str, seconds: f64, operations: f64) {
        let rate = operations / seconds / 1e9;
        let share = 100. * rate / self.ceiling;
        println!(
            "{name:34} {:8.2} ms {:8.2} GFLOP {rate:7.1} GFLOP/s {share:5.0} %",
            1e3 * seconds,
            operations / 1e9
        );
    }

    /// Times an operation forward, and backward from a gradient of ones, as the difference.
    fn operation(
        &mut self,
        name: &str,
        (forward, backward): (f64, f64),
        run: impl Fn() -> candle_core::Result<Tensor>,
    ) -> Result<(), Box<dyn Error>> {
        let output = run()?;
        let gradient = Tensor::ones(output.shape(), output.dtype(), output.device())?;
        self.line(&format!("{name}, forward"), timed(REPEATS, || run().map(drop))?, forward);
        let seconds: Vec<f64> = (0..=REPEATS)
            .map(|_| {
                let seeded = run()?.apply_op1(SeedGradient(gradient.clone()))?;
                let start = Instant::now();
                let store = seeded.backward()?;
                let seconds = start.elapsed().as_secs_f64();
                drop(store);
                Ok(seconds)
            })
            .collect::<candle_core::Result<_>>()?;
        self.line(&format!("{name}, backward"), median(&seconds[1..]), backward);
        Ok(())
    }
}

/// A scalar whose gradient with respect to its input is a given tensor: times a backward pass alone.
struct SeedGradient(Tensor);

impl CustomOp1 for SeedGradient {
    fn name(&self) -> &'static str {
        "seed_gradient"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.]), Shape::from(())))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, _: &Tensor) -> candle_core::Result<Option<Tensor>> {
        Ok(Some(self.0.clone()))
    }
}

fn normal(name: &str, dims: &[usize]) -> candle_core::Result<Tensor> {
    let mut stream = Seed::new(1).stream(name);
    let values: Vec<f32> = (0..dims.iter().product()).map(|_| StandardNormal.sample(&mut stream)).collect();
    Tensor::from_vec(values, dims, &Device::Cpu)
}

fn var(name: &str, dims: &[usize], scale: f64) -> candle_core::Result<Var> {
    Var::from_tensor(&(normal(name, dims)? * scale)?)
}

/// The fused operations alone, at the shapes of the default towers.
fn parts(table: &mut Table, neurons: usize, batch: usize) -> Result<(), Box<dyn Error>> {
    let gabor = GaborConfig::default();
    let (rows, columns) = (IMAGE.0.div_ceil(gabor.stride), IMAGE.1.div_ceil(gabor.stride));
    let (positions, pairs, channels, hidden) = (rows * columns, gabor.pairs(), 32, 32);
    let (b, p, c) = (batch as f64, positions as f64, channels as f64);

    let pyramid = normal("images", &[batch, 3, IMAGE.0, IMAGE.1])?;
    let kernels = var("kernels", &[2 * pairs, 1, gabor.kernel, gabor.kernel], 0.1)?;
    let bank = Convolution { stride: gabor.stride, dilations: gabor.dilations.clone() };
    let taps = 2. * b * p * (2 * pairs * gabor.kernel * gabor.kernel) as f64;
    table.operation("Gabor bank", (taps, taps), || convolve(&pyramid, &kernels, &bank))?;

    let filtered = var("filtered", &[batch, 2 * pairs, rows, columns], 1.)?;
    let pool = Var::from_tensor(&(normal("pool", &[5 * pairs + 1])?.abs()? + 0.1)?)?;
    let mixing = var("mixing", &[channels, 5 * pairs], 0.1)?;
    let mix = 2. * b * p * c * (5 * pairs) as f64;
    table.operation("normalised mix", (mix, 2. * mix), || normalized_mix(&filtered, &pool, &mixing))?;

    let z = var("z", &[batch, channels, rows, columns], 1.)?;
    let local = var("local", &[hidden, channels, 3, 3], 0.1)?;
    let conv = 2. * b * p * c * (hidden * 9) as f64;
    table
        .operation("3 x 3 convolution", (conv, 2. * conv), || convolve(&z, &local, &Convolution::dense()))?;

    let responses = normal("responses", &[batch, neurons])?;
    let features = var("features", &[neurons, 4, channels], 0.1)?;
    let masks = var("masks", &[neurons, 4, positions], 0.1)?;
    let map = 2. * neurons as f64 * c * p;
    table
        .operation("read-in", (map * (b + 4.), map * (b + 8.)), || read_in(&responses, &features, &masks))?;

    let (a, n) =
        (var("a", &[batch, channels, rows, columns], 1.)?, var("n", &[batch, channels, rows, columns], 1.)?);
    let logits = 2. * b * b * c * p;
    let maps = |v: &Var| dina_core::FeatureMaps::single(LEVEL, v.as_tensor().clone());
    table.operation("cosine logits", (logits, 2. * logits), || {
        let run = || cosine_logits(&maps(&n)?, &maps(&a)?, Similarity::Flat);
        run().map_err(candle_core::Error::wrap)
    })
}

/// The towers, the objective and the optimiser.
fn whole(table: &mut Table, neurons: usize, batch: usize) -> Result<(), Box<dyn Error>> {
    let config = ImageTowerConfig {
        height: IMAGE.0,
        width: IMAGE.1,
        degrees_per_pixel: 2.,
        gabor: GaborConfig::default(),
        channels: 32,
        hidden: 32,
    };
    let image = ImageTower::new(config, Seed::new(1), &Device::Cpu)?;
    let level = image.levels().remove(0);
    let (b, p) = (batch as f64, (level.height * level.width) as f64);
    let neural = Factorised::new(neurons, 4, level, 0.5, Seed::new(1), &Device::Cpu)?;
    let objective = InfoNce::new(InfoNceConfig::default(), &Device::Cpu)?;
    let images = normal("images", &[batch, 1, IMAGE.0, IMAGE.1])?;
    let responses = normal("responses", &[batch, neurons])?;

    let gabor = 2. * b * p * (48 * 81) as f64;
    let mix = 2. * b * p * (32 * 120) as f64;
    let local = 2. * b * p * (32 * 288 + 32 * 32) as f64;
    table.operation("image tower", (gabor + mix + local, gabor + 2. * (mix + local)), || {
        let maps = image.forward(&images, Mode::Eval).map_err(candle_core::Error::wrap)?;
        maps.get(LEVEL).cloned().map_err(candle_core::Error::wrap)
    })?;
    let map = 2. * neurons as f64 * 32. * p;
    let mut stream = Seed::new(1).stream("dropout");
    let stream = std::cell::RefCell::new(&mut stream);
    table.operation("neural tower", (map * (b + 4.), map * (b + 8.)), || {
        let maps = neural.forward(&responses, Mode::Train(&mut stream.borrow_mut()));
        maps.and_then(|maps| maps.get(LEVEL).cloned()).map_err(candle_core::Error::wrap)
    })?;
    let logits = 2. * b * b * 32. * p;
    let a = Var::from_tensor(image.forward(&images, Mode::Eval)?.get(LEVEL)?)?;
    let n = Var::from_tensor(neural.forward(&responses, Mode::Eval)?.get(LEVEL)?)?;
    let ids: Vec<u32> = (0..batch as u32).collect();
    let targets = Targets { trials: ids.clone(), images: ids, ..Targets::default() };
    table.operation("InfoNCE", (logits, 2. * logits), || {
        let maps = |v: &Var| dina_core::FeatureMaps::single(LEVEL, v.as_tensor().clone());
        let loss = || objective.loss(&maps(&a)?, &maps(&n)?, &targets)?.total();
        loss().map_err(candle_core::Error::wrap)
    })?;

    let mut parameters = image.parameters();
    parameters.extend(neural.parameters());
    let elements: usize = parameters.iter().map(|p| p.var.elem_count()).sum();
    let loss = parameters.iter().map(|p| p.var.sqr()?.sum_all()).collect::<candle_core::Result<Vec<_>>>()?;
    let gradients = Tensor::stack(&loss, 0)?.sum_all()?.backward()?;
    let mut optimiser = AdamW::new(parameters)?;
    let train = TrainConfig::default();
    let seconds = timed(REPEATS, || optimiser.step(&gradients, 1e-6, &train).map(drop))?;
    // Weights and two moments read and written, the gradient read twice.
    println!("{:34} {:8.2} ms, {:.1} GB/s", "AdamW", 1e3 * seconds, 32. * elements as f64 / seconds / 1e9);
    Ok(())
}
