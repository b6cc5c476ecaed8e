"""Writes samples_loss.json: values and gradients of losses between samples, by NumPy and POT.

    pip install numpy scipy pot && python samples_loss.py
"""

import json
from pathlib import Path

import numpy as np
import ot
from scipy.special import logsumexp


def fraction(values):
    return values - np.floor(values)


def points(n, scale=1.0, shift=0.0, at=(0.0, 0.0)):
    k = np.arange(1, n + 1)
    steps = (0.7548776662466927, 0.5698402909980532)
    return np.stack([scale * fraction(k * s + o) + shift for s, o in zip(steps, at)], axis=1)


def cost(x, y, p):
    return np.linalg.norm(x[:, None] - y[None], axis=-1) ** p / p


def cost_gradient(x, y, p):
    """By the first point, of shape [N, M, D]."""
    difference = x[:, None] - y[None]
    r = np.linalg.norm(difference, axis=-1, keepdims=True)
    return np.where(r > 0, np.where(r > 0, r, 1.0) ** (p - 2) * difference, 0.0)


def softmin(epsilon, c, h):
    return -epsilon * logsumexp(h[None] - c / epsilon, axis=1)


def logarithms(a):
    with np.errstate(divide="ignore"):
        return np.log(a)


def temperatures(x, y, p, blur, scaling):
    both = np.concatenate([x, y])
    d = np.linalg.norm(both.max(0) - both.min(0))
    if d <= blur:
        return [blur**p]
    between = np.arange(p * np.log(d), p * np.log(blur), p * np.log(scaling))
    return [d**p] + list(np.exp(between)) + [blur**p]


def sinkhorn(x, y, a, b, p, blur, scaling, reach, debias):
    """Algorithm 3.5 of Feydy's thesis, with the gradient of its last step."""
    rho = None if reach is None else reach**p
    damping = lambda e: 1.0 if rho is None else 1.0 / (1.0 + e / rho)
    la, lb = logarithms(a), logarithms(b)
    xy, xx, yy = cost(x, y, p), cost(x, x, p), cost(y, y, p)
    schedule = temperatures(x, y, p, blur, scaling)
    e = schedule[0]
    f, g = damping(e) * softmin(e, xy, lb), damping(e) * softmin(e, xy.T, la)
    s, t = damping(e) * softmin(e, xx, la), damping(e) * softmin(e, yy, lb)
    step = lambda e: (
        damping(e) * softmin(e, xy, lb + g / e),
        damping(e) * softmin(e, xy.T, la + f / e),
        damping(e) * softmin(e, xx, la + s / e),
        damping(e) * softmin(e, yy, lb + t / e),
    )
    for e in schedule:
        new = step(e)
        f, g, s, t = [(u + v) / 2 for u, v in zip((f, g, s, t), new)]
    before = (f, g, s, t)
    f, g, s, t = step(e)

    def pulled(left, right, h):
        """The gradient of each softmin by its point."""
        scores = h[None] - cost(left, right, p) / e
        weights = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
        return (weights[:, :, None] * cost_gradient(left, right, p)).sum(1)

    df, dg = pulled(x, y, lb + before[1] / e), pulled(y, x, la + before[0] / e)
    ds, dt = pulled(x, x, la + before[2] / e), pulled(y, y, lb + before[3] / e)
    if not debias:
        s, t, ds, dt = 0 * s, 0 * t, 0 * ds, 0 * dt
    if rho is None:
        value = a @ (f - s) + b @ (g - t)
        gradients = a[:, None] * (df - ds), b[:, None] * (dg - dt), f - s, g - t
    else:
        less = lambda s, f: np.exp(-f / rho) * np.expm1((f - s) / rho)
        value = (rho + e / 2) * (a @ less(s, f) + b @ less(t, g))
        left = lambda u: np.exp(-u / rho)[:, None]
        gradients = (
            a[:, None] * (left(f) * df - left(s) * ds),
            b[:, None] * (left(g) * dg - left(t) * dt),
            (rho + e) * less(s, f),
            (rho + e) * less(t, g),
        )
        if not debias:
            value += e * (a.sum() * b.sum() - (a.sum() + b.sum()) / 2)
            gradients = (*gradients[:2], gradients[2] + e * (b.sum() - 1), gradients[3] + e * (a.sum() - 1))
    return value, gradients, (damping(e) * softmin(e, xy, lb + g / e), g)


