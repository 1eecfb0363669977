"""Settings of Adroit; ``suite`` says what they mean."""

from __future__ import annotations

from typing import Literal

from pydantic import field_validator

from omp_cli.core.base.config import Count, Settings
from omp_cli.core.clouds.sensor import CloudConfig


class AdroitConfig(Settings):
    """What a policy is shown, how its actions are executed, and what counts."""

    name: Literal["adroit"] = "adroit"
    state: Literal["hand", "observation"] = "hand"
    """"hand", or "observation": the environment's own, which D4RL's files hold."""
    palm: bool = True
    """The position of the palm follows the joints in "hand"."""
    cloud: CloudConfig | None = CloudConfig()
    """The point cloud; None leaves it out."""
    images: bool = False
    """Whether replayed data hold pictures (84, 84, 3) from the cloud's camera, too."""
    repeat: Count = 2
    """Simulator steps that an action lasts."""
    success: Literal["dp3", "gymnasium"] = "dp3"
    """Whose definition of success counts."""
    max_steps: Count | None = None
    """Actions of an episode; None takes the task's simulator steps over ``repeat``."""

    @field_validator("cloud")
    @classmethod
    def _world(cls, cloud: CloudConfig | None) -> CloudConfig | None:
        if cloud is not None and cloud.frame != "world":
            raise ValueError("Adroit's clouds are in the world frame; dp3's is known of Meta-World alone")
        return cloud
