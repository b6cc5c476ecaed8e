"""The peers of `cargo xtask bench layers`: one of them runs a case.

    python peers.py --contender NAME --case JSON --seconds SECONDS

It prints what was measured as a line of JSON. Data are computed by the formulas of `data.rs`.
"""

import argparse
import json
import time

import numpy as np

HEADS = 8
TEMPERATURE = 0.07
BLUR = 0.05
SCALING = 0.5
LENGTH_SCALE = 0.3
RIDGE = 1e-2
# A first call longer than this is not repeated.
LONG = 30.0


def fractions(operand, shape):
    rows, columns = shape
    i = np.arange(operand * 1_000_000 + 1, operand * 1_000_000 + 1 + rows, dtype=np.float64)
    roots = np.sqrt(4.0 * np.arange(columns) + 2)
    return np.modf(i[:, None] * roots)[0].astype(np.float32)


def centred(operand, shape):
    return (fractions(operand, shape) * np.float32(2) - np.float32(1)) * np.float32(3**0.5)


def clouds(case):
    shape = case["n"], case["d"]
    return fractions(0, shape), fractions(1, shape) * np.float32(0.6) + np.float32(0.3)


def observations(case):
    """In F64, as scikit-learn computes."""
    x = fractions(0, (case["n"], case["d"]))
    noise = fractions(1, (case["n"], 1)) * np.float32(0.2) - np.float32(0.1)
    t = np.sin(x * np.float32(5)).sum(1, keepdims=True) + noise
    return x.astype(np.float64), t.astype(np.float64)


def head(values):
    return np.asarray(values)[:64].ravel().tolist()


def temperatures(x, y):
    """Of the steps of a Sinkhorn divergence with the cost |x - y|^2 / 2."""
    points = np.concatenate([x, y])
    diameter = float(np.linalg.norm(points.max(0) - points.min(0)))
    between = np.exp(np.arange(2 * np.log(diameter), 2 * np.log(BLUR), 2 * np.log(SCALING)))
    return [diameter**2, *between.tolist(), BLUR**2]


def costs(x, y):
    squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * (x @ y.T)
    return np.maximum(squares, 0) / 2


def by_points(plan, x, y):
    """The gradient of the cost of a plan by x."""
    return plan.sum(1)[:, None] * x - plan @ y


def numpy_samples(case):
    """The same steps as those of the layer, with stored costs."""
    x, y = clouds(case)
    steps = temperatures(x, y)

    def softmin(cost, epsilon, h):
        scores = cost * np.float32(-1 / epsilon)
        scores += h[None, :]
        largest = scores.max(1)
        scores -= largest[:, None]
        np.exp(scores, out=scores)
        return np.float32(-epsilon) * (np.log(scores.sum(1)) + largest)

    def call():
        a, b = (np.full(len(p), 1 / len(p), np.float32) for p in (x, y))
        logs = np.log(a), np.log(b)
        across, own_x, own_y = costs(x, y), costs(x, x), costs(y, y)

        def step(epsilon, f, g, f_own, g_own):
            scale = np.float32(1 / epsilon)
            return (
                softmin(across, epsilon, logs[1] + g * scale),
                softmin(across.T, epsilon, logs[0] + f * scale),
                softmin(own_x, epsilon, logs[0] + f_own * scale),
                softmin(own_y, epsilon, logs[1] + g_own * scale),
            )

        zeros = np.zeros_like(a), np.zeros_like(b)
        potentials = step(steps[0], *zeros, *zeros)
        for epsilon in steps:
            potentials = tuple(
                (before + now) / 2 for before, now in zip(potentials, step(epsilon, *potentials))
            )
        epsilon = steps[-1]
        f, g, f_own, g_own = step(epsilon, *potentials)
        value = a @ (f - f_own) + b @ (g - g_own)

        # That of the last step, in which each potential is a softmin of the one before.
        def plan(cost, h, values, weights):
            scores = cost * np.float32(-1 / epsilon)
            scores += (h / np.float32(epsilon))[None, :] + (values / np.float32(epsilon))[:, None]
            return np.exp(scores, out=scores) * weights[:, None]

        f_before, g_before, x_before, y_before = potentials
        by_x = by_points(plan(across, g_before + epsilon * logs[1], f, a), x, y)
        by_x -= by_points(plan(own_x, x_before + epsilon * logs[0], f_own, a), x, x)
        by_y = by_points(plan(across.T, f_before + epsilon * logs[0], g, b), y, x)
        by_y -= by_points(plan(own_y, y_before + epsilon * logs[1], g_own, b), y, y)
        return value, [by_x, by_y]

    return call


