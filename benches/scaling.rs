//! How cost grows with neurons, trials and permutations, and memory with neurons.
//!
//!     cargo bench -p dina-benches --bench scaling -- [--svg FILE] [--threads N]
//!
//! Every measurement runs in a process of its own, so that its peak memory is its own. Prints a table with a straight line
//! through the seconds, and draws it.

use std::error::Error;
use std::fmt::Write;
use std::process::Command;
use std::time::Instant;

use candle_core::Device;
use dina_benches::{Flags, IMAGE, median, normal, numbers_of, peak_memory, reset_peak_memory, timed};
use dina_core::{ContentHash, Seed, write_atomic};
use dina_stats::permutation::{Permutation, Scheme, mass};
use dina_study::{ModelConfig, Profile, Towers};
use dina_train::{PairedData, TrainConfig, Trainer};
use ndarray::Array3;
use rand_distr::{Distribution, StandardNormal};

const BATCH: usize = 128;

/// What grows, its unit, and where it is measured.
const SERIES: [(&str, &str, [usize; 5]); 3] = [
    ("neurons", "training step, batch 128", [500, 1_000, 2_000, 4_000, 8_000]),
    ("trials", "similarity with 400 images, 1,000 neurons", [250, 500, 1_000, 2_000, 4_000]),
    ("permutations", "maxT over 2,000 neurons, 100 images", [1_000, 2_000, 4_000, 8_000, 16_000]),
];

fn main() -> Result<(), Box<dyn Error>> {
    let flags = Flags::parse(&["--svg", "--threads", "--what", "--size"], &[])?;
    rayon::ThreadPoolBuilder::new().num_threads(flags.number("--threads", 2)?).build_global()?;
    if let Some(what) = flags.text("--what") {
        reset_peak_memory();
        let before = peak_memory().unwrap_or(0);
        let seconds = measure(what, flags.number("--size", 0)?)?;
        println!("{seconds} {}", peak_memory().unwrap_or(0) - before);
        return Ok(());
    }
    let threads = rayon::current_num_threads().to_string();
    let this = std::env::current_exe()?;
    let mut panels = Vec::new();
    for (what, title, sizes) in SERIES {
        let mut points = Vec::new();
        for size in sizes {
            let arguments = ["--what", what, "--size", &size.to_string(), "--threads", &threads];
            let found = numbers_of(Command::new(&this).args(arguments)).ok_or("a measurement failed")?;
            println!("{size:6} {what:13} {:9.1} ms {:8.1} MB", 1e3 * found[0], found[1] / 1e6);
            points.push((size as f64, found[0], found[1]));
        }
        let (fixed, each, share) = line(&points);
        println!("{what}: {:.1} ms and {:.2} us each, R^2 {share:.4}", 1e3 * fixed, 1e6 * each);
        panels.push((what, title, points));
    }
    if let Some(path) = flags.text("--svg") {
        let svg = draw(&panels)?;
        write_atomic(path, |file| file.write_all(svg.as_bytes()))?;
    }
    Ok(())
}

/// Median seconds.
fn measure(what: &str, size: usize) -> Result<f64, Box<dyn Error>> {
    match what {
        "neurons" => step(size),
        "trials" => similarity(size),
        "permutations" => {
            let data = normal("data", 100, 2_000);
            let scheme = Scheme::sign_flip(100)?;
            let permutation = Permutation { count: size, ..Permutation::default() };
            Ok(timed(5, || mass::one_sample(&permutation, data.view(), &scheme, Seed::new(1)).map(drop))?)
        }
        other => Err(format!("nothing called `{other}` is measured").into()),
    }
}

fn step(neurons: usize) -> Result<f64, Box<dyn Error>> {
    let mut config = ModelConfig::for_data(IMAGE, 2., neurons, false, Profile::Quick);
    config.train =
        TrainConfig { steps: 9, batch: BATCH, validate_every: usize::MAX, patience: 1, ..config.train };
    let images = images(BATCH);
    let trials = (0..BATCH).map(|item| vec![item]).collect();
    let data =
        PairedData::new(images, normal("responses", BATCH, neurons), trials, (0..BATCH as u32).collect())?;
    let towers = Towers::new(config.clone(), Seed::new(1), &Device::Cpu)?;
    let identity = ContentHash::of([b"scaling".as_slice()]);
    let mut trainer = Trainer::new(towers.model(), config.train, Seed::new(5), identity)?;
    let mut ends = Vec::new();
    trainer.run::<dina_core::Error>(
        &data,
        || Ok(None),
        |_| {
            ends.push(Instant::now());
            Ok(())
        },
    )?;
    let seconds: Vec<f64> = ends.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    Ok(median(&seconds[1..]))
}

