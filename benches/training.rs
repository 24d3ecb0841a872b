//! A training step of the default towers: DINA against PyTorch, on the same weights and batches.
//!
//!     cargo bench -p dina-benches --bench training -- [--python PYTHON] [--neurons N] [--batch N] [--steps N] [--threads N]
//!         [--no-peer]
//!
//! Parity first: maps, gradients of every parameter and the parameters after one step of AdamW are written to a
//! file, and `peers/towers.py` computes them anew from the weights and the batch. Then steps alternate, ours,
//! eager, compiled; the ratio is the median over steps. `--python` names an interpreter that has torch and safetensors.

use std::cell::Cell;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use candle_core::Device;
use dina_benches::{Flags, IMAGE, Peer, median, peak_memory};
use dina_core::{ContentHash, Mode, Seed, TensorFile};
use dina_study::{ModelConfig, Profile, Towers};
use dina_train::{AdamW, Batches, PairedData, TrainConfig, Trainer};
use ndarray::{Array2, Array3};
use rand_distr::{Distribution, StandardNormal};

/// Items that parity is shown on. Gradients jump where a hidden unit is at the kink of its rectifier, and the two
/// sides may round to different sides of it: once in several million units, which a small batch seldom has.
const PARITY_ITEMS: usize = 16;
/// Largest differences, relative to the largest value of the tensor, that count as parity.
const BOUNDS: [(&str, f64); 3] = [("maps", 1e-4), ("gradients", 1e-3), ("stepped", 1e-4)];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse(&["--python", "--neurons", "--batch", "--steps", "--threads"], &["--no-peer"])?;
    let (neurons, batch) = (flags.number("--neurons", 3000)?, flags.number("--batch", 256)?);
    dina_ops::keep_large_blocks();
    rayon::ThreadPoolBuilder::new().num_threads(flags.number("--threads", 2)?).build_global()?;
    let folder = tempfile::tempdir()?;
    let mut config = ModelConfig::for_data(IMAGE, 2., neurons, false, Profile::Quick);
    config.train = TrainConfig {
        // The first two steps of every side only warm up.
        steps: flags.number("--steps", 9)? + 2,
        batch,
        validate_every: usize::MAX,
        patience: 1,
        ..config.train
    };
    let data = data(neurons, 2 * batch)?;
    let file = folder.path().join("towers.safetensors");
    write_reference(&config, &data, &file)?;
    let mut peers = Vec::new();
    if flags.text("--no-peer").is_none() {
        let python = Path::new(flags.text("--python").unwrap_or("python3"));
        for kind in ["eager", "compiled"] {
            let path = file.to_str().ok_or("a temporary folder with a name in UTF-8")?;
            peers.push((kind, Peer::start(python, "towers.py", &[path, kind])?));
        }
    }
    for (kind, peer) in &mut peers {
        let errors = peer.ask("parity")?;
        for (what, bound) in BOUNDS {
            let error = errors[what].as_f64().ok_or(format!("no `{what}` in {errors}"))?;
            println!(
                "parity with {kind}: {what} {error:.1e} (bound {bound:.0e}, worst: {})",
                errors[format!("{what}_worst")]
            );
            if error.is_nan() || error > bound {
                return Err(format!("{what} differ by {error:.1e} from those of the {kind} peer").into());
            }
        }
    }
    time(&config, &data, &mut peers)?;
    time_inference(&config, &data, &mut peers)
}

/// Standard normal images and responses; the time of a step does not depend on the values.
fn data(neurons: usize, items: usize) -> Result<PairedData, Box<dyn Error>> {
    let mut stream = Seed::new(2).stream("data");
    let images =
        Array3::from_shape_simple_fn((items, IMAGE.0, IMAGE.1), || StandardNormal.sample(&mut stream));
    let responses = Array2::from_shape_simple_fn((items, neurons), || StandardNormal.sample(&mut stream));
    let trials = (0..items).map(|item| vec![item]).collect();
    Ok(PairedData::new(images, responses, trials, (0..items as u32).collect())?)
}

