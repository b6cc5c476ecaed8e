"""Writes gp_regression.json: Gaussian process and kernel ridge regression on diabetes.csv by scikit-learn.

    pip install scikit-learn==1.9.1 numpy
    python gp_regression.py
"""

import json
from pathlib import Path

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.kernel_ridge import KernelRidge

folder = Path(__file__).parent
rows = np.loadtxt(folder / "../../../examples/data/diabetes.csv", delimiter=",", skiprows=1)
test = np.arange(len(rows)) % 5 == 4
rows = (rows - rows[~test].mean(axis=0)) / rows[~test].std(axis=0)
x, t = rows[~test, :-1], rows[~test, -1]
test_x = rows[test, :-1]

# Kernel ridge regression with the kernel exp(-|x - y|^2 / (2 l^2)).
length, ridge = 3.0, 0.5
model = KernelRidge(kernel="rbf", gamma=1 / (2 * length**2), alpha=ridge).fit(x, t)
result = {"length": length, "ridge": ridge, "ridge_predictions": model.predict(test_x).tolist()}

# A Gaussian process with the kernel v exp(-|x - y|^2 / (2 l^2)) and noise.
variance, noise = 1.5, 0.4
kernel = ConstantKernel(variance) * RBF(length) + WhiteKernel(noise)
process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x, t)
value, gradient = process.log_marginal_likelihood(process.kernel_.theta, eval_gradient=True)
mean, deviation = process.predict(test_x, return_std=True)
result |= {
    "variance": variance,
    "noise": noise,
    "log_likelihood": value,
    "gradient_by_logs": gradient.tolist(),
    "means": mean.tolist(),
    # Of the function itself, without the noise of an observation.
    "deviations": np.sqrt(deviation**2 - noise).tolist(),
}

# The same, its parameters fitted.
bounds = (1e-3, 1e3)
kernel = ConstantKernel(variance, bounds) * RBF(length, bounds) + WhiteKernel(noise, bounds)
process = GaussianProcessRegressor(kernel, alpha=0.0).fit(x, t)
result |= {
    "fitted_log_likelihood": process.log_marginal_likelihood_value_,
    "fitted": np.exp(process.kernel_.theta).tolist(),
}
with open(folder / "gp_regression.json", "w") as file:
    json.dump(result, file, indent=2)
    file.write("\n")
