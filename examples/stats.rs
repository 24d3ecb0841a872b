//! Statistics of matrices in files: each test prints a sentence that a paper can quote.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use dina_core::Seed;
use dina_examples::{Table, exit, out};
use dina_stats::bootstrap::Bootstrap;
use dina_stats::comparison::{Association, Coefficient, Location, Paired, SignTest, TwoSample};
use dina_stats::meta::random_effects;
use dina_stats::multiplicity;
use dina_stats::permutation::{Permutation, Scheme, Tail, mass};
use dina_stats::similarity::cka::cka_test;
use dina_stats::similarity::dissimilarity::Dissimilarities;
use dina_stats::similarity::rsa::{RdmCorrelation, rsa_test};
use dina_stats::sparseness;
use dina_study::{Error, Result};
use ndarray::Array2;
use serde::Serialize;
use serde_json::{Value, json};

/// Tests, effect sizes and similarities of the numbers in CSV or numpy files.
///
/// Rows are items (mice, images, time points), columns are channels. Without --test it says what the files hold and
/// which tests they fit.
#[derive(Parser)]
#[command(version)]
struct Flags {
    /// Files to read (.csv, .tsv, .npy, or .npz with one array)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What to test
    #[arg(long, value_enum, default_value_t = Test::Describe, value_name = "NAME")]
    test: Test,
    /// Random permutations; where there are no more than 10,000 in all, each is looked at once
    #[arg(long, value_name = "B", default_value_t = 9999)]
    permutations: usize,
    /// Stop after so many permutations as extreme as the data (sequential p, which stays valid)
    #[arg(long, value_name = "H")]
    stop_after: Option<usize>,
    /// Which statistics count as extreme
    #[arg(long, value_enum, default_value_t = Side::TwoSided)]
    tail: Side,
    /// Coverage of intervals
    #[arg(long, default_value_t = 0.95)]
    level: f64,
    /// File with one whole number a row: the mouse or recording of each item, within which labels are exchanged and
    /// whose signs flip together
    #[arg(long, value_name = "FILE")]
    blocks: Option<PathBuf>,
    /// Correlate time series against circular shifts by at least so many rows
    #[arg(long, value_name = "ROWS", conflicts_with = "blocks")]
    min_offset: Option<usize>,
    /// Use ranks: Spearman's correlation, the rank-sum test
    #[arg(long)]
    ranks: bool,
    /// What every random draw comes from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

/// What can be tested.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Test {
    /// Say what the files hold
    Describe,
    /// Two samples, one a file; with several columns also corrected over channels
    TwoSample,
    /// Two files, row by row, or one file of two columns
    Paired,
    /// One file against zero; with several columns corrected over channels
    OneSample,
    /// Two files of one column, one file of two columns, or a column against each channel of a matrix
    Correlation,
    /// Debiased linear CKA of two files with the same rows
    Cka,
    /// A model against mice: square matrices are dissimilarities, others patterns (stimuli x neurons)
    Rsa,
    /// p-values of a file, adjusted
    Fdr,
    /// Effects (column 1) and their variances (column 2), one row a mouse
    Meta,
    /// Signs over mice (rows) of each effect (column)
    Signs,
    /// Sparseness of nonnegative rates, stimuli x neurons
    Sparseness,
}

/// The tail of a test.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    /// Away from zero
    TwoSided,
    /// Larger
    Greater,
    /// Smaller
    Less,
}

/// Sentences for people and a value for programs.
struct Answer {
    sentences: Vec<String>,
    value: Value,
}

impl Answer {
    fn of<T: Display + Serialize>(result: &T) -> Result<Self> {
        Ok(Self { sentences: vec![result.to_string()], value: value(result)? })
    }
}

fn value(result: &impl Serialize) -> Result<Value> {
    serde_json::to_value(result).map_err(|error| Error::Job(error.to_string()))
}

fn main() -> ExitCode {
    exit(run(&Flags::parse()))
}

fn run(flags: &Flags) -> Result<()> {
    let tables: Vec<Table> = flags.files.iter().map(|file| Table::read(file)).collect::<Result<_>>()?;
    let answer = flags.answer(&tables)?;
    if flags.json {
        let text =
            serde_json::to_string_pretty(&answer.value).map_err(|error| Error::Job(error.to_string()))?;
        out!("{text}");
    } else {
        answer.sentences.iter().for_each(|sentence| out!("{sentence}"));
    }
    Ok(())
}

