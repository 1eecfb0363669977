"""MeanFlow in two dimensions, to be read from top to bottom and looked at: u, du/dt in three ways, and one step.

    python examples/meanflow_2d.py                    # half a minute of one busy core -> runs/meanflow-2d/*.png
    python examples/meanflow_2d.py FOLDER --steps 300

The "action chunk" is one action (H = 1) with two numbers (A = 2), so that everything can be drawn, and there is no
observation: the condition is a constant. The loss, the derivative, the network and the sampler are omp's own; nothing
of the mathematics is written anew here. Its convention of time holds: t = 0 is data, t = 1 is noise.
"""

# %% What is needed. Each "# %%" begins a cell, where an editor shows this file as a notebook.
from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from omp_cli.core.methods import METHODS, Method, VelocityField
from omp_cli.core.methods.derivative import value_and_derivative
from omp_cli.core.methods.path import point, velocity
from omp_cli.core.nets import NETS

EPSILONS = [10**-k for k in (1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0)]
"""Half widths of the central difference that are compared."""
BLOBS = 4
"""Places on the ring where demonstrations lie."""
DRAWN = 1500
"""Points in a picture."""


# %% The data: four blobs on a ring. A policy that answers with the mean of its demonstrations would answer with (0, 0).
def demonstrations(count: int, generator: torch.Generator) -> Tensor:
    """Points near ``BLOBS`` places on a ring of radius 0.8: (count, 1, 2), in [-1, 1] as normalised actions are."""
    angle = 2 * torch.pi * torch.randint(BLOBS, (count,), generator=generator) / BLOBS
    ring = 0.8 * torch.stack([angle.cos(), angle.sin()], -1)
    return (ring + 0.05 * torch.randn(count, 2, generator=generator))[:, None]


# %% The velocity field u(z, r, t): omp's light network with a constant in the place of the encoded observation.
class Field(torch.nn.Module):
    """``film-mlp`` for one action of two numbers, unconditional."""

    def __init__(self) -> None:
        super().__init__()
        self.net = NETS.build(
            NETS.parse({"name": "film-mlp", "hidden": 96, "depth": 3}), horizon=1, action_dim=2, cond_dim=1
        )

    def forward(self, z: Tensor, r: Tensor, t: Tensor, features: list[Tensor] | None = None) -> Tensor:
        """u(z, r, t): z (B, 1, 2), r and t (B,) -> (B, 1, 2)."""
        return self.net(z, r, t, z.new_zeros(len(z), 1), features)


