"""Reference values for Nadaraya-Watson regression on diabetes.csv.

Everything is in double precision and free of randomness, so that another
implementation can be held to the numbers in regression.json.
"""

import json
from pathlib import Path

import numpy as np
import scipy
import sklearn
from scipy.optimize import brentq, minimize_scalar
from sklearn.linear_model import LinearRegression
from sklearn.metrics import r2_score
from sklearn.metrics.pairwise import rbf_kernel

HERE = Path(__file__).resolve().parent

# At the lower end half the predictions rest on some three neighbours or fewer,
# and further down the weights head for underflow; at the upper end every
# prediction is close to the mean of all targets. The minimum lies well inside.
BANDWIDTHS = (0.5, 8.0)


def squared_distances(x, z):
    """|x_i - z_j|^2 from the differences themselves.

    The expansion |x|^2 + |z|^2 - 2 x.z is cheaper but cancels for close pairs,
    the very pairs that carry the largest weights.
    """
    return np.square(x[:, None, :] - z[None, :, :]).sum(axis=2)


def kernel(d2, h):
    return np.exp(-d2 / (2.0 * h * h))


def predict(k, t):
    """Weighted mean of the targets t, one for each row of the weights k."""
    mass = k.sum(axis=1)
    assert mass.min() > 0.0, "a row has lost all its neighbours to underflow"
    return k @ t / mass


def loo(d2, t, h):
    """Leave-one-out mean squared error and its derivative in log h.

    As k = exp(-d2 / 2h^2), dk/dlog h = k d2 / h^2, and the quotient rule gives
    dp_i/dlog h = sum_j w_ij (d2_ij / h^2) (t_j - p_i), w being k over its row
    sums. Written with t_j - p_i it is a sum of small terms, not the difference
    of two large ones.
    """
    k = kernel(d2, h)
    # A row that saw itself would drive h to zero: the fit would be perfect.
    np.fill_diagonal(k, 0.0)
    p = predict(k, t)
    w = k / k.sum(axis=1, keepdims=True)
    dp = (w * (d2 / (h * h)) * (t[None, :] - p[:, None])).sum(axis=1)
    return np.mean((p - t) ** 2), 2.0 * np.mean((p - t) * dp)


def check_gradient(d2, t, h):
    # A step of eps^(1/3) balances truncation (step^2) against rounding
    # (eps / step): both are then of the order of 1e-10 of the loss.
    step = np.finfo(float).eps ** (1.0 / 3.0)
    above, below = (loo(d2, t, h * np.exp(s))[0] for s in (step, -step))
    np.testing.assert_allclose(
        loo(d2, t, h)[1], (above - below) / (2.0 * step), rtol=1e-7
    )


def optimum(d2, t):
    """The bandwidth of least leave-one-out error."""
    lo, hi = np.log(BANDWIDTHS)

    # A bounded search descends into whichever valley it meets first. One change
    # of sign in the slope over the whole interval says that there is only one.
    slopes = [loo(d2, t, np.exp(u))[1] for u in np.linspace(lo, hi, 200)]
    assert slopes[0] < 0.0 < slopes[-1]
    assert np.count_nonzero(np.diff(np.sign(slopes))) == 1

    found = minimize_scalar(
        lambda u: loo(d2, t, np.exp(u))[0],
        bounds=(lo, hi),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert found.success

    # Near its minimum the loss is flat to rounding over a width of sqrt(eps), so
    # comparing losses cannot place log h to xatol, however small. The zero of the
    # slope is well conditioned and says how far off the search came out.
    root = brentq(lambda u: loo(d2, t, np.exp(u))[1], lo, hi, xtol=1e-14)
    assert abs(found.x - root) < 1e-7
    return float(np.exp(found.x)), found.x - root


def main():
    table = np.loadtxt(HERE / "diabetes.csv", delimiter=",", skiprows=1)
    assert table.shape == (442, 11)
    test = np.arange(len(table)) % 5 == 4
    x, t = table[~test, :-1], table[~test, -1]
    z, u = table[test, :-1], table[test, -1]

    # The test rows must not leak into the scaling, so they take the train set's.
    mean, std = x.mean(axis=0), x.std(axis=0)
    x, z = (x - mean) / std, (z - mean) / std

    d2 = squared_distances(x, x)
    for h in (1.0, 2.0):
        check_gradient(d2, t, h)
    h, off = optimum(d2, t)

    p = predict(kernel(squared_distances(z, x), h), t)
    gamma = 1.0 / (2.0 * h * h)
    np.testing.assert_allclose(
        p, predict(rbf_kernel(z, x, gamma=gamma), t), rtol=1e-12
    )

    test_mse = np.mean((p - u) ** 2)
    # R^2 is against the mean of the test targets, as scikit-learn has it.
    test_r2 = 1.0 - test_mse / u.var()
    np.testing.assert_allclose(test_r2, r2_score(u, p), rtol=1e-12)

    at_1, grad_at_1 = loo(d2, t, 1.0)
    result = {
        "bandwidth": h,
        "loo_mse": float(loo(d2, t, h)[0]),
        "loo_mse_at_1": float(at_1),
        "loo_mse_at_2": float(loo(d2, t, 2.0)[0]),
        "loo_grad_log_h_at_1": float(grad_at_1),
        "test_mse": float(test_mse),
        "test_r2": float(test_r2),
        "linear_r2": float(LinearRegression().fit(x, t).score(z, u)),
        "test_predictions": p.tolist(),
        "versions": {
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "sklearn": sklearn.__version__,
        },
    }
    text = json.dumps(result, indent=1) + "\n"
    (HERE / "regression.json").write_text(text, encoding="utf-8", newline="\n")

    for key, value in result.items():
        if key != "test_predictions":
            print(f"{key:20} {value}")
    print(f"{'rows, train/test':20} {len(t)}/{len(u)}")
    print(f"{'log h off its root':20} {off:.1e}")
    # How near a row comes to 0/0, for whoever repeats this in single precision.
    for name, at in (("1", 1.0), ("bandwidth", h)):
        k = kernel(d2, at)
        np.fill_diagonal(k, 0.0)
        print(f"{'least mass at ' + name:20} {k.sum(axis=1).min():.6e}")


if __name__ == "__main__":
    main()