impl Flags {
    fn answer(&self, tables: &[Table]) -> Result<Answer> {
        match self.test {
            Test::Describe => describe(tables),
            Test::TwoSample => self.two_sample(tables),
            Test::Paired => self.paired(tables),
            Test::OneSample => self.one_sample(&self.expect(tables, 1)?[0].values),
            Test::Correlation => self.correlation(tables),
            Test::Cka => {
                let tables = self.expect(tables, 2)?;
                let scheme = self.scheme(tables[0].values.nrows())?;
                let (x, y) = (tables[0].values.view(), tables[1].values.view());
                // Only more similar than chance is a finding.
                let permutation = Permutation { tail: Tail::Greater, ..self.permutation() };
                Answer::of(&cka_test(&permutation, x, y, &scheme, self.seed())?)
            }
            Test::Rsa => self.rsa(tables),
            Test::Fdr => fdr(&column(&self.expect(tables, 1)?[0])?),
            Test::Meta => {
                let table = &self.expect(tables, 1)?[0];
                let (effects, variances) = two_columns(table)?;
                Answer::of(&random_effects(&effects, &variances, self.level, true)?)
            }
            Test::Signs => self.signs(&self.expect(tables, 1)?[0]),
            Test::Sparseness => sparse(&self.expect(tables, 1)?[0].values, self.seed()),
        }
    }