fn similarity(trials: usize) -> Result<f64, Box<dyn Error>> {
    let config = ModelConfig::for_data(IMAGE, 2., 1_000, false, Profile::Quick);
    let towers = Towers::new(config, Seed::new(1), &Device::Cpu)?;
    let (responses, images) = (normal("responses", trials, 1_000), images(400));
    Ok(timed(5, || towers.similarity(responses.view(), images.view()).map(drop))?)
}

fn images(count: usize) -> Array3<f32> {
    let mut stream = Seed::new(1).stream("images");
    Array3::from_shape_simple_fn((count, IMAGE.0, IMAGE.1), || StandardNormal.sample(&mut stream))
}

/// A straight line through seconds against size: fixed part, part per unit, and the share of the variance it explains.
fn line(points: &[(f64, f64, f64)]) -> (f64, f64, f64) {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let sxy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let syy: f64 = points.iter().map(|p| (p.1 - my).powi(2)).sum();
    let slope = sxy / sxx;
    (my - slope * mx, slope, slope * sxy / syy)
}

type Panel<'a> = (&'a str, &'a str, Vec<(f64, f64, f64)>);

/// The next larger of 1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6 and 8 times a power of ten: their quarters are short numbers.
fn round_up(value: f64) -> f64 {
    let unit = 10f64.powf(value.log10().floor());
    let steps = [1., 1.2, 1.6, 2., 2.4, 3.2, 4., 6., 8., 10.];
    unit * steps.into_iter().find(|step| step * unit >= value).unwrap_or(10.)
}

/// Three plots of milliseconds, and of megabytes, against size, from zero: what is proportional is straight.
fn draw(panels: &[Panel]) -> Result<String, std::fmt::Error> {
    const WIDE: f64 = 250.;
    const HIGH: f64 = 150.;
    let mut svg = String::new();
    let width = 330. * panels.len() as f64 + 15.;
    writeln!(
        svg,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 480" font-family="sans-serif" font-size="12">"#
    )?;
    writeln!(svg, r#"<rect width="{width}" height="480" fill="white"/>"#)?;
    for (column, (what, title, points)) in panels.iter().enumerate() {
        let left = 60. + 330. * column as f64;
        let largest = points.iter().map(|p| p.0).fold(0., f64::max);
        let rows = [
            (40., "ms", "#0b5fa5", points.iter().map(|p| 1e3 * p.1).collect::<Vec<_>>()),
            (270., "MB", "#b3541e", points.iter().map(|p| p.2 / 1e6).collect()),
        ];
        writeln!(svg, r#"<text x="{left}" y="22" font-weight="bold">{title}</text>"#)?;
        for (top, unit, colour, values) in rows {
            let highest = round_up(values.iter().copied().fold(0., f64::max));
            let bottom = top + HIGH;
            let x = |value: f64| left + WIDE * value / largest;
            let y = |value: f64| bottom - HIGH * value / highest;
            for part in 0..=4 {
                let value = highest * f64::from(part) / 4.;
                let at = y(value);
                let digits = if highest < 4. { 2 } else { usize::from(highest < 40.) };
                writeln!(svg, r##"<path d="M{left} {at:.1}h{WIDE}" stroke="#e2e2e2"/>"##)?;
                writeln!(
                    svg,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{value:.digits$}</text>"#,
                    left - 6.,
                    at + 4.
                )?;
            }
            let line: Vec<String> =
                points.iter().zip(&values).map(|(p, v)| format!("{:.1},{:.1}", x(p.0), y(*v))).collect();
            writeln!(
                svg,
                r#"<polyline points="{}" fill="none" stroke="{colour}" stroke-width="2"/>"#,
                line.join(" ")
            )?;
            for (point, value) in points.iter().zip(&values) {
                writeln!(
                    svg,
                    r#"<circle cx="{:.1}" cy="{:.1}" r="3.5" fill="{colour}"/>"#,
                    x(point.0),
                    y(*value)
                )?;
                writeln!(svg, r#"<path d="M{:.1} {bottom}v4" stroke="black"/>"#, x(point.0))?;
            }
            for point in points.iter().skip(2) {
                writeln!(
                    svg,
                    r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                    x(point.0),
                    bottom + 17.,
                    point.0
                )?;
            }
            writeln!(svg, r#"<path d="M{left} {bottom}h{WIDE}" stroke="black"/>"#)?;
            writeln!(
                svg,
                r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{what}</text>"#,
                left + WIDE / 2.,
                bottom + 33.
            )?;
            writeln!(
                svg,
                r#"<text x="{:.1}" y="{:.1}" text-anchor="end">{unit}</text>"#,
                left - 6.,
                top - 8.
            )?;
        }
    }
    writeln!(svg, "</svg>")?;
    Ok(svg)
}
