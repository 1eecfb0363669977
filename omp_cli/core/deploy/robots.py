"""What a control loop moves: a robot of the user's own, or a Gymnasium environment.

A robot is any object with these methods, of which all but the first two may be missing::

    observe() -> {name: array}     the newest frame, as the data of the policy have it
    act(action) -> None            command an action (A,) float32, in the data's units; must not wait for it to be done
    reset() -> None                go to the start of an episode; called before each. If it has a parameter ``start``,
                                   that is the start's number from 0 on, which policies that take turns have in common
    ready() -> bool                whether the episode may begin; asked after reset(), again and again until it does
    done() -> bool                 whether the episode is over
    pause() -> None                stand still; called after the last tick of each episode
    succeeded() -> bool or None    whether the episode succeeded, None where that is not known; asked after pause()
    close() -> None                stop and let go of the robot; called at the end, whatever happened

``act`` may return another action (A,): what was sent in the place of the policy's, as by a person who took over; or
False, where nothing was sent.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import DataError, OmpError, RunFailed, UsageError, one_line
from omp_cli.core.base.plugins import folders_of, import_file, importable, users_code
from omp_cli.core.deploy.clipping import Clipping
from omp_cli.core.deploy.env_facts import layers, starts_repeat, step_limit
from omp_cli.core.deploy.frames import Signature

Frame = Mapping[str, Any]
ANOTHER_RATE = 0.01
"""Share by which a rate may differ from that of the policy's data without a word."""
_ROUNDING = 1e-5
"""By which, and by which share, an action that ``act`` returns may differ from the policy's and be the same."""
SUCCESS = ("success", "is_success")
"""What environments call success in the info of a step: Meta-World, Gymnasium-Robotics."""
_OF_GYMNASIUM = {"act": "step"}
"""By a robot's method the environment's own that it calls, where that has another name: its author knows that one."""