    /// As many files as a test takes.
    fn expect<'a>(&self, tables: &'a [Table], number: usize) -> Result<&'a [Table]> {
        if tables.len() == number {
            return Ok(tables);
        }
        let name = self.test.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned());
        Err(Error::Job(format!("--test {name} takes {number} file(s), found {}", tables.len())))
    }

    fn seed(&self) -> Seed {
        Seed::new(self.seed)
    }

    fn permutation(&self) -> Permutation {
        let tail = match self.tail {
            Side::TwoSided => Tail::TwoSidedAbsolute,
            Side::Greater => Tail::Greater,
            Side::Less => Tail::Less,
        };
        Permutation { count: self.permutations, exact_up_to: 10_000, tail, stop_after: self.stop_after }
    }

    fn bootstrap(&self) -> Bootstrap {
        Bootstrap { level: self.level, ..Bootstrap::default() }
    }

    fn blocks(&self, items: usize) -> Result<Option<Vec<usize>>> {
        let Some(path) = &self.blocks else { return Ok(None) };
        let table = Table::read(path)?;
        let blocks = column(&table)?;
        if blocks.len() != items {
            return Err(Error::Job(format!("{}: {} blocks for {items} items", table.name, blocks.len())));
        }
        let whole = |&block: &f64| (block >= 0.0 && block.fract() == 0.0).then_some(block as usize);
        let names: Option<Vec<usize>> = blocks.iter().map(whole).collect();
        names.map(Some).ok_or_else(|| Error::Job(format!("{}: blocks are whole numbers from 0", table.name)))
    }

    /// How labels are exchanged.
    fn scheme(&self, items: usize) -> Result<Scheme> {
        Ok(match (self.min_offset, self.blocks(items)?) {
            (Some(offset), _) => Scheme::circular_shift(&[items], offset)?,
            (None, Some(blocks)) => Scheme::within_blocks(&blocks)?,
            (None, None) => Scheme::free(items)?,
        })
    }

    fn two_sample(&self, tables: &[Table]) -> Result<Answer> {
        let tables = self.expect(tables, 2)?;
        let (a, b) = (&tables[0].values, &tables[1].values);
        if self.blocks.is_some() {
            return Err(Error::Job(
                "--blocks: two samples of dependent items have no test; average each block first".into(),
            ));
        }
        if a.ncols() == 1 && b.ncols() == 1 {
            let location = if self.ranks { Location::RankSum } else { Location::Welch };
            let config = TwoSample { location, permutation: self.permutation(), level: self.level };
            return Answer::of(&config.test(&column(&tables[0])?, &column(&tables[1])?, self.seed())?);
        }
        Answer::of(&mass::two_sample(&self.permutation(), a.view(), b.view(), self.seed())?)
    }

    fn paired(&self, tables: &[Table]) -> Result<Answer> {
        let differences = match tables {
            [one] => {
                let (a, b) = two_columns(one)?;
                column_of(a.iter().zip(&b).map(|(a, b)| a - b).collect())
            }
            [a, b] if a.values.dim() == b.values.dim() => &a.values - &b.values,
            [a, b] => {
                let (a, b) = (a.values.dim(), b.values.dim());
                return Err(Error::Job(format!("pairs need files of one shape, found {a:?} and {b:?}")));
            }
            _ => return Err(Error::Job("--test paired takes one or two files".into())),
        };
        self.one_sample(&differences)
    }

    fn one_sample(&self, data: &Array2<f64>) -> Result<Answer> {
        let blocks = self.blocks(data.nrows())?;
        if data.ncols() == 1 {
            let config = Paired { permutation: self.permutation(), bootstrap: self.bootstrap() };
            let values = data.column(0).to_vec();
            let found = match blocks {
                Some(blocks) => config.test_blocks(&values, &blocks, self.seed())?,
                None => config.test(&values, self.seed())?,
            };
            return Answer::of(&found);
        }
        let scheme = match blocks {
            Some(blocks) => Scheme::sign_flip_blocks(&blocks)?,
            None => Scheme::sign_flip(data.nrows())?,
        };
        Answer::of(&mass::one_sample(&self.permutation(), data.view(), &scheme, self.seed())?)
    }

    fn correlation(&self, tables: &[Table]) -> Result<Answer> {
        let (x, y) = match tables {
            [one] => {
                let (x, y) = two_columns(one)?;
                (x, column_of(y))
            }
            [x, y] => (column(x)?, y.values.clone()),
            _ => return Err(Error::Job("--test correlation takes one or two files".into())),
        };
        let scheme = self.scheme(x.len())?;
        if y.ncols() == 1 {
            let coefficient = if self.ranks { Coefficient::Spearman } else { Coefficient::Pearson };
            let config = Association { coefficient, permutation: self.permutation(), level: self.level };
            return Answer::of(&config.test(&x, &y.column(0).to_vec(), &scheme, self.seed())?);
        }
        if self.ranks {
            return Err(Error::Job("--ranks takes one column against one; rank the channels first".into()));
        }
        Answer::of(&mass::correlation(&self.permutation(), &x, y.view(), &scheme, self.seed())?)
    }

    fn rsa(&self, tables: &[Table]) -> Result<Answer> {
        let [model, mice @ ..] = tables else {
            return Err(Error::Job("--test rsa takes a model and mice".into()));
        };
        let model = dissimilarities(model)?;
        let mice: Vec<Dissimilarities> = mice.iter().map(dissimilarities).collect::<Result<_>>()?;
        let permutation = Permutation { tail: Tail::Greater, ..self.permutation() };
        Answer::of(&rsa_test(&permutation, &model, &mice, RdmCorrelation::RhoA, self.seed())?)
    }

    fn signs(&self, table: &Table) -> Result<Answer> {
        let tests = table
            .values
            .columns()
            .into_iter()
            .enumerate()
            .map(|(i, effect)| Ok(SignTest::new(name(table, i), &effect.to_vec(), self.permutation().tail)?))
            .collect::<Result<Vec<_>>>()?;
        let sentences = tests.iter().map(|test| test.to_string()).collect();
        Ok(Answer { sentences, value: value(&tests)? })
    }
}

