"""Exact farthest point sampling: start at index 0, each next point is the one farthest from all chosen so far.

Ties go to the lowest index, so the order is determined by the cloud alone, and the first j of k samples are the
j samples of the same cloud.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.errors import DataError, MissingDependency

FpsBackend = Literal["numpy", "open3d"]


def farthest_points(points: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Indices (k,) of the farthest point sample of a cloud (M, 3) with M >= k, in the order of choice.

    Distances are float64: no tie is made or broken by rounding, and other exact implementations agree.
    """
    # one contiguous array per coordinate, in-place arithmetic and plain floats: several times faster than a loop over
    # an (M, 3) array
    x, y, z = np.ascontiguousarray(points.T, np.float64)
    xs, ys, zs = x.tolist(), y.tolist(), z.tolist()
    nearest = np.full(len(x), np.inf)
    squared = np.empty_like(x)
    other = np.empty_like(x)
    chosen = [0]
    last = 0
    for _ in range(k - 1):
        np.subtract(x, xs[last], out=squared)
        np.multiply(squared, squared, out=squared)
        np.subtract(y, ys[last], out=other)
        np.multiply(other, other, out=other)
        np.add(squared, other, out=squared)
        np.subtract(z, zs[last], out=other)
        np.multiply(other, other, out=other)
        np.add(squared, other, out=squared)
        np.minimum(nearest, squared, out=nearest)
        last = int(nearest.argmax())
        chosen.append(last)
    return np.array(chosen, np.intp)


def sample(points: NDArray[np.floating[Any]], k: int, backend: FpsBackend = "numpy") -> tuple[NDArray[np.float32], int]:
    """Cloud of exactly ``k`` points: (k, 3) float32, and how many of them are repetitions.

    A cloud with fewer than ``k`` points is kept whole and repeated in sampling order, so the result depends on
    nothing but the cloud.

    Args:
        points: (M, 3), metres.
        k: points wanted.
        backend: "numpy" gives the points in sampling order; "open3d" the same set in the order of the cloud.

    Raises:
        DataError: more than half of the points are missing.
    """
    missing = max(k - len(points), 0)
    if 2 * missing > k:
        raise DataError(
            f"the cropped cloud has {len(points)} points where {k} are wanted: more than half are missing",
            "use a larger camera size or fewer points",
        )
    wanted = k - missing
    cloud = _open3d(points, wanted) if backend == "open3d" else points[farthest_points(points, wanted)]
    if missing:
        cloud = np.concatenate([cloud, cloud[:missing]])
    return np.ascontiguousarray(cloud, np.float32), missing


def require(backend: FpsBackend) -> None:
    """Raise MissingDependency unless the backend can be used here."""
    if backend == "open3d":
        _import_open3d()


def _import_open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:
        raise MissingDependency(
            f"the open3d backend of farthest point sampling does not load: {error}",
            "pip install 'omp-cli[open3d]' and the system libraries libusb-1.0 and libGL; or take the numpy backend",
        ) from None
    return open3d


def _open3d(points: NDArray[np.floating[Any]], k: int) -> NDArray[np.float64]:
    """Open3D's sample (k, 3): the same set, in the order of the cloud; it starts at index 0 as well."""
    open3d = _import_open3d()
    if len(points) == k:  # it refuses to choose all
        return np.asarray(points, np.float64)
    cloud = open3d.geometry.PointCloud(open3d.utility.Vector3dVector(np.asarray(points, np.float64)))
    return np.asarray(cloud.farthest_point_down_sample(k).points)
