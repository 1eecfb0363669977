"""What happened on a robot as a data set: frames as the policy saw them, actions as they were sent."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.files import atomic, remove
from omp_cli.core.base.manifest import versions
from omp_cli.core.base.run import Run
from omp_cli.core.data.large import held, kept_in
from omp_cli.core.data.store import STORE, Arrays, start_hash, write_store
from omp_cli.core.deploy.config import Recorded
from omp_cli.core.deploy.decider import Decider
from omp_cli.core.deploy.judging import Verdict
from omp_cli.core.spec import Channels, Spec

SCRATCH = "episodes"
"""Folder of the episodes, a file each, until the data set is whole; what a killed loop leaves."""
_FEWEST = 2
"""Frames of an episode: no action follows another in a shorter one."""


class Recorder(AbstractContextManager["Recorder"]):
    """Keeps the frames of a control loop; leaving it writes the data set, however the loop has ended.

    A store as ``omp prepare`` makes it, so that ``omp pretrain``, ``omp view`` and ``omp prepare own`` take the folder.
    Frames at which nothing was sent, or which are not wanted, end an episode of it, and the next one begins another. So
    does a stall after which the loop decides anew; fewer dropped ticks are told.

    Args:
        run: receives the data set in its folder; its inputs say which policy it is.
        decider: the policy, whose data the frames are like.
        hz: frames per second.
        wanted: what is kept.
        note: called with whole sentences.
    """

    def __init__(self, run: Run, decider: Decider, hz: float, wanted: Recorded, note: Callable[[str], None]) -> None:
        self._spec = spec_of_recording(decider).model_copy(update={"control_hz": hz})
        self._suite, self._longest = dict(decider.suite or {"name": "own"}), decider.signature.execute
        self._folder, self._wanted, self._note = run.folder, wanted, note
        self._policy = next((i.model_dump() for i in run.manifest.inputs if i.kind == decider.kind), None)
        self._frames: list[Arrays] = []
        self._rows: list[Mapping[str, Any]] = []
        self._dropped, self._files = 0, list[Path]()
        self._of: list[dict[str, Any]] = []
        self._figures: dict[str, Any] = {}

    def take(self, frame: Arrays, row: Mapping[str, Any]) -> None:
        """One tick of an episode: what the policy saw, arrays (1, ...), and the tick's row of ticks.jsonl."""
        seen = {**{name: x[0] for name, x in frame.items()}, "action": np.array(row["action"], np.float32)}
        self._frames.append(seen if _kept(row, self._wanted == "corrections") else {})
        self._rows.append(row)

    def end(self, verdict: Verdict) -> None:
        """The episode is over, or was cut. What is wanted of it is written out."""
        wanted = verdict.counts and (verdict.success is True or self._wanted != "successes")
        corrections = self._wanted == "corrections"
        for begin, stop in stretches(self._rows, corrections, self._longest) if wanted else []:
            file = self._folder / SCRATCH / f"{len(self._files):05d}.npz"
            frames = self._frames[begin:stop]
            arrays = {name: np.stack([frame[name] for frame in frames]) for name in frames[0]}
            with atomic(file) as temporary:
                np.savez(temporary, **arrays)  # type: ignore[arg-type]  # NumPy's stub
            self._files.append(file)
            self._dropped += sum(row["dropped"] for row in self._rows[begin : stop - 1])
            first = self._rows[begin]
            self._of.append({"episode": first["episode"], "tick": first["tick"], "success": verdict.success})
        self._frames, self._rows = [], []

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.end(Verdict())  # of an episode at which something was raised
        if not self._files:
            self._note(f"--record {self._wanted}: nothing of the kind was there, so there is no data set")
            return
        with kept_in(self._folder):
            episodes = [_loaded(file) for file in self._files]
        spec = _with_ranges(self._spec, episodes)
        said = [] if not self._dropped else [f"{self._dropped} ticks were dropped, of which there are no frames"]
        if self._suite["name"] != "own":
            said.append(
                "what a simulator's start states were is not known: an evaluation may begin where one of them did"
            )
        sha256 = write_store(self._folder / STORE, episodes, self._provenance(spec, episodes, said))
        remove(self._folder / SCRATCH)
        frames = sum(len(episode["action"]) for episode in episodes)
        self._figures = {"episodes": len(episodes), "frames": frames, "content_sha256": sha256}
        for sentence in said:
            self._note(f"recorded: {sentence}")

    def _provenance(self, spec: Spec, episodes: Sequence[Arrays], said: Sequence[str]) -> dict[str, Any]:
        return {
            "recipe": {"suite": self._suite, "task": spec.task, "source": "deploy", "record": self._wanted},
            "spec": spec.model_dump(mode="json"),
            "environment": {"policy": self._policy, "episodes": self._of},
            "rollout_suite": self._suite,
            "versions": versions(),
            "start_states": [start_hash(episode["state"][0]) for episode in episodes],
            "episode_steps": [len(episode["action"]) for episode in episodes],
            "said": list(said),
        }

    def figures(self) -> dict[str, Any]:
        """What the data set holds, for a manifest; JSON types. Empty where there is none."""
        return {"recorded": self._figures} if self._figures else {}


