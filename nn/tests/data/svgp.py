"""Lower bounds and predictions of stochastic variational Gaussian processes, by NumPy; `python svgp.py`.

Expectations of the likelihoods are integrals by SciPy.
"""

import json
from pathlib import Path

import numpy as np
from scipy.integrate import quad
from scipy.special import expit, gammaln
from scipy.stats import norm

length, noise, jitter, total = 0.9, 0.2, 1e-4, 30
random = np.random.default_rng(2)
rounded = lambda values: np.round(values, 3)
x, z = rounded(random.uniform(-1, 1, (8, 2))), rounded(random.uniform(-1, 1, (4, 2)))
m, raw = rounded(random.normal(size=(4, 1))), rounded(0.5 * random.normal(size=(4, 4)))
kernel = lambda a, b: np.exp(-0.5 * ((a[:, None] - b[None]) ** 2).sum(-1) / length**2)

root = np.tril(raw, -1) + np.diag(np.exp(np.diag(raw)))
factor = np.linalg.cholesky(kernel(z, z) + jitter * np.eye(4))
# The values at the inducing points have this mean and covariance.
mean_u, covariance_u = factor @ m, factor @ root @ root.T @ factor.T
inverse = np.linalg.inv(kernel(z, z) + jitter * np.eye(4))
weights = kernel(x, z) @ inverse
mean = (weights @ mean_u)[:, 0]
variance = np.diag(
    kernel(x, x) - weights @ kernel(z, x) + weights @ covariance_u @ weights.T
).copy()
prior = kernel(z, z) + jitter * np.eye(4)
divergence = 0.5 * (
    np.trace(inverse @ covariance_u)
    + (mean_u.T @ inverse @ mean_u).item()
    - 4
    + np.linalg.slogdet(prior)[1]
    - np.linalg.slogdet(covariance_u)[1]
)
cases = {
    "gaussian": (rounded(random.normal(size=8)), lambda t, f: norm.logpdf(t, f, noise**0.5)),
    "bernoulli": (
        np.array([0.0, 1, 1, 0, 1, 0, 0, 1]),
        lambda t, f: -np.logaddexp(0, -f if t else f),
    ),
    "poisson": (
        np.array([0.0, 3, 1, 0, 7, 2, 1, 4]),
        lambda t, f: t * f - np.exp(f) - gammaln(t + 1),
    ),
}


def expectation(function, mean, variance):
    deviation = variance**0.5
    return quad(
        lambda e: function(mean + deviation * e) * norm.pdf(e),
        -14,
        14,
        epsabs=1e-13,
        epsrel=1e-13,
        limit=400,
    )[0]


values = {
    "x": x.tolist(),
    "inducing": z.tolist(),
    "variational_mean": m.tolist(),
    "variational_root": raw.tolist(),
    "mean": mean.tolist(),
    "variance": variance.tolist(),
    "probabilities": [expectation(expit, a, v) for a, v in zip(mean, variance)],
    "rates": [expectation(np.exp, a, v) for a, v in zip(mean, variance)],
}
for name, (t, log_density) in cases.items():
    terms = [
        expectation(lambda f: log_density(target, f), a, v)
        for target, a, v in zip(t, mean, variance)
    ]
    elbo = total / 8 * sum(terms) - divergence
    values[name] = {"t": t.tolist(), "elbo": elbo}
Path(__file__).with_suffix(".json").write_text(json.dumps(values) + "\n")
