use dina_data::simulate::Population;
use rand::RngExt;

use super::*;
use crate::jobs::LocalPool;
use crate::towers::level_array;
use crate::training::Common;
use crate::{JobConfig, Measure, Profile, Silent, Source};

fn cohort_of(population: Population, count: u32) -> Vec<Mouse> {
    (0..count)
        .map(|mouse| {
            let mut config = JobConfig::simulated(Profile::Smoke, 3);
            if let Source::Simulated(simulation) = &mut config.source {
                (simulation.population, simulation.mouse) = (population, mouse);
                (simulation.neurons, simulation.images, simulation.spontaneous_bins) = (100, 160, 200);
            }
            Mouse { name: format!("mouse {mouse}"), config }
        })
        .collect()
}

fn run(mice: &[Mouse], workers: usize, store: Option<&Store>) -> Shared {
    let engine = Engine::Local(LocalPool { workers, ..LocalPool::default() });
    let settings = Settings::smoke();
    shared(mice, settings, (&engine, store, Shard::WHOLE), &Device::Cpu, &Silent).unwrap().unwrap()
}

fn row(found: &Shared, quantity: Quantity, measure: Measure) -> &OverMice {
    found.identification.iter().find(|row| row.quantity == quantity && row.measure == measure).unwrap()
}

/// A mouse left out is identified by channels that the others chose; nothing depends on the number of workers.
#[test]
fn a_mouse_left_out_is_identified() {
    let mice = cohort_of(Population::V1, 3);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path());
    let found = run(&mice, 1, Some(&store));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    assert_eq!(found, run(&mice, 2, None));
    assert!(found.clean && found.images == 40 && found.mice.len() == 3, "{found:?}");
    assert!((found.chance_top1 - 1. / 40.).abs() < 1e-12);
    let others = row(&found, Quantity::AboveChance(ChosenBy::Others), Measure::TwoWay);
    assert!(others.mean.low > 0. && others.signs.as_ref().unwrap().positive == 3, "{others:?}");
    let difference = row(&found, Quantity::Difference(ChosenBy::Others, ChosenBy::Own), Measure::TwoWay);
    let own = row(&found, Quantity::AboveChance(ChosenBy::Own), Measure::TwoWay);
    for mouse in 0..3 {
        assert!((difference.mice[mouse] - (others.mice[mouse] - own.mice[mouse])).abs() < 1e-9);
    }
    let Agreement { neural, image, channels, .. } = &found.agreement;
    assert!(neural.low <= neural.mean && neural.mean <= neural.high, "{neural:?}");
    assert!(image.mean > neural.mean, "{image:?}");
    assert_eq!((channels.len(), channels[0].len()), (3, 16));
    let text = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<Shared>(&text).unwrap(), found);
}

#[test]
fn mice_without_signal_share_nothing() {
    let found = run(&cohort_of(Population::Null, 3), 2, None);
    for row in &found.identification {
        if matches!(row.quantity, Quantity::AboveChance(_)) {
            assert!(row.p_adjusted > 0.05 && row.estimate.abs() < 0.12, "{row:?}");
        }
    }
    let Agreement { neural, alignability, .. } = &found.agreement;
    assert!(neural.pairs.iter().all(|pair| pair.p_adjusted > 0.05) && neural.mean < 0.1, "{neural:?}");
    assert!(alignability.is_some());
}

/// The same image maps for every mouse in the tower of all, bit by bit, and its own in the tower of one.
#[test]
fn one_tower_is_one_tower() {
    let mice = cohort_of(Population::V1, 2);
    let gathered = gather(&mice, &Device::Cpu, &Silent).unwrap();
    let device = Device::Cpu;
    let maps = |mouse: usize, chosen: ChosenBy| {
        let work = MouseWork { gathered: &gathered, mouse, device: &device };
        let animal = &gathered.animals[mouse];
        let fold = &animal.folds[0];
        let common =
            Common::new(&animal.dataset, fold, &gathered.config(mouse, 0).unwrap(), &device).unwrap();
        let trained = work.towers(chosen, 0, &common).unwrap();
        let images = fold.select(fold.split.test());
        level_array(&trained.members[0].image_maps(images.view()).unwrap()).unwrap()
    };
    assert_eq!(maps(0, ChosenBy::All), maps(1, ChosenBy::All));
    assert_eq!(maps(0, ChosenBy::Random), maps(1, ChosenBy::Random));
    // What the other of two chose alone is its own tower.
    assert_eq!(maps(0, ChosenBy::Others), maps(1, ChosenBy::Own));
    assert_ne!(maps(0, ChosenBy::Own), maps(1, ChosenBy::Own));
}