def stretches(rows: Sequence[Mapping[str, Any]], corrections: bool, longest: int) -> list[tuple[int, int]]:
    """Where the stretches of an episode's frames that are kept begin and end, as far as they are long enough.

    Args:
        rows: of ticks.jsonl.
        corrections: whether only corrected frames are kept.
        longest: so many ticks that were dropped at once end a stretch.
    """
    ends = [0, *(at for at, row in enumerate(rows, 1) if row["dropped"] >= longest or not _kept(row, corrections))]
    found = []
    for begin, end in itertools.pairwise([*ends, len(rows)]):
        stop = end if end > begin and _kept(rows[end - 1], corrections) else end - 1
        if stop - begin >= _FEWEST:
            found.append((begin, stop))
    return found


def _kept(row: Mapping[str, Any], corrections: bool) -> bool:
    """Whether a tick's action was sent, and is of the kind that is kept."""
    sent = row.get("sent", True) and not row.get("failed", False)
    return sent and (row.get("corrected", False) or not corrections)


def spec_of_recording(decider: Decider) -> Spec:
    """The spec of what a policy sees on a robot: that of its data, without arrays that it does not read.

    Raises:
        UsageError: nothing says what the policy's data are like; or it reads no state.
    """
    spec, reads = decider.spec, decider.signature.arrays
    if spec is None:
        raise UsageError(
            f"--record: {decider.path} was exported by an earlier omp, and does not say what its data are like",
            "export the policy again, name the run that it was made of, or leave it out",
        )
    if "state" not in reads:
        raise UsageError("--record: the policy reads no state, which every data set has", "leave it out")
    without: dict[str, Any] = {} if "point_cloud" in reads else {"points": None}
    without |= {} if "img" in reads else {"image": None, "cameras": ()}
    return spec.model_copy(update=without)


def _with_ranges(spec: Spec, episodes: Sequence[Arrays]) -> Spec:
    """The spec with the ranges of these episodes, where it says some, and the longest of them."""
    found: dict[str, Any] = {"max_steps": max(spec.max_steps, *(len(episode["action"]) for episode in episodes))}
    for key in ("state", "action"):
        told: Channels | None = getattr(spec, f"{key}_channels")
        if told is not None:
            low, high = (each([each(e[key], axis=0) for e in episodes], axis=0).tolist() for each in (np.min, np.max))
            found[f"{key}_channels"] = told.model_copy(update={"low": tuple(low), "high": tuple(high)})
    return spec.model_copy(update=found)


def _loaded(file: Path) -> Arrays:
    with np.load(file) as stored:
        return {name: held(array) for name, array in stored.items()}
