"""Kernel matrices of scikit-learn and their derivatives by the logarithms of parameters; `python kernels.py`.

Formulas that scikit-learn does not have are written out with NumPy. The derivatives are those of the number
left^T K right.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import kernels as sk
from sklearn.metrics.pairwise import cosine_similarity

random = np.random.default_rng(1)
x = np.round(random.uniform(-1, 1, (7, 2)), 4)
# Two of the points coincide.
x[5] = x[2]
left, right = np.round(random.uniform(-1, 1, (2, 7)), 4)
lengths, periods, variances = [0.7, 1.3], [0.9, 1.7], [0.6, 2.5]
cases = {}


def add(name, matrix, derivatives):
    gradient = [left @ derivative @ right for derivative in derivatives]
    cases[name] = {"matrix": matrix.tolist(), "gradient": gradient}


def add_sklearn(name, kernel, factors=None, order=None):
    """`factors`: what the derivatives are divided by, as the logarithm may be that of a root; `order` of them."""
    matrix, gradient = kernel(x, eval_gradient=True)
    count = gradient.shape[-1]
    factors = factors or [1] * count
    add(name, matrix, [gradient[..., k] / factors[k] for k in order or range(count)])


add_sklearn("rbf", sk.RBF(lengths))
add_sklearn("rbf of one length scale", sk.RBF(0.8))
for name, nu in [("matern 1/2", 0.5), ("matern 3/2", 1.5), ("matern 5/2", 2.5)]:
    add_sklearn(name, sk.Matern(lengths, nu=nu))
# scikit-learn orders parameters by name: alpha before length_scale.
add_sklearn("rational quadratic", sk.RationalQuadratic(0.8, 1.5), order=[1, 0])
add_sklearn("scale", sk.ConstantKernel(2.5) * sk.RBF(lengths))
add_sklearn("sum", sk.RBF(lengths) + sk.Matern(0.8, nu=1.5))
add_sklearn("product", sk.RBF(lengths) * sk.Matern(0.8, nu=1.5))
add_sklearn("linear and constant", sk.DotProduct(0.7), factors=[2])
add_sklearn("polynomial", sk.DotProduct(0.7) ** 3, factors=[2])
add("cosine", cosine_similarity(x), [])

# A product over coordinates, each with its own parameters.
parts = [
    sk.ExpSineSquared(lengths[k], periods[k])(x[:, [k]], eval_gradient=True) for k in range(2)
]
(first, by_first), (second, by_second) = parts
add(
    "periodic",
    first * second,
    [by_first[..., 0] * second, first * by_second[..., 0]]
    + [by_first[..., 1] * second, first * by_second[..., 1]],
)

products = [np.outer(x[:, k], x[:, k]) * variances[k] for k in range(2)]
add("linear", products[0] + products[1], products)

cosines = np.clip(cosine_similarity(x), -1, 1)
angles, sines = np.arccos(cosines), np.sqrt(1 - cosines**2)
norms = np.linalg.norm(x, axis=1)
sizes, rest = np.outer(norms, norms), np.pi - angles
add("arc-cosine 0", rest / np.pi, [])
add("arc-cosine 1", sizes * (sines + rest * cosines) / np.pi, [])
add("arc-cosine 2", sizes**2 * (3 * sines * cosines + rest * (1 + 2 * cosines**2)) / np.pi, [])

# Two components: weights, then frequencies and variances by coordinates.
weights = [0.5, 0.5]
frequencies = [[0.3, 0.3], [0.9, 0.9]]
spread = 0.1
d = x[:, None] - x[None]
matrix, by_weights, by_frequencies, by_variances = 0, [], [], []
for w, mu in zip(weights, frequencies):
    mu = np.array(mu)
    decay = np.exp(-2 * np.pi**2 * (d**2 * spread)).prod(-1)
    waves = np.cos(2 * np.pi * d * mu)
    term = w * decay * waves.prod(-1)
    matrix = matrix + term
    by_weights.append(term)
    for k in range(2):
        other = waves[..., 1 - k]
        slope = -2 * np.pi * d[..., k] * mu[k] * np.sin(2 * np.pi * d[..., k] * mu[k])
        by_frequencies.append(w * decay * slope * other)
        by_variances.append(-2 * np.pi**2 * d[..., k] ** 2 * spread * term)
add("spectral mixture", matrix, by_weights + by_frequencies + by_variances)

values = {"x": x.tolist(), "left": left.tolist(), "right": right.tolist(), "cases": cases}
Path(__file__).with_suffix(".json").write_text(json.dumps(values) + "\n")
