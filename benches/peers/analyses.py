"""Analyses of the bench `analyses` as a Python lab would write them.

    analyses.py FILE nearest|ridge|max_t numpy|sklearn|mne

Answers `run` with the seconds it took and a number by which the answer is compared, or with what is missing.
"""
import json
import sys
import time

import numpy as np

PENALTIES = [1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4]
FLIPS = 10_000


def read(path):
    arrays = []
    with open(path, "rb") as file:
        while shape := file.read(16):
            rows, columns = np.frombuffer(shape, np.uint64).astype(int)
            arrays.append(np.fromfile(file, np.float32, rows * columns).reshape(rows, columns))
    return arrays


def nearest(first, second):
    def unit(x):
        x = x - x.mean(1, keepdims=True)
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    similarity = unit(first) @ unit(second).T
    return int((similarity.argmax(1) == np.arange(len(first))).sum())


def ridge_numpy(x, held_out, y):
    """One singular value decomposition for all penalties."""
    mean, offset = x.mean(0), y.mean(0)
    u, s, vt = np.linalg.svd(x - mean, full_matrices=False)
    projected = u.T @ (y - offset)
    coordinates = (held_out - mean) @ vt.T
    path = [(coordinates * (s / (s**2 + penalty))) @ projected + offset for penalty in PENALTIES]
    return sum(abs(float(p[3, 5])) for p in path)


def ridge_sklearn(x, held_out, y):
    from sklearn.linear_model import Ridge

    path = [Ridge(alpha=penalty).fit(x, y).predict(held_out) for penalty in PENALTIES]
    return sum(abs(float(p[3, 5])) for p in path)


def max_t_numpy(data):
    """Sign flips as matrix products, a block at a time; flips leave the sum of squares as it is."""
    n = len(data)
    rng = np.random.default_rng(1)
    unit = data / np.sqrt((data**2).sum(0))
    observed = np.abs(unit.sum(0))
    exceeded = np.zeros(data.shape[1], int)
    for start in range(0, FLIPS, 500):
        signs = rng.integers(0, 2, (500, n), dtype=np.int8).astype(np.float32) * 2 - 1
        largest = np.abs(signs @ unit).max(1)
        exceeded += (largest[:, None] >= observed[None]).sum(0)
    return int(((1 + exceeded) / (1 + FLIPS) <= 0.05).sum())


def max_t_mne(data):
    import mne

    mne.set_log_level("ERROR")
    _, p, _ = mne.stats.permutation_t_test(data.astype(float), n_permutations=FLIPS, n_jobs=1, seed=1)
    return int((p <= 0.05).sum())


def main():
    path, task, kind = sys.argv[1:4]
    work = {
        ("nearest", "numpy"): nearest,
        ("ridge", "numpy"): ridge_numpy,
        ("ridge", "sklearn"): ridge_sklearn,
        ("max_t", "numpy"): max_t_numpy,
        ("max_t", "mne"): max_t_mne,
    }[task, kind]
    arrays = read(path)
    for _ in sys.stdin:
        try:
            start = time.perf_counter()
            answer = work(*arrays)
            reply = {"seconds": time.perf_counter() - start, "answer": answer}
        except ImportError as error:
            reply = {"missing": str(error)}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
