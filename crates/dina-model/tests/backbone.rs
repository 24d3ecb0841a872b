//! Backbones against what PyTorch makes of the same weights and images; `backbone/generate.py` wrote the files.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use dina_core::{Mode, Seed, TensorFile, Tower};
use dina_model::{
    Backbone, BackboneConfig, FeatureOptions, ImageInput, Layer, NetworkConfig, PixelScale, VggConfig,
    VitConfig, VitFamily,
};
use ndarray::Array3;

const IMAGENET: ([f64; 3], [f64; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/backbone").join(format!("{name}.safetensors"))
}

fn fixture(name: &str) -> TensorFile {
    TensorFile::read(path(name), &Device::Cpu).unwrap()
}

fn vgg(convolutions: [usize; 5]) -> NetworkConfig {
    NetworkConfig::Vgg(VggConfig { convolutions: convolutions.into(), widths: vec![3, 4, 5, 6, 7] })
}

fn vit(family: VitFamily, hidden: usize, epsilon: f64) -> NetworkConfig {
    NetworkConfig::Vit(VitConfig { heads: 3, hidden, grid: 6, epsilon, ..VitConfig::new(family, 12, 3, 4) })
}

/// The configuration of a file: all its layers, its images, and what the network saw of them.
fn config(file: &TensorFile, network: NetworkConfig, (rows, columns): (usize, usize)) -> BackboneConfig {
    let (_, _, height, width) = file.tensor("fixture.images").unwrap().dims4().unwrap();
    let input = ImageInput { rows, columns, ..ImageInput::new(&network, (height, width)) };
    BackboneConfig { layers: layers(file), network, input, trainable: false }
}

fn layers(file: &TensorFile) -> Vec<Layer> {
    let names = file.tensors.keys().filter_map(|name| name.strip_prefix("fixture."));
    names.filter(|&name| name != "images").map(|name| name.parse().unwrap()).collect()
}

/// The largest difference, relative to the largest value.
fn error(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let largest = |x: Tensor| f64::from(x.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap());
    largest((found - expected).unwrap()) / largest(expected.clone())
}

fn agrees(name: &str, network: NetworkConfig, seen: (usize, usize)) -> Backbone {
    agrees_with(name, network, seen, |_| ())
}

fn agrees_with(
    name: &str,
    network: NetworkConfig,
    seen: (usize, usize),
    change: impl FnOnce(&mut BackboneConfig),
) -> Backbone {
    let file = fixture(name);
    let mut config = config(&file, network, seen);
    change(&mut config);
    let backbone = Backbone::load(config, path(name), &Device::Cpu).unwrap();
    let maps = backbone.forward(file.tensor("fixture.images").unwrap(), Mode::Eval).unwrap();
    assert_eq!(maps.specs(), backbone.levels());
    assert!(maps.iter().len() >= 5);
    for (layer, map) in maps.iter() {
        let error = error(map, file.tensor(&format!("fixture.{layer}")).unwrap());
        assert!(error < 1e-4, "{name}, {layer}: {error:e}");
    }
    assert!(backbone.is_pretrained() && backbone.parameters().is_empty());
    backbone
}

#[test]
fn vgg_agrees_with_torchvision() {
    // The first file is in half precision.
    agrees("vgg13", vgg([2, 2, 2, 2, 2]), (32, 64));
    agrees("vgg16", vgg([2, 2, 3, 3, 3]), (32, 64));
    agrees("vgg19", vgg([2, 2, 4, 4, 4]), (32, 64));
}

#[test]
fn vit_agrees_with_hugging_face_timm_and_torchvision() {
    // Seen at another size than trained at: positions are interpolated.
    agrees("hf-vit", vit(VitFamily::Vit, 20, 1e-12), (16, 28));
    agrees("hf-vit-memory", vit(VitFamily::Vit, 20, 1e-12), (16, 28));
    agrees("timm-vit", vit(VitFamily::Vit, 24, 1e-6), (24, 24));
    agrees_with("torchvision-vit", vit(VitFamily::Vit, 20, 1e-6), (24, 24), |config| {
        (config.input.mean, config.input.deviation) = IMAGENET;
    });
}

#[test]
fn clip_agrees_with_hugging_face_and_open_clip() {
    agrees("hf-clip", vit(VitFamily::Clip, 20, 1e-5), (24, 24));
    agrees("open-clip", vit(VitFamily::Clip, 24, 1e-5), (24, 24));
}

#[test]
fn dinov2_agrees_with_hugging_face_and_timm() {
    agrees("hf-dinov2", vit(VitFamily::DinoV2, 24, 1e-6), (16, 32));
    agrees("hf-registers", vit(VitFamily::DinoV2, 24, 1e-6), (24, 24));
    agrees("timm-dinov2", vit(VitFamily::DinoV2, 24, 1e-6), (24, 24));
}

/// A wrong nonlinearity or a wrong place of the class token would have to be noticed.
#[test]
fn the_comparison_notices_what_is_different() {
    let file = fixture("hf-clip");
    let NetworkConfig::Vit(right) = vit(VitFamily::Clip, 20, 1e-5) else { unreachable!() };
    let wrong = NetworkConfig::Vit(VitConfig { activation: dina_model::Activation::Gelu, ..right });
    let backbone = Backbone::load(config(&file, wrong, (24, 24)), path("hf-clip"), &Device::Cpu).unwrap();
    let maps = backbone.forward(file.tensor("fixture.images").unwrap(), Mode::Eval).unwrap();
    assert!(error(maps.get("norm").unwrap(), file.tensor("fixture.norm").unwrap()) > 1e-3);
}

fn images(file: &TensorFile) -> Array3<f32> {
    let images = file.tensor("fixture.images").unwrap();
    let (count, _, height, width) = images.dims4().unwrap();
    let values = images.flatten_all().unwrap().to_vec1().unwrap();
    Array3::from_shape_vec((count, height, width), values).unwrap()
}

#[test]
fn features_are_the_maps_in_bounded_memory_and_over_a_grid() {
    let file = fixture("hf-dinov2");
    let backbone = agrees("hf-dinov2", vit(VitFamily::DinoV2, 24, 1e-6), (16, 32));
    let two = images(&file);
    // 2 images as 7, one at a time.
    let seven = ndarray::concatenate![ndarray::Axis(0), two, two, two, two.slice(ndarray::s![..1, .., ..])];
    let scarce = FeatureOptions { memory: 1, ..FeatureOptions::default() };
    let found = backbone.features(seven.view(), &scarce).unwrap();
    for level in &found {
        let expected = file.tensor(&format!("fixture.{}", level.level.name)).unwrap();
        assert_eq!(level.values.dim().0, 7);
        let last = level.values.index_axis(ndarray::Axis(0), 6);
        let first = expected.get(0).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        for (found, expected) in last.iter().zip(first) {
            assert!((found - expected).abs() < 1e-3, "{}: {found} {expected}", level.level.name);
        }
    }
    let plain = backbone.features(two.view(), &FeatureOptions::default()).unwrap();
    let gridded = FeatureOptions { grid: Some((2, 2)), ..FeatureOptions::default() };
    for (coarse, fine) in backbone.features(two.view(), &gridded).unwrap().iter().zip(plain) {
        if fine.level.height == 1 {
            assert_eq!(coarse.values, fine.values);
            continue;
        }
        assert_eq!((coarse.level.height, coarse.level.width), (2, 2));
        let quarter = fine.values.slice(ndarray::s![1, 3, ..2, 4..]).mean().unwrap();
        assert!((coarse.values[[1, 3, 0, 1]] - quarter).abs() < 1e-5);
    }
}

#[test]
fn grey_levels_mean_what_the_configuration_says() {
    let file = fixture("hf-vit");
    let load = |pixels| {
        let mut config = config(&file, vit(VitFamily::Vit, 20, 1e-12), (16, 28));
        config.input.pixels = pixels;
        Backbone::load(config, path("hf-vit"), &Device::Cpu).unwrap()
    };
    let unit = file.tensor("fixture.images").unwrap();
    let seen = load(PixelScale::Unit).preprocess(unit).unwrap();
    let bytes = load(PixelScale::Bytes).preprocess(&(unit * 255.).unwrap()).unwrap();
    let standard =
        load(PixelScale::Standardised).preprocess(&((unit - 0.5).unwrap() / 0.5).unwrap()).unwrap();
    assert_eq!(seen.dims(), [2, 3, 16, 28]);
    assert!(error(&bytes, &seen) < 1e-5 && error(&standard, &seen) < 1e-5);
}

#[test]
fn files_of_other_networks_are_refused_by_tensor_and_shape() {
    let refused = |name: &str, network: NetworkConfig, seen, layer: &str| {
        let input = ImageInput { rows: seen, columns: seen, ..ImageInput::new(&network, (20, 20)) };
        let config =
            BackboneConfig { network, layers: vec![layer.parse().unwrap()], input, trainable: false };
        Backbone::load(config, path(name), &Device::Cpu).err().unwrap().to_string()
    };
    let wide = NetworkConfig::Vgg(VggConfig { convolutions: vec![2; 5], widths: vec![3, 4, 9, 6, 7] });
    let message = refused("vgg13", wide, 32, "relu3_1");
    for part in ["vgg13.safetensors", "features.10.weight", "[9, 4, 3, 3]", "[5, 4, 3, 3]"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let message = refused("hf-vit", vgg([2; 5]), 32, "relu1_1");
    assert!(message.contains("features.0.weight") && message.contains("missing"), "{message}");
    let message = refused("vgg13", vit(VitFamily::Clip, 20, 1e-5), 24, "block1");
    assert!(message.contains("class_embedding") && message.contains("OpenAI"), "{message}");
    let message = refused("timm-dinov2", vit(VitFamily::Vit, 24, 1e-6), 24, "block1");
    assert!(message.contains("ls1.gamma") && message.contains("DINOv2"), "{message}");
    let message = refused("timm-vit", vit(VitFamily::DinoV2, 24, 1e-6), 24, "block1");
    assert!(message.contains("ls1.gamma") && message.contains("missing"), "{message}");
    let message = refused("hf-vit", vit(VitFamily::Vit, 24, 1e-6), 24, "block1");
    assert!(message.contains("[24, 12]") && message.contains("[20, 12]"), "{message}");
    assert!(refused("hf-vit", vit(VitFamily::Vit, 20, 1e-6), 25, "block1").contains("multiple of 4"));
    assert!(refused("absent", vgg([2; 5]), 32, "relu1_1").contains("absent.safetensors"));
}

#[test]
fn damaged_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(path("vgg13")).unwrap();
    let file = fixture("vgg13");
    let mut long = bytes.clone();
    long[7] = 0x7f;
    for (name, bytes) in [("cut", &bytes[..bytes.len() - 3]), ("short", &bytes[..5]), ("long", &long[..])] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let config = config(&file, vgg([2; 5]), (32, 64));
        let message = Backbone::load(config, &path, &Device::Cpu).err().unwrap().to_string();
        assert!(message.contains(name) && message.contains("safetensors"), "{message}");
    }
    // A tensor that is not finite, past the header.
    let mut nan = bytes.clone();
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    nan[start..].chunks_exact_mut(2).for_each(|half| half.copy_from_slice(&0x7e00u16.to_le_bytes()));
    let path = folder.path().join("nan");
    std::fs::write(&path, nan).unwrap();
    let message = Backbone::load(config(&file, vgg([2; 5]), (32, 64)), &path, &Device::Cpu).err().unwrap();
    assert!(message.to_string().contains("finite"), "{message}");
}

