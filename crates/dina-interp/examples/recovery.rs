//! How often the analyses return what is true of simulated populations, over seeds: `recovery 1..=10` (the default), or of
//! some of them only: `recovery 1..=10 sparse null`.
//!
//! Settings are those of the tests, which were developed on seed 0; a fair count leaves that out. Each row of the table is a
//! population, with how often each verdict was the truth, and the area under ROC of what tells informative neurons (or pairs) from
//! others. A seed whose population has fewer than two of either kind has no area, and is counted apart.

#[path = "../tests/populations/mod.rs"]
mod populations;

use dina_data::simulate::Population;
use dina_interp::{neurons::SubsetMethod, space::Extent};
use populations::{Result, World, pairs};

/// What is asked of one population, over the seeds: each verdict with whether it was the truth, and the areas.
struct Row {
    population: &'static str,
    verdicts: Vec<(&'static str, Vec<bool>)>,
    areas: Vec<Option<f64>>,
}

/// One seed of a population: every verdict with whether it was the truth, and the area.
type Found = (Vec<(&'static str, bool)>, Option<f64>);

/// Everything that is asked of a population, for a seed.
type Analysis = fn(u64) -> Result<Found>;

fn main() -> Result<()> {
    let seeds = seeds(std::env::args().nth(1).as_deref().unwrap_or("1..=10"))?;
    let ask: [(&str, Analysis); 6] = [
        ("sparse", sparse),
        ("dense", dense),
        ("local", |seed| place(Population::Local, Extent::Local, seed)),
        ("distributed", |seed| place(Population::Distributed, Extent::Distributed, seed)),
        ("interacting", interacting),
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
    let mut verdicts =
        vec![("concentrated: p < 0.05, Gini > 0.8", index.p < 0.05 && index.gini.estimate > 0.8)];
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
    let area = if carriers < 2 { None } else { Some(world.recovery(&found)?.auc) };
    Ok((verdicts, area))
}

fn dense(seed: u64) -> Result<Found> {
    let of = |population| -> Result<_> {
        let world = World::small(population, seed)?;
        let needed = world.curves()?.needed.get(1).map(|n| n.contribution);
        let found = world.contributions()?;
        Ok((needed, world.concentration(&found)?.gini))
    };
    let ((few, sparse), (many, dense)) = (of(Population::Sparse)?, of(Population::Dense)?);
    let verdicts = vec![
        ("less concentrated than sparse", dense.estimate < sparse.low),
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
        Some(world.recovery(&world.contributions()?)?.auc)
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
    Ok((verdicts, Some(pairs.area.auc)))
}

fn null(seed: u64) -> Result<Found> {
    let world = World::small(Population::Null, seed)?;
    let neurons = world.contributions()?.significant(0.05).is_empty();
    let places = world.profile()?.iter().all(|p| p.extent == Extent::NoEvidence);
    Ok((vec![("no neuron contributes", neurons), ("no evidence of alignment anywhere", places)], None))
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
        "\n| population | seeds with an area | area under ROC, median (range) | at least 0.9 | seed: area |"
    );
    println!("|---|---|---|---|---|");
    for row in rows {
        let by_seed: Vec<(u64, f64)> =
            seeds.iter().zip(&row.areas).filter_map(|(&seed, area)| Some((seed, (*area)?))).collect();
        let mut areas: Vec<f64> = by_seed.iter().map(|(_, area)| *area).collect();
        areas.sort_unstable_by(f64::total_cmp);
        let (Some(low), Some(high)) = (areas.first(), areas.last()) else { continue };
        let median = (areas[(areas.len() - 1) / 2] + areas[areas.len() / 2]) / 2.;
        let reached = areas.iter().filter(|area| **area >= 0.9).count();
        let each: Vec<String> = by_seed.iter().map(|(seed, area)| format!("{seed}: {area:.3}")).collect();
        println!(
            "| {} | {} of {} | {median:.3} ({low:.3} to {high:.3}) | {reached} | {} |",
            row.population,
            areas.len(),
            seeds.len(),
            each.join(", ")
        );
    }
}
