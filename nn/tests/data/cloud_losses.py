"""Writes cloud_losses.json: distances of clouds of points, by SciPy and NumPy.

    pip install numpy scipy && python cloud_losses.py
"""

import json
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist, directed_hausdorff, pdist
from scipy.stats import energy_distance

rng = np.random.default_rng(7)
x, y = rng.normal(size=(14, 3)), rng.normal(size=(11, 3)) + 0.3
a, b = rng.random(14), rng.random(11)
n, m = rng.normal(size=(14, 3)), rng.normal(size=(11, 3))
(forward, to_y), (backward, to_x) = KDTree(y).query(x), KDTree(x).query(y)


def cosines(n, m):
    lengths = np.linalg.norm(n, axis=1) * np.linalg.norm(m, axis=1)
    return (n * m).sum(1) / lengths


def mmd(k, x, y, a, b, unbiased=False):
    a, b = a / a.sum(), b / b.sum()
    xx, yy = k(cdist(x, x)), k(cdist(y, y))
    if unbiased:
        np.fill_diagonal(xx, 0.0)
        np.fill_diagonal(yy, 0.0)
    own = [a @ xx @ a, b @ yy @ b]
    if unbiased:
        own = [own[0] / (1 - a @ a), own[1] / (1 - b @ b)]
    return sum(own) - 2 * a @ k(cdist(x, y)) @ b


def gaussians(scale):
    return lambda r: sum(np.exp(-(r**2) / (2 * (s * scale) ** 2)) for s in (0.5, 2.0))


ones = np.ones(14), np.ones(11)
median = np.median(pdist(np.concatenate([x, y])))
absolute = np.negative
out = {
    "x": x.tolist(),
    "y": y.tolist(),
    "a": a.tolist(),
    "b": b.tolist(),
    "normals_x": n.tolist(),
    "normals_y": m.tolist(),
    "chamfer": (forward**2).mean() + (backward**2).mean(),
    "chamfer_plain": forward.mean() + backward.mean(),
    "chamfer_forward": (forward**2).mean(),
    "chamfer_backward": (backward**2).mean(),
    "chamfer_weighted": np.average(forward**2, weights=a) + np.average(backward**2, weights=b),
    "chamfer_normals": (1 - np.abs(cosines(n, m[to_y]))).mean() + (1 - np.abs(cosines(m, n[to_x]))).mean(),
    "hausdorff_forward": directed_hausdorff(x, y)[0],
    "hausdorff_backward": directed_hausdorff(y, x)[0],
    "mmd": mmd(gaussians(1.0), x, y, *ones),
    "mmd_median": mmd(gaussians(median), x, y, *ones),
    "mmd_weighted": mmd(gaussians(1.0), x, y, a, b),
    "mmd_unbiased": mmd(gaussians(1.0), x, y, *ones, unbiased=True),
    "mmd_unbiased_weighted": mmd(gaussians(1.0), x, y, a, b, unbiased=True),
    "energy": mmd(absolute, x, y, *ones),
    "energy_weighted": mmd(absolute, x, y, a, b),
    "energy_unbiased": mmd(absolute, x, y, *ones, unbiased=True),
    "energy_line": energy_distance(x[:, 0], y[:, 0]) ** 2,
    "energy_line_weighted": energy_distance(x[:, 0], y[:, 0], a, b) ** 2,
}
Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")