#[test]
fn random_weights_follow_their_seed_and_are_called_a_control() {
    for network in [vgg([2; 5]), vit(VitFamily::Clip, 20, 1e-5), vit(VitFamily::DinoV2, 20, 1e-6)] {
        let layers: Vec<Layer> = match &network {
            NetworkConfig::Vgg(_) => vec!["relu3_2".parse().unwrap()],
            _ => vec!["block3".parse().unwrap(), "norm.class".parse().unwrap()],
        };
        let input = ImageInput { rows: 32, columns: 32, ..ImageInput::new(&network, (20, 20)) };
        let config = BackboneConfig { network, layers, input, trainable: false };
        let grey: Vec<f32> = (0..800u16).map(|i| f32::from(i * 37 % 101) / 101.).collect();
        let image = Tensor::from_vec(grey, (2, 1, 20, 20), &Device::Cpu).unwrap();
        let of = |seed| {
            let backbone = Backbone::random(config.clone(), Seed::new(seed), &Device::Cpu).unwrap();
            assert!(!backbone.is_pretrained());
            assert!(backbone.describe().iter().any(|line| line.contains("control")));
            let maps = backbone.forward(&image, Mode::Eval).unwrap();
            let (_, map) = maps.iter().next().unwrap();
            map.flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).iter().all(|value| value.is_finite()) && of(1).iter().any(|value| *value != 0.));
    }
}

