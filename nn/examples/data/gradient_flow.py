"""Writes gradient_flow.json: the losses of two shapes and their gradients, by NumPy.

    pip install numpy scipy pot
    python gradient_flow.py
"""

import json
import sys
from pathlib import Path

import numpy as np

folder = Path(__file__).parent
sys.path.insert(0, str(folder / "../../tests/data"))
from samples_loss import hausdorff, kernels, sinkhorn  # noqa: E402


def unit_square(count):
    """Points of a sequence that fills the unit square evenly."""
    k = np.arange(1, count + 1)[:, None]
    return np.mod(k * np.array([0.7548776662466927, 0.5698402909980532]), 1.0)


def sector(centre, radii, angles, count):
    """Points that fill the part of a ring between two radii and two angles."""
    u, v = unit_square(count).T
    inner, outer = radii
    radius = np.sqrt(inner**2 + (outer**2 - inner**2) * u)
    angle = angles[0] + (angles[1] - angles[0]) * v
    return np.array(centre) + np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)


count = 140
x = sector((0.22, 0.5), (0.0, 0.17), (0.0, 2 * np.pi), count)
y = sector((0.68, 0.5), (0.17, 0.28), (-0.75 * np.pi, 0.75 * np.pi), count)
a = np.full(count, 1 / count)
r = lambda x, y: np.linalg.norm(x[:, None] - y[None], axis=-1)


def kernel_gradient(slope):
    """Of 1/2 <a - b, k (a - b)> by the points x, where `slope` is the derivative of k by r, divided by r."""

    def pulled(left, right):
        return (slope(r(left, right))[:, :, None] * (left[:, None] - right[None])).mean(1)

    return (pulled(x, x) - pulled(x, y)) / count


blur = 0.3
own = kernels(x, y, a, a, blur)
inverse = lambda r: np.divide(-1.0, r, out=np.zeros_like(r), where=r > 0)
losses = {
    "gaussian": (own["gaussian"], kernel_gradient(lambda r: -np.exp(-(r**2) / (2 * blur**2)) / blur**2)),
    "energy": (own["energy"], kernel_gradient(inverse)),
    # Converged, while the loss of the crate makes the steps of its schedule.
    "hausdorff": (hausdorff(x, y, a, a, 1, 0.1), None),
}
for p in (1, 2):
    value, gradients, _ = sinkhorn(x, y, a, a, p, 0.05, 0.5, None, True)
    losses[f"sinkhorn_{p}"] = (value, gradients[0])
result = {name: {"value": value} for name, (value, _) in losses.items()}
for name, (_, gradient) in losses.items():
    if gradient is not None:
        result[name]["gradient"] = np.round(gradient[:20], 12).ravel().tolist()
(folder / "gradient_flow.json").write_text(json.dumps(result) + "\n")
