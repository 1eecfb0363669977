"""What LeRobot imports when it looks for policies: importing it makes the type "omp" known.

The wheel has this module at its top level, and ``lerobot_policy_omp.egg-info`` beside it: LeRobot goes through the
names of installed distributions, and imports each that begins with "lerobot_policy_".
"""

from omp_cli.core.deploy.lerobot.configuration_omp import OmpConfig
from omp_cli.core.deploy.lerobot.modeling_omp import OmpPolicy
from omp_cli.core.deploy.lerobot.processor_omp import make_omp_pre_post_processors

__all__ = ["OmpConfig", "OmpPolicy", "make_omp_pre_post_processors"]
