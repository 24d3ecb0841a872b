//! Agreement with scipy, statsmodels, MNE and rsatoolbox on fixed inputs: `golden/generate.py` wrote
//! `golden/golden.json`.

// Helpers of a test fail the test; the lint knows test functions only.
#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use approx::assert_relative_eq;
use dina_core::Seed;
use dina_stats::bootstrap::{Bootstrap, IntervalMethod, Resampling};
use dina_stats::classical::{
    correlation_p, mann_whitney, one_sample_t, spearman, student_t, welch_t, wilcoxon,
};
use dina_stats::cluster::{
    Adjacency, ClusterMeasure, ClusterThreshold, Neighbourhood, Tfce, cluster_test, tfce_test,
};
use dina_stats::comparison::{Association, Paired, SignTest};
use dina_stats::effect::{self, Effect, EffectKind};
use dina_stats::meta::random_effects;
use dina_stats::multiplicity;
use dina_stats::permutation::{Arrangement, Permutation, Scheme, Tail, mass};
use dina_stats::proportion::{clopper_pearson, wilson};
use dina_stats::reliability::{Correlation, cross_repeat, explained_explainable, normalised_correlation};
use dina_stats::similarity::cka::{debiased_cka, linear_cka};
use dina_stats::similarity::dissimilarity::Dissimilarities;
use dina_stats::similarity::rsa::{RdmCorrelation, noise_ceiling};
use ndarray::{Array1, Array2, Array3, Axis};
use serde::de::DeserializeOwned;
use serde_json::Value;

static GOLDEN: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("golden/golden.json")).unwrap());

const CLOSE: f64 = 1e-10;

fn get<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn input(name: &str) -> Vec<f64> {
    get(&GOLDEN["inputs"][name])
}

fn rows(name: &str) -> &'static [Value] {
    GOLDEN[name].as_array().unwrap()
}

fn matrix(value: &Value) -> Array2<f64> {
    let rows: Vec<Vec<f64>> = get(value);
    Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap()
}

fn close(found: f64, expected: &Value) {
    assert_relative_eq!(found, expected.as_f64().unwrap(), max_relative = CLOSE, epsilon = 1e-14);
}

fn all_close(found: &[f64], expected: &Value) {
    let expected: Vec<f64> = get(expected);
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(&expected) {
        assert_relative_eq!(f, e, max_relative = CLOSE, epsilon = 1e-12);
    }
}

#[test]
fn t_tests() {
    let (a, b) = (input("a"), input("b"));
    for row in rows("t_tests") {
        let tail: Tail = get(&row["tail"]);
        let found = match row["test"].as_str().unwrap() {
            "one_sample" => one_sample_t(&a, tail, 0.95),
            "student" => student_t(&a, &b, tail, 0.95),
            _ => welch_t(&a, &b, tail, 0.95),
        }
        .unwrap();
        close(found.t, &row["t"]);
        close(found.df, &row["df"]);
        close(found.p, &row["p"]);
        all_close(&[found.low, found.high], &row["ci"]);
    }
}

#[test]
fn rank_tests() {
    let (a, b) = (input("a"), input("b"));
    let (tied_a, tied_b) = (input("tied_a"), input("tied_b"));
    for row in rows("rank_tests") {
        let tail: Tail = get(&row["tail"]);
        let whitney = row["test"] == "mann_whitney";
        let (exact, tied) = if whitney {
            (mann_whitney(&a, &b, tail), mann_whitney(&tied_a, &tied_b, tail))
        } else {
            (wilcoxon(&a, tail), wilcoxon(&tied_a, tail))
        };
        let (exact, tied) = (exact.unwrap(), tied.unwrap());
        assert!(exact.exact && !tied.exact);
        close(exact.p, &row["exact"][1]);
        close(tied.p, &row["tied"][1]);
        if whitney {
            close(exact.statistic, &row["exact"][0]);
            close(tied.statistic, &row["tied"][0]);
        }
    }
}

#[test]
fn correlations() {
    let (x, y) = (input("x"), input("y"));
    let cases = [
        ("pearson", Correlation::pearson(&x, &y).unwrap(), EffectKind::PearsonR),
        ("spearman", spearman(&x, &y).unwrap(), EffectKind::SpearmanR),
    ];
    for (name, r, kind) in cases {
        let expected = &GOLDEN["correlations"][name];
        close(r.get(), &expected["r"]);
        close(correlation_p(r, x.len(), Tail::TwoSidedAbsolute).unwrap(), &expected["p"]);
        let found = effect::correlation_interval(kind, r.get(), x.len(), 0.95).unwrap();
        all_close(&[found.low, found.high], &expected["ci"]);
    }
}

