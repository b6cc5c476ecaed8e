"""Times the gradient of the Gaussian sum of `gaussian.rs` by x, y and b in NumPy, the M x N matrix stored.

    python benches/gradient_numpy.py [POINTS] [DIMENSION]

Compare with `gradient_by_all` of `cargo xtask bench`.
"""

import sys
import time

import numpy as np

points = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
dim = int(sys.argv[2]) if len(sys.argv) > 2 else 3
random = np.random.default_rng(0)
x, y = (random.random((points, dim), dtype=np.float32) / np.float32(dim) ** 0.5 for _ in range(2))
b = random.random((points, 1), dtype=np.float32)


def gradients():
    """Of the sum of all a_i = sum_j exp(-|x_i - y_j|^2) b_j."""
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
    kernel = np.exp(-squares)
    weighted = kernel * b[:, 0]
    by_x = -2 * (x * weighted.sum(1)[:, None] - weighted @ y)
    by_y = -2 * (y * weighted.sum(0)[:, None] - weighted.T @ x)
    return by_x, by_y, kernel.sum(0)[:, None]


gradients()
times = []
for _ in range(5):
    start = time.perf_counter()
    gradients()
    times.append(time.perf_counter() - start)
print(f"{points} points of dimension {dim}: median {sorted(times)[2]:.3f} s")
