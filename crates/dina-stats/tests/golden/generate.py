"""Writes golden.json: fixed inputs, and what Python's packages say about them.

    pip install numpy==2.4.6 scipy==1.17.1 statsmodels==0.15.0 mne==1.13.2 rsatoolbox==0.3.2
    python generate.py

The tests read golden.json and need no Python.
"""

import itertools
import json
import pathlib
import warnings

import mne
import numpy as np
import rsatoolbox
from mne.stats.cluster_level import _find_clusters
from scipy import optimize, sparse, special, stats
from scipy.spatial.distance import pdist
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

warnings.filterwarnings("ignore")
mne.set_log_level("ERROR")
SIDES = {"two_sided_doubled": "two-sided", "greater": "greater", "less": "less"}


def listed(value):
    return np.asarray(value, dtype=float).tolist()


def wave(*shape, phase=0.0):
    """Numbers without a pattern that the tests could exploit, and without a random generator."""
    i = np.arange(np.prod(shape), dtype=float)
    return np.round(np.sin(i * 12.9898 + phase) * 3.0 + np.cos(i * 78.233 + phase) * 1.5, 6).reshape(shape)


A = wave(12, phase=1.0) + 1.0
B = wave(9, phase=2.0) * 1.5
TIED_A, TIED_B = np.round(A), np.round(B)
X = wave(15, phase=3.0)
Y = 0.6 * X + wave(15, phase=4.0)


def t_tests():
    rows = []
    for name, side in SIDES.items():
        for test in ["one_sample", "student", "welch"]:
            if test == "one_sample":
                found = stats.ttest_1samp(A, 0.0, alternative=side)
                both = stats.ttest_1samp(A, 0.0)
            else:
                found = stats.ttest_ind(A, B, equal_var=test == "student", alternative=side)
                both = stats.ttest_ind(A, B, equal_var=test == "student")
            ci = both.confidence_interval(0.95)
            rows.append(dict(test=test, tail=name, t=float(found.statistic), df=float(found.df),
                             p=float(found.pvalue), ci=[float(ci.low), float(ci.high)]))
    return rows


def rank_tests():
    rows = []
    for name, side in SIDES.items():
        exact = stats.mannwhitneyu(A, B, alternative=side, method="exact")
        tied = stats.mannwhitneyu(TIED_A, TIED_B, alternative=side, method="asymptotic")
        rows.append(dict(test="mann_whitney", tail=name, exact=[float(exact.statistic), float(exact.pvalue)],
                         tied=[float(tied.statistic), float(tied.pvalue)]))
        exact = stats.wilcoxon(A, alternative=side, method="exact")
        tied = stats.wilcoxon(TIED_A, alternative=side, method="approx")
        # scipy's two-sided statistic is the smaller sum; the tests compare p.
        rows.append(dict(test="wilcoxon", tail=name, exact=[0.0, float(exact.pvalue)], tied=[0.0, float(tied.pvalue)]))
    return rows


def correlations():
    pearson, spearman = stats.pearsonr(X, Y), stats.spearmanr(X, Y)
    ci = pearson.confidence_interval(0.95)
    rho = float(spearman.statistic)
    half = stats.norm.ppf(0.975) * np.sqrt((1 + rho**2 / 2) / (len(X) - 3))
    return dict(pearson=dict(r=float(pearson.statistic), p=float(pearson.pvalue), ci=[float(ci.low), float(ci.high)]),
                spearman=dict(r=rho, p=float(spearman.pvalue),
                              ci=listed(np.tanh([np.arctanh(rho) - half, np.arctanh(rho) + half]))))


def noncentral_interval(t, df, level):
    tail = (1 - level) / 2
    root = lambda p: optimize.brentq(lambda d: stats.nct.cdf(t, df, d) - p, t - 12, t + 12, xtol=1e-14, rtol=1e-14)
    return root(1 - tail), root(tail)