#[test]
fn effect_sizes() {
    let (a, b) = (input("a"), input("b"));
    let (tied_a, tied_b) = (input("tied_a"), input("tied_b"));
    let expected = &GOLDEN["effects"];
    let triple = |e: Effect| [e.estimate, e.low, e.high];
    all_close(&triple(effect::cohen_d(&a, &b, 0.95).unwrap()), &expected["cohen_d"]);
    all_close(&triple(effect::hedges_g(&a, &b, 0.95).unwrap()), &expected["hedges_g"]);
    all_close(&triple(effect::cohen_dz(&a, 0.9).unwrap()), &expected["cohen_dz"]);
    all_close(&triple(effect::hedges_gz(&a, 0.9).unwrap()), &expected["hedges_gz"]);
    all_close(&triple(effect::cliff_delta(&tied_a, &tied_b, 0.95).unwrap()), &expected["cliff_delta"]);
    let bootstrap = Bootstrap { replicates: 100, ..Bootstrap::default() };
    let rank = effect::matched_rank_biserial(&a, &bootstrap, Seed::new(1)).unwrap();
    close(rank.estimate, &expected["rank_biserial"]);
}

/// scipy's `permutation_test` with every arrangement.
#[test]
fn exact_permutations() {
    let (a, b, x, y) = (input("a"), input("b"), input("x"), input("y"));
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    for row in rows("exact_permutations") {
        let permutation = Permutation { tail: get(&row["tail"]), ..Permutation::default() };
        let all = [&a[..6], &b[..5]].concat();
        let groups = permutation
            .test(
                &Scheme::two_groups(6, 5).unwrap(),
                |g| {
                    let dealt = g.apply(&all);
                    mean(&dealt[..6]) - mean(&dealt[6..])
                },
                Seed::new(0),
            )
            .unwrap();
        let flips = permutation
            .test(&Scheme::sign_flip(8).unwrap(), |g| mean(&g.apply(&a[..8])), Seed::new(0))
            .unwrap();
        let labels = Association { permutation, ..Association::default() }
            .test(&x[..6], &y[..6], &Scheme::free(6).unwrap(), Seed::new(0))
            .unwrap()
            .permutation;
        for (found, name) in [(groups, "two_groups"), (flips, "sign_flip"), (labels, "correlation")] {
            assert!(found.exact);
            all_close(&[found.statistic, found.p], &row[name]);
        }
    }
}

#[test]
fn multiple_tests() {
    let expected = &GOLDEN["multiplicity"];
    let p: Vec<f64> = get(&expected["p"]);
    all_close(&multiplicity::bonferroni(&p).unwrap(), &expected["bonferroni"]);
    all_close(&multiplicity::holm(&p).unwrap(), &expected["holm"]);
    all_close(&multiplicity::benjamini_hochberg(&p).unwrap(), &expected["benjamini_hochberg"]);
    all_close(&multiplicity::benjamini_yekutieli(&p).unwrap(), &expected["benjamini_yekutieli"]);
}

#[test]
fn meta_analysis() {
    for row in rows("meta") {
        let (effects, variances): (Vec<f64>, Vec<f64>) = (get(&row["effects"]), get(&row["variances"]));
        let found = random_effects(&effects, &variances, 0.95, false).unwrap();
        close(found.estimate, &row["mean"]);
        close(found.standard_error, &row["se"]);
        close(found.tau_squared, &row["tau_squared"]);
        close(found.q, &row["q"]);
        close(found.q_p, &row["q_p"]);
        // statsmodels lets I^2 fall below zero.
        assert_relative_eq!(found.i_squared, row["i_squared"].as_f64().unwrap().max(0.0), epsilon = CLOSE);
        all_close(&[found.low, found.high], &row["ci"]);
        all_close(&found.normal, &row["normal"]);
    }
}

#[test]
fn proportions() {
    for row in rows("proportions") {
        let (k, n): (usize, usize) = (get(&row["k"]), get(&row["n"]));
        let found = if row["method"] == "wilson" { wilson(k, n, 0.95) } else { clopper_pearson(k, n, 0.95) };
        let found = found.unwrap();
        all_close(&[found.low, found.high], &row["ci"]);
    }
}

#[test]
fn sign_tests() {
    for row in rows("signs") {
        let (positive, n): (usize, usize) = (get(&row["positive"]), get(&row["n"]));
        let estimates: Vec<f64> = (0..n).map(|i| if i < positive { 0.1 } else { -0.1 }).collect();
        let tails = [Tail::TwoSidedDoubled, Tail::Greater, Tail::Less];
        let p = tails.map(|tail| SignTest::new("effect", &estimates, tail).unwrap().p);
        all_close(&p, &row["p"]);
    }
}