def pot_samples(case):
    """The limit of the steps, by POT in the logarithmic domain."""
    import ot

    x, y = (points.astype(np.float64) for points in clouds(case))
    epsilon = BLUR**2

    def transport(x, y):
        a, b = (np.full(len(p), 1 / len(p)) for p in (x, y))
        plan, log = ot.sinkhorn(
            a, b, costs(x, y), epsilon, method="sinkhorn_log", numItermax=1000, stopThr=1e-6, log=True, warn=False
        )
        # Its plan is exp(u + v - C / eps), without weights.
        f, g = log["log_u"] - np.log(a), log["log_v"] - np.log(b)
        return epsilon * (a @ f + b @ g), plan

    def call():
        across, plan = transport(x, y)
        own_x, plan_x = transport(x, x)
        own_y, plan_y = transport(y, y)
        # Both sides of a transport to itself, of which each point is on both.
        by_x = by_points(plan, x, y) - (by_points(plan_x, x, x) + by_points(plan_x.T, x, x)) / 2
        by_y = by_points(plan.T, y, x) - (by_points(plan_y, y, y) + by_points(plan_y.T, y, y)) / 2
        return across - (own_x + own_y) / 2, [by_x, by_y]

    return call


def scipy_chamfer(case):
    from scipy.spatial import cKDTree

    x, y = clouds(case)

    def call():
        by_x, by_y = np.zeros_like(x), np.zeros_like(y)
        value = 0.0
        for own, other, by_own, by_other in [(x, y, by_x, by_y), (y, x, by_y, by_x)]:
            distances, nearest = cKDTree(other).query(own, workers=-1)
            value += (distances**2).mean()
            slope = (own - other[nearest]) * np.float32(2 / len(own))
            by_own += slope
            np.subtract.at(by_other, nearest, slope)
        return value, [by_x, by_y]

    return call


def sklearn_gaussian_process(case):
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel

    x, t = observations(case)
    kernel = ConstantKernel(1.0) * RBF(LENGTH_SCALE) + WhiteKernel(RIDGE)
    process = GaussianProcessRegressor(kernel, alpha=0, optimizer=None).fit(x[:2], t[:2, 0])
    process.X_train_, process.y_train_ = x, t[:, 0]

    def call():
        value, gradient = process.log_marginal_likelihood(kernel.theta, eval_gradient=True)
        return value, [gradient]

    return call


def sklearn_kernel_ridge(case):
    from sklearn.kernel_ridge import KernelRidge

    x, t = observations(case)
    at = fractions(2, (64, case["d"]))
    model = KernelRidge(alpha=RIDGE, kernel="rbf", gamma=0.5 / LENGTH_SCALE**2)
    return lambda: (model.fit(x, t).predict(at), [])


