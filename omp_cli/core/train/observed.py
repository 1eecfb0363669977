"""The observations of windows, wherever the arrays of a data set lie: on the device, in memory or in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from omp_cli.core.base.device import moved
from omp_cli.core.base.memory import memory
from omp_cli.core.data.large import Frames, ReadAhead, Selected
from omp_cli.core.data.store import Dataset
from omp_cli.core.data.windows import Windows
from omp_cli.core.train.build import tensor_of


class Observed:
    """Observations of windows, on a device.

    Arrays lie there for the whole of a training, but for those that it has no room for and the frames of mapped files
    that are not side by side: of these what is asked for is copied to it.

    Args:
        dataset: the demonstrations.
        keys: names of the arrays that are observed.
        windows: which frames each window has.
        device: where observations are wanted.
    """

    def __init__(self, dataset: Dataset, keys: Iterable[str], windows: Windows, device: torch.device) -> None:
        self._device, self._frames = device, windows.obs
        self._frames_there = torch.from_numpy(windows.obs).to(device)
        self._there: dict[str, Tensor] = {}
        self._here: dict[str, Frames] = {}
        coming: list[ReadAhead] = []
        for key in keys:
            array = dataset.arrays[key]
            if isinstance(array, Selected) or not has_room(device, array.nbytes):
                self._here[key] = array
            else:
                self._there[key] = tensor_of(array).to(device)
            if key in self._here or device.type == "cpu":
                coming.append(ReadAhead(array))
        self._coming = [each for each in coming if each.reads]

    @property
    def reads(self) -> bool:
        """Whether some of it is read from files as it is asked for."""
        return bool(self._coming)

    @property
    def keys(self) -> tuple[str, ...]:
        """Names of the arrays."""
        return (*self._there, *self._here)

    def __call__(self, windows: Tensor, on_cpu: Callable[[], Tensor]) -> dict[str, Tensor]:
        """The arrays (B, n_obs, ...) of windows, whose numbers (B,) are on the device, and those that are asked for."""
        obs = {key: array[self._frames_there[windows]] for key, array in self._there.items()}
        if self._here:
            frames = self._frames[on_cpu()]
            obs |= {key: moved(torch.from_numpy(array[frames]), self._device) for key, array in self._here.items()}
        return obs

    def read_ahead(self, windows: Tensor) -> None:
        """Have the machine read what these windows (B,) show of mapped files, while it works on others."""
        for coming in self._coming:
            coming(self._frames[windows])


def has_room(device: torch.device, size: int) -> bool:
    """Whether an array may lie on the device for the whole of a training: of a GPU half of what is free is left."""
    if device.type == "cpu":
        return True
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else memory().available  # which mps shares
    return size <= free // 2
