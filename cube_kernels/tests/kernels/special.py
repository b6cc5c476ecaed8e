"""Writes `special.csv`: values of functions by mpmath, with 50 digits, at numbers that are exact in single precision.

    pip install mpmath numpy
    python special.py > special.csv

Each line is the function as the catalogue writes it, its value and its arguments.
"""

import mpmath as mp
import numpy as np

mp.mp.dps = 50
# Sines of large angles need the digits of the angle, too.
LARGE = 400


def points(*values):
    return [float(np.float32(value)) for value in values]


def spread(low, high, count, seed):
    return points(*np.random.default_rng(seed).uniform(low, high, count))


def powers(low, high, count, seed):
    return points(*10.0 ** np.random.default_rng(seed).uniform(low, high, count))


def near(value, steps=(1, 2, 5, 100, 10000)):
    value = np.float32(value)
    found = [value]
    for step in steps:
        found += [value * np.float32(1 + step * 2**-23), value * np.float32(1 - step * 2**-24)]
    return points(*found)


def both(values):
    return list(values) + [-value for value in values]


def lgamma(x):
    return mp.log(abs(mp.gamma(x))) if x < 1e6 else mp.loggamma(x)


def log_add_exp(a, b):
    return max(a, b) + mp.log1p(mp.exp(-abs(a - b)))


tiny = [1e-30, 1e-20, 1e-8, 1e-4]
huge = [1e4, 1e8, 1e12, 1e19, 1e25, 1e30]
gammas = spread(0.01, 4, 40, 1) + spread(4, 40, 15, 2)
for value in (0.5, 1, 1.5, 2, 3):
    gammas += near(value, (1, 3, 1000))
gammas += points(*tiny, *huge, 1e36)
left = [-value for value in spread(0.01, 30, 40, 3) if abs(value - round(value)) > 1e-3]
unary = {
    "acosh": (mp.acosh, [value for value in near(1) if value >= 1] + spread(1, 10, 30, 4) + points(*huge)),
    "asinh": (mp.asinh, both(spread(0, 10, 30, 5) + points(*tiny, *huge))),
    "atanh": (mp.atanh, both(spread(0, 1, 30, 6) + points(*tiny, 0.999, 0.99999, 1 - 2**-24))),
    "erfc": (mp.erfc, spread(-4, 9, 60, 7) + near(0.5) + points(*tiny, -1e-8, -20, 9.1)),
    "lgamma": (lgamma, gammas + left + [-value for value in near(0.5)] + points(-1e-20, -1e-4, -1e5 - 0.5)),
    "exp2": (lambda x: mp.mpf(2) ** x, spread(-125, 127, 40, 8) + points(*tiny, -1e-8, 1, -1, 0.5, 127, -126)),
    "log2": (lambda x: mp.log(x, 2), near(1) + powers(-37, 38, 40, 9) + points(2**100, 2**-100, 8)),
    "log10": (mp.log10, near(1) + powers(-37, 38, 40, 10) + points(10, 100, 1000, 1e10)),
    "cbrt": (mp.cbrt, powers(-37, 38, 40, 11) + points(8, 27, 3.4e38)),
}
for order in range(6):
    name, function = f"polygamma[{order}]", lambda x, order=order: mp.polygamma(order, x)
    own = [value for value in gammas if 1e-4 <= value <= 1e4][::2]
    unary[name] = (function, own + left)
binary = {
    "hypot": (mp.hypot, lambda rng: 10.0 ** rng.uniform(-37, 38, 2)),
    "logaddexp": (log_add_exp, lambda rng: rng.uniform(-90, 90, 2) * rng.choice([0.01, 1])),
}
angles = {"sin": mp.sin, "cos": mp.cos, "tan": mp.tan}


def line(name, function, *args):
    value = function(*map(mp.mpf, args))
    print(",".join([name, mp.nstr(value, 20), *map(repr, args)]))


print("function,value,arguments")
for name, (function, values) in unary.items():
    for value in values:
        line(name, function, value)
for name, (function, sample) in binary.items():
    rng = np.random.default_rng(12)
    for _ in range(40):
        line(name, function, *points(*sample(rng)))
mp.mp.dps = LARGE
for name, function in angles.items():
    for value in both(powers(0, 38, 40, 13) + points(1e7, 1e9, 2**22, 2**23, 3.4028234663852886e38)):
        line(name, function, value)
