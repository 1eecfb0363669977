"""A foveated depth camera: where the coarse picture shows what is kept, rays through the pixels of a finer one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.clouds.camera import Camera
from omp_cli.core.clouds.crop import Box
from omp_cli.core.clouds.raycast import Marker

Labels = NDArray[np.int32]


class Fovea:
    """Chooses rays of a picture that is ``factor`` times finer than the coarse one.

    Args:
        camera: the coarse camera.
        factor: k; each coarse pixel is k x k finer ones.
        box: the crop, world frame; rays that miss it are never chosen.
    """

    def __init__(self, camera: Camera, factor: int, box: Box) -> None:
        self._coarse = camera
        self.camera = replace(camera, size=camera.size * factor)
        self.directions = self.camera.directions()
        inside = np.arange(factor)
        row, column = np.divmod(np.arange(camera.size**2)[:, None, None], camera.size)
        fine = (row * factor + inside[:, None]) * self.camera.size + column * factor + inside
        self._parts = fine.reshape(-1, factor * factor)  # (pixels, k * k): the finer pixels of each coarse one
        self._useful = box.meets(camera.position, self.directions)
        self._rays = camera.directions()

    def around(
        self, pixels: NDArray[np.intp], things: NDArray[np.int32], markers: Sequence[Marker]
    ) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
        """Finer rays within coarse pixels that show what is kept, within their neighbours, and where a marker may be.

        The place of a marker is known, so it is looked at even where no coarse ray meets it.

        Args:
            pixels: (K,) the coarse pixels.
            things: (K,) the thing that each shows, a number above 0.
            markers: the goal markers.

        Returns:
            The finer rays (M,), by index, coarse pixel by coarse pixel, and what each was chosen for (M,): a thing's
            number, the same below 0 in a pixel beside those that show it, 0 for a marker that no coarse ray met.
        """
        size = self._coarse.size
        shown = np.zeros((size, size), np.int32)
        shown.flat[pixels] = things
        shown = _grown(shown)
        wanted = shown.ravel() != 0
        for marker in markers:
            wanted |= self._near(marker)
        chosen = np.flatnonzero(wanted)
        fine = self._parts[chosen].ravel()
        useful = self._useful[fine]
        return fine[useful], np.repeat(shown.ravel()[chosen], self._parts.shape[1])[useful]

    def _near(self, marker: Marker) -> NDArray[np.bool_]:
        """Coarse pixels (size * size,) in which any part of the marker can be seen."""
        towards = np.array(marker.centre) - self._coarse.position
        along = self._rays @ towards
        aside = np.sqrt(np.maximum(towards @ towards - along * along, 0.0))
        half_diagonal = 0.5**0.5 / self._coarse.focal
        return (along > 0.0) & (aside <= marker.radius + half_diagonal * np.linalg.norm(towards))


def thinned(things: NDArray[np.int32], count: int) -> NDArray[np.intp]:
    """Which rays to cast, by index, at most ``count`` of M where there are fewer things.

    Every thing may have the same number of rays, and what a small one leaves goes to the larger ones; so small things
    are seen as finely as the camera can, and only large ones are thinned, at even steps: first beside them, where most
    rays miss, then on them. The numbers decide alone.

    Args:
        things: (M,) what each ray was chosen for, as ``Fovea.around`` has it.
        count: rays wanted.
    """
    if len(things) <= count:
        return np.arange(len(things))
    sizes = np.bincount(np.abs(things))
    share = _share(sizes[sizes > 0], count)
    kept = []
    for thing in np.flatnonzero(sizes):
        on = _evenly(np.flatnonzero(things == thing), share)
        beside = np.flatnonzero(things == -thing) if thing else on[:0]
        kept += [on, _evenly(beside, share - len(on))]
    return np.sort(np.concatenate(kept))


def _evenly(rays: NDArray[np.intp], count: int) -> NDArray[np.intp]:
    return rays if len(rays) <= count else rays[np.arange(count) * len(rays) // count]


def _share(sizes: NDArray[np.intp], count: int) -> int:
    """The largest number that all groups may have for ``count`` in all, at least 1."""
    left, share = count, 0
    for done, size in enumerate(np.sort(sizes)):
        share = left // (len(sizes) - done)
        if size > share:
            break
        left -= int(size)
    return max(share, 1)


def _grown(picture: Labels) -> Labels:
    """The picture with every empty pixel (0) given minus the largest of its eight neighbours."""
    tall = picture.copy()
    np.maximum(tall[1:], picture[:-1], out=tall[1:])
    np.maximum(tall[:-1], picture[1:], out=tall[:-1])
    wide = tall.copy()
    np.maximum(wide[:, 1:], tall[:, :-1], out=wide[:, 1:])
    np.maximum(wide[:, :-1], tall[:, 1:], out=wide[:, :-1])
    return np.where(picture > 0, picture, -wide)
