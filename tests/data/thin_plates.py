"""Thin plates through points of a plane, by SciPy's RBFInterpolator; `python thin_plates.py`."""

import json
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator

n = np.arange(1, 25)[:, None]
x = n * np.array([0.7548776662466927, 0.5698402909980532]) % 1 * 2 - 1
at = np.array([[0.0, 0.0], [0.3, -0.9], [1.5, 1.0]])
t = np.stack([np.sin(3 * x[:, 0]) + x[:, 1], 2 + x[:, 0] * x[:, 1]], axis=1)


def predicted(smoothing):
    """The values at other points."""
    plate = RBFInterpolator(x, t, smoothing=smoothing, kernel="thin_plate_spline", degree=1)
    return plate(at).tolist()


values = {
    "x": x.tolist(),
    "t": t.tolist(),
    "at": at.tolist(),
    "exact": predicted(0.0),
    "smooth": predicted(0.1),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(values) + "\n")
