"""Which arrays of a file became what of the data set, in a sentence."""

from __future__ import annotations

from omp_cli.core.data.readers import Recording
from omp_cli.core.data.readers.roles import DEPTH, POSE

_ROLES = (
    ("state", "state", "state"),
    ("actions", "action", "action"),
    ("pictures", "img", "cameras"),
    ("clouds", "point_cloud", "cloud"),
    ("depth", DEPTH, "depth"),
    ("the camera's poses", POSE, "pose"),
    ("rewards", "reward", "reward"),
    ("success", "success", "success"),
    ("ends", "terminal", "terminal"),
)
"""What people call an array, what the store does, and where the reader's notes say what it was made of."""


def what_was_taken(recording: Recording, format_name: str) -> str:
    """Which arrays of the file are what, and of which size, as a format reads them."""
    shapes = {name: array.shape[1:] for name, array in recording.episodes[0].items()}
    parts = []
    for what, array, key in _ROLES:
        if array in shapes:
            named = recording.notes.get(key) or ()
            names = named if isinstance(named, str) else ", ".join(named)
            origin = f"from {names}" if names else "as the format has it"
            size = f" ({'x'.join(map(str, shapes[array]))})" if shapes[array] else ""
            parts.append(f"{what} {origin}{size}")
    return f"read as {format_name}: {', '.join(parts)}"
