//! A contact sheet of simulated images under every transform of `dina_data::stimulus`.
//!
//! `cargo run --release -p dina-data --example transforms -- FOLDER` writes one PNG a transform, four
//! images beside each other, and `sheet.png` with all of them below each other. The order and what
//! was noted are printed.

use std::path::PathBuf;

use dina_core::Seed;
use dina_data::simulate::{SimulationConfig, simulate};
use dina_data::stimulus::{
    Area, Contour, Cover, Crop, EqualiseAmplitude, Fill, Filter, Kernel, LocalPhaseScramble, Normalise,
    Occlude, Pass, PhaseScramble, Pipeline, Resize, ShufflePatches, Silhouette, Stack, StackTransform,
    Texture, Tiles, Transform, Whitening,
};
use ndarray::{Array2, Axis, s};

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let folder = PathBuf::from(std::env::args().nth(1).ok_or("give the folder to write into")?);
    std::fs::create_dir_all(&folder)?;
    // One screen of 90 degrees at a degree a pixel.
    let config =
        SimulationConfig { neurons: 1, images: 4, repeats: 1, height: 72, width: 90, ..Default::default() };
    let stack = Stack::from_images(&simulate(&config, &|_| ())?.images)?;

    let mut rows = vec![stack.pixels().clone()];
    println!("original");
    for (name, chain) in chains() {
        let made = chain.apply(&stack, Seed::new(1))?;
        println!("{name}{}", made.notes().iter().map(|n| format!(" ({n})")).collect::<String>());
        save(&folder.join(format!("{name}.png")), &beside(&made.pixels().view()))?;
        rows.push(made.into_pixels());
    }
    let sheet: Vec<Array2<f32>> = rows.iter().map(|r| beside(&r.view())).collect();
    save(&folder.join("sheet.png"), &below(&sheet))
}

/// Every transform, with a name for the file.
fn chains() -> Vec<(&'static str, Pipeline)> {
    let visible = Transform::from(Normalise { mean: 120.0, rms: Some(40.0), ..Normalise::default() });
    let one = |transform: Transform| Pipeline(vec![transform]);
    let shown = |transform: Transform| Pipeline(vec![transform, visible]);
    let area = Area { top: 10.0, left: 20.0, height: 40.0, width: 50.0 };
    vec![
        ("crop", one(Crop { area }.into())),
        ("resize-area", one(Resize { degrees_per_pixel: 3.0, kernel: Kernel::Area }.into())),
        ("resize-lanczos", one(Resize { degrees_per_pixel: 3.0, kernel: Kernel::Lanczos }.into())),
        ("normalise", one(visible)),
        ("low-pass", one(Filter::new(Pass::Low { cutoff: 0.06 }).into())),
        ("high-pass", one(Filter::new(Pass::High { cutoff: 0.06 }).into())),
        ("band-pass", one(Filter::new(Pass::Band { low: 0.03, high: 0.12 }).into())),
        ("phase-scramble", one(PhaseScramble::default().into())),
        ("phase-scramble-half", one(PhaseScramble { strength: 0.5 }.into())),
        ("local-overlapping", one(LocalPhaseScramble { patch: 16.0, tiles: Tiles::Overlapping }.into())),
        ("local-abutting", one(LocalPhaseScramble { patch: 16.0, tiles: Tiles::Abutting }.into())),
        ("equalise-amplitude", one(EqualiseAmplitude::default().into())),
        ("whiten-measured", shown(Whitening::default().into())),
        ("whiten-slope", shown(Whitening::Slope { exponent: 1.0, cutoff: 0.3 }.into())),
        (
            "texture",
            Pipeline(vec![Filter::new(Pass::Low { cutoff: 0.25 }).into(), Texture::default().into()]),
        ),
        ("silhouette", one(Silhouette::default().into())),
        ("contour", one(Contour::default().into())),
        (
            "occlude-random",
            one(Occlude { cover: Cover::Random { patch: 10.0, share: 0.4 }, fill: Fill::ImageMean }.into()),
        ),
        (
            "occlude-patch-mean",
            one(Occlude { cover: Cover::Random { patch: 10.0, share: 0.4 }, fill: Fill::PatchMean }.into()),
        ),
        ("occlude-area", one(Occlude { cover: Cover::Area(area), fill: Fill::Grey(128.0) }.into())),
        ("shuffle", one(ShufflePatches { patch: 15.0 }.into())),
    ]
}

/// Images from left to right, a light line between.
fn beside(pixels: &ndarray::ArrayView3<'_, f32>) -> Array2<f32> {
    let (count, height, width) = pixels.dim();
    let mut out = Array2::from_elem((height, count * (width + 2)), 255.0);
    for (i, image) in pixels.axis_iter(Axis(0)).enumerate() {
        let left = i * (width + 2);
        out.slice_mut(s![.., left..left + width]).assign(&image);
    }
    out
}

fn below(rows: &[Array2<f32>]) -> Array2<f32> {
    let width = rows.iter().map(Array2::ncols).max().unwrap_or(1);
    let height: usize = rows.iter().map(|r| r.nrows() + 2).sum();
    let mut out = Array2::from_elem((height, width), 255.0);
    let mut top = 0;
    for row in rows {
        out.slice_mut(s![top..top + row.nrows(), ..row.ncols()]).assign(row);
        top += row.nrows() + 2;
    }
    out
}

fn save(path: &std::path::Path, pixels: &Array2<f32>) -> Result<(), Failure> {
    let (height, width) = (pixels.nrows() as u32, pixels.ncols() as u32);
    let bytes = pixels.iter().map(|v| v.round().clamp(0.0, 255.0) as u8).collect();
    let image = image::GrayImage::from_raw(width, height, bytes).ok_or("the sizes do not fit")?;
    Ok(dina_core::write_atomic(path, |file| {
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).map_err(std::io::Error::other)?;
        std::io::Write::write_all(file, bytes.get_ref())
    })?)
}
