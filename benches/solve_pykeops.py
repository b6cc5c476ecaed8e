"""Solves the systems of `solve.rs` with pykeops on the CPU, which iterates until the root of the mean of
the squares of the residual, as the iteration keeps it, is below eps.

    pip install pykeops numpy
    python benches/solve_pykeops.py [POINTS]
"""

import sys
import time

import numpy as np
from pykeops.numpy import LazyTensor

points = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
random = np.random.default_rng(0)
x = random.standard_normal((points, 3), dtype=np.float32)
b = random.standard_normal((points, 4), dtype=np.float32)
x_i, x_j = LazyTensor(x[:, None, :]), LazyTensor(x[None, :, :])
k_xx = (-((x_i - x_j) ** 2).sum(-1)).exp()
k_xx @ b
for alpha, eps in [(0.1, 1e-6)]:
    start = time.perf_counter()
    a = k_xx.solve(b, alpha=alpha, eps=eps, backend="CPU")
    seconds = time.perf_counter() - start
    residual = np.linalg.norm(b - np.float32(alpha) * a - k_xx @ a, axis=0) / np.linalg.norm(b, axis=0)
    print(f"alpha {alpha:.0e}, eps {eps:.0e}: {seconds:.2f} s, relative residual {residual.max():.1e}", flush=True)