class Robot:
    """A user's object behind one face: what it lacks does nothing, and what it raises is told in one line.

    Args:
        target: an object as the module says, or a Gymnasium environment.
        name: what messages call it.
        signature: signature of the policy that will move it.
        note: called with one line about what the bounds of an environment do to its actions, where the robot has no
            ``close``, and where its ``act`` returns what is no action.
        folders: of files of the user's own beside that of the object's class.

    Attributes:
        corrected: whether the robot was sent another action than the policy's last one, by its own word.
    """

    def __init__(
        self,
        target: Any,
        name: str,
        signature: Signature,
        note: Callable[[str], None],
        folders: Collection[Path] = (),
    ) -> None:
        self._target = GymRobot(target, signature, note) if isinstance(target, gymnasium.Env) else target
        self._name, self._note = name, note
        self._folders = folders_of(*layers(target)) | set(folders)
        self._wants_start = "start" in _parameters(getattr(target, "reset", None))
        self._told: set[str] = set()
        self.corrected = False
        for method in ("observe", "act"):
            if not self.has(method):
                raise UsageError(
                    f"{name}: made {type(target).__name__}, which has no method {method}",
                    "it makes a Gymnasium environment, or an object with observe() and act(action)",
                )
        if not self.has("close"):
            note(f"{name}: the robot has no close(), so nothing stops it when the loop ends: its last action stands")

    @property
    def of_gymnasium(self) -> bool:
        """Whether it is a Gymnasium environment."""
        return isinstance(self._target, GymRobot)

    @property
    def waits(self) -> bool:
        """Whether nothing moves until the next action: in an environment of Gymnasium time passes by its steps."""
        return self.of_gymnasium

    def ends_by_itself(self) -> bool:
        """Whether something of its own is known to end an episode."""
        return self.has("done") if not isinstance(self._target, GymRobot) else step_limit(self._target.env) is not None

    def has(self, method: str) -> bool:
        """Whether the user's object has a method; what it lacks does nothing."""
        return callable(getattr(self._target, method, None))

    def reset(self, start: int, seed: int | None = None) -> None:
        """Begin an episode.

        Args:
            start: number of its start, for a robot that wants to know it.
            seed: of its start, for an environment; None for any.
        """
        if isinstance(self._target, GymRobot):
            self._call("reset", seed)
        else:
            self._call("reset", **({"start": start} if self._wants_start else {}))

    def starts_repeat(self, seed: int) -> bool:
        """Whether an environment begins alike with one seed, which resets it twice; any other robot is not asked."""
        if not isinstance(self._target, GymRobot):
            return True
        with users_code(f"{self._name}: reset()", folders=self._folders):
            return starts_repeat(self._target.env, seed)

    def ready(self) -> bool:
        """Whether the episode may begin; at once where the robot does not say."""
        return not self.has("ready") or self._says("ready")

    def observe(self) -> Frame:
        """The newest frame."""
        frame: Frame = self._call("observe")
        return frame

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Command an action (A,); what was sent, which is the action itself unless an environment's bounds have changed
        it, or the robot says that it was another one. None where it says that nothing was.
        """
        if isinstance(self._target, GymRobot):
            sent: NDArray[np.float32] = self._call("act", action)
            return sent
        said = self._call("act", action.copy())  # which it may convert in place, and what the policy said is kept
        if said is None or isinstance(said, bool | np.bool_):
            self.corrected = False
            return action if said is None or said else None
        sent = self._as_action(said, action)
        self.corrected = sent is not action
        return sent

    def _as_action(self, said: Any, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """What ``act`` has returned, where that is another action than the policy's; what it has returned is said once.

        RunFailed where it is an action with numbers that are not finite.
        """
        try:
            found = np.asarray(said, np.float32)
        except Exception:  # of whatever it is, such as a tensor that wants a gradient
            found = np.empty(0, np.float32)
        if found.shape != action.shape:
            self._tell(f"returned {type(said).__name__}, which is no action {action.shape}, and is passed over")
            return action
        if not np.isfinite(found).all():
            raise RunFailed(f"{self._name}: act() returned an action with numbers that are not finite")
        if np.allclose(found, action, rtol=_ROUNDING, atol=_ROUNDING):
            return action
        self._tell("returned another action than the policy's: somebody took over, as far as omp knows")
        return found

    def _tell(self, what: str) -> None:
        """Say once what ``act`` returns."""
        if what not in self._told:
            self._note(f"{self._name}: act() {what}")
        self._told.add(what)

    def done(self) -> bool:
        """Whether the episode is over; never where the robot does not say."""
        return self._says("done")

    def pause(self) -> None:
        """Stand still, at the end of an episode."""
        self._call("pause")

    def succeeded(self) -> bool | None:
        """Whether the episode succeeded; None where the robot does not say."""
        found = self._call("succeeded")
        return None if found is None else self._yes_or_no("succeeded", found)

    def close(self) -> None:
        """Let go of it."""
        self._call("close")

    def figures(self) -> dict[str, Any]:
        """What the bounds of an environment have changed; nothing of a robot of the user's own."""
        return self._target.clipping.figures() if isinstance(self._target, GymRobot) else {}

    def _says(self, method: str) -> bool:
        return self._yes_or_no(method, self._call(method))

    def _yes_or_no(self, method: str, found: Any) -> bool:
        with users_code(f"{self._name}: {method}()"):  # an array says neither
            return bool(found)

    def _call(self, method: str, *arguments: Any, **more: Any) -> Any:
        name = _OF_GYMNASIUM.get(method, method) if self.of_gymnasium else method
        with users_code(f"{self._name}: {name}()", folders=self._folders):
            return getattr(self._target, method)(*arguments, **more) if self.has(method) else None