def sklearn_falkon(case):
    """The same function of other centres, by the normal equations of stored features."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.linear_model import Ridge
    from sklearn.pipeline import make_pipeline

    x, t = observations(case)
    at = fractions(2, (64, case["d"]))
    features = Nystroem(gamma=0.5 / LENGTH_SCALE**2, n_components=case["m"], random_state=0)
    model = make_pipeline(features, Ridge(RIDGE, fit_intercept=False, solver="cholesky"))
    return lambda: (model.fit(x, t).predict(at), [])


def jax_call(function, operands):
    """The value, a part of an output that is compared, and gradients by all operands."""
    import jax

    compiled = jax.jit(jax.value_and_grad(function, argnums=tuple(range(len(operands))), has_aux=True))
    operands = [jax.numpy.asarray(own) for own in operands]

    def call():
        (_, out), gradients = jax.block_until_ready(compiled(*operands))
        return out, gradients

    return call


def jax_attention(case):
    import jax
    import jax.numpy as jnp

    length, d = case["n"], case["d"]
    q, k, v, weights = (centred(operand, (HEADS * length, d)).reshape(HEADS, length, d) for operand in range(4))
    weights = jnp.asarray(weights)

    def function(q, k, v):
        scores = jnp.einsum("hid,hjd->hij", q, k) / d**0.5
        if case["causal"]:
            scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -jnp.inf)
        out = jax.nn.softmax(scores, axis=-1) @ v
        return (out * weights).sum(), out.reshape(-1, d)

    call = jax_call(function, [q, k, v])

    def flat():
        out, gradients = call()
        return out, [own.reshape(-1, d) for own in gradients]

    return flat


def jax_contrastive(case):
    import jax
    import jax.numpy as jnp

    shape = case["n"], case["d"]
    a = centred(0, shape)
    b = a * np.float32(0.5) + centred(1, shape)

    def function(a, b):
        a, b = (own / jnp.linalg.norm(own, axis=1, keepdims=True) for own in (a, b))
        scores = a @ b.T / TEMPERATURE
        sides = (jnp.diagonal(jax.nn.log_softmax(scores, axis=axis)).mean() for axis in (0, 1))
        value = -sum(sides) / 2
        return value, value

    return jax_call(function, [a, b])


def jax_linear_cross_entropy(case):
    import jax
    import jax.numpy as jnp

    h = centred(0, (case["n"], case["d"]))
    weight = centred(1, (case["m"], case["d"])) / np.float32(case["d"] ** 0.5)
    rows = np.arange(case["n"])
    targets = rows * 7919 % case["m"]

    def function(h, weight):
        value = -jax.nn.log_softmax(h @ weight.T, axis=1)[rows, targets].mean()
        return value, value

    return jax_call(function, [h, weight])


CALLS = {
    ("samples_loss", "numpy"): numpy_samples,
    ("samples_loss", "pot"): pot_samples,
    ("chamfer", "scipy"): scipy_chamfer,
    ("gaussian_process", "sklearn"): sklearn_gaussian_process,
    ("kernel_ridge", "sklearn"): sklearn_kernel_ridge,
    ("falkon", "sklearn"): sklearn_falkon,
    ("attention", "jax"): jax_attention,
    ("contrastive", "jax"): jax_contrastive,
    ("linear_cross_entropy", "jax"): jax_linear_cross_entropy,
}


def resident(name):
    """The bytes of a line of `/proc/self/status`; None where there is no such file."""
    try:
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        return int(lines[name].removesuffix(" kB\n")) * 1024
    except (OSError, KeyError):
        return None


def reset_peak():
    """Begins to look for the largest resident set anew; its size now."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        return None
    return resident("VmRSS")


def measure(call, seconds):
    def timed():
        start = time.perf_counter()
        out = call()
        return time.perf_counter() - start, out

    before = reset_peak()
    first, (value, gradients) = timed()
    samples = []
    while first < LONG and (len(samples) < 3 or sum(samples) < seconds):
        samples.append(timed()[0])
    peak = resident("VmHWM")
    return {
        "first": first,
        "samples": samples,
        "value": head(value) if np.ndim(value) else [float(value)],
        "gradient": sum((head(own) for own in gradients), []),
        "memory": None if before is None or peak is None else max(peak - before, 0),
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--contender", required=True)
    parser.add_argument("--case", type=json.loads, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    options = parser.parse_args()
    call = CALLS[options.case["layer"], options.contender](options.case)
    print(json.dumps(measure(call, options.seconds)))


main()
