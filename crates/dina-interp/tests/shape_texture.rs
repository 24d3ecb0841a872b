//! Shape against texture with the transforms of dina-data, on objects of known outline and surface.

use dina_core::Seed;
use dina_data::stimulus::{PhaseScramble, Silhouette, Stack, StackTransform, Texture};
use dina_interp::{Coding, ShapeTextureConfig, StimulusVersions, shape_texture};
use ndarray::{Array3, Array4, s};
use rand::RngExt;

const IMAGES: usize = 32;
const SIDE: usize = 64;
const GREY: f32 = 128.;

/// A disk in a place and of a size of its own, with a grating of its own on it.
fn objects() -> dina_data::Result<Stack> {
    let mut pixels = Array3::from_elem((IMAGES, SIDE, SIDE), GREY);
    let mut labels = Array3::zeros((IMAGES, SIDE, SIDE));
    for i in 0..IMAGES {
        let mut stream = Seed::new(5).index(i).stream("object");
        let mut between = |low: f32, high: f32| low + (high - low) * stream.random::<f32>();
        let (row, column, radius) = (between(20., 44.), between(20., 44.), between(12., 18.));
        let (turn, frequency) = (between(0., std::f32::consts::PI), between(0.12, 0.2));
        for y in 0..SIDE {
            for x in 0..SIDE {
                let (v, u) = (y as f32 - row, x as f32 - column);
                if v.hypot(u) < radius {
                    let wave = (std::f32::consts::TAU * frequency * (u * turn.cos() + v * turn.sin())).sin();
                    pixels[[i, y, x]] = GREY + 80. * wave;
                    labels[[i, y, x]] = 1;
                }
            }
        }
    }
    Stack::new(pixels, 1.)?.with_labels(labels)
}

/// Channel 0 is how far each square of pixels is from grey: the outline, whatever is on it. Channel 1 is the orientation of the
/// whole image, by the energies of its two gradients, at every position alike: the surface, wherever it is. Channel 2 is noise.
fn tower(stack: &Stack, version: &str) -> Array4<f32> {
    let pixels = stack.pixels();
    let mut maps = Array4::zeros((IMAGES, 3, 4, 4));
    let mut noise = Seed::new(6).stream(version);
    for i in 0..IMAGES {
        let image = pixels.slice(s![i, .., ..]);
        let (mut down, mut across) = (0., 0.);
        for y in 0..SIDE - 1 {
            for x in 0..SIDE - 1 {
                down += (image[[y + 1, x]] - image[[y, x]]).powi(2);
                across += (image[[y, x + 1]] - image[[y, x]]).powi(2);
            }
        }
        for y in 0..4 {
            for x in 0..4 {
                let square = image.slice(s![y * 16..(y + 1) * 16, x * 16..(x + 1) * 16]);
                maps[[i, 0, y, x]] = square.iter().map(|v| (v - GREY).abs()).sum::<f32>();
                maps[[i, 1, y, x]] = (down - across) / (down + across);
                maps[[i, 2, y, x]] = noise.random::<f32>();
            }
        }
    }
    maps
}

#[test]
fn outlines_and_surfaces_are_told_apart() {
    let objects = objects().unwrap();
    let silhouettes =
        Silhouette { ground: GREY, ..Default::default() }.apply(&objects, Seed::new(1)).unwrap();
    let textures = Texture::default().apply(&objects, Seed::new(1)).unwrap();
    let scrambled = PhaseScramble::default().apply(&objects, Seed::new(1)).unwrap();
    let maps = [(&objects, "o"), (&silhouettes, "s"), (&textures, "t"), (&scrambled, "p")]
        .map(|(v, name)| tower(v, name));
    let [original, shape, texture, scrambled] = maps.each_ref().map(|m| m.view());
    let config = ShapeTextureConfig { permutations: 500, replicates: 300, ..Default::default() };
    let found =
        shape_texture(&StimulusVersions { original, shape, texture, scrambled }, &config, Seed::new(1))
            .unwrap();
    println!("{found}");
    let coding: Vec<Coding> = found.channels.iter().map(|c| c.coding).collect();
    assert_eq!(coding, [Coding::Shape, Coding::Texture, Coding::NoEvidence], "{found:?}");
    assert!(found.channels[0].index.low > 0.2 && found.channels[1].index.high < -0.2, "{found:?}");
    // The orientation of an image is a matter of its spectrum, and the control says so.
    assert!(found.channels[1].scrambled.p_adjusted < 0.05 && found.channels[0].scrambled.p_adjusted > 0.05);
}