#[test]
fn mice_that_cannot_share_are_refused() {
    let refused = |mice: &[Mouse]| gather(mice, &Device::Cpu, &Silent).err().unwrap().to_string();
    let mut mice = cohort_of(Population::V1, 2);
    mice[1].config.profile = Profile::Quick;
    assert!(refused(&mice).contains("profile quick"), "{}", refused(&mice));
    let mut mice = cohort_of(Population::V1, 2);
    if let Source::Simulated(simulation) = &mut mice[1].config.source {
        simulation.seed += 1;
    }
    assert!(refused(&mice).contains("different images"), "{}", refused(&mice));
    assert!(refused(&cohort_of(Population::V1, 1)).contains("2 or more"));
}

/// The page says what was found, with its numbers beside it, and needs nothing from elsewhere.
#[test]
fn the_page_has_every_part() {
    let mice = cohort_of(Population::V1, 2);
    let engine = Engine::default();
    let how = (&engine, None, Shard::WHOLE);
    let claims: Vec<Box<dyn crate::claims::Claim>> = vec![Box::new(crate::claims::Accuracy)];
    let device = Device::Cpu;
    let mut found = crate::claims::cohort(&mice, &claims, Settings::smoke(), how, &device, &Silent).unwrap();
    let without = page(&found, "two mice", true).html();
    assert!(without.contains("needs two mice") && without.contains("simulated"));
    found.shared = Some(run(&mice, 2, None));
    let folder = tempfile::tempdir().unwrap();
    page(&found, "two mice", true).write(folder.path(), "cohort").unwrap();
    let html = std::fs::read_to_string(folder.path().join("cohort.html")).unwrap();
    for part in
        ["channels of the other mice minus random channels", "Holm over 14 tests", "Signs of all effects"]
    {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("<script") && !html.contains("NaN"));
    for figure in
        ["cohort-accuracy", "cohort-towers", "cohort-tower-differences", "cohort-neural", "cohort-channels"]
    {
        for ending in ["svg", "csv"] {
            assert!(folder.path().join(format!("figures/{figure}.{ending}")).exists(), "{figure}.{ending}");
        }
    }
}

/// Three mice whose maps are a common part with this weight and a part of their own.
fn results(common: f32) -> Vec<work::MouseResult> {
    let (images, channels) = (60, 8);
    let drawn = |name: &str, weight: f32| -> Vec<Vec<f32>> {
        let mut shared = Seed::new(5).stream("shared");
        let mut own = Seed::new(5).stream(name);
        let mut value =
            || weight * (shared.random::<f32>() - 0.5) + (1. - weight) * (own.random::<f32>() - 0.5);
        (0..images).map(|_| (0..6).map(|_| value()).collect()).collect()
    };
    let aligned = |mouse: usize| -> Vec<Vec<f64>> {
        let mut own = Seed::new(6).index(mouse).stream("aligned");
        let profile: Vec<f64> = (0..channels)
            .map(|c| f64::from(common) * c as f64 / channels as f64 + 0.1 * own.random::<f64>())
            .collect();
        (0..images).map(|_| profile.iter().map(|r| r + own.random::<f64>() - 0.5).collect()).collect()
    };
    (0..3)
        .map(|mouse| work::MouseResult {
            mouse: format!("{mouse}"),
            images: (0..images).collect(),
            chance_top1: 1. / images as f64,
            scores: Vec::new(),
            aligned: aligned(mouse),
            neural: drawn(&format!("neural {mouse}"), common),
            image: drawn(&format!("image {mouse}"), 1.),
            random: drawn(&format!("random {mouse}"), 0.),
        })
        .collect()
}

#[test]
fn agreement_is_of_what_is_common() {
    let of = |common| agreement::agreement(&results(common), Settings::smoke(), Seed::new(1)).unwrap();
    let shared = of(0.6);
    let aligned = shared.alignability.unwrap();
    for found in [&shared.neural, &shared.image, &aligned] {
        assert!(found.pairs.iter().all(|pair| pair.value > 0.3 && pair.p_adjusted < 0.05), "{found:?}");
        assert!(found.low > 0. && found.low <= found.mean && found.mean <= found.high + 1e-9, "{found:?}");
    }
    assert!((shared.image.mean - 1.).abs() < 1e-6 && shared.image_random.abs() < 0.15);
    let none = of(0.);
    assert!(none.neural.pairs.iter().all(|pair| pair.p_adjusted > 0.05), "{:?}", none.neural);
    assert!(none.neural.low < 0. && none.neural.mean.abs() < 0.1, "{:?}", none.neural);
}