fn t_map(data: &Array2<f64>) -> impl Fn(&Arrangement) -> Vec<f64> + Sync + '_ {
    |arrangement| {
        data.columns()
            .into_iter()
            .map(|column| one_sample_t_value(&arrangement.apply(&column.to_vec())))
            .collect()
    }
}

fn one_sample_t_value(values: &[f64]) -> f64 {
    one_sample_t(values, Tail::Greater, 0.95).unwrap().t
}

#[test]
fn clusters() {
    let expected = &GOLDEN["clusters"];
    let data = matrix(&expected["data"]);
    let (flips, chain) = (Scheme::sign_flip(7).unwrap(), Adjacency::chain(12).unwrap());
    for row in expected["tests"].as_array().unwrap() {
        let permutation = Permutation { tail: get(&row["tail"]), ..Permutation::default() };
        let forming = ClusterThreshold { threshold: 1.5, measure: ClusterMeasure::Mass };
        let found = cluster_test(&permutation, &flips, &chain, forming, t_map(&data), Seed::new(0)).unwrap();
        all_close(&found.statistic, &expected["t"]);
        let clusters = row["clusters"].as_array().unwrap();
        assert_eq!(found.clusters.len(), clusters.len());
        for cluster in clusters {
            let points: Vec<usize> = get(&cluster["points"]);
            let same = found.clusters.iter().find(|c| c.points == points).unwrap();
            close(same.mass, &cluster["mass"]);
            close(same.p, &cluster["p"]);
        }
    }
    let tfce = Tfce { step: Some(get(&expected["tfce_step"])), ..Tfce::default() };
    let permutation = Permutation { tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
    let found = tfce_test(&permutation, &flips, &chain, tfce, t_map(&data), Seed::new(0)).unwrap();
    let sizes: Vec<f64> = found.enhanced.iter().map(|v| v.abs()).collect();
    all_close(&sizes, &expected["tfce_scores"]);
    all_close(&found.p, &expected["tfce_p"]);
}

#[test]
fn tfce_scores() {
    let expected = &GOLDEN["tfce"];
    let tfce = Tfce { step: Some(get(&expected["step"])), ..Tfce::default() };
    for (name, adjacency) in [
        ("line", Adjacency::chain(30).unwrap()),
        ("lattice", Adjacency::grid(6, 5, Neighbourhood::Four).unwrap()),
    ] {
        let map: Vec<f64> = get(&expected[name]);
        let found = tfce.enhance(&map, &adjacency).unwrap();
        for (enhanced, value) in found.iter().zip(&map) {
            assert!(enhanced * value >= 0.0);
        }
        let sizes: Vec<f64> = found.iter().map(|v| v.abs()).collect();
        all_close(&sizes, &expected[&format!("{name}_scores")]);
    }
}

#[test]
fn step_down_max_t() {
    let expected = &GOLDEN["max_t"];
    let data = matrix(&expected["data"]);
    let flips = Scheme::sign_flip(7).unwrap();
    let permutation = Permutation { tail: Tail::TwoSidedAbsolute, ..Permutation::default() };
    let slow = permutation.max_t_over(&flips, t_map(&data), Seed::new(0)).unwrap();
    let fast = mass::one_sample(&permutation, data.view(), &flips, Seed::new(0)).unwrap().max_t;
    for found in [slow, fast] {
        assert!(found.exact);
        all_close(&found.statistic, &expected["t"]);
        all_close(&found.adjusted_p, &expected["adjusted_p"]);
    }
}

#[test]
fn alignment_of_kernels() {
    let expected = &GOLDEN["cka"];
    let (x, y) = (matrix(&expected["x"]), matrix(&expected["y"]));
    close(debiased_cka(x.view(), y.view()).unwrap(), &expected["debiased"]);
    close(linear_cka(x.view(), y.view()).unwrap(), &expected["biased"]);
}

#[test]
fn representational_similarity() {
    let expected = &GOLDEN["rsa"];
    let patterns: Vec<Array2<f64>> = expected["patterns"].as_array().unwrap().iter().map(matrix).collect();
    let mice: Vec<Dissimilarities> =
        patterns.iter().map(|p| Dissimilarities::correlation(p.view()).unwrap()).collect();
    for (mouse, values) in mice.iter().zip(expected["correlation"].as_array().unwrap()) {
        all_close(mouse.values(), values);
    }
    let model = Dissimilarities::new(6, get(&expected["model"])).unwrap();
    for (measure, name) in [
        (RdmCorrelation::Pearson, "pearson"),
        (RdmCorrelation::Spearman, "spearman"),
        (RdmCorrelation::RhoA, "rho_a"),
    ] {
        let found: Vec<f64> = mice.iter().map(|mouse| measure.of(&model, mouse).unwrap()).collect();
        all_close(&found, &expected[name]);
        let ceiling = noise_ceiling(&mice, measure).unwrap();
        all_close(&[ceiling.low, ceiling.high], &expected["ceiling"][name]);
    }
    let precision = matrix(&expected["precision"]);
    let folds: Vec<_> = patterns[..3].iter().map(|p| p.view()).collect();
    let found = Dissimilarities::crossnobis(&folds, Some(precision.view())).unwrap();
    all_close(found.values(), &expected["crossnobis"]);
}

#[test]
fn ceilings_of_responses() {
    let expected = &GOLDEN["reliability"];
    let repeats: Vec<Vec<Vec<f64>>> = get(&expected["repeats"]);
    let flat: Vec<f32> = repeats.iter().flatten().flatten().map(|&v| v as f32).collect();
    let repeats = Array3::from_shape_vec((3, 6, 2), flat).unwrap();
    let prediction = matrix(&expected["prediction"]).mapv(|v| v as f32);
    let responses = repeats.to_shape((18, 2)).unwrap().into_owned();
    let trials: Vec<Vec<usize>> = (0..6).map(|s| (0..3).map(|k| 6 * k + s).collect()).collect();
    let feve = explained_explainable(responses.view(), &trials, prediction.view(), 1e-9).unwrap();
    assert!(feve.dropped.is_empty());
    all_close(&feve.values, &expected["feve"]);
    all_close(&feve.explainable.iter().map(|v| v.get()).collect::<Vec<_>>(), &expected["fev"]);
    let each: Vec<_> = repeats.axis_iter(Axis(0)).collect();
    let found = normalised_correlation(&each, prediction.view()).unwrap();
    all_close(&found.values.iter().map(|c| c.normalised).collect::<Vec<_>>(), &expected["ccnorm"]);
    all_close(&found.values.iter().map(|c| c.signal_power).collect::<Vec<_>>(), &expected["signal_power"]);
    let mean: Vec<f64> = get(&expected["training_mean"]);
    let mean: Array1<f32> = mean.iter().map(|&v| v as f32).collect();
    let found = cross_repeat(each[0], each[1], prediction.view(), mean.view()).unwrap();
    all_close(&found.values, &expected["cross_repeat"]);
}

/// scipy's BCa intervals with 200,000 resamples. An end is a quantile at probability q, whose standard error is
/// sqrt(q (1 - q) / B) over the density there: some 0.02 standard errors of the statistic at 40,000 replicates.
#[test]
fn bootstrap_intervals() {
    let (a, b) = (input("a"), input("b"));
    let bootstrap = Bootstrap { replicates: 40_000, ..Bootstrap::default() };
    let mean = |values: &[f64], items: &mut dyn Iterator<Item = usize>| {
        let (sum, n) = items.fold((0.0, 0.0), |(sum, n), i| (sum + values[i], n + 1.0));
        sum / n
    };
    let one = bootstrap
        .interval(&Resampling::items(a.len()), |items| mean(&a, &mut items.iter().copied()), Seed::new(1))
        .unwrap();
    let all = [a.as_slice(), b.as_slice()].concat();
    let samples: Vec<usize> = (0..all.len()).map(|i| usize::from(i >= a.len())).collect();
    let two = bootstrap
        .interval(
            &Resampling::within(&samples),
            |items| {
                mean(&all, &mut items.iter().copied().filter(|&i| i < a.len()))
                    - mean(&all, &mut items.iter().copied().filter(|&i| i >= a.len()))
            },
            Seed::new(1),
        )
        .unwrap();
    for (found, name) in [(one, "mean"), (two, "difference")] {
        assert_eq!(found.method, IntervalMethod::Bca);
        let expected: [f64; 2] = get(&GOLDEN["bootstrap"][name]);
        let standard_error = (expected[1] - expected[0]) / 3.92;
        assert_relative_eq!(found.low, expected[0], epsilon = 0.08 * standard_error);
        assert_relative_eq!(found.high, expected[1], epsilon = 0.08 * standard_error);
    }
}

/// The paired test is the exact sign-flip test of t, which orders arrangements as the mean does.
#[test]
fn paired_comparison() {
    let a = input("a");
    let row = rows("exact_permutations").iter().find(|row| row["tail"] == "two_sided_doubled").unwrap();
    let found = Paired::default().test(&a[..8], Seed::new(0)).unwrap();
    close(found.permutation.p, &row["sign_flip"][1]);
}
