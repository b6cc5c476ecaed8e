"""Gaussian process regression by scikit-learn; `python gp.py`.

Gradients are those by the logarithms of the variance, the two length scales and the noise.
"""

import json
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, Matern, WhiteKernel

variance, lengths, noise = 1.7, [0.6, 1.1], 0.05


def points(count, first):
    """Points that fill the square evenly, the same in any language."""
    n = np.arange(first, first + count)[:, None]
    steps = np.array([0.7548776662466927, 0.5698402909980532])
    return n * steps % 1 * 2 - 1


def targets(x):
    return np.stack([np.sin(3 * x[:, 0]) + x[:, 1], x[:, 0] * x[:, 1] - 0.3], axis=1)


def case(radial, count, outputs):
    x, at = points(count, 1), points(5, 1000)
    t = targets(x)[:, :outputs]
    kernel = ConstantKernel(variance) * radial
    noisy = GaussianProcessRegressor(kernel + WhiteKernel(noise), alpha=0, optimizer=None)
    noisy.fit(x, t)
    value, gradient = noisy.log_marginal_likelihood(noisy.kernel_.theta, eval_gradient=True)
    exact = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(x, t)
    mean, covariance = exact.predict(at, return_cov=True)
    # scikit-learn repeats the covariance for each output.
    covariance = covariance.reshape(5, 5, -1)[:, :, 0]
    left_out = []
    for i in range(min(count, 12)):
        others = np.arange(count) != i
        own = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None)
        own.fit(x[others], t[others])
        predicted, deviation = own.predict(x[[i]], return_std=True)
        left_out.append([*np.ravel(predicted), np.ravel(deviation)[0] ** 2 + noise])
    return {
        "x": x.tolist(),
        "t": t.tolist(),
        "at": at.tolist(),
        "value": value,
        "gradient": gradient.tolist(),
        "mean": mean.reshape(5, -1).tolist(),
        "covariance": covariance.tolist(),
        "left_out": left_out,
    }


values = {
    "small": case(RBF(lengths), 12, 2),
    "larger": case(Matern(lengths, nu=1.5), 80, 1),
}
Path(__file__).with_suffix(".json").write_text(json.dumps(values) + "\n")
