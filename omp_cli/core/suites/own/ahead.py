"""Actions of recordings in which nothing was commanded: what was there some frames later."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.readers import Recording
from omp_cli.core.data.store import Arrays


def acted(recording: Recording, ahead: int) -> Recording:
    """The recording, whose actions are what its arrays of actions hold ``ahead`` frames later.

    The last frames of an episode, which have none, are left out; that it was done, or ended, in one of them counts for
    the last one that is left.

    Raises:
        DataError: an episode has no more frames than that.
    """
    if not ahead:
        return recording
    for place, episode in enumerate(recording.episodes):
        if (frames := len(episode["action"])) <= ahead:
            raise DataError(
                f"{recording.name(place)} has {frames} frame{'s' * (frames > 1)}, and action_ahead is {ahead}",
                f"leave it out: --set leave_out={recording.number(place)}",
            )
    later = "in the next frame" if ahead == 1 else f"{ahead} frames later"
    said = f"actions: what is there {later}; left out: the last {ahead} of each episode"
    episodes = [_acted(episode, ahead) for episode in recording.episodes]
    return replace(recording, episodes=episodes, said=(*recording.said, said))


def _acted(episode: Arrays, ahead: int) -> Arrays:
    found = {name: values[:-ahead] for name, values in episode.items()} | {"action": episode["action"][ahead:]}
    for name, values in episode.items():
        if values.dtype == np.bool_ and values.ndim == 1:
            found[name] = found[name].copy()
            found[name][-1] = values[-ahead - 1 :].any()
    return found
