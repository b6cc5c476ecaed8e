"""Reference values for k-nearest neighbours on digits.csv.

Pixels are small integers, and so are their squared distances. Another
implementation can therefore be held to the numbers in knn_digits.json exactly,
in single precision too.
"""

import json
from pathlib import Path

import numpy as np
import sklearn
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

HERE = Path(__file__).resolve().parent

# How many neighbours are written, and how many of them, the nearest, vote.
K = 10
VOTES = 3


def squared_distances(x, z):
    """|x_i - z_j|^2. Its expansion cancels nothing in integers."""
    squares = np.square(x).sum(axis=1)[:, None] + np.square(z).sum(axis=1)
    return squares - 2 * (x @ z.T)


def vote(labels):
    """The most frequent label of each row, the smallest one if several are."""
    counts = (labels[:, :, None] == np.arange(10)).sum(axis=1)
    return counts.argmax(axis=1)


def dump(value):
    """JSON with a line for each row of a matrix, and one line for all else."""
    if not isinstance(value, np.ndarray):
        return json.dumps(value)
    rows = (json.dumps(row, separators=(",", ":")) for row in value.tolist())
    return "[\n  " + ",\n  ".join(rows) + "\n ]"


def main():
    table = np.loadtxt(HERE / "digits.csv", delimiter=",", skiprows=1, dtype=np.int64)
    assert table.shape == (1797, 65)
    test = np.arange(len(table)) % 5 == 4
    x, t = table[~test, :-1], table[~test, -1]
    z, u = table[test, :-1], table[test, -1]

    # A stable sort leaves equal distances in the order of their indices.
    d2 = squared_distances(z, x)
    neighbours = np.argsort(d2, axis=1, kind="stable")[:, :K]
    distances = np.take_along_axis(d2, neighbours, axis=1)

    # scikit-learn promises no order among equal distances, nor which of them it
    # keeps if they compete for the last place. Its distances must still all be
    # these, but an index only where no other train row is equally far.
    search = NearestNeighbors(n_neighbors=K, algorithm="brute", metric="sqeuclidean")
    their_distances, theirs = search.fit(x).kneighbors(z)
    np.testing.assert_array_equal(their_distances, distances)
    tied = (d2[:, None, :] == distances[:, :, None]).sum(axis=2) > 1
    np.testing.assert_array_equal(theirs[~tied], neighbours[~tied])

    # scikit-learn resolves ties of votes alike, and its choice among equal distances
    # leads to the same classes here.
    p = vote(t[neighbours[:, :VOTES]])
    classifier = KNeighborsClassifier(
        n_neighbors=VOTES, algorithm="brute", weights="uniform"
    )
    np.testing.assert_array_equal(classifier.fit(x, t).predict(z), p)

    correct = int((p == u).sum())
    result = {
        "versions": {"numpy": np.__version__, "sklearn": sklearn.__version__},
        "k": K,
        "votes": VOTES,
        "train": len(t),
        "test": len(u),
        "correct": correct,
        "accuracy": correct / len(u),
        "neighbours": neighbours,
        "squared_distances": distances,
    }
    lines = (f' "{key}": {dump(value)}' for key, value in result.items())
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (HERE / "knn_digits.json").write_text(text, encoding="utf-8", newline="\n")

    for key, value in result.items():
        if not isinstance(value, np.ndarray):
            print(f"{key:20} {value}")
    print(f"{'largest distance':20} {d2.max()}")
    print(f"{'rows with a tie':20} {tied.any(axis=1).sum()}")
    # Here the rule for ties decides which rows are neighbours, or which vote.
    ordered = np.sort(d2, axis=1)
    for name, last in (("place", K), ("vote", VOTES)):
        rows = (ordered[:, last - 1] == ordered[:, last]).sum()
        print(f"{'ties for the last ' + name:20} {rows}")


if __name__ == "__main__":
    main()