def effects():
    n, m = len(A), len(B)
    pooled = np.sqrt(((n - 1) * A.var(ddof=1) + (m - 1) * B.var(ddof=1)) / (n + m - 2))
    d = (A.mean() - B.mean()) / pooled
    root = np.sqrt(n * m / (n + m))
    low, high = noncentral_interval(d * root, n + m - 2, 0.95)
    factor = lambda df: np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    dz = A.mean() / A.std(ddof=1)
    zlow, zhigh = noncentral_interval(dz * np.sqrt(n), n - 1, 0.9)
    # Cliff's delta from its whole matrix of dominances.
    matrix = np.sign(TIED_A[:, None] - TIED_B[None, :])
    delta = matrix.mean()
    rows, columns = matrix.mean(1), matrix.mean(0)
    variance = (m**2 * ((rows - delta) ** 2).sum() + n**2 * ((columns - delta) ** 2).sum()
                - ((matrix - delta) ** 2).sum()) / (n * m * (n - 1) * (m - 1))
    variance = max(variance, (1 - delta**2) / (n * m - 1))
    q = stats.t.ppf(0.975, n + m - 2)
    half = q * np.sqrt(variance) * np.sqrt((1 - delta**2) ** 2 + q**2 * variance)
    scale = 1 - delta**2 + q**2 * variance
    ranks = stats.rankdata(np.abs(A))
    return dict(
        cohen_d=listed([d, low / root, high / root]),
        hedges_g=listed(factor(n + m - 2) * np.array([d, low / root, high / root])),
        cohen_dz=listed([dz, zlow / np.sqrt(n), zhigh / np.sqrt(n)]),
        hedges_gz=listed(factor(n - 1) * np.array([dz, zlow / np.sqrt(n), zhigh / np.sqrt(n)])),
        cliff_delta=listed([delta, (delta - delta**3 - half) / scale, (delta - delta**3 + half) / scale]),
        rank_biserial=float((np.sign(A) * ranks).sum() / ranks.sum()),
    )


def exact_permutations():
    rows = []
    difference = lambda x, y, axis: np.mean(x, axis) - np.mean(y, axis)
    small_a, small_b, pairs = A[:6], B[:5], A[:8]
    for name, side in SIDES.items():
        many = dict(n_resamples=np.inf, alternative=side, vectorized=True)
        groups = stats.permutation_test((small_a, small_b), difference, permutation_type="independent", **many)
        flips = stats.permutation_test((pairs,), np.mean, permutation_type="samples", **many)
        r = lambda x, axis=-1: stats.pearsonr(x, np.broadcast_to(Y[:6], x.shape), axis=axis).statistic
        labels = stats.permutation_test((X[:6],), r, permutation_type="pairings", **many)
        rows.append(dict(tail=name, two_groups=[float(groups.statistic), float(groups.pvalue)],
                         sign_flip=[float(flips.statistic), float(flips.pvalue)],
                         correlation=[float(labels.statistic), float(labels.pvalue)]))
    return rows


def multiplicity():
    p = [0.04, 0.001, 0.03, 0.008, 0.5, 0.03, 0.2]
    method = dict(bonferroni="bonferroni", holm="holm", benjamini_hochberg="fdr_bh", benjamini_yekutieli="fdr_by")
    return dict(p=p, **{name: listed(multipletests(p, method=m)[1]) for name, m in method.items()})


def meta():
    rows = []
    for effect, variance in [([0.1, 0.3, 0.35, 0.65, 0.45, 0.15], [0.03, 0.03, 0.05, 0.01, 0.05, 0.02]),
                             ([1.0, -0.5, 2.2, 0.7], [0.1, 0.2, 0.05, 0.3])]:
        effect, variance = np.array(effect), np.array(variance)
        found = combine_effects(effect, variance, method_re="dl", use_t=True)
        se = float(np.sqrt(found.var_hksj_re))
        half = stats.t.ppf(0.975, len(effect) - 1) * se
        mean = float(found.mean_effect_re)
        rows.append(dict(effects=listed(effect), variances=listed(variance), mean=mean, se=se,
                         ci=[mean - half, mean + half], tau_squared=float(found.tau2), q=float(found.q),
                         i_squared=float(found.i2), q_p=float(stats.chi2.sf(found.q, len(effect) - 1)),
                         normal=listed(mean + np.array([-1, 1]) * stats.norm.ppf(0.975) * found.sd_eff_w_re)))
    return rows


def proportions():
    rows = []
    for k, n in [(7, 50), (0, 12), (9, 9)]:
        found = stats.binomtest(k, n)
        for method in ["wilson", "exact"]:
            ci = found.proportion_ci(0.95, method=method)
            rows.append(dict(k=k, n=n, method=method, ci=[float(ci.low), float(ci.high)]))
    return rows


