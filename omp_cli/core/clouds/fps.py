"""Exact farthest point sampling: start at index 0, each next point is the one farthest from all chosen so far.

Ties go to the lowest index, so the order is determined by the cloud alone, and the first j of k samples are the
j samples of the same cloud.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, MissingDependency, machine_error

FpsBackend = Literal["numpy", "open3d"]


def farthest_points(points: NDArray[np.floating[Any]], k: int) -> NDArray[np.intp]:
    """Indices (k,) of the farthest point sample of a cloud (M, 3) with M >= k, in the order of choice.

    Distances are float64: no tie is made or broken by rounding, and other exact implementations agree.
    """
    # The arrays are small, so a call costs more than its arithmetic. In-place ufuncs and few of them: x and y travel as
    # one complex array (one subtraction and one squaring for both), and the additions keep their order.
    cloud = np.asarray(points, np.float64)
    xy = np.ascontiguousarray(cloud[:, :2]).view(np.complex128)[:, 0]
    z = np.ascontiguousarray(cloud[:, 2])
    xys, zs = list(xy), list(z)
    nearest = np.full(len(z), np.inf)
    offset, squared, other = np.empty_like(xy), np.empty_like(z), np.empty_like(z)
    parts = offset.view(np.float64)  # x, y, x, y, ...
    of_x, of_y = parts[0::2], parts[1::2]
    subtract, multiply, add, minimum = np.subtract, np.multiply, np.add, np.minimum
    chosen = [0]
    last = 0
    for _ in range(k - 1):
        subtract(xy, xys[last], out=offset)
        multiply(parts, parts, out=parts)
        add(of_x, of_y, out=squared)
        subtract(z, zs[last], out=other)
        multiply(other, other, out=other)
        add(squared, other, out=squared)
        minimum(nearest, squared, out=nearest)
        last = int(nearest.argmax())
        chosen.append(last)
    return np.array(chosen, np.intp)


def sample(
    points: NDArray[np.floating[Any]], k: int, backend: FpsBackend = "numpy", first: int | None = None
) -> tuple[NDArray[np.float32], int]:
    """Cloud of exactly ``k`` points: (k, 3) float32, and how many of them are repetitions.

    A cloud with fewer than ``k`` points is kept whole and repeated in sampling order, so the result depends on
    nothing but the cloud.

    Args:
        points: (M, 3), metres.
        k: points wanted.
        backend: "numpy" gives the points in sampling order; "open3d" the same set in the order of the cloud.
        first: number of the k points to return, from the start; in sampling order they cost only their share.

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
    cloud = _open3d(points, wanted) if backend == "open3d" else points[farthest_points(points, min(wanted, first or k))]
    if missing and len(cloud) == wanted:
        cloud = np.concatenate([cloud, cloud[:missing]])
    return np.ascontiguousarray(cloud[:first], np.float32), missing


def require(backend: FpsBackend) -> None:
    """Raise MissingDependency unless the backend can be used here."""
    if backend == "open3d":
        _import_open3d()


def _import_open3d() -> Any:
    try:
        import open3d
    except (ImportError, OSError) as error:
        if (refused := machine_error(error, "open3d")) is not None:
            raise refused from error
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
