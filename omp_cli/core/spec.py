"""What a task lets a policy see and do: the contract between suites, data sets and networks."""

from __future__ import annotations

from omp_cli.core.base.config import Above0, Count, CountOrZero, Settings
from omp_cli.core.base.errors import UsageError


class Spec(Settings):
    """Observation and action of one task."""

    suite: str
    """Registered name of the suite."""
    task: str
    """Task name within it."""
    action_dim: Count
    """A; actions are in [-1, 1] per dimension as the environment executes them."""
    state_dim: CountOrZero
    """S, the proprioceptive vector."""
    points: Count | None = None
    """N, points per cloud; None when the task has no cloud."""
    end_effector: tuple[CountOrZero, CountOrZero, CountOrZero] | None = None
    """Indices of the end-effector's x, y, z (metres, world frame) in the state, if there is one."""
    positions: tuple[tuple[CountOrZero, CountOrZero, CountOrZero], ...] = ()
    """Triples of the state that are positions (x, y, z in metres, world frame), where moving all of them and the cloud
    by the same amount leaves the right action as it is: actions are displacements.
    """
    displacements: tuple[tuple[CountOrZero, CountOrZero, CountOrZero], ...] = ()
    """Triples of the action that are displacements (x, y, z in one unit, world frame), where turning all ``positions``
    and the cloud about the vertical turns the right action with them; the rest of state and action must not depend on
    directions. Data made before there was this field have none.
    """
    max_steps: Count
    """Environment steps after which an evaluation episode ends."""
    control_hz: Above0
    """Environment steps per second of simulated time."""
    image: tuple[Count, Count, Count] | None = None
    """Height, width and channels of the picture "img", uint8; several cameras lie one after the other in the channels.
    None when the policy is shown no picture.
    """
    cloud_in_world: bool = True
    """Whether the cloud is in the frame of the end-effector, the world's."""
    cloud_in_fps_order: bool = True
    """Whether the points come in the order of farthest point sampling, so that the first half is a sample of its own.
    """

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