def signs():
    return [dict(positive=k, n=n, p=[float(stats.binomtest(k, n, alternative=SIDES[name]).pvalue) for name in SIDES])
            for k, n in [(5, 6), (6, 6), (3, 10), (70, 110)]]


def one_sample(values):
    return values.mean(0) / (values.std(0, ddof=1) / np.sqrt(len(values)))


def all_flips(data):
    return (data * np.array(flips)[:, None] for flips in itertools.product([1, -1], repeat=len(data)))


def clusters():
    """Seven mice, twelve points in time; all 128 sign flips.

    Clusters and TFCE scores are MNE's, the p of them counted here: MNE's own exact p leaves one of the flips out
    (2/127 or 1/63 where the only 1 of 128 is as extreme).
    """
    data = wave(7, 12, phase=5.0) / 3.0
    data[:, 3:7] += 1.6
    data[:, 9:11] -= 1.1
    rows = []
    for tail, name in [(1, "greater"), (-1, "less"), (0, "two_sided_absolute")]:
        threshold = {1: 1.5, -1: -1.5, 0: 1.5}[tail]
        sums = lambda values: _find_clusters(one_sample(values), threshold, tail=tail)[1]
        null = np.array([np.abs(sums(flipped)).max(initial=0.0) for flipped in all_flips(data)])
        found, mass = _find_clusters(one_sample(data), threshold, tail=tail)
        rows.append(dict(tail=name, clusters=[
            dict(points=np.arange(12)[c].tolist(), mass=float(m), p=float(np.mean(null >= abs(m) - 1e-9)))
            for c, m in zip(found, mass)]))
    enhance = lambda values: _find_clusters(one_sample(values), dict(start=0.2, step=0.2), tail=0)[1]
    null = np.array([enhance(flipped).max() for flipped in all_flips(data)])
    scores = enhance(data)
    return dict(data=listed(data), t=listed(one_sample(data)), tests=rows, tfce_step=0.2, tfce_scores=listed(scores),
                tfce_p=listed([np.mean(null >= s - 1e-9) for s in scores]))


def tfce():
    """Scores of a line and of a 6 x 5 lattice with four neighbours."""
    line = wave(30, phase=6.0)
    lattice = wave(6, 5, phase=7.0)
    threshold = dict(start=0.25, step=0.25)
    along = np.ravel(_find_clusters(line, threshold, tail=0)[1])
    adjacency = mne.stats.combine_adjacency(6, 5)
    across = np.ravel(_find_clusters(lattice.ravel(), threshold, tail=0, adjacency=sparse.coo_array(adjacency))[1])
    return dict(step=0.25, line=listed(line), line_scores=listed(along), lattice=listed(lattice.ravel()),
                lattice_scores=listed(across))


def max_t():
    """Westfall and Young's step-down over all sign flips, written as loops."""
    data = wave(7, 5, phase=8.0) / 3.0 + np.array([2.0, 1.4, 0.4, -1.0, 0.1])
    observed = one_sample(data)
    order = np.argsort(-np.abs(observed))
    counts = np.zeros(5)
    for flipped in all_flips(data):
        permuted = np.abs(one_sample(flipped))
        for j in range(5):
            counts[j] += max(permuted[order[j:]]) >= abs(observed[order[j]]) - 1e-9
    adjusted = np.empty(5)
    adjusted[order] = np.maximum.accumulate(counts / 128)
    return dict(data=listed(data), t=listed(observed), adjusted_p=listed(adjusted))


def cka():
    x, y = wave(11, 4, phase=9.0), wave(11, 6, phase=10.0)
    y[:, :2] += 0.7 * x[:, :2]

    def hsic(a, b):
        n = len(a)
        k, l = a @ a.T, b @ b.T
        np.fill_diagonal(k, 0.0)
        np.fill_diagonal(l, 0.0)
        one = np.ones(n)
        return (np.trace(k @ l) + (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2))
                - 2 * (one @ k @ l @ one) / (n - 2)) / (n * (n - 3))

    centre = lambda a: a - a.mean(0)
    biased = lambda a, b: np.linalg.norm(centre(b).T @ centre(a)) ** 2
    return dict(x=listed(x), y=listed(y), debiased=float(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y))),
                biased=float(biased(x, y) / np.sqrt(biased(x, x) * biased(y, y))))


