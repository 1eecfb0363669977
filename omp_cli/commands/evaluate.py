"""``omp eval``: success or return of a policy on held-out episodes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from omp_cli.commands.common import (
    RUNS,
    Globals,
    base_layers,
    checkpoint_layer,
    newest_trained,
    run_folder,
    settings_known,
    show_dry_run,
)
from omp_cli.console import make_table

EPISODES, CONFIG = "Episodes", "Configuration"
FILMED = 4
"""Episodes in a video."""
HEAD = ("task", "step", "weights", "NFE")


def evaluate(
    globals_: Globals,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="[RUN_OR_CHECKPOINT]", help="(default: the newest of omp pretrain and finetune)"),
    ] = None,
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Held-out episodes. (default: 50)", rich_help_panel=EPISODES)
    ] = None,
    nfe: Annotated[
        int | None,
        typer.Option(
            min=1, help="Network evaluations per decision. (default: the checkpoint's own)", rich_help_panel=EPISODES
        ),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="ema or raw. (default: ema)", rich_help_panel=EPISODES)] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes. (default: one per core)", rich_help_panel=EPISODES)
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(min=1, help="Steps per episode. (default: the task's)", rich_help_panel=EPISODES)
    ] = None,
    curve: Annotated[
        int | None,
        typer.Option(
            min=0, help="Episodes for each earlier checkpoint, to plot. (default: 0)", rich_help_panel=EPISODES
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(help="Name in reports. (default: method and derivative)", rich_help_panel=EPISODES),
    ] = None,
    video: Annotated[
        int | None,
        typer.Option("--video-episodes", min=1, help="Episodes in the video. (default: 4)", rich_help_panel=EPISODES),
    ] = None,
    with_video: Annotated[
        bool, typer.Option("--video", help="Write a video; needs no display.", rich_help_panel=EPISODES)
    ] = False,
    config: Annotated[Path | None, typer.Option(help="TOML file of settings.", rich_help_panel=CONFIG)] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="key=value; repeatable.", rich_help_panel=CONFIG)
    ] = None,
) -> None:
    """Roll a policy out from start states that no demonstration used.

    Example: omp eval

    Example: omp eval runs/pretrain/RUN --nfe 5 --episodes 100 --video --curve 20
    """
    from omp_cli.core import config as c
    from omp_cli.core.checkpoint import open_run
    from omp_cli.core.errors import UsageError
    from omp_cli.core.measure.episodes import EvalConfig
    from omp_cli.core.prepare.collect import default_workers

    flags = c.flag_layer(
        seed=globals_.seed,
        episodes=episodes,
        nfe=nfe,
        weights=weights,
        max_steps=max_steps,
        curve=curve,
        label=label,
    )

    if video is not None and not with_video:
        raise UsageError("--video-episodes: there is no video without --video", "add --video")

    def resolved(preset: c.Layer | None) -> tuple[EvalConfig, dict[str, Any]]:
        values, layer_of = c.merge(base_layers(EvalConfig, preset, config, set_ or [], flags))
        settings = c.validated(EvalConfig, values)
        return settings, c.sources_of(settings, layer_of)

    settings_known(globals_, resolved(None)[1])  # a wrong setting is told before a checkpoint is looked for
    found = open_run(checkpoint or newest_trained(globals_, "finetune"))
    settings, sources = resolved(checkpoint_layer(found[-1]))
    _evaluate(globals_, settings, sources, found, workers or default_workers(), (video or FILMED) if with_video else 0)


def _evaluate(
    globals_: Globals, settings: Any, sources: dict[str, Any], found: Sequence[Any], workers: int, films: int
) -> None:
    from omp_cli.core.device import device_name, pick_device, use_threads
    from omp_cli.core.measure.report import evaluate_run
    from omp_cli.core.run import Run

    last = found[-1]
    use_threads(settings.threads)
    device = pick_device(globals_.device_name)
    sources["checkpoint"] = {"value": str(last.path), "source": "argument"}
    if globals_.dry_run:
        show_dry_run(globals_, "eval", sources, task=last.meta.spec.task, workers=workers, device=str(device))
        return
    folder = globals_.out or run_folder(RUNS / "eval", f"{last.meta.spec.task}-nfe{settings.nfe}")
    seeds = {"seed": settings.seed}
    with (
        globals_.console.progress() as progress,
        Run(folder, "eval", sources, seeds, device_name(device), settings.threads) as run,
    ):
        run.input("checkpoint", last.path, last.sha256())
        figures = evaluate_run(run, found, settings, workers, device, progress, films)
    _report(globals_, run, figures)
    console, metrics = globals_.console, run.manifest.metrics
    episodes = settings.episodes + settings.curve * (len(found) - 1)
    console.times("omp eval", metrics["seconds_by_part"], "episode", episodes)
    title = f"{min(workers, settings.episodes)} environments together"
    console.times(title, metrics["worker_seconds_by_part"], "episode", episodes)


def _report(globals_: Globals, run: Any, figures: dict[str, Any]) -> None:
    rows = [*figures.get("curve", []), figures]
    table = _table_of_returns(rows) if "return" in figures else _table_of_success(rows)
    document = {"command": "eval", "run_dir": str(run.folder), "manifest": str(run.path), "result": figures}
    lines = [f"{a.path.rpartition('.')[2]}: {run.folder / a.path}" for a in run.manifest.artifacts]
    if "demonstrations" in figures:
        shown, name = figures["demonstrations"], figures.get("counts", "return")
        lines.insert(0, f"{name} of the demonstrations: mean {shown['mean']}, {shown['min']} .. {shown['max']}")
    if "modes" in figures:
        lines.insert(0, f"ways taken: {_ways(figures['modes'])}")
    globals_.console.result(document, [table], lines)


def _ways(modes: dict[str, Any]) -> str:
    def data(row: dict[str, Any]) -> str:
        return "" if row["data"] is None else f", data {row['data']:.2f}"

    return "; ".join(f"{name} {row['n']} = {row['share']:.2f}{data(row)}" for name, row in modes.items())


def _table_of_success(rows: list[dict[str, Any]]) -> Any:
    from omp_cli.core.measure.statistics import counted

    rule = "at the end" if "success_end" in rows[-1] else "any step"
    columns = (f"success ({rule})", "95 % Wilson", "held for a chunk", "return", "steps")
    cells = []
    for row in rows:
        s, chunk = counted(row), row["success_chunk"]
        cells.append(
            [
                *_head(row),
                f"{s['successes']}/{s['episodes']} = {s['rate']:.2f}",
                f"{s['low']:.2f} .. {s['high']:.2f}",
                f"{chunk['successes']}/{chunk['episodes']}",
                str(row["mean_return"]),
                str(row["mean_steps"]),
            ]
        )
    return make_table("Success on held-out start states, last checkpoint", (*HEAD, *columns), cells)


def _table_of_returns(rows: list[dict[str, Any]]) -> Any:
    counts = rows[-1].get("counts")
    digits = 1 if counts is None else 2
    columns = ("mean", "std error", "std", "min .. max", "steps", "terminated" if counts is None else "all of them")
    cells = []
    for row in rows:
        r, steps = row["return"], row["steps"]
        deviation, error = ("none" if r[key] is None else f"{r[key]:.{digits}f}" for key in ("std", "sem"))
        extremes = f"{r['min']:.{digits}f} .. {r['max']:.{digits}f}"
        cells.append([*_head(row), f"{r['mean']:.{digits}f}", error, deviation, extremes])
        ended = row["terminated"] if counts is None else row["success_any"]["successes"]
        cells[-1] += [f"{steps['mean']:.1f}", f"{ended}/{r['episodes']}"]
    name = (counts or "return").capitalize()
    return make_table(f"{name} from held-out start states, last checkpoint", (*HEAD, *columns), cells)


def _head(row: dict[str, Any]) -> list[str]:
    return [row["task"], str(row["checkpoint_step"]), row["weights"], str(row["nfe"])]
