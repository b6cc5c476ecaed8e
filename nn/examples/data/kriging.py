"""Writes kriging.json: a Gaussian process of scattered heights by scikit-learn, and a thin plate spline by SciPy.

    pip install numpy scikit-learn scipy
    python kriging.py
"""

import json
from pathlib import Path

import numpy as np
from scipy.interpolate import RBFInterpolator
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel


def places(first, count):
    """Places of a sequence that fills the unit square evenly."""
    k = np.arange(first, first + count)[:, None]
    return np.mod(k * np.array([0.7548776662466927, 0.5698402909980532]), 1.0)


def height(x):
    """Three hills and a slope."""
    centres = np.array([[0.3, 0.7], [0.75, 0.6], [0.55, 0.2]])
    widths, heights = np.array([0.15, 0.1, 0.2]), np.array([1.0, 0.8, -0.7])
    squares = ((x[:, None] - centres) ** 2).sum(-1)
    return 0.4 * x[:, 0] + (heights * np.exp(-squares / (2 * widths**2))).sum(-1)


# The upper right corner is not surveyed.
all = places(1, 260)
seen = all[all.sum(1) < 1.5]
noise = 0.02 * np.sin(37.0 * np.arange(len(seen)))
t = height(seen) + noise
kernel = ConstantKernel(0.5) * Matern(0.3, nu=2.5) + WhiteKernel(1e-3)
process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(seen, t)
at = places(1000, 40)
mean, deviation = process.predict(at, return_std=True)
bounds = (1e-6, 1e3)
kernel = ConstantKernel(0.5, bounds) * Matern(0.3, bounds, nu=2.5) + WhiteKernel(1e-3, bounds)
fitted = GaussianProcessRegressor(kernel, alpha=0.0).fit(seen, t)
spline = RBFInterpolator(seen, t, kernel="thin_plate_spline", smoothing=1e-3, degree=1)
result = {
    "log_likelihood": process.log_marginal_likelihood_value_,
    "means": mean.tolist(),
    # Of the height itself, without the noise of an observation.
    "deviations": np.sqrt(deviation**2 - 1e-3).tolist(),
    "fitted_log_likelihood": fitted.log_marginal_likelihood_value_,
    # Variance, length scale and noise.
    "fitted": np.exp(fitted.kernel_.theta).tolist(),
    "spline": spline(at).tolist(),
}
with open(Path(__file__).with_suffix(".json"), "w") as file:
    json.dump(result, file)
    file.write("\n")
print(len(seen), result["fitted"], result["log_likelihood"], result["fitted_log_likelihood"])
at = places(5000, 400)
print(np.sqrt(((fitted.predict(at) - height(at))[at.sum(1) < 1.5] ** 2).mean()), fitted.predict(at, return_std=True)[1].max())
