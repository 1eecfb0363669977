"""Raw RoboMimic recordings: each stored simulator state is shown in robosuite, and what a policy would see is kept.

As robomimic's ``dataset_states_to_obs``, with its done mode and its rewards; pictures without reflections and
multisampling, which is four times faster and is what evaluations render too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar
from xml.etree.ElementTree import ParseError

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.config import Settings
from omp_cli.core.base.errors import DataError, MissingDependency, UsageError, one_line
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.large import held
from omp_cli.core.data.readers.base import Recording, Subject, spec_of
from omp_cli.core.data.readers.robomimic import RobomimicConfig
from omp_cli.core.data.readers.robomimic_actions import MADE, NOTE, STORED, names_of_poses, rotations_of_poses
from omp_cli.core.data.readers.robomimic_metadata import names_of_state
from omp_cli.core.data.store import Arrays
from omp_cli.core.envs.jobs import Kept, in_order
from omp_cli.core.prepare.files import Files
from omp_cli.core.prepare.origin import FileOrigin
from omp_cli.core.prepare.source import SOURCES, Asked
from omp_cli.core.spec import Spec
from omp_cli.core.suites.robomimic.controller import Control
from omp_cli.core.suites.robomimic.suite import RENDERING, Robomimic, RobomimicEnv, RobomimicSuiteConfig
from omp_cli.core.suites.robomimic.tables import TASKS, length_of

DAMAGE = (ValueError, LookupError, AttributeError, TypeError, AssertionError, RecursionError, OSError, ParseError)
"""What robosuite and MuJoCo raise for a scene that is not one of theirs."""


@dataclass(frozen=True)
class ReplayJob:
    """One raw episode: simulator states (T, n) and actions (T, A) in the scene of its model (XML).

    Where ``poses``, actions are displacements of which poses are to be made.
    """

    suite: RobomimicSuiteConfig
    task: str
    name: str
    scene: str
    states: NDArray[np.float64]
    actions: NDArray[np.float32]
    poses: bool = False


@SOURCES.register("robomimic/files")
class Replayed(Files):
    """Files of RoboMimic's data."""

    def shown(self, recording: Recording, workers: int, progress: Progress) -> Recording:
        """Raw recordings are replayed."""
        if recording.scenes is None:
            return recording
        return replayed(recording, self.config.format, self.origin.subject, workers, progress)


@SOURCES.register("robomimic/robosuite")
class Packaged(Replayed):
    """The recording that comes with robosuite: people's demonstrations of lift, without a download."""

    name: ClassVar[str] = "robosuite"

    @classmethod
    def about(cls, asked: Asked) -> str:
        """The words that chose it."""
        return f"--source {cls.name}"

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[FileOrigin]:
        """The one recording; MissingDependency where robosuite is not installed."""
        if other := [task for task in asked.tasks if task != "lift"]:
            raise UsageError(f"robosuite comes with a recording of lift, not of {other[0]}", "leave --task out")
        if (found := find_spec("robosuite")) is None or found.origin is None:
            raise MissingDependency("robosuite is not installed", "pip install 'omp-cli[robomimic]'")
        file = Path(found.origin).parent / "models" / "assets" / "demonstrations" / "lift" / "demo.hdf5"
        if not file.is_file():
            raise MissingDependency(
                f"this robosuite has no {file.name} of lift", "pip install --force-reinstall 'robosuite>=1.4.1,<1.5'"
            )
        return super().origins(replace(asked, files=(file,), tasks=("lift",)))


