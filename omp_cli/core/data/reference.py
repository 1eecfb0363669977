"""The picture of one known state of the simulator: proof that an evaluation shows a policy what its data showed it.

Pictures that are upside down, of swapped colours or of another camera look the same to a program, and a policy just
fails on them. So data sets and checkpoints carry one picture with its state, and an environment has to repeat it.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Count, Settings
from omp_cli.core.base.errors import DataError

Picture = NDArray[np.uint8]

TOLERANCE = 8.0
"""Mean absolute difference, of 255. Another renderer's edges make 1 to 2, a wrong picture 20 and more."""

_MISTAKES: Mapping[str, Callable[[Picture], Picture]] = {
    "upside down": lambda x: x[::-1],
    "mirrored": lambda x: x[:, ::-1],
    "turned by 180 degrees": lambda x: x[::-1, ::-1],
    "of swapped colours (BGR for RGB)": lambda x: np.concatenate(
        [x[..., i : i + 3][..., ::-1] for i in range(0, x.shape[2], 3)], axis=2
    ),
    "of swapped cameras": lambda x: np.concatenate([x[..., x.shape[2] // 2 :], x[..., : x.shape[2] // 2]], axis=2),
}


class Reference(Settings):
    """A simulator state and what the policy's cameras show in it."""

    state: tuple[float, ...]
    """The simulator's state vector."""
    shape: tuple[Count, Count, Count]
    """Shape of the picture, (H, W, C)."""
    pixels: str
    """The picture's uint8 pixels, compressed (zlib, base64)."""

    @classmethod
    def of(cls, state: NDArray[np.floating[Any]], picture: Picture) -> Reference:
        """The reference that a state vector and its picture (H, W, C) make."""
        packed = base64.b64encode(zlib.compress(np.ascontiguousarray(picture).tobytes(), 9)).decode()
        return cls(state=tuple(float(x) for x in state), shape=picture.shape, pixels=packed)

    @property
    def picture(self) -> Picture:
        """The picture, (H, W, C) uint8."""
        return np.frombuffer(zlib.decompress(base64.b64decode(self.pixels)), np.uint8).reshape(self.shape)

    def check(self, shown: NDArray[Any], where: str) -> float:
        """The mean absolute difference of a picture of the same state, of 255.

        Args:
            shown: what the environment shows in ``state``.
            where: what the message begins with.

        Raises:
            DataError: another layout, type or content; says which known mistake would explain it.
        """
        if shown.dtype != np.uint8 or shown.shape != self.shape:
            raise DataError(
                f"{where}: the environment's picture is {shown.shape} {shown.dtype}, that of the data is {self.shape} "
                "uint8 (height, width, channels)",
                "cameras and image_size of the data's configuration decide it",
            )
        difference = _difference(shown, self.picture)
        if difference <= TOLERANCE:
            return difference
        found = {name: _difference(shown, change(self.picture)) for name, change in _MISTAKES.items()}
        name, least = min(found.items(), key=lambda item: item[1])
        why = f"those of the data are {name}" if least <= TOLERANCE else "another camera, scene or renderer"
        raise DataError(
            f"{where}: in the same state the environment shows another picture than the data "
            f"(mean difference {difference:.0f} of 255): {why}",
            "convert the data again from pictures as robomimic stores them: upright, RGB, height first",
        )


def _difference(a: Picture, b: Picture) -> float:
    return float(np.abs(a.astype(np.int16) - b.astype(np.int16)).mean())
