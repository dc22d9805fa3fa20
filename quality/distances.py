"""How far one set of pictures is from another, by their features: arrays (n, d), in NumPy."""

import numpy as np

BLOCK = 2**24  # distances that are held at a time
EPSILON = 2.0**-52  # of float64; np.finfo complains where Jittor has turned subnormals off


def moments(features):
    """Mean (d,) and unbiased covariance (d, d) in float64; of at least two pictures."""
    features = np.asarray(features, "float64")
    return features.mean(axis=0), np.atleast_2d(np.cov(features, rowvar=False))


def _roots(values):
    """Of eigenvalues that are 0 or more; what rounding makes of 0 would have large roots."""
    return np.sqrt(np.where(values > len(values) * EPSILON * values.max(), values, 0))


def frechet_distance(a, b) -> float:
    """Of two Gaussians with these moments: |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), in
    features of Inception the FID (Heusel et al. 2017, section 2).

    The eigenvalues of C_a C_b are those of the symmetric C_a^(1/2) C_b C_a^(1/2).
    """
    (mean_a, cov_a), (mean_b, cov_b) = a, b
    values, vectors = np.linalg.eigh(cov_a)
    root = vectors * _roots(values) @ vectors.T
    trace = _roots(np.linalg.eigvalsh(root @ cov_b @ root)).sum()
    difference = mean_a - mean_b
    return float(difference @ difference + np.trace(cov_a) + np.trace(cov_b) - 2 * trace)


def kernel_distance(x, y, subsets: int = 100, size: int = 1000, seed: int = 0) -> float:
    """Squared maximum mean discrepancy, unbiased, under the kernel (x.y / d + 1)^3, mean over
    random subsets of at most `size` of each: in features of Inception the KID (Binkowski et al.
    2018, arXiv 1801.01401, section 4). Of at least two pictures each; may be below 0.
    """
    rng = np.random.default_rng(seed)
    m, d, total = min(size, len(x), len(y)), x.shape[1], 0.0

    def kernel(a, b):
        return (a @ b.T / d + 1) ** 3

    for _ in range(subsets):
        a, b = (f[rng.choice(len(f), m, replace=False)].astype("float64") for f in (x, y))
        within = sum(k.sum() - np.trace(k) for k in (kernel(a, a), kernel(b, b)))
        total += within / (m * (m - 1)) - 2 * kernel(a, b).mean()
    return float(total / subsets)


def _squared_distances(a, b):
    """Blocks of rows (start, (rows, len(b))) of |a - b|^2."""
    squares, step = (b * b).sum(axis=1), max(1, BLOCK // len(b))
    for start in range(0, len(a), step):
        rows = a[start : start + step]
        yield start, np.maximum((rows * rows).sum(axis=1)[:, None] + squares - 2 * rows @ b.T, 0)


def _radii(features, k: int):
    """Squared distance of each to its k-th nearest other one: (n,)"""
    radii = np.empty(len(features))
    for start, block in _squared_distances(features, features):
        block[np.arange(len(block)), start + np.arange(len(block))] = np.inf  # itself
        radii[start : start + len(block)] = np.partition(block, k - 1, axis=1)[:, k - 1]
    return radii


def _share_inside(points, features, radii) -> float:
    """How many of the points lie in a ball around one of the features."""
    inside = [(block <= radii).any(axis=1) for _, block in _squared_distances(points, features)]
    return float(np.concatenate(inside).mean())


def precision_recall(real, generated, k: int = 3):
    """(precision, recall): the share of generated pictures within the balls around the real ones
    that reach to their k-th nearest neighbours, and of real ones in those around the generated
    (Kynkaanniemi et al. 2019, arXiv 1904.06991, equations 1 and 2). Of more than k pictures each.
    """
    centre = np.asarray(real, "float64").mean(axis=0)  # smaller numbers lose fewer digits
    real, generated = real - centre, generated - centre
    precision = _share_inside(generated, real, _radii(real, k))
    return precision, _share_inside(real, generated, _radii(generated, k))
