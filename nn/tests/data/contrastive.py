"""Writes contrastive.json: contrastive losses by SciPy.

    pip install numpy scipy && python contrastive.py
"""

import json
from pathlib import Path

import numpy as np
from scipy.special import logsumexp

rng = np.random.default_rng(3)
N, D = 7, 5
a, b = rng.normal(size=(N, D)), rng.normal(size=(N, D))
b += a
# A representation 0 has no direction.
b[4] = 0.0
labels = np.array([3, 1, 3, 2_000_000_001, 1, 3, 2_000_000_000])


def directions(z):
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    return np.divide(z, lengths, out=np.zeros_like(z), where=lengths > 0)


def scores(a, b, t):
    return directions(a) @ directions(b).T / t


def one_side(s):
    return logsumexp(s, axis=1) - np.diag(s)


def others(s):
    return logsumexp(np.where(np.eye(len(s), dtype=bool), -np.inf, s), axis=1)


def views(a, b, t):
    s = scores(np.concatenate([a, b]), np.concatenate([a, b]), t)
    i = np.arange(2 * len(a))
    return others(s) - s[i, (i + len(a)) % (2 * len(a))]


def supervised(z, labels, t):
    s = scores(z, z, t)
    positive = (labels[:, None] == labels[None]) & ~np.eye(len(z), dtype=bool)
    count = positive.sum(1)
    rows = others(s) - (s * positive).sum(1) / np.maximum(count, 1)
    return np.where(count > 0, rows, 0.0)


out = {"a": a.tolist(), "b": b.tolist(), "labels": labels.tolist(), "cases": []}
for t in (0.07, 1.0, 1e-3):
    s = scores(a, b, t)
    out["cases"].append(
        {
            "temperature": t,
            "one_side": one_side(s).tolist(),
            "both_sides": ((one_side(s) + one_side(s.T)) / 2).tolist(),
            "views": views(a, b, t).tolist(),
            "labels": supervised(a, labels, t).tolist(),
        }
    )
Path(__file__).with_suffix(".json").write_text(json.dumps(out) + "\n")
