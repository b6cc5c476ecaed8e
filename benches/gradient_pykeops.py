"""Times the gradient of the Gaussian sum of `gaussian.rs` by x, y and b in pykeops on the CPU: the formulas
that its automatic differentiation runs.

    pip install pykeops numpy
    python benches/gradient_pykeops.py [POINTS]

Compare with `gradient_by_all` of `cargo xtask bench`, less the forward pass that it contains.
"""

import sys
import time

import numpy as np
from pykeops.numpy import Genred

points = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
random = np.random.default_rng(0)
x, y = (random.random((points, 3), dtype=np.float32) / np.float32(3) ** 0.5 for _ in range(2))
b = random.random((points, 1), dtype=np.float32)
e = np.ones((points, 1), np.float32)
variables = ["x = Vi(3)", "y = Vj(3)", "b = Vj(1)", "e = Vi(1)"]
formula = "Exp(-SqDist(x, y)) * b"

total = 0.0
for name, axis in [("x", 1), ("y", 0), ("b", 0)]:
    gradient = Genred(f"Grad({formula}, {name}, e)", variables, reduction_op="Sum", axis=axis)
    gradient(x, y, b, e, backend="CPU")
    times = []
    for _ in range(5):
        start = time.perf_counter()
        gradient(x, y, b, e, backend="CPU")
        times.append(time.perf_counter() - start)
    total += sorted(times)[2]
    print(f"by {name}: median {sorted(times)[2]:.3f} s")
print(f"all: {total:.3f} s")