fn describe(tables: &[Table]) -> Result<Answer> {
    let mut answer = Answer { sentences: Vec::new(), value: json!([]) };
    let mut entries = Vec::new();
    for table in tables {
        let (rows, columns) = table.values.dim();
        answer.sentences.push(format!("{}: {rows} rows x {columns} columns", table.name));
        let mut described = Vec::new();
        for (i, values) in table.values.columns().into_iter().enumerate() {
            let (mean, sd) =
                (values.mean().unwrap_or_default(), if rows > 1 { values.std(1.0) } else { 0.0 });
            if i < 10 {
                answer.sentences.push(format!("  {}: mean {mean:.4}, sd {sd:.4}", name(table, i)));
            }
            described.push(json!({ "name": name(table, i), "mean": mean, "sd": sd }));
        }
        if columns > 10 {
            answer.sentences.push(format!("  and {} more columns", columns - 10));
        }
        entries.push(json!({ "file": table.name, "rows": rows, "columns": described }));
    }
    let fitting = match tables {
        [one] if one.values.ncols() == 1 => "one-sample, fdr, signs",
        [one] if one.values.ncols() == 2 => "paired, correlation, meta, one-sample, signs, sparseness",
        [_] => "one-sample, signs, sparseness",
        [a, b] if a.values.nrows() == b.values.nrows() => "two-sample, paired, correlation, cka, rsa",
        [_, _] => "two-sample",
        _ => "rsa",
    };
    answer.sentences.push(format!("choose with --test: {fitting}"));
    answer.value = Value::Array(entries);
    Ok(answer)
}

fn fdr(p: &[f64]) -> Result<Answer> {
    let methods = [
        ("Benjamini-Hochberg", multiplicity::benjamini_hochberg(p)?),
        ("Benjamini-Yekutieli", multiplicity::benjamini_yekutieli(p)?),
        ("Holm", multiplicity::holm(p)?),
        ("Bonferroni", multiplicity::bonferroni(p)?),
    ];
    let mut sentences = Vec::new();
    let mut adjusted = serde_json::Map::new();
    for (name, values) in methods {
        let below = values.iter().filter(|p| **p <= 0.05).count();
        let smallest = values.iter().copied().fold(1.0, f64::min);
        sentences
            .push(format!("{name}: {below} of {} at or below 0.05, the smallest {smallest:.4}", p.len()));
        adjusted.insert(name.into(), value(&values)?);
    }
    Ok(Answer { sentences, value: Value::Object(adjusted) })
}

fn sparse(rates: &Array2<f64>, seed: Seed) -> Result<Answer> {
    let (lifetime, population) = (sparseness::lifetime(rates.view())?, sparseness::population(rates.view())?);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let strength = rates.sum_axis(ndarray::Axis(0));
    let needed = sparseness::neurons_needed(strength.view(), &[0.5, 0.8, 0.9], 1000, 0.95, seed)?;
    let gini = sparseness::gini(strength.view())?;
    let mut sentences = vec![
        format!("lifetime sparseness {:.3} (mean of {} neurons)", mean(&lifetime), lifetime.len()),
        format!("population sparseness {:.3} (mean of {} stimuli)", mean(&population), population.len()),
        format!("Gini index of the neurons' summed rates {gini:.3}"),
    ];
    sentences.extend(needed.iter().map(|n| format!("summed rates: {n}")));
    let value =
        json!({ "lifetime": lifetime, "population": population, "gini": gini, "needed": value(&needed)? });
    Ok(Answer { sentences, value })
}

/// A square matrix that is symmetric with a zero diagonal holds dissimilarities, any other patterns.
fn dissimilarities(table: &Table) -> Result<Dissimilarities> {
    let values = &table.values;
    let square = values.is_square()
        && values.indexed_iter().all(|((i, j), v)| if i == j { *v == 0.0 } else { *v == values[[j, i]] });
    Ok(match square {
        true => Dissimilarities::from_square(values.view())?,
        false => Dissimilarities::correlation(values.view())?,
    })
}

/// A name of a column.
fn name(table: &Table, column: usize) -> String {
    table.header.as_ref().map_or_else(|| format!("column {}", column + 1), |names| names[column].clone())
}

fn column(table: &Table) -> Result<Vec<f64>> {
    match table.values.dim() {
        (_, 1) => Ok(table.values.column(0).to_vec()),
        (1, _) => Ok(table.values.row(0).to_vec()),
        shape => Err(Error::Job(format!("{}: expected one column, found {shape:?}", table.name))),
    }
}

fn two_columns(table: &Table) -> Result<(Vec<f64>, Vec<f64>)> {
    match table.values.ncols() {
        2 => Ok((table.values.column(0).to_vec(), table.values.column(1).to_vec())),
        found => Err(Error::Job(format!("{}: expected two columns, found {found}", table.name))),
    }
}

fn column_of(values: Vec<f64>) -> Array2<f64> {
    Array2::from_shape_fn((values.len(), 1), |(row, _)| values[row])
}
