"""One HTML file that needs no network: its data stand in it, its script is its own (``page.html``)."""

from __future__ import annotations

import base64
import html
import io
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.files import to_json, write_text
from omp_cli.core.data.large import Frames
from omp_cli.core.data.store import Dataset
from omp_cli.core.spec import Spec
from omp_cli.core.view.config import ViewConfig
from omp_cli.core.view.episodes import ShownEpisode

F = TypeVar("F", bound=Frames)

STEPS = 65535
"""Steps of a coordinate from the least to the largest of all clouds, which an unsigned 16-bit number tells apart."""


def write_page(path: Path, dataset: Dataset, episodes: Sequence[ShownEpisode], config: ViewConfig) -> Path:
    """Write the page of some episodes; returns its path."""
    spec = dataset.spec
    title = f"{spec.task} ({spec.suite})"
    count = f"{len(episodes)} of {len(dataset.episode_ends)} episodes"
    about = f"{count} of {dataset.path}, {spec.control_hz:g} frames a second"
    data = {
        "hz": spec.control_hz,
        "cameras": list(spec.cameras),
        "cloud_unit": " m" if spec.action_channels is None else "",  # of one's own data nobody says it
        "series": {key: _about(key, array.shape[1], spec) for key, array in _series(dataset.arrays).items()},
        "episodes": [_plain(episode, config) for episode in episodes],
    }
    template = resources.files("omp_cli.core.view").joinpath("page.html").read_text(encoding="utf-8")
    document = to_json(data, ascii_only=True).replace("<", "\\u003c")  # a name must not end the script
    for mark, text in (("@TITLE@", html.escape(title)), ("@ABOUT@", html.escape(about)), ("@DATA@", document)):
        template = template.replace(mark, text)
    write_text(path, template)
    return path


def _series(arrays: Mapping[str, F]) -> dict[str, F]:
    """The arrays (T, n) that are shown over time, action and state first."""
    found = [key for key, array in arrays.items() if array.ndim == 2 and array.dtype.kind in "fiub" and array.nbytes]
    return {key: arrays[key] for key in sorted(found, key=lambda key: (key != "action", key != "state", key))}


def _about(key: str, width: int, spec: Spec) -> dict[str, Any]:
    """Names and unit of the numbers of an array, as the data say them, or their places ("full_state[3]")."""
    channels = {"action": spec.action_channels, "state": spec.state_channels}.get(key)
    if channels is None:
        return {"names": [f"{key}[{place}]" for place in range(width)], "unit": ""}
    return {"names": list(channels.names), "unit": channels.unit}


def _plain(episode: ShownEpisode, config: ViewConfig) -> dict[str, Any]:
    """An episode as the page's script reads it."""
    arrays = episode.arrays
    found: dict[str, Any] = {
        "number": episode.number,
        "frames": len(arrays["action"]),
        "shown": episode.shown.tolist(),
        "series": {key: [_digits(row) for row in array.T] for key, array in _series(arrays).items()},
    }
    if "point_cloud" in arrays:
        found["cloud"] = _cloud(episode.clouds(config.points))
    if "img" in arrays:
        found["pictures"] = [_picture(picture, config.size) for picture in episode.pictures()]
    return found


def _digits(numbers: NDArray[Any]) -> list[float]:
    """Numbers (T,) to a hundred-thousandth of their range, wherever that lies: a curve on a screen shows no more."""
    values = numbers.astype(np.float64)
    if (span := float(np.ptp(values))) == 0.0:
        return [float(f"{values[0]:.9g}")] * len(values)
    found: list[float] = np.round(values, min(5 - math.floor(math.log10(span)), 300)).tolist()
    return found


def _cloud(clouds: NDArray[np.float32]) -> dict[str, Any]:
    """Clouds (K, N, 3) in metres as little-endian 16-bit numbers between the least and the largest of each axis."""
    low, high = clouds.min((0, 1)).astype(float), clouds.max((0, 1)).astype(float)
    span = np.maximum(high - low, 1e-9)
    numbers = np.round((clouds - low) / span * STEPS).astype("<u2")
    text = base64.b64encode(numbers.tobytes()).decode()
    return {"low": low.tolist(), "span": span.tolist(), "points": clouds.shape[1], "data": text}


def _picture(picture: NDArray[np.uint8], size: int) -> str:
    """A picture (H, W, 3) as the address of a JPEG that holds it."""
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(picture))
    image.thumbnail((size * max(1, round(image.width / image.height)), size))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
