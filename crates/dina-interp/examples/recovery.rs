//! How often the analyses return what is true of simulated populations, over seeds: `recovery 1..=10` (the default), or of
//! some of them only: `recovery 1..=10 sparse null`.
//!
//! Settings are those of the tests; docs/interpretation.md says on which seeds they were developed, and a fair count leaves those
//! out. Each row of the table is a population, with how often each verdict was the truth, and the area under ROC of what tells
//! informative neurons (or pairs) from others. A seed whose population has fewer than two of either kind has no area, and is
//! counted apart. Beside it stands the area by the correlation of repeats, which needs no tower: what is in the responses at all.

#[path = "../tests/populations/mod.rs"]
mod populations;

use dina_data::simulate::Population;
use dina_interp::{
    Coding,
    neurons::{Carriers, Contributions, SubsetMethod},
    space::Extent,
};
use populations::{
    Result, World, nothing_found, pairs, shape_or_texture, smallest_of_neurons, smallest_of_places,
};

/// What is asked of one population, over the seeds: each verdict with whether it was the truth, and the areas.
struct Row {
    population: &'static str,
    verdicts: Vec<(&'static str, Vec<bool>)>,
    areas: Vec<Option<Area>>,
}

/// Area under ROC by the analysis, and by the reliability of neurons where neurons are what is told apart.
#[derive(Debug, Clone, Copy)]
struct Area {
    found: f64,
    reliability: Option<f64>,
}

/// One seed of a population: every verdict with whether it was the truth, and the area.
type Found = (Vec<(&'static str, bool)>, Option<Area>);

/// Everything that is asked of a population, for a seed.
type Analysis = fn(u64) -> Result<Found>;

fn main() -> Result<()> {
    let seeds = seeds(std::env::args().nth(1).as_deref().unwrap_or("1..=10"))?;
    let ask: [(&str, Analysis); 8] = [
        ("sparse", sparse),
        ("dense", dense),
        ("local", |seed| place(Population::Local, Extent::Local, seed)),
        ("distributed", |seed| place(Population::Distributed, Extent::Distributed, seed)),
        ("interacting", interacting),
        ("shape", |seed| coding(Population::Shape, Coding::Shape, Coding::Texture, seed)),
        ("texture", |seed| coding(Population::Texture, Coding::Texture, Coding::Shape, seed)),
        ("null", null),
    ];
    let only: Vec<String> = std::env::args().skip(2).collect();
    if let Some(unknown) = only.iter().find(|name| ask.iter().all(|(population, _)| population != name)) {
        let known = ask.map(|(population, _)| population).join(", ");
        return Err(format!("populations: expected some of {known}, found `{unknown}`").into());
    }
    let mut rows = Vec::new();
    for (population, ask) in ask.into_iter().filter(|(p, _)| only.is_empty() || only.iter().any(|o| o == p)) {
        let mut row = Row { population, verdicts: Vec::new(), areas: Vec::new() };
        for &seed in &seeds {
            let (verdicts, area) = ask(seed).map_err(|e| format!("{population}, seed {seed}: {e}"))?;
            eprintln!("{population}, seed {seed}: area {area:?}, {verdicts:?}");
            for (i, (name, right)) in verdicts.into_iter().enumerate() {
                if row.verdicts.len() == i {
                    row.verdicts.push((name, Vec::new()));
                }
                row.verdicts[i].1.push(right);
            }
            row.areas.push(area);
        }
        rows.push(row);
    }
    print(&seeds, &rows);
    Ok(())
}

/// `3`, `1..=10`.
fn seeds(text: &str) -> Result<Vec<u64>> {
    let wrong = || format!("seeds: expected a number or a range such as 1..=10, found `{text}`");
    let number = |part: &str| part.trim().parse::<u64>().map_err(|_| wrong());
    let (first, last) = match text.split_once("..=") {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    if first > last {
        return Err(wrong().into());
    }
    Ok((first..=last).collect())
}

fn sparse(seed: u64) -> Result<Found> {
    let world = World::small(Population::Sparse, seed)?;
    let informative = world.informative();
    let carriers = informative.iter().filter(|i| **i).count();
    let found = world.contributions()?;
    let index = world.concentration(&found)?;
    eprintln!("sparse, seed {seed}: {carriers} informative; {index}");
    let truth = if carriers == 0 { Carriers::NoEvidence } else { Carriers::Few };
    let mut verdicts = vec![("few carry it (none, where none is informative)", index.carriers == truth)];
    for (name, method) in [
        ("greedy subset starts with a carrier, p < 0.01", SubsetMethod::Greedy),
        ("L1 subset starts with a carrier, p < 0.01", SubsetMethod::L1),
    ] {
        let right = if carriers == 0 {
            false
        } else {
            let set = world.minimal(method)?;
            informative[set.chosen[0]] && set.p < 0.01
        };
        verdicts.push((name, right));
    }
    let area = if carriers < 2 { None } else { Some(area(&world, &found)?) };
    Ok((verdicts, area))
}

fn area(world: &World, found: &Contributions) -> Result<Area> {
    let found = world.recovery(found)?.auc;
    Ok(Area { found, reliability: Some(world.reliability()?.auc) })
}

fn dense(seed: u64) -> Result<Found> {
    let of = |population| -> Result<_> {
        let world = World::small(population, seed)?;
        let needed = world.curves()?.needed.get(1).map(|n| n.contribution);
        let found = world.contributions()?;
        Ok((needed, world.concentration(&found)?))
    };
    let ((few, sparse), (many, dense)) = (of(Population::Sparse)?, of(Population::Dense)?);
    let verdicts = vec![
        ("many carry it", dense.carriers == Carriers::Many),
        ("less concentrated than sparse", dense.gini.estimate < sparse.gini.low),
        ("needs more neurons than sparse for 80 %", few.is_some() && many.is_some() && few < many),
    ];
    // All its neurons are informative.
    Ok((verdicts, None))
}

fn place(population: Population, truth: Extent, seed: u64) -> Result<Found> {
    let world = World::wide(population, seed)?;
    let extent = world.profile()?[0].extent;
    let informative = world.informative();
    let carriers = informative.iter().filter(|i| **i).count();
    let area = if carriers < 2 || informative.len() - carriers < 2 {
        None
    } else {
        Some(area(&world, &world.contributions()?)?)
    };
    let right = extent == truth;
    // Undecided is a miss; the opposite is an error.
    let opposite = matches!(extent, Extent::Local | Extent::Distributed) && !right;
    Ok((vec![("verdict is the truth", right), ("verdict is not the opposite", !opposite)], area))
}

fn interacting(seed: u64) -> Result<Found> {
    let pairs = pairs(seed)?;
    let (hits, errors) = pairs.hits_and_errors();
    let noise = pairs.noise.p < 0.05 && pairs.noise.effect.low > 0.;
    let verdicts = vec![
        ("at least 3 pairs found", hits >= 3),
        ("no other pair found", errors == 0),
        ("noise correlations are worth something", noise),
    ];
    Ok((verdicts, Some(Area { found: pairs.area.auc, reliability: None })))
}

fn coding(population: Population, truth: Coding, other: Coding, seed: u64) -> Result<Found> {
    let found = shape_or_texture(population, seed)?;
    eprintln!(
        "{population}, seed {seed}: {}; encoding model ({:.2}): {}",
        found.neural, found.predicted, found.encoding
    );
    let count = |coding| found.neural.channels.iter().filter(|c| c.coding == coding).count();
    let index = found.neural.mean_index;
    let side = if truth == Coding::Shape { index.low > 0. } else { index.high < 0. };
    let model = found.encoding.mean_index;
    let model = if truth == Coding::Shape { model.low > 0. } else { model.high < 0. };
    let verdicts = vec![
        ("most channels code the truth", 2 * count(truth) > found.neural.channels.len()),
        ("no channel codes the opposite", count(other) == 0),
        ("interval of the mean index on its side of 0", side),
        ("the same for an encoding model of pixels", model),
    ];
    Ok((verdicts, None))
}

fn null(seed: u64) -> Result<Found> {
    let world = World::small(Population::Null, seed)?;
    let found = world.contributions()?;
    let profiles = world.profile()?;
    let carriers = world.concentration(&found)?.carriers;
    let smallest = [smallest_of_neurons(&found), smallest_of_places(&profiles)];
    let verdicts = vec![
        ("no neuron contributes", found.significant(0.05).is_empty()),
        ("no evidence of alignment anywhere", profiles.iter().all(|p| p.extent == Extent::NoEvidence)),
        ("nothing to be concentrated", carriers == Carriers::NoEvidence),
        ("nothing found in either (Holm over both)", nothing_found(&smallest)?),
    ];
    Ok((verdicts, None))
}

fn print(seeds: &[u64], rows: &[Row]) {
    println!("| population | verdict | is the truth |");
    println!("|---|---|---|");
    for row in rows {
        for (name, right) in &row.verdicts {
            let count = right.iter().filter(|r| **r).count();
            println!("| {} | {name} | {count} of {} |", row.population, right.len());
        }
    }
    println!(
        "\n| population | seeds with an area | area under ROC, median (range) | at least 0.9 | by reliability | seed: area |"
    );
    println!("|---|---|---|---|---|---|");
    for row in rows {
        let by_seed: Vec<(u64, Area)> =
            seeds.iter().zip(&row.areas).filter_map(|(&seed, area)| Some((seed, (*area)?))).collect();
        let found: Vec<f64> = by_seed.iter().map(|(_, area)| area.found).collect();
        let Some(summary) = summary(&found) else { continue };
        let reliability: Vec<f64> = by_seed.iter().filter_map(|(_, area)| area.reliability).collect();
        let reached = found.iter().filter(|area| **area >= 0.9).count();
        let each: Vec<String> =
            by_seed.iter().map(|(seed, area)| format!("{seed}: {:.3}", area.found)).collect();
        println!(
            "| {} | {} of {} | {summary} | {reached} | {} | {} |",
            row.population,
            found.len(),
            seeds.len(),
            self::summary(&reliability).unwrap_or_default(),
            each.join(", ")
        );
    }
}

/// Median and range.
fn summary(values: &[f64]) -> Option<String> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let (low, high) = (sorted.first()?, sorted.last()?);
    let median = (sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.;
    Some(format!("{median:.3} ({low:.3} to {high:.3})"))
}