def replayed(recording: Recording, config: Settings, subject: Subject, workers: int, progress: Progress) -> Recording:
    """The recording with states, pictures, rewards and success flags in the place of simulator states.

    Raises:
        DataError: a scene does not load in robosuite 1.4, or is of another model than the states; or actions are not as
            long as the task's.
        MissingDependency: robosuite is not installed.
        UsageError: the task has no such camera or observation, or the arms were moved otherwise than omp can.
    """
    assert isinstance(config, RobomimicConfig)  # no other format has raw recordings
    poses = recording.notes.get(NOTE)
    suite = RobomimicSuiteConfig(
        cameras=config.cameras,
        image_size=config.image_size,
        state=config.state,
        object_state=config.object_state,
        control=Control.of(recording.notes["env_kwargs"], TASKS[subject.task].arms, poses == STORED),
    )
    built = Robomimic(suite)
    built.require()
    jobs = _jobs(recording, suite, built.spec(subject.task), poses == MADE)
    progress.start(f"{subject.task}: replaying demonstrations", len(jobs))
    episodes: list[Arrays] = []
    added: set[str] = set()
    for episode, geoms in in_order(replay, jobs, workers, progress.note):
        episodes.append({name: held(array) for name, array in episode.items()})
        added.update(geoms)
        progress.advance()
    keys, info = built.state_keys(subject.task), TASKS[subject.task]
    notes = {
        **recording.notes,
        "state": list(keys),
        "cameras": list(built.cameras(subject.task)),
        "replayed": f"in robosuite {metadata.version('robosuite')}; {RENDERING}",
    }
    spec = built.spec(subject.task)
    spec = spec_of(subject, episodes, control_hz=spec.control_hz, end_effector=spec.end_effector)
    names = {"state": names_of_state(keys, [length_of(key, info) for key in keys], info.env)}
    if poses is not None:
        names["action"] = names_of_poses(spec.action_dim)
        spec = spec.model_copy(update={"action_rotations": rotations_of_poses(spec.action_dim)})
    said = (f"scenes of an older robosuite lack {', '.join(sorted(added))}: added from this one",) if added else ()
    return replace(
        recording,
        episodes=episodes,
        notes=notes,
        spec=spec,
        scenes=None,
        said=(*recording.said, *said),
        names=names,
    )


def _jobs(recording: Recording, suite: RobomimicSuiteConfig, spec: Spec, poses: bool) -> list[ReplayJob]:
    """One for each episode; DataError where its actions are not as long as the task's."""
    assert recording.scenes is not None
    jobs = []
    for place, (scene, episode) in enumerate(zip(recording.scenes, recording.episodes, strict=True)):
        states, actions, name = episode["state"], episode["action"], recording.name(place)
        if (width := actions.shape[1]) != spec.action_dim:
            raise DataError(
                f"{name}: its actions have {width} numbers, and those of {spec.task} have {spec.action_dim}",
                "expected: 6 displacements, or the 6 numbers of a pose, and the gripper of each arm; check --task",
            )
        jobs.append(ReplayJob(suite, spec.task, name, scene, states, actions, poses))
    return jobs


def replay(job: ReplayJob, kept: Kept[RobomimicEnv]) -> tuple[Arrays, tuple[str, ...]]:
    """What a policy is shown in each of the states, and what each action earned; and what its scene lacked."""
    env = _environment(job, kept)
    keys = ["state"] + (["img"] if env.cameras else [])
    rows: dict[str, list[Any]] = {key: [] for key in (*keys, "reward", "success", "action")}
    for index, (state, action) in enumerate(zip(job.states, job.actions, strict=True)):
        if index:
            env.show(state)
            _judge(env, rows)
        rows["action"].append(env.pose_of(action) if job.poses else action)
        for key, value in env.observe(keys).items():
            rows[key].append(value)
    env.step(job.actions[-1])  # what the last action led to was not stored
    _judge(env, rows)
    episode = {name: np.stack(values) for name, values in rows.items()}
    return {**episode, "terminal": _dones(episode["success"])}, env.completed


def _judge(env: RobomimicEnv, rows: dict[str, list[Any]]) -> None:
    reward, success = env.judge()
    rows["reward"].append(np.float32(reward))
    rows["success"].append(np.bool_(success))


def _dones(success: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """robomimic's done mode 2: at every success, and at the end."""
    done = success.copy()
    done[-1] = True
    return done


def _environment(job: ReplayJob, kept: Kept[RobomimicEnv]) -> RobomimicEnv:
    """An environment in the episode's scene and first state; DataError that names the episode where they do not fit."""
    env = kept.get((job.suite, job.task), lambda: Robomimic(job.suite).make(job.task))
    try:
        if job.scene:
            _load(env, job.scene)
        env.restore(job.states[0])
    except DataError as error:
        raise DataError(f"{job.name}: {error.message}", error.hint) from None
    return env


def _load(env: RobomimicEnv, scene: str) -> None:
    try:
        env.load(scene)
    except (DataError, *DAMAGE) as error:
        reason, hint = (error.message, error.hint) if isinstance(error, DataError) else (one_line(error), "")
        raise DataError(f"a recorded scene does not load in robosuite 1.4: {reason}", hint) from None
