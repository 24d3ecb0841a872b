"""Loads a MAT file with scipy; prints seconds and peak bytes above the start."""
import resource
import sys
import time

import scipy.io

before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
contents = scipy.io.loadmat(sys.argv[1], variable_names=["stim", "med", "stat"])
seconds = time.perf_counter() - start
assert contents["stim"]["resp"][0, 0].ndim == 2
print(seconds, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
