"""What the public configurations of pre-training say, in the units of our settings: preset -> setting.

Sources: the ``cfg`` folders of DMPO, DP3, MP1 and FlowPolicy. What is no number there is in words.
"""

from __future__ import annotations

from typing import Any

Values = dict[str, Any]

CHUNK = {"chunk.n_obs": 1, "chunk.horizon": 4, "chunk.execute": 4}
DMPO_STAGE_1 = {
    **CHUNK,
    "method.derivative": "jvp",
    "method.dispersion.weight": 0.5,
    "method.dispersion.temperature": 0.5,
    "method.dispersion.form": "as-released",
    "train.weight_decay": 1e-6,
    "train.betas": [0.9, 0.999],
    "train.ema_power": "0.995 every 10 batches",
    "train.grad_clip": None,
}
PICTURES = DMPO_STAGE_1 | {
    "encoder.dropout": 0.1,
    "net.hidden": 768,
    "train.epochs": 2000,
    "train.batch_size": 256,
    "train.lr": 1e-4,
    "train.lr_end": 1e-5,
    "train.warmup_share": 100 / 2000,
}


def _state(epochs: int, warmup: int, batch_size: int, lr: float, lr_end: float, sizes: tuple[int, int, int]) -> Values:
    hidden, first, out = sizes
    schedule = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "lr_end": lr_end}
    schedule["warmup_share"] = round(warmup / epochs, 4)
    widths = {"net.hidden": hidden, "encoder.hidden": first, "encoder.out": out}
    return DMPO_STAGE_1 | {f"train.{key}": value for key, value in schedule.items()} | widths


CLOUDS = {
    "chunk.n_obs": 2,
    "chunk.horizon": 4,
    "chunk.execute": 3,
    "net.dims": [512, 1024, 2048],
    "encoder.channels": [64, 128, 256],
    "encoder.origin": "world",
    "train.epochs": 1000,
    "train.batch_size": 128,
    "train.lr": 1e-4,
    "train.betas": [0.95, 0.999],
    "train.weight_decay": 1e-6,
    "train.warmup_steps": 500,
    "train.grad_clip": None,
    "train.ema_power": 0.75,
    "train.ema_max": 0.9999,
}
PRETRAIN = {
    "dmpo": PICTURES,
    "dmpo-transport": PICTURES | {"chunk.horizon": 8, "chunk.execute": 8},
    "dmpo-hopper": _state(40, 5, 128, 1e-3, 1e-4, (512, 64, 16)),
    "dmpo-walker2d": _state(80, 10, 128, 1e-3, 1e-4, (512, 64, 16)),
    "dmpo-ant": _state(50, 5, 128, 1e-4, 1e-5, (512, 128, 32)),
    "dmpo-humanoid": _state(100, 10, 128, 5e-4, 1e-5, (768, 128, 32)),
    "dmpo-kitchen": _state(3000, 100, 64, 1e-3, 1e-4, (256, 32, 16)),
    "dp-paper": {
        "chunk.n_obs": 2,
        "chunk.horizon": 16,
        "chunk.execute": 8,
        "net.dims": [512, 1024, 2048],
        "net.time_scale": 100.0,
        "method.prediction": "noise",
        "method.train_steps": 100,
        "train.batch_size": 64,
        "train.lr": 1e-4,
        "train.betas": [0.95, 0.999],
        "train.weight_decay": 1e-6,
        "train.warmup_steps": 500,
        "train.epochs": 3000,
    },
    "dp3-paper": CLOUDS | {"method.prediction": "sample", "method.train_steps": 100, "net.time_scale": 100.0},
    "flowpolicy-paper": CLOUDS | {"net.time_scale": 99.0},
    "mp1-paper": CLOUDS
    | {"net.time_scale": 1.0, "method.dispersion.on": "net"}
    | {"method.gain": 2.0, "method.derivative": "jvp", "method.dispersion.weight": 0.5}
    | {"method.dispersion.form": "max_normalised", "method.dispersion.temperature": 1.0},
    "omp-paper": CLOUDS
    | {"method.derivative": "jvp", "method.alignment.weight": "not public"}
    | {"method.dispersion.weight": "not public", "method.dispersion.on": "not public"},
}
