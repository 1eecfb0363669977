"""What the public configurations of the papers' code say, in the units of our settings: command -> preset -> setting.

Sources: DMPO (arXiv 2601.20701), ReinFlow (arXiv 2505.22094) and DPPO (arXiv 2409.00588, version 0.7), the ``cfg``
folders of their repositories, or what their code takes where a file is silent. Where a public batch counts jumps, ours
counts decisions. What is no number there is in words. Pre-training is in ``public_pretrain.py``.
"""

from __future__ import annotations

from typing import Any

from tests.core.public_pretrain import PRETRAIN

Values = dict[str, Any]
UNTRAINED = "where a new network begins"


def _rl(values: Values) -> Values:
    """Settings of the algorithm, with those of the run (``_name``) beside them."""
    return {key[1:] if key.startswith("_") else f"algorithm.{key}": value for key, value in values.items()}


VALUE_FUNCTION = {"critic.hidden": 256, "critic.depth": 1}
"""Widths 256, 256, 256 with a residual: a first layer, and one block of two."""
EVERY_10 = {"_evaluation.every": 10}

DMPO = {
    "_envs": 25,
    "_iterations": 301,
    "_max_steps": 400,
    "_nfe": 5,
    **EVERY_10,
    "decisions": 400,
    "epochs": 10,
    "batch_size": 20 * 500,
    "micro_batch": 500,
    "lr": 3e-6,
    "lr_warmup": 1,
    "schedule.end": None,
    "critic_lr": 4.5e-4,
    "critic_schedule.end": 3e-4,
    "critic_schedule.cycle": 100,
    "critic_schedule.warmup": 25,
    "weight_decay": 0.0,
    "critic_weight_decay": None,
    "grad_clip": 25.0,
    "warmup": 2,
    "gamma": 0.999,
    "gae_lambda": 0.95,
    "clip": 0.01,
    "target_kl": 0.01,
    "value_coef": 0.5,
    "entropy_coef": 0.01,
    "reduction": "mean",
    "scale_rewards": True,
    "sigma.kind": "net",
    "sigma.value": 0.12,
    "bc.weight": 0.05,
    "bc.end_weight": 0.05,
    **VALUE_FUNCTION,
}
FADING = {"bc.weight": 0.2, "bc.end_weight": 0.05, "bc.begin": 20, "bc.end": 50}
DMPO_CAN = DMPO | {
    "_max_steps": 500,
    "decisions": 500,
    "lr": 2.5e-6,
    "critic_lr": 4e-4,
    "critic_schedule.end": 2.5e-4,
}
DMPO_GYM = DMPO | {
    "_envs": 40,
    "_iterations": 1000,
    "_max_steps": 1000,
    "decisions": 500,
    "batch_size": 50_000,
    "micro_batch": 5000,
    "gamma": 0.99,
    "critic_weight_decay": 1e-5,
}
CONSTANT_RATES = {"schedule.end": None, "critic_schedule.end": None}
DECAY_0 = {"weight_decay": 0.0, "critic_weight_decay": None}
DPPO = {
    "_envs": 50,
    "_iterations": 81,
    "_max_steps": 300,
    "_nfe": 5,
    **EVERY_10,
    **CONSTANT_RATES,
    **DECAY_0,
    **VALUE_FUNCTION,
    "decisions": 300,
    "epochs": 10,
    "batch_size": 15 * 500 // 5,
    "micro_batch": 500 // 5,
    "lr": 5e-5,
    "lr_warmup": 1,
    "critic_lr": 1e-3,
    "grad_clip": None,
    "warmup": 2,
    "gamma": 0.999,
    "jump_gamma": 0.99,
    "gae_lambda": 0.95,
    "eta": 1.0,
    "clip": 0.01,
    "clip_first": 0.001,
    "ft_denoising_steps": 5,
    "target_kl": 1.0,
    "per_jump": True,
    "sigma.kind": "fixed",
    "sigma.value": 0.1,
}
DPPO_SQUARE = DPPO | {
    "_iterations": 301,
    "_max_steps": 400,
    "decisions": 400,
    "batch_size": 20 * 500 // 5,
    "lr": 1e-5,
}
DPPO_GYM = DPPO | {
    "_envs": 40,
    "_iterations": 1000,
    "_max_steps": 1000,
    "_nfe": 20,
    "decisions": 500,
    "epochs": 5,
    "batch_size": 50_000 // 10,
    "micro_batch": None,
    "lr": 1e-4,
    "warmup": 0,
    "gamma": 0.99,
    "clip_first": 0.01,
    "ft_denoising_steps": 10,
}
GAUSSIAN = {
    "_envs": 50,
    "_iterations": 81,
    "_max_steps": 300,
    **EVERY_10,
    **CONSTANT_RATES,
    **DECAY_0,
    **VALUE_FUNCTION,
    "decisions": 300,
    "epochs": 10,
    "batch_size": 5 * 1500,
    "micro_batch": 1500,
    "lr": 1e-4,
    "lr_warmup": 1,
    "critic_lr": 1e-3,
    "grad_clip": None,
    "warmup": 2,
    "gamma": 0.999,
    "clip": 0.01,
    "target_kl": 1.0,
    "entropy_coef": 0.0,
    "reduction": "mean",
    "sigma.kind": "vector",
    "sigma.value": 0.1,
    "sigma.low": 0.01,
    "sigma.high": 0.2,
}
GAUSSIAN_SQUARE = GAUSSIAN | {
    "_iterations": 301,
    "_max_steps": 400,
    "decisions": 400,
    "batch_size": 10 * 1000,
    "micro_batch": 1000,
    "lr": 1e-5,
}
COSINE = {"cycle": 100, "warmup": 10}
COSINES = {f"{which}.{key}": value for which in ("schedule", "critic_schedule") for key, value in COSINE.items()}
REINFLOW_CAN = {
    "_envs": 50,
    "_iterations": 151,
    "_max_steps": 300,
    "_nfe": 1,
    **EVERY_10,
    **COSINES,
    **DECAY_0,
    **VALUE_FUNCTION,
    "decisions": 300,
    "epochs": 10,
    "batch_size": 15 * 500,
    "micro_batch": 500,
    "lr": 2e-5,
    "lr_warmup": 1,
    "schedule.end": 1e-5,
    "critic_lr": 6.5e-4,
    "critic_schedule.end": 3e-4,
    "grad_clip": None,
    "warmup": 2,
    "gamma": 0.999,
    "clip": 0.01,
    "target_kl": 0.01,
    "value_coef": 0.5,
    "entropy_coef": 0.005,  # 0.01 of a mean over z^0 and one jump; can's files leave it to their agent
    "reduction": "mean",
    "sigma.kind": "net",
    "sigma.value": UNTRAINED,
    "sigma.low": 0.08,
    "sigma.high": 0.14,
    "sigma.hidden": 256,
    "sigma.end": 1.0,
}
REINFLOW_SQUARE = REINFLOW_CAN | {
    "_iterations": 301,
    "_max_steps": 400,
    "decisions": 400,
    "batch_size": 20 * 500,
    "lr": 3.5e-6,
    "schedule.end": None,
    "critic_lr": 4.5e-4,
    "critic_schedule.warmup": 25,
    "grad_clip": 25.0,
    "sigma.hidden": 384,
}
REINFLOW_TRANSPORT = REINFLOW_SQUARE | {
    "_iterations": 201,
    "_max_steps": 800,
    "_nfe": 4,
    "critic_lr": 3.2e-4,
    "critic_schedule.warmup": 30,
    "critic_weight_decay": 1e-5,
    "entropy_coef": 0.0,
    "sigma.low": 0.05,
    "sigma.high": 0.10,
}
REINFLOW_GYM = {
    "_envs": 40,
    "_iterations": 1000,
    "_max_steps": 1000,
    "_nfe": 4,
    **EVERY_10,
    "decisions": 500,
    "epochs": 5,
    "batch_size": 50_000,
    "lr": 4.5e-5,
    "lr_warmup": 1,
    "schedule.end": 2e-5,
    "critic_lr": 6.5e-4,
    "critic_schedule.end": 3e-4,
    **COSINES,
    **VALUE_FUNCTION,
    "weight_decay": 0.0,
    "critic_weight_decay": 1e-5,
    "grad_clip": None,
    "warmup": 0,
    "gamma": 0.99,
    "gae_lambda": 0.95,
    "clip": 0.01,
    "target_kl": 1.0,
    "value_coef": 0.5,
    "entropy_coef": 0.024,  # 0.03 of a mean over z^0 and four jumps
    "reduction": "mean",
    "sigma.kind": "net",
    "sigma.value": UNTRAINED,
    "sigma.low": 0.10,
    "sigma.high": 0.24,
    "sigma.hidden": 64,
    "sigma.hold": 0.35,
    "sigma.end": 0.7,
}
REINFLOW_KITCHEN = REINFLOW_GYM | {
    "_iterations": 301,
    "_max_steps": 280,
    "decisions": 200,
    "epochs": 10,
    "batch_size": 5600,
    "entropy_coef": 0.0,
    "sigma.low": 0.05,
    "sigma.high": 0.12,
}
REINFLOW_COMPLETE = REINFLOW_KITCHEN | {
    "decisions": 70,
    "entropy_coef": 0.024,
    "target_kl": 0.01,
    "sigma.low": 0.10,
    "sigma.high": 0.24,
    "sigma.end": 1.0,  # nothing decays, and sigma.hold does not count
}
FQL = {
    "_envs": 1,
    "_iterations": (200_000 + 569_936) // 16,
    "_max_steps": 1000,
    "_evaluation.every": 5000 // 16,
    "decisions": 16,  # of an iteration, which is one step there
    "updates": 1.0,
    "offline_steps": 200_000,
    "flow": True,
    "student_every": 1,
    "distil_steps": 0,
    "batch_size": 256,
    "demonstrations": 0.5,
    "capacity": 1_000_000,
    "fill": 128 + 1,
    "lr": 1e-4,
    "critic_lr": 3e-4,
    "gamma": 0.99,
    "tau": 0.005,
    "alpha": 3.0,
    "normalise": True,
    "combine": "mean",
    "teacher_nfe": 4,
    "critic.hidden": 256,
    "critic.depth": 2,
}
FINETUNE = {
    "dmpo-lift-paper": DMPO,
    "dmpo-can-paper": DMPO_CAN,
    "dmpo-square-paper": DMPO_CAN | FADING,
    "dmpo-transport-paper": DMPO
    | FADING
    | {"_envs": 14, "_max_steps": 800, "decisions": 800, "batch_size": 20 * 560, "micro_batch": 560},
    "dmpo-gym-paper": DMPO_GYM,
    "dmpo-kitchen-paper": DMPO_GYM
    | {"_iterations": 301, "_max_steps": 280, "decisions": 200, "batch_size": 5600, "micro_batch": 5600}
    | {"critic_lr": 6.5e-4, "critic_schedule.warmup": 10},
    "dppo-lift-paper": DPPO,
    "dppo-can-paper": DPPO | {"_iterations": 151},
    "dppo-square-paper": DPPO_SQUARE,
    "dppo-transport-paper": DPPO_SQUARE | {"_iterations": 201, "_max_steps": 800},
    "dppo-gym-paper": DPPO_GYM,
    "dppo-kitchen-paper": DPPO_GYM
    | {"_iterations": 301, "_max_steps": 280, "decisions": 70, "epochs": 10, "batch_size": 5600 // 10},
    "gaussian-lift-paper": GAUSSIAN,
    "gaussian-can-paper": GAUSSIAN | {"_iterations": 151},
    "gaussian-square-paper": GAUSSIAN_SQUARE,
    "gaussian-transport-paper": GAUSSIAN_SQUARE | {"_iterations": 201, "_max_steps": 800},
    "reinflow-can-paper": REINFLOW_CAN,
    "reinflow-square-paper": REINFLOW_SQUARE,
    "reinflow-transport-paper": REINFLOW_TRANSPORT,
    "reinflow-gym-paper": REINFLOW_GYM,
    "reinflow-kitchen-paper": REINFLOW_KITCHEN,
    "reinflow-kitchen-complete-paper": REINFLOW_COMPLETE,
    "fql-gym-paper": FQL,
}

PUBLIC = {
    "finetune": {preset: _rl(values) for preset, values in FINETUNE.items()},
    "pretrain": PRETRAIN,
}
