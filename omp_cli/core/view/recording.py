"""A recording of episodes for the Rerun viewer (https://rerun.io): ``rerun episodes.rrd``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omp_cli.core.base.errors import MissingDependency
from omp_cli.core.base.files import atomic
from omp_cli.core.data.store import Dataset
from omp_cli.core.view.episodes import ShownEpisode


def write_recording(path: Path, dataset: Dataset, episodes: Sequence[ShownEpisode]) -> Path:
    """Write an .rrd with a branch per episode, on the timelines "frame" and "time"; returns its path.

    Raises:
        MissingDependency: ``rerun-sdk`` is not installed.
    """
    try:
        import rerun
    except ImportError:
        raise MissingDependency("rerun-sdk is not installed", "pip install 'omp-cli[rerun]'") from None
    spec = dataset.spec
    with atomic(path) as temporary:
        stream = rerun.RecordingStream(f"omp {spec.suite} {spec.task}", recording_id=dataset.sha256)
        stream.save(str(temporary))
        for episode in episodes:
            place, arrays = f"episode_{episode.number}", episode.arrays
            shown = {int(frame): index for index, frame in enumerate(episode.shown)}
            pictures = episode.pictures() if "img" in arrays else None
            for frame in range(len(arrays["action"])):
                stream.set_time("frame", sequence=frame)
                stream.set_time("time", duration=frame / spec.control_hz)
                for key in ("action", "state"):
                    if key in arrays:
                        stream.log(f"{place}/{key}", rerun.Scalars(arrays[key][frame].astype(float)))
                if frame in shown and "point_cloud" in arrays:
                    stream.log(f"{place}/point_cloud", rerun.Points3D(arrays["point_cloud"][frame, :, :3]))
                if frame in shown and pictures is not None:
                    stream.log(f"{place}/img", rerun.Image(pictures[shown[frame]]))
        stream.flush()
        stream.disconnect()
    return path
