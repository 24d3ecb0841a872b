use std::io::Write;

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use proptest::prelude::*;
use rand::RngExt;

use super::*;

/// Bytes as different streams hold them: noise, repetitions near and far, runs.
fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut rng = dina_core::Seed::new(seed).stream("bytes");
    let mut bytes = Vec::with_capacity(length + 300);
    while bytes.len() < length {
        match rng.random_range(0..6) {
            0 => bytes.extend((0..rng.random_range(1..4000)).map(|_| rng.random::<u8>())),
            1 => bytes.extend((0..rng.random_range(1..4000)).map(|_| rng.random_range(0..7_u8))),
            2 => bytes.extend(std::iter::repeat_n(rng.random::<u8>(), rng.random_range(1..9000))),
            3 => bytes.extend((0..rng.random_range(1..500)).flat_map(|n: u32| (n as f32).to_le_bytes())),
            _ if !bytes.is_empty() => {
                let distance = rng.random_range(1..=bytes.len().min(WINDOW));
                for _ in 0..rng.random_range(3..300) {
                    bytes.push(bytes[bytes.len() - distance]);
                }
            }
            _ => {}
        }
    }
    bytes.truncate(length);
    bytes
}

fn inflated(stream: &[u8], wrapping: Wrapping) -> Result<Vec<u8>> {
    let mut file = tempfile::NamedTempFile::new()?;
    // The stream lies anywhere in the file.
    file.write_all(b"before")?;
    file.write_all(stream)?;
    file.write_all(b"behind")?;
    std::thread::scope(|scope| {
        let mut all = Vec::new();
        Inflated::new(file.path(), 6, stream.len() as u64, wrapping, scope)?.read_to_end(&mut all)?;
        Ok(all)
    })
}

fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_level_and_size_comes_back() {
    for level in [0, 1, 2, 6, 9] {
        for length in [0, 1, 100, 70_000, 3_000_000] {
            let content = bytes(u64::from(level), length);
            let stream = zlib(&content, level);
            assert!(inflated(&stream, Wrapping::Zlib).unwrap() == content, "level {level}, {length} bytes");
        }
    }
}

#[test]
fn noise_is_inflated_by_the_threads_and_comes_back() {
    // The case that this is for: numbers with little but their exponents in common.
    let mut rng = dina_core::Seed::new(3).stream("noise");
    let content: Vec<u8> = (0..4_000_000)
        .flat_map(|_| if rng.random::<f32>() < 0.3 { [0; 4] } else { rng.random::<f32>().to_le_bytes() })
        .collect();
    let stream = zlib(&content, 2);
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&stream).unwrap();
    let bench = || {
        let stretch = Stretch::new(Packed::open(file.path(), 0, stream.len() as u64).unwrap());
        Bench { stretch, decoder: Decoder::new() }
    };
    let find = |at| part::find(&mut bench(), at, 1 << 20, &Mutex::default()).unwrap().unwrap();
    let part = find(1 << 20);
    assert!(part.start >= 8 << 20 && part.end >= 16 << 20);
    let benches = [&mut bench(), &mut bench()];
    let both = part::find_both(benches, [1 << 20, 2 << 20], 1 << 20, &Mutex::default()).unwrap();
    let [Some(one), Some(two)] = both else { panic!("two parts are there") };
    assert_eq!((one.start, one.end), (part.start, part.end));
    assert_eq!((two.start, two.end), (part.end, find(2 << 20).end));
    assert!(inflated(&stream, Wrapping::Zlib).unwrap() == content);
}

#[test]
fn long_runs_take_no_memory() {
    let content = vec![7; 30_000_000];
    assert!(inflated(&zlib(&content, 6), Wrapping::Zlib).unwrap() == content);
}

#[test]
fn a_wrong_checksum_and_a_missing_end_are_found() {
    let content = bytes(5, 2_000_000);
    let mut stream = zlib(&content, 6);
    for length in [0, 1, 2, 1000, stream.len() / 2, stream.len() - 5, stream.len() - 4, stream.len() - 1] {
        assert!(inflated(&stream[..length], Wrapping::Zlib).is_err(), "{length}");
    }
    let last = stream.len() - 1;
    stream[last] ^= 1;
    let error = inflated(&stream, Wrapping::Zlib).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn bare_streams_come_back(seed: u64, length in 0_usize..1_500_000, level in 0_u32..10) {
        let content = bytes(seed, length);
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::new(level));
        encoder.write_all(&content).unwrap();
        let stream = encoder.finish().unwrap();
        prop_assert!(inflated(&stream, Wrapping::Bare).unwrap() == content);
    }

    #[test]
    fn damaged_streams_are_refused_or_differ_nowhere_but_there(
        seed: u64, at in 0.0..1.0_f64, bit in 0..8_u8, level in 1_u32..10,
    ) {
        let content = bytes(seed, 700_000);
        let mut stream = zlib(&content, level);
        let at = (at * stream.len() as f64) as usize;
        stream[at] ^= 1 << bit;
        // The checksum finds what the decoder does not; zlib's header has bits that do not matter.
        if let Ok(read) = inflated(&stream, Wrapping::Zlib) {
            prop_assert!(at < 2 && read == content);
        }
    }
}
