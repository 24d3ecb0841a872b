//! Whether two towers share a channel, where, and which neurons carry it: from arrays alone.
//!
//!     cargo run --release -p dina-interp --example who_carries_it

use dina_interp::neurons::{
    ConcentrationConfig, ContributionConfig, LinearReadIn, concentration, linear_contributions,
};
use dina_interp::space::{ProfileConfig, spatial_profile};
use dina_interp::{AlignabilityConfig, Seed, alignability};
use ndarray::{Array2, Array4};
use rand::RngExt;

const IMAGES: usize = 120;
const NEURONS: usize = 40;

fn main() -> dina_interp::Result<()> {
    // Of 40 neurons the first four see a pixel each of a screen of 4 x 6; the others say nothing about images.
    let mut stream = Seed::new(0).stream("noise");
    let mut noise = || stream.random::<f32>() - 0.5;
    let screen = Array4::from_shape_simple_fn((IMAGES, 1, 4, 6), &mut noise);
    let mut responses = Array2::from_shape_simple_fn((IMAGES, NEURONS), &mut noise);
    for (mut response, image) in responses.outer_iter_mut().zip(screen.outer_iter()) {
        (0..4).for_each(|n| response[n] += 2. * image[[0, 1, n]]);
    }
    // Each of the four is read in at its pixel, the others all over: weights are [neurons, channels, rows, columns].
    let weights = Array4::from_shape_fn((NEURONS, 1, 4, 6), |(n, _, y, x)| {
        f32::from(u8::from(if n < 4 { (y, x) == (1, n) } else { 6 * y + x == n % 24 }))
    });
    let read_in = LinearReadIn { weights: weights.view() };
    let neural = read_in.maps(responses.view())?;

    println!("{}\n", alignability(&screen, &neural, &AlignabilityConfig::default(), Seed::new(1))?);
    // Positions are 5 degrees apart.
    let places = ProfileConfig::new([5., 5.]);
    println!("{}\n", spatial_profile(screen.view(), neural.view(), &places, Seed::new(2))?[0]);
    let config = ContributionConfig::default();
    let found = linear_contributions(screen.view(), read_in, responses.view(), &config, Seed::new(3))?;
    println!("neurons {:?}: {found}\n", found.significant(0.05));
    println!("{}", concentration(&found, &ConcentrationConfig::default(), Seed::new(4))?);
    Ok(())
}
