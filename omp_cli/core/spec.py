"""What a task lets a policy see and do: the contract between suites, data sets and networks."""

from __future__ import annotations

from omp_cli.core.config import Above0, Count, CountOrZero, Settings
from omp_cli.core.errors import UsageError


class Spec(Settings):
    """Observation and action of one task.

    Attributes:
        suite: registered name of the suite.
        task: task name within it.
        action_dim: A; actions are in [-1, 1] per dimension as the environment executes them.
        state_dim: S, the proprioceptive vector.
        points: N, points per cloud; None when the task has no cloud.
        image: height, width and channels of the picture "img", uint8; several cameras lie one after the other in the
            channels. None when the policy is shown no picture.
        end_effector: indices of the end-effector's x, y, z (metres, world frame) in the state, if there is one.
        positions: triples of the state that are positions (x, y, z in metres, world frame), where moving all of them
            and the cloud by the same amount leaves the right action as it is: actions are displacements.
        displacements: triples of the action that are displacements (x, y, z in one unit, world frame), where turning
            all ``positions`` and the cloud about the vertical turns the right action with them; the rest of state and
            action must not depend on directions. Data made before there was this field have none.
        max_steps: environment steps after which an evaluation episode ends.
        cloud_in_world: whether the cloud is in the frame of the end-effector, the world's.
        cloud_in_fps_order: whether the points come in the order of farthest point sampling, so that the first half is
            a sample of its own.
        control_hz: environment steps per second of simulated time.
    """

    suite: str
    task: str
    action_dim: Count
    state_dim: CountOrZero
    points: Count | None = None
    end_effector: tuple[CountOrZero, CountOrZero, CountOrZero] | None = None
    positions: tuple[tuple[CountOrZero, CountOrZero, CountOrZero], ...] = ()
    displacements: tuple[tuple[CountOrZero, CountOrZero, CountOrZero], ...] = ()
    max_steps: Count
    control_hz: Above0
    image: tuple[Count, Count, Count] | None = None
    cloud_in_world: bool = True
    cloud_in_fps_order: bool = True

    def same_layout(self, other: Spec) -> None:
        """UsageError when data or a policy (``other``) have state, action or picture of another size than this task."""
        for name in ("state_dim", "action_dim"):
            ours, theirs = getattr(self, name), getattr(other, name)
            if ours != theirs:
                raise UsageError(
                    f"{self.suite} {self.task}: the environment's {name} is {ours}, that of data and policy {theirs}",
                    "another version of the environment, or another task, has that layout",
                )
        if None not in (self.image, other.image) and self.image != other.image:
            raise UsageError(
                f"{self.suite} {self.task}: the environment's picture is {self.image}, that of data and policy "
                f"{other.image}",
                "cameras and image_size of the data's configuration decide it",
            )