# %% Training: draw noise and times, ask the method for its loss, step. `omp pretrain` does the same around an encoder.
def train(method: Method, steps: int, generator: torch.Generator, batch: int = 256) -> Field:
    """A field that has learned from ``steps`` batches of demonstrations by the method's own loss."""
    u = Field()
    optimizer = torch.optim.AdamW(u.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    nothing = torch.zeros(batch, 1)
    for _ in range(steps):
        z_0 = demonstrations(batch, generator)
        report = method.loss(u, z_0, nothing, method.draw((batch, 1, 2), generator))
        optimizer.zero_grad()
        report.total.backward()
        optimizer.step()
        schedule.step()
    return u.eval()


# %% du/dt, the total derivative along the path, in three ways. The first two are exact; `dde` is a central difference.
def derivative_errors(u: VelocityField, generator: torch.Generator, count: int = 512) -> dict[str, Any]:
    """Relative errors of du/dt against the exact derivative in float64, over the whole batch."""
    z_0, z_1 = demonstrations(count, generator), torch.randn(count, 1, 2, generator=generator)
    t = 0.1 + 0.8 * torch.rand(count, generator=generator)
    r = t * torch.rand(count, generator=generator)
    z_t, v = point(z_0, z_1, t), velocity(z_0, z_1)

    def dudt(how: str, epsilon: float = 5e-3) -> Tensor:
        return value_and_derivative(u, z_t, r, t, v, how, epsilon)[1]  # type: ignore[arg-type]

    u.double()  # type: ignore[attr-defined]
    exact = value_and_derivative(u, *(x.double() for x in (z_t, r, t, v)), "forward", 0.0)[1]
    u.float()  # type: ignore[attr-defined]

    def error(found: Tensor) -> float:
        return float((found.double() - exact).norm() / exact.norm())

    found: dict[str, Any] = {how: error(dudt(how)) for how in ("jvp", "forward")}
    return found | {"dde": {epsilon: error(dudt("dde", epsilon)) for epsilon in EPSILONS}}


# %% One step: z_0 = z_1 - u(z_1, 0, 1). How far do the samples lie from the blobs, and which do they reach?
def quality(samples: Tensor) -> dict[str, Any]:
    """Mean distance of samples (N, 1, 2) to the nearest blob's centre (the data's: 0.063) and the share of each."""
    angle = 2 * torch.pi * torch.arange(BLOBS) / BLOBS
    centres = 0.8 * torch.stack([angle.cos(), angle.sin()], -1)
    distance, blob = torch.cdist(samples[:, 0], centres).min(1)
    shares = torch.bincount(blob, minlength=BLOBS) / len(samples)
    return {"distance": float(distance.mean()), "shares": [round(float(share), 3) for share in shares]}


# %% The pictures
def draw_samples(panels: dict[str, Tensor], file: Path) -> None:
    """Points (N, 1, 2) of each panel side by side."""
    figure, axes = plt.subplots(1, len(panels), figsize=(3.2 * len(panels), 3.4), constrained_layout=True)
    for axis, (title, points) in zip(axes, panels.items(), strict=True):
        axis.scatter(*points[:DRAWN, 0].T, s=3, alpha=0.5)
        axis.set(title=title, xlim=(-1.4, 1.4), ylim=(-1.4, 1.4), aspect="equal", xticks=[], yticks=[])
    figure.savefig(file, dpi=110)
    plt.close(figure)


@torch.no_grad()
def draw_field(u: VelocityField, noise: Tensor, file: Path) -> None:
    """u(z, r, t) on a grid, instantaneous (r = t) beside mean (r = 0), and where one step takes some noise."""
    along = torch.linspace(-1.8, 1.8, 17)
    grid = torch.stack(torch.meshgrid(along, along, indexing="xy"), -1).reshape(-1, 1, 2)
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.7), constrained_layout=True)
    for axis, (r, t) in zip(axes, ((1.0, 1.0), (0.5, 0.5), (0.0, 1.0)), strict=True):
        arrows = -u(grid, torch.full((len(grid),), r), torch.full((len(grid),), t))[:, 0]  # towards the data
        axis.quiver(*grid[:, 0].T, *arrows.T, angles="xy", scale_units="xy", scale=8, width=0.003)
        kind = "instantaneous" if r == t else "mean"
        axis.set(title=f"{kind} velocity, -u(z, {r:g}, {t:g})", aspect="equal", xticks=[], yticks=[])
        axis.set(xlim=(-2, 2), ylim=(-2, 2))
    ones = torch.ones(len(noise))
    ends = noise - u(noise, 0 * ones, ones)
    axes[2].plot(*torch.stack([noise[:40, 0], ends[:40, 0]]).permute(2, 0, 1), color="tab:orange", lw=0.8)
    axes[2].scatter(*ends[:40, 0].T, s=10, color="tab:red", zorder=3)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def draw_derivatives(errors: dict[str, Any], file: Path) -> None:
    """Error of the central difference against its half width, the exact ones as lines."""
    figure, axis = plt.subplots(figsize=(5.2, 3.6), constrained_layout=True)
    axis.loglog(list(errors["dde"]), list(errors["dde"].values()), marker="o", label="dde")
    for how, style in (("forward", "--"), ("jvp", ":")):
        axis.axhline(errors[how], ls=style, color="tab:green" if how == "forward" else "tab:red", label=how)
    axis.set(xlabel="half width epsilon", ylabel="relative error of du/dt", title="du/dt in float32")
    axis.legend()
    figure.savefig(file, dpi=110)
    plt.close(figure)


# %% All of it
def main(folder: Path, steps: int) -> dict[str, Any]:
    """Train MeanFlow and, beside it, plain flow matching; draw; return the figures that are printed."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    methods = {name: METHODS.build(METHODS.parse({"name": name})) for name in ("meanflow", "reflow")}
    fields = {name: train(method, steps, generator) for name, method in methods.items()}

    noise = torch.randn(4000, 1, 2, generator=generator)
    panels = {"demonstrations": demonstrations(4000, generator)}
    with torch.no_grad():
        for name, nfe in (("meanflow", 1), ("reflow", 1), ("reflow", 20)):
            title = f"{name}, {nfe} step{'s' if nfe > 1 else ''}"
            panels[title] = methods[name].sample(fields[name], noise, nfe)
    errors = derivative_errors(fields["meanflow"], generator)
    draw_samples(panels, folder / "samples.png")
    draw_field(fields["meanflow"], noise, folder / "field.png")
    draw_derivatives(errors, folder / "derivative.png")
    return {"samples": {title: quality(points) for title, points in panels.items()}, "derivative": errors}


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("runs/meanflow-2d"), help="where pictures go")
    parser.add_argument("--steps", type=int, default=800, help="of training, for each of the two methods")
    return parser.parse_args(words)


if __name__ == "__main__":
    given = arguments()
    print(json.dumps(main(given.folder, given.steps), indent=1))
    print(f"pictures: {', '.join(str(file) for file in sorted(given.folder.glob('*.png')))}")
