//! Attribution of every channel to every neuron by the methods that use gradients: seconds and peak memory.
//!
//!     cargo bench -p dina-benches --bench attribution -- [--neurons N] [--channels N] [--images N] [--steps N] [--threads N]
//!
//! By default 10,000 neurons, 64 channels of 18 x 24 positions and 100 images, with 16 steps or samples. The tower is the factorised
//! read-in of the default job, a channel's target the dot product of its map with a given map of each image. Every
//! method runs in a process of its own, so that its peak memory is its own; the bound is the formula of
//! `dina_interp::attribution` with what the tower keeps for the rows of a pass.

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use candle_core::{Device, Tensor};
use dina_benches::{Flags, IMAGE, normal, numbers_of, peak_memory, reset_peak_memory};
use dina_core::{MapSpec, Seed};
use dina_interp::attribution::{ExpectedGradients, Explainer, IntegratedGradients, SmoothGrad, Target};
use dina_model::Factorised;
use ndarray::{Array2, Array3};

const METHODS: [&str; 4] = ["gradient-x-input", "integrated-gradients", "smooth-grad", "expected-gradients"];
const RANK: usize = 4;
/// Rows a pass, the default of the explainer.
const ROWS: usize = 64;
/// Neurons whose dense weights the read-in holds at a time.
const BLOCK: usize = 512;

struct Sizes {
    neurons: usize,
    channels: usize,
    images: usize,
    steps: usize,
}

fn main() -> Result<(), Box<dyn Error>> {
    let names = ["--neurons", "--channels", "--images", "--steps", "--threads", "--method"];
    let flags = Flags::parse(&names, &[])?;
    rayon::ThreadPoolBuilder::new().num_threads(flags.number("--threads", 2)?).build_global()?;
    let sizes = Sizes {
        neurons: flags.number("--neurons", 10_000)?,
        channels: flags.number("--channels", 64)?,
        images: flags.number("--images", 100)?,
        steps: flags.number("--steps", 16)?,
    };
    if let Some(method) = flags.text("--method") {
        let [seconds, bytes, worst] = measure(method, &sizes)?;
        println!("{seconds} {bytes} {worst}");
        return Ok(());
    }
    let Sizes { neurons, channels, images, steps } = sizes;
    println!("{neurons} neurons, {channels} channels, {images} images, {steps} steps or samples");
    let this = std::env::current_exe()?;
    for method in METHODS {
        let numbers = [neurons, channels, images, steps, rayon::current_num_threads()].map(|n| n.to_string());
        let mut command = Command::new(&this);
        command.args(["--method", method]);
        names[..5].iter().zip(&numbers).for_each(|(name, number)| {
            command.args([name, number.as_str()]);
        });
        let found = numbers_of(&mut command).ok_or("a measurement failed")?;
        let per = found[0] * 100. / images as f64;
        println!(
            "{method:22} {per:7.1} s per 100 images, {:6.0} MB above the start (bound {:.0} MB), complete to {:.1e}",
            found[1] / 1e6,
            bound(method, &sizes) / 1e6,
            found[2]
        );
    }
    Ok(())
}

/// Bytes: `8 (4 n d + 3 b d)`, `16 n d` more with standard errors, and what the read-in keeps for b rows of one channel: maps and
/// their gradients, a block of dense weights, and the copy of the channel's factors.
fn bound(method: &str, sizes: &Sizes) -> f64 {
    let (n, d, rows) = (sizes.images as f64, sizes.neurons as f64, ROWS as f64);
    let positions = (IMAGE.0 / 2 * (IMAGE.1 / 2)) as f64;
    let errors = if matches!(method, "smooth-grad" | "expected-gradients") { 16. * n * d } else { 0. };
    let tower =
        4. * (8. * rows * positions + 2. * BLOCK as f64 * positions + 4. * rows * d + RANK as f64 * d);
    8. * (4. * n * d + 3. * rows * d) + errors + tower
}

/// Seconds of all channels one after the other, bytes above the start, and the worst completeness (0 where there is none).
fn measure(method: &str, sizes: &Sizes) -> Result<[f64; 3], Box<dyn Error>> {
    let Sizes { neurons, channels, images, steps } = *sizes;
    let (height, width) = (IMAGE.0 / 2, IMAGE.1 / 2);
    let level = MapSpec { name: "v1".into(), channels, height, width };
    let seed = Seed::new(1);
    let tower = Factorised::new(neurons, RANK, level, 0.5, seed, &Device::Cpu)?;
    let tensor =
        |rows: &Array2<f32>| Tensor::from_iter(rows.iter().copied(), &Device::Cpu)?.reshape(rows.dim());
    let inputs = tensor(&normal("responses", images, neurons))?;
    let background = tensor(&normal("background", steps, neurons))?;
    let maps = normal("maps", images, height * width);
    let maps = Array3::from_shape_fn((images, height, width), |(i, y, x)| maps[[i, y * width + x]]);
    reset_peak_memory();
    let (before, start, mut worst) = (peak_memory().unwrap_or(0), Instant::now(), 0f64);
    for channel in 0..channels {
        let target = Target::channel_matching("v1", channel, maps.clone());
        let explainer = Explainer::new(&tower, target)?.with_batch(ROWS);
        let found = match method {
            "gradient-x-input" => explainer.gradient_input(&inputs)?,
            "integrated-gradients" => explainer
                .integrated_gradients(&inputs, &IntegratedGradients { steps, ..Default::default() })?,
            "smooth-grad" => {
                explainer.smooth_grad(&inputs, &SmoothGrad { samples: steps, ..Default::default() }, seed)?
            }
            "expected-gradients" => {
                let config = ExpectedGradients { samples: steps, ..Default::default() };
                explainer.expected_gradients(&inputs, &background, &config, seed)?
            }
            other => return Err(format!("no method `{other}`; there are {METHODS:?}").into()),
        };
        worst = worst.max(found.completeness.map_or(0., |c| c.worst()));
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok([seconds, (peak_memory().unwrap_or(0) - before) as f64, worst])
}
