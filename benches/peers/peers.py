"""The peers of `cargo xtask bench peers`: runs one of them on cases that come in as lines of JSON.

    python peers.py NAME [--gpu]

It answers `{}` when the libraries are loaded.
A line `{"do": "prepare", ...}` describes a case, with the files that hold its arrays; the answer is the time of
the first call, with compilation, and a file of its result. `{"do": "run", "budget": SECONDS}` repeats the call
for about that long and answers with the time of each.
"""

import json
import sys
import time

import numpy as np


# Pairs beyond which all of them take minutes.
LARGEST_SEARCH = 2e10


class Peer:
    """What a peer does with NumPy's arrays around a call."""

    def array(self, values):
        """As it takes them."""
        return values

    def host(self, out):
        """A result as an array of NumPy."""
        return out

    def wait(self):
        """Returns once the result of a call is there."""


class Pykeops(Peer):
    """Both builds: which one is decided by the environment."""

    backend = "CPU"

    def __init__(self):
        from pykeops.numpy import Genred, LazyTensor

        self.genred, self.lazy = Genred, LazyTensor

    def __call__(self, case, data):
        kind = case["kind"]
        x, y = data["x"], data["y"]
        if kind == "gradient":
            return self.gradient(case, data)

        def variables():
            return self.lazy(x[..., :, None, :]), self.lazy(y[..., None, :, :])

        def distances():
            x_i, y_j = variables()
            return x_i.sqdist(y_j)

        if kind == "gaussian":
            if case["batch"] == 1:
                return lambda: (-distances()).exp() @ data["b"]
            b_j = data["b"][..., None, :, :]
            return lambda: ((-distances()).exp() * self.lazy(b_j)).sum(axis=x.ndim - 1)
        if kind == "laplacian":
            return lambda: (-distances().sqrt()).exp() @ data["b"]
        if kind == "logsumexp":
            return lambda: (-distances()).logsumexp(axis=1)
        if kind == "attention":

            def attention():
                x_i, y_j = variables()
                return (x_i | y_j).sumsoftmaxweight(self.lazy(data["b"][None, :, :]), axis=1)

            return attention
        if kind == "argkmin":
            if case["m"] * case["n"] > LARGEST_SEARCH:
                return None
            return lambda: distances().argKmin(case["k"], axis=1, backend=self.backend)
        if kind == "solve":
            alpha, tolerance = case["alpha"], case["tolerance"]
            # It stops where the root of the mean square of the residual is below eps.
            eps = tolerance * float((data["b"] ** 2).mean()) ** 0.5

            def solve():
                x_i, y_j = variables()
                return (-x_i.sqdist(y_j)).exp().solve(data["b"], alpha=alpha, eps=eps, backend=self.backend)

            return solve
        return None

    def gradient(self, case, data):
        """The formulas that its automatic differentiation runs for the gradients by x, y and b, and the sum
        that comes before them."""
        d, dv = case["d"], case["dv"]
        aliases = [f"x = Vi({d})", f"y = Vj({d})", f"b = Vj({dv})", f"e = Vi({dv})"]
        formula = "Exp(-SqDist(x, y)) * b"
        forward = self.genred(formula, aliases[:3], reduction_op="Sum", axis=1)
        gradients = [
            self.genred(f"Grad({formula}, {name}, e)", aliases, reduction_op="Sum", axis=axis)
            for name, axis in [("x", 1), ("y", 0), ("b", 0)]
        ]
        e = self.array(np.ones((case["m"], dv), TYPES[case["dtype"]]))
        x, y, b = data["x"], data["y"], data["b"]

        def call():
            forward(x, y, b, backend=self.backend)
            return [gradient(x, y, b, e, backend=self.backend) for gradient in gradients][0]

        return call


class PykeopsOnGpu(Pykeops):
    """With tensors of PyTorch, which stay on the card."""

    backend = "GPU"

    def __init__(self):
        import torch
        from pykeops.torch import Genred, LazyTensor

        if not torch.cuda.is_available():
            raise RuntimeError("PyTorch sees no GPU")
        self.torch, self.genred, self.lazy = torch, Genred, LazyTensor

    def array(self, values):
        return self.torch.from_numpy(values).cuda()

    def host(self, out):
        return out.cpu().numpy()

    def wait(self):
        self.torch.cuda.synchronize()


def squared_distances(x, y):
    return (x * x).sum(-1)[..., :, None] + (y * y).sum(-1)[..., None, :] - 2 * x @ y.swapaxes(-1, -2)


class Numpy(Peer):
    """Matrices stored, products by BLAS."""

    LARGEST = 4e8

    def __call__(self, case, data):
        kind = case["kind"]
        x, y, b = data["x"], data["y"], data.get("b")
        if case["m"] * case["n"] * case["batch"] > self.LARGEST:
            return None
        if kind == "gaussian":
            return lambda: np.exp(-squared_distances(x, y)) @ b
        if kind == "gradient":

            def call():
                kernel = np.exp(-squared_distances(x, y))
                kernel @ b
                weighted = kernel * b[:, 0]
                by_x = -2 * (x * weighted.sum(1)[:, None] - weighted @ y)
                -2 * (y * weighted.sum(0)[:, None] - weighted.T @ x)
                kernel.sum(0)
                return by_x

            return call if b.shape[1] == 1 else None
        return None