/// Weights, a batch, and what comes of them.
fn write_reference(config: &ModelConfig, data: &PairedData, path: &Path) -> Result<(), Box<dyn Error>> {
    let towers = Towers::new(config.clone(), Seed::new(1), &Device::Cpu)?;
    let model = towers.model();
    let mut file = TensorFile::default();
    file.metadata.insert("config".into(), serde_json::to_string(config)?);
    // What starts at nothing is moved, or its gradient would be checked at a special point.
    let mut stream = Seed::new(3).stream("noise");
    for parameter in model.parameters() {
        if parameter.name.starts_with("image.") && !parameter.name.contains("gabor") {
            let noise: Vec<f32> = (0..parameter.var.elem_count())
                .map(|_| 0.02 * Distribution::<f32>::sample(&StandardNormal, &mut stream))
                .collect();
            let noise = candle_core::Tensor::from_vec(noise, parameter.var.shape(), &Device::Cpu)?;
            parameter.var.set(&(parameter.var.as_tensor() + noise)?)?;
        }
        file.tensors.insert(format!("weights.{}", parameter.name), parameter.var.as_tensor().copy()?);
    }
    let draw = |count: usize| {
        let items: Vec<usize> = (0..count).collect();
        data.batch(&items, &mut Seed::new(4).stream("batch"))
    };
    for (name, batch) in [("parity", draw(PARITY_ITEMS)?), ("batch", draw(config.train.batch)?)] {
        file.tensors.insert(format!("{name}.images"), batch.images);
        file.tensors.insert(format!("{name}.responses"), batch.responses);
    }
    let batch = draw(PARITY_ITEMS)?;
    let image = model.image.forward(&batch.images, Mode::Eval)?;
    let neural = model.neural.forward(&batch.responses, Mode::Eval)?;
    let gradients = model.objective.loss(&image, &neural, &batch.targets)?.total()?.backward()?;
    for (side, maps) in [("image", &image), ("neural", &neural)] {
        for (level, map) in maps.iter() {
            file.tensors.insert(format!("maps.{side}.{level}"), map.clone());
        }
    }
    for parameter in model.parameters() {
        let gradient = gradients.get(&parameter.var).ok_or(format!("no gradient of {}", parameter.name))?;
        file.tensors.insert(format!("gradients.{}", parameter.name), gradient.clone());
    }
    AdamW::new(model.parameters())?.step(&gradients, config.train.learning_rate, &config.train)?;
    for parameter in model.parameters() {
        file.tensors.insert(format!("stepped.{}", parameter.name), parameter.var.as_tensor().copy()?);
    }
    Ok(file.write(path)?)
}

fn time(config: &ModelConfig, data: &PairedData, peers: &mut [(&str, Peer)]) -> Result<(), Box<dyn Error>> {
    let towers = Towers::new(config.clone(), Seed::new(1), &Device::Cpu)?;
    let identity = ContentHash::of([b"bench".as_slice()]);
    let mut trainer = Trainer::new(towers.model(), config.train, Seed::new(5), identity)?;
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    let start = Cell::new(Instant::now());
    let observe = |_: &Trainer| -> Result<(), Box<dyn Error>> {
        ours.push(start.get().elapsed().as_secs_f64());
        for ((_, peer), seconds) in peers.iter_mut().zip(&mut theirs) {
            seconds.push(peer.number("step", "seconds")?);
        }
        start.set(Instant::now());
        Ok(())
    };
    // Called before the first step and after the last one.
    let validate = || -> Result<_, Box<dyn Error>> {
        start.set(Instant::now());
        Ok(None)
    };
    trainer.run(data, validate, observe)?;
    // The first steps touch memory for the first time, or compile.
    let ours = &ours[2..];
    println!(
        "{} neurons, batch {}, {} threads, {} steps",
        config.neural.neurons,
        config.train.batch,
        rayon::current_num_threads(),
        ours.len()
    );
    println!("dina      {:8.1} ms", 1e3 * median(ours));
    if let Some(bytes) = peak_memory() {
        println!("dina peak memory {:.0} MB", bytes as f64 / 1e6);
    }
    for ((kind, _), theirs) in peers.iter().zip(&theirs) {
        let theirs = &theirs[2..];
        let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(ours, theirs)| theirs / ours).collect();
        println!(
            "{kind:9} {:8.1} ms, {:.2} times dina (median over steps)",
            1e3 * median(theirs),
            median(&ratios)
        );
    }
    Ok(())
}

/// Both towers on a batch, without gradients.
fn time_inference(
    config: &ModelConfig,
    data: &PairedData,
    peers: &mut [(&str, Peer)],
) -> Result<(), Box<dyn Error>> {
    let towers = Towers::new(config.clone(), Seed::new(1), &Device::Cpu)?;
    let model = towers.model();
    let items: Vec<usize> = (0..config.train.batch).collect();
    let batch = data.batch(&items, &mut Seed::new(4).stream("batch"))?;
    let mut ours = Vec::new();
    let mut theirs = vec![Vec::new(); peers.len()];
    for _ in 0..config.train.steps {
        let start = Instant::now();
        let maps = (
            model.image.forward(&batch.images, Mode::Eval)?,
            model.neural.forward(&batch.responses, Mode::Eval)?,
        );
        ours.push(start.elapsed().as_secs_f64());
        drop(maps);
        for ((_, peer), seconds) in peers.iter_mut().zip(&mut theirs) {
            seconds.push(peer.number("infer", "seconds")?);
        }
    }
    println!("inference: dina {:.1} ms", 1e3 * median(&ours[2..]));
    for ((kind, _), theirs) in peers.iter().zip(&theirs) {
        let ratios: Vec<f64> = ours.iter().zip(theirs).skip(2).map(|(ours, theirs)| theirs / ours).collect();
        println!(
            "inference: {kind:9} {:.1} ms, {:.2} times dina",
            1e3 * median(&theirs[2..]),
            median(&ratios)
        );
    }
    Ok(())
}
