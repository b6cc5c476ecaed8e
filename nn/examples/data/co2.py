"""Writes co2.csv and co2.json: monthly means of carbon dioxide, and a Gaussian process of them by scikit-learn.

    pip install numpy scikit-learn statsmodels
    python co2.py
"""

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, ExpSineSquared, RationalQuadratic, WhiteKernel

folder = Path(__file__).parent
means = sm.datasets.co2.load_pandas().data["co2"].resample("MS").mean().dropna()
with open(folder / "co2.csv", "w", newline="\n") as file:
    print("year", "month", "co2", sep=",", file=file)
    for month, mean in means.items():
        print(month.year, month.month, f"{mean:.3f}", sep=",", file=file)

rows = np.loadtxt(folder / "co2.csv", delimiter=",", skiprows=1)
# Time in years at the middle of a month, and the series without its mean.
x = (rows[:, 0] + (rows[:, 1] - 0.5) / 12)[:, None]
t = rows[:, 2] - rows[:, 2].mean()


def unbounded(kernel, *lengths):
    return kernel(*lengths, *[(1e-6, 1e9)] * len(lengths))


def scaled(deviation, kernel):
    return unbounded(ConstantKernel, deviation**2) * kernel


# The parameters of Rasmussen and Williams (2006), 5.4.3.
kernel = (
    scaled(66.0, unbounded(RBF, 67.0))
    + scaled(2.4, unbounded(RBF, 90.0) * unbounded(ExpSineSquared, 1.3, 1.0))
    + scaled(0.66, unbounded(RationalQuadratic, 1.2, 0.78))
    + scaled(0.18, unbounded(RBF, 0.134))
    + unbounded(WhiteKernel, 0.19**2)
)
process = GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x, t)
value, gradient = process.log_marginal_likelihood(process.kernel_.theta, eval_gradient=True)
# Of the middles of months in the 15 years after the last one, every third.
at = x[-1, 0] + np.arange(3, 181, 3) / 12
mean, deviation = process.predict(at[:, None], return_std=True)
fitted = GaussianProcessRegressor(kernel, alpha=0.0).fit(x, t)
result = {
    "log_likelihood": value,
    # By the logarithms of the parameters, in the order in which they stand above, the noise last.
    "gradient_by_logs": gradient.tolist(),
    "times": at.tolist(),
    "means": mean.tolist(),
    # Of the function itself, without the noise of an observation.
    "deviations": np.sqrt(deviation**2 - 0.19**2).tolist(),
    "fitted_log_likelihood": fitted.log_marginal_likelihood_value_,
    "fitted": np.exp(fitted.kernel_.theta).tolist(),
}
with open(folder / "co2.json", "w") as file:
    json.dump(result, file)
    file.write("\n")