class Scipy(Peer):
    """Matrices stored; Cholesky's factorisation for systems, and a tree of points for neighbours."""

    def __call__(self, case, data):
        from scipy.linalg import cho_factor, cho_solve
        from scipy.spatial import cKDTree
        from scipy.special import logsumexp

        kind = case["kind"]
        x, y, b = data["x"], data["y"], data.get("b")
        if kind == "argkmin" and case["d"] <= 6:
            return lambda: cKDTree(y).query(x, k=case["k"], workers=-1)[1]
        if case["m"] * case["n"] > Numpy.LARGEST:
            return None
        if kind == "logsumexp":
            return lambda: logsumexp(-squared_distances(x, y), axis=1)
        if kind == "solve":

            def solve():
                matrix = np.exp(-squared_distances(x, y))
                matrix[np.diag_indices_from(matrix)] += matrix.dtype.type(case["alpha"])
                return cho_solve(cho_factor(matrix, overwrite_a=True), b)

            return solve
        return None


class Jax(Peer):
    """Matrices stored, or what its compiler makes of them."""

    def __init__(self):
        import jax

        jax.config.update("jax_platforms", "cpu")
        jax.config.update("jax_enable_x64", True)
        self.jax = jax

    def __call__(self, case, data):
        import jax.numpy as jnp

        kind = case["kind"]
        if case["m"] * case["n"] * case["batch"] > Numpy.LARGEST:
            return None
        arrays = {name: jnp.asarray(array) for name, array in data.items()}
        x, y, b = arrays["x"], arrays["y"], arrays.get("b")

        def total(x, y, b):
            return jnp.exp(-squared_distances(x, y)) @ b

        if kind == "gaussian":
            function = total
        elif kind == "logsumexp":
            function = lambda x, y, b: self.jax.nn.logsumexp(-squared_distances(x, y), axis=1)
        elif kind == "attention":
            function = lambda x, y, b: self.jax.nn.softmax(x @ y.T, axis=1) @ b
        elif kind == "gradient":

            def function(x, y, b):
                value = lambda *arrays: total(*arrays).sum()
                return self.jax.value_and_grad(value, argnums=(0, 1, 2))(x, y, b)[1]

        else:
            return None
        compiled = self.jax.jit(function)

        def call():
            out = self.jax.block_until_ready(compiled(x, y, b))
            return np.asarray(out[0] if kind == "gradient" else out)

        return call


class Faiss(Peer):
    """Exhaustive search."""

    def __call__(self, case, data):
        import faiss

        if case["kind"] != "argkmin" or case["dtype"] != "f32":
            return None
        if case["m"] * case["n"] > LARGEST_SEARCH:
            return None

        def call():
            index = faiss.IndexFlatL2(case["d"])
            index.add(data["y"])
            return index.search(data["x"], case["k"])[1]

        return call


class ScikitLearn(Peer):
    def __init__(self, algorithm="brute"):
        self.algorithm = algorithm

    def __call__(self, case, data):
        from sklearn.neighbors import NearestNeighbors

        if case["kind"] != "argkmin" or (self.algorithm == "kd_tree" and case["d"] > 6):
            return None
        if self.algorithm == "brute" and case["m"] * case["n"] > LARGEST_SEARCH:
            return None

        def call():
            search = NearestNeighbors(n_neighbors=case["k"], algorithm=self.algorithm, n_jobs=-1)
            return search.fit(data["y"]).kneighbors(data["x"], return_distance=False)

        return call


PEERS = {
    "pykeops": Pykeops,
    "pykeops-native": Pykeops,
    "numpy": Numpy,
    "scipy": Scipy,
    "jax": Jax,
    "faiss": Faiss,
    "sklearn": ScikitLearn,
    "sklearn-kdtree": lambda: ScikitLearn("kd_tree"),
}
GPU_PEERS = {"pykeops": PykeopsOnGpu}

TYPES = {"f32": np.float32, "f64": np.float64}


def timed(peer, call):
    start = time.perf_counter()
    out = call()
    peer.wait()
    return time.perf_counter() - start, out


def prepare(peer, case):
    dtype = TYPES[case["dtype"]]
    data = {
        name: peer.array(np.fromfile(array["file"], dtype).reshape(array["shape"]))
        for name, array in case["arrays"].items()
    }
    call = peer(case, data)
    if call is None:
        return None, {"supported": False}
    peer.wait()
    first, out = timed(peer, call)
    np.ascontiguousarray(peer.host(out), dtype=np.float64).tofile(case["out"])
    return call, {"supported": True, "first": first}


def main():
    # What peers print must not mix with the answers.
    answers, sys.stdout = sys.stdout, sys.stderr
    peers = GPU_PEERS if "--gpu" in sys.argv[2:] else PEERS
    peer, call = peers[sys.argv[1]](), None
    print("{}", file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "prepare":
            call, answer = prepare(peer, request)
        else:
            samples, start = [], time.perf_counter()
            while not samples or (time.perf_counter() - start < request["budget"] and len(samples) < 200):
                samples.append(timed(peer, call)[0])
            answer = {"samples": samples}
        print(json.dumps(answer), file=answers, flush=True)


main()