def divergence(p, q):
    """The relative entropy of measures, with their masses."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(p > 0, p * np.log(p / q), 0.0)
    return terms.sum() - p.sum() + q.sum()


def converged(x, y, a, b, p, blur, reach):
    """The least cost of transport with entropy, by steps until nothing moves, as the primal problem has it."""
    e, c = blur**p, cost(x, y, p)
    rho = np.inf if reach is None else reach**p
    damping = 1.0 if reach is None else rho / (rho + e)
    la, lb = logarithms(a), logarithms(b)
    g = np.zeros(len(y))
    for _ in range(200_000):
        f = damping * softmin(e, c, lb + g / e)
        new = damping * softmin(e, c.T, la + f / e)
        moved = np.abs(new - g).max()
        g = new
        if moved < 1e-15:
            break
    plan = np.exp(la[:, None] + lb[None] + (f[:, None] + g[None] - c) / e)
    value = (plan * c).sum() + e * divergence(plan, a[:, None] * b[None])
    if reach is not None:
        value += rho * (divergence(plan.sum(1), a) + divergence(plan.sum(0), b))
    return value


def converged_loss(x, y, a, b, p, blur, reach):
    e = blur**p
    own = lambda x, a: converged(x, x, a, a, p, blur, reach)
    return converged(x, y, a, b, p, blur, reach) - (own(x, a) + own(y, b)) / 2 + e / 2 * (a.sum() - b.sum()) ** 2


def differences(function, at, step=1e-4):
    out = np.zeros(at.size)
    for k in range(at.size):
        ends = []
        for by in (step, -step):
            moved = at.copy()
            moved.flat[k] += by
            ends.append(function(moved))
        out[k] = (ends[0] - ends[1]) / (2 * step)
    return out


def self_potential(x, a, p, blur):
    e, c, f = blur**p, cost(x, x, p), np.zeros(len(x))
    for _ in range(5000):
        f = (f + softmin(e, c, logarithms(a) + f / e)) / 2
    return f


def hausdorff(x, y, a, b, p, blur):
    e = blur**p
    f, g = self_potential(x, a, p, blur), self_potential(y, b, p, blur)
    q = softmin(e, cost(x, y, p), logarithms(b) + g / e)
    r = softmin(e, cost(y, x, p), logarithms(a) + f / e)
    return (a @ (q - f) + b @ (r - g)) / 2


def kernels(x, y, a, b, blur):
    def half(k):
        return (a @ k(x, x) @ a + b @ k(y, y) @ b) / 2 - a @ k(x, y) @ b

    r = lambda x, y: np.linalg.norm(x[:, None] - y[None], axis=-1)
    return {
        "gaussian": half(lambda x, y: np.exp(-r(x, y) ** 2 / (2 * blur**2))),
        "laplacian": half(lambda x, y: np.exp(-r(x, y) / blur)),
        "energy": half(lambda x, y: -r(x, y)),
    }


def main():
    x, y = points(12), points(10, 0.6, 0.3, (0.25, 0.5))
    a, b = np.arange(1.0, 13.0), np.arange(10.0, 0.0, -1.0)
    a[4] = 0.0
    a, b = a / a.sum(), b / b.sum()
    steps = []
    for p, blur, scaling, reach, debias, masses in [
        (2, 0.1, 0.5, None, True, (1, 1)),
        (2, 0.1, 0.5, None, False, (1, 1)),
        (1, 0.05, 0.7, None, True, (1, 1)),
        (1.5, 0.1, 0.5, None, True, (2, 2)),
        (3, 0.3, 0.5, 0.5, True, (1, 1)),
        (2, 0.1, 0.5, 0.5, True, (1.5, 0.7)),
        (2, 0.1, 0.5, 0.5, False, (1.5, 0.7)),
        (2, 0.1, 0.5, 1e4, True, (1, 1)),
        (2, 5.0, 0.5, None, True, (1, 1)),
    ]:
        mass = [masses[0] * a, masses[1] * b]
        value, gradients, potentials = sinkhorn(x, y, *mass, p, blur, scaling, reach, debias)
        steps.append(
            {
                "p": p,
                "blur": blur,
                "scaling": scaling,
                "reach": reach,
                "debias": debias,
                "a": mass[0].tolist(),
                "b": mass[1].tolist(),
                "value": value,
                "gradients": [gradient.ravel().tolist() for gradient in gradients],
                "potentials": [potential.tolist() for potential in potentials],
            }
        )
    limits = []
    u, v = x[:6], y[:5]
    for reach, debias, masses in [
        (None, True, (1, 1)),
        (0.5, True, (1, 1)),
        (0.5, True, (1.5, 0.7)),
        (0.5, False, (1.5, 0.7)),
    ]:
        weights = [np.full(6, masses[0] / 6), np.full(5, masses[1] / 5)]
        loss = converged_loss if debias else converged
        of = lambda u=u, v=v, a=weights[0], b=weights[1]: loss(u, v, a, b, 2, 0.2, reach)
        limit = {
            "p": 2,
            "blur": 0.2,
            "reach": reach,
            "debias": debias,
            "a": weights[0].tolist(),
            "b": weights[1].tolist(),
            "value": of(),
            "gradient": differences(lambda u: of(u=u), u).tolist(),
        }
        if reach is not None:
            limit["weights"] = differences(lambda a: of(a=a), weights[0]).tolist()
        limits.append(limit)
    many = points(60), points(50, 0.6, 0.3, (0.25, 0.5))
    uniform = [np.full(len(cloud), 1 / len(cloud)) for cloud in many]

    def by_pot(x, y, a, b, e=0.05**2):
        c = cost(x, y, 2)
        plan = ot.sinkhorn(a, b, c, e, method="sinkhorn_log", numItermax=200_000, stopThr=1e-14)
        return (plan * c).sum() + e * divergence(plan, a[:, None] * b[None])

    pairs = [(0, 1), (0, 0), (1, 1)]
    pot = [by_pot(many[i], many[j], uniform[i], uniform[j]) for i, j in pairs]
    out = {
        "x": x.tolist(),
        "y": y.tolist(),
        "a": a.tolist(),
        "b": b.tolist(),
        "steps": steps,
        "limits": limits,
        "pot": pot[0] - (pot[1] + pot[2]) / 2,
        "kernels": kernels(x, y, a, b, 0.3),
        "hausdorff": [
            {"p": p, "blur": blur, "value": hausdorff(x, y, a, b, p, blur)}
            for p, blur in [(2, 0.2), (1, 0.1), (2, 10.0)]
        ],
        "hausdorff_many": hausdorff(*many, *uniform, 2, 10.0),
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(out) + "\n")


if __name__ == "__main__":
    main()
