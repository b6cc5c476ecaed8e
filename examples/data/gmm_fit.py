"""Writes iris.csv and gmm_fit.json: a Gaussian mixture fitted by scikit-learn's EM algorithm.

    pip install scikit-learn==1.9.1 numpy
    python gmm_fit.py
"""

import json
from pathlib import Path

import numpy as np
from sklearn.datasets import load_iris
from sklearn.mixture import GaussianMixture

folder = Path(__file__).parent
x = load_iris().data[:, 2:4]
with open(folder / "iris.csv", "w") as file:
    file.write("petal_length,petal_width\n")
    for row in x:
        file.write(",".join(f"{value:.1f}" for value in row) + "\n")

start = np.array([[1.0, 0.5], [4.0, 1.5], [6.0, 2.0]])
mixture = GaussianMixture(3, covariance_type="spherical", means_init=start, tol=1e-12, max_iter=10000)
mixture.fit(x)
result = {
    "log_likelihood": mixture.score(x),
    "means": mixture.means_.ravel().tolist(),
    "deviations": np.sqrt(mixture.covariances_).tolist(),
    "weights": mixture.weights_.tolist(),
}
with open(folder / "gmm_fit.json", "w") as file:
    json.dump(result, file, indent=2)
    file.write("\n")