def rsa():
    patterns = [wave(6, 9, phase=11.0) + wave(6, 9, phase=20.0 + mouse) for mouse in range(4)]
    distances = [pdist(p, "correlation") for p in patterns]
    model = np.round(distances[0] + wave(15, phase=30.0) / 10, 1)
    rdms = rsatoolbox.rdm.RDMs(np.array(distances))
    compare = lambda method: listed(rsatoolbox.rdm.compare(rsatoolbox.rdm.RDMs(model[None]), rdms, method)[0])
    ceiling = lambda method: listed(rsatoolbox.inference.noise_ceiling.boot_noise_ceiling(rdms, method))
    data = rsatoolbox.data.Dataset(
        np.concatenate(patterns[:3]),
        obs_descriptors=dict(stimulus=np.tile(np.arange(6), 3), fold=np.repeat(np.arange(3), 6)))
    root = wave(9, 9, phase=31.0) / 3
    precision = root @ root.T + np.eye(9)
    crossnobis = rsatoolbox.rdm.calc_rdm(data, method="crossnobis", descriptor="stimulus", cv_descriptor="fold",
                                         noise=precision)
    return dict(patterns=[listed(p) for p in patterns], correlation=[listed(d) for d in distances], model=listed(model),
                pearson=compare("corr"), spearman=compare("spearman"), rho_a=compare("rho-a"),
                ceiling=dict(pearson=ceiling("corr"), spearman=ceiling("spearman"), rho_a=ceiling("rho-a")),
                precision=listed(precision), crossnobis=listed(crossnobis.dissimilarities[0]))


def reliability():
    """Six stimuli, three repeats, two neurons."""
    signal = wave(6, 2, phase=12.0)
    repeats = np.float32(signal[None] + wave(3, 6, 2, phase=13.0) / 2).astype(float)
    prediction = np.float32(signal * 0.8 + wave(6, 2, phase=14.0) / 4).astype(float)
    total = repeats.reshape(18, 2).var(0, ddof=1)
    noise = repeats.var(0, ddof=1).mean(0)
    mse = ((repeats - prediction) ** 2).reshape(18, 2).mean(0)
    power = (repeats.sum(0).var(0, ddof=1) - repeats.var(1, ddof=1).sum(0)) / 6
    mean = repeats.mean(0)
    covariance = ((prediction - prediction.mean(0)) * (mean - mean.mean(0))).sum(0) / 5
    r1, r2, offset = repeats[0], repeats[1], np.float32(np.array([0.3, -0.2])).astype(float)
    cross = 1 - ((r1 - prediction) * (r2 - prediction)).sum(0) / ((r1 - offset) * (r2 - offset)).sum(0)
    return dict(repeats=listed(repeats), prediction=listed(prediction), fev=listed((total - noise) / total),
                feve=listed(1 - (mse - noise) / (total - noise)),
                ccnorm=listed(covariance / np.sqrt(prediction.var(0, ddof=1) * power)), signal_power=listed(power),
                training_mean=listed(offset), cross_repeat=listed(cross))


def bootstrap():
    """scipy's BCa intervals with very many resamples, for comparison within Monte-Carlo error."""
    rng = np.random.default_rng(1)
    one = stats.bootstrap((A,), np.mean, n_resamples=200_000, method="BCa", rng=rng, batch=1000).confidence_interval
    two = stats.bootstrap((A, B), lambda x, y, axis: x.mean(axis) - y.mean(axis), n_resamples=200_000, method="BCa",
                          rng=rng, batch=1000, vectorized=True).confidence_interval
    return dict(mean=[float(one.low), float(one.high)], difference=[float(two.low), float(two.high)])


golden = dict(
    inputs=dict(a=listed(A), b=listed(B), tied_a=listed(TIED_A), tied_b=listed(TIED_B), x=listed(X), y=listed(Y)),
    t_tests=t_tests(), rank_tests=rank_tests(), correlations=correlations(), effects=effects(),
    exact_permutations=exact_permutations(), multiplicity=multiplicity(), meta=meta(), proportions=proportions(),
    signs=signs(), clusters=clusters(), tfce=tfce(), max_t=max_t(), cka=cka(), rsa=rsa(), reliability=reliability(),
    bootstrap=bootstrap(),
)
lines = [f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in golden.items()]
pathlib.Path(__file__).with_name("golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