class GymRobot:
    """A Gymnasium environment as a robot; its action is clipped to the bounds of its space, which is counted and said.

    Observations are named arrays (a ``Dict`` space), or a single array that is the policy's only one.

    Args:
        env: an environment whose action is one array (A,) of real numbers.
        signature: signature of the policy.
        note: see ``Clipping``.

    Attributes:
        clipping: what the bounds have changed.
        reward: reward of the last step.
        terminated, truncated: of the last step.
        success: whether any step of the episode was one (``SUCCESS``); None where none spoke of it.

    Raises:
        UsageError: the action is of another kind or size than the policy's.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], signature: Signature, note: Callable[[str], None]) -> None:
        self.env, self._signature, space = env, signature, env.action_space
        wanted = (signature.action_dim,)
        if not isinstance(space, gymnasium.spaces.Box) or space.shape != wanted or space.dtype.kind != "f":
            raise UsageError(
                f"environment: its action is {space}, the policy's are real numbers of shape {wanted}",
                "wrap it so that both are the same",
            )
        self.clipping = Clipping(space, signature, note)
        self.reward, self.terminated, self.truncated = 0.0, False, False
        self.success: bool | None = None
        self._obs: Any = None

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode."""
        self._obs, _ = self.env.reset(seed=seed)
        self.reward, self.terminated, self.truncated, self.success = 0.0, False, False, None

    def observe(self) -> Frame:
        """The newest observation by name."""
        if isinstance(self._obs, Mapping):
            return self._obs
        if len(self._signature.arrays) > 1:
            raise DataError(
                f"environment: it shows one array, the policy reads {', '.join(self._signature.arrays)}",
                "wrap it so that it shows a Dict of them",
            )
        return dict.fromkeys(self._signature.arrays, self._obs)

    def act(self, action: NDArray[np.float32]) -> NDArray[Any]:
        """One step; what was sent, which is ``action`` itself unless a number of it was clipped."""
        sent, clipped = self.clipping(action)
        self._obs, reward, self.terminated, self.truncated, info = self.env.step(sent.copy())
        self.reward = float(reward)
        for value in (info[name] for name in SUCCESS if isinstance(info, Mapping) and name in info):
            if np.size(value) == 1:  # an environment may call something else so
                self.success = bool(self.success) or bool(np.asarray(value).item())
        return sent if clipped else action

    def done(self) -> bool:
        """Whether the environment ended the episode, by either way."""
        return bool(self.terminated or self.truncated)

    def pause(self) -> None:
        """Does nothing: no environment goes on between two steps."""

    def succeeded(self) -> bool | None:
        """See ``success``."""
        return self.success

    def close(self) -> None:
        """Free it."""
        self.env.close()


def of_one_robot(action: NDArray[np.float32]) -> NDArray[np.float32]:
    """The action (A,) that answers one robot's frame; DataError for actions (B, A), which answer a batch of frames."""
    if action.ndim != 1:
        shown = f"observation: a batch of {len(action)}, where one robot is moved"
        alone = "show arrays without the axis of the batch in front, and no stack of frames (FrameStackObservation)"
        raise DataError(shown, f"{alone}: the policy keeps its own history (chunk.n_obs)")
    return action


def make_robot(place: str, signature: Signature, note: Callable[[str], None]) -> Robot:
    """The robot that ``module:function`` (or ``file.py:function``) makes; the function takes no arguments.

    Args:
        place: names the function.
        signature: signature of the policy that will move the robot.
        note: see ``Robot``.

    Raises:
        UsageError: there is no such function, or what it makes is no robot.
        RunFailed: it, or the import of its module, raised.
    """
    where, colon, name = place.rpartition(":")
    if not colon or not where or not name:
        raise UsageError(f"--env {place!r}: expected module:function", "example: --env my_robot.py:make")
    folders = {_folder(where)}
    with users_code(f"--env {place}", folders=folders):
        function = getattr(_module(where), name, None)
    if not callable(function):
        raise UsageError(f"--env {place}: no function {name} in {where}")
    folders |= folders_of(function)
    with users_code(f"{place}()", folders=folders):
        made = function()
    try:
        return Robot(made, place, signature, note, folders)
    except OmpError as error:  # the function has connected to it already
        try:
            getattr(made, "close", lambda: None)()
        except Exception as second:
            error.add_note(f"nor could the robot be let go: {one_line(second, typed=True)}")
        raise


def _parameters(method: Any) -> Iterable[str]:
    """The names of a method's parameters, as far as they are known; they are not of what is not written in Python."""
    try:
        return inspect.signature(method).parameters
    except (TypeError, ValueError):
        return ()


def _folder(where: str) -> Path:
    """The folder in which a file is, or a module is looked for first; known before it is imported, which may fail."""
    return Path(where).resolve().parent if where.endswith(".py") else Path.cwd().joinpath(*where.split(".")[:-1])


def _module(where: str) -> ModuleType:
    if where.endswith(".py"):
        path = Path(where)
        if not path.is_file():
            raise DataError(f"--env {where}: no such file")
        return import_file(path)
    here = str(Path.cwd())
    sys.path.insert(0, here)  # as python -m does
    try:
        return importlib.import_module(where)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{where}.".startswith(f"{error.name}."):
            raise  # a package that the module imports
        raise UsageError(f"--env {where}: no such module", "name a file with .py, or a module on PYTHONPATH") from None
    finally:
        if here in sys.path:
            sys.path.remove(here)  # the first of that name: the module may have put other folders before it
        importable(Path.cwd())  # for what its functions import later