#[test]
fn weights_that_are_trained_have_gradients_and_frozen_ones_pass_them_to_the_image() {
    let file = fixture("hf-dinov2");
    let mut config = config(&file, vit(VitFamily::DinoV2, 24, 1e-6), (16, 32));
    config.trainable = true;
    let backbone = Backbone::load(config.clone(), path("hf-dinov2"), &Device::Cpu).unwrap();
    let image = file.tensor("fixture.images").unwrap();
    let loss = |backbone: &Backbone, image: &Tensor| {
        let maps = backbone.forward(image, Mode::Eval).unwrap();
        let parts: Vec<Tensor> = maps.iter().map(|(_, map)| map.sqr().unwrap().sum_all().unwrap()).collect();
        Tensor::stack(&parts, 0).unwrap().sum_all().unwrap().backward().unwrap()
    };
    let gradients = loss(&backbone, image);
    let parameters = backbone.parameters();
    assert!(parameters.len() > 40);
    for parameter in parameters {
        // Attention does not see a value that is added to every key.
        let gradient = gradients.get(&parameter.var).unwrap_or_else(|| panic!("{}", parameter.name));
        let power = gradient.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(power > 0. || parameter.name.contains("key.bias"), "{}", parameter.name);
    }
    config.trainable = false;
    let frozen = Backbone::load(config, path("hf-dinov2"), &Device::Cpu).unwrap();
    let image = candle_core::Var::from_tensor(&image.to_dtype(DType::F32).unwrap()).unwrap();
    assert!(loss(&frozen, &image).get(&image).is_some());
}
