"""``omp prepare`` from public data sets: the catalogue as a table, and files into data set folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omp_cli.commands.common import DATA, Globals, base_layers, show_dry_run
from omp_cli.console import make_table

SHOWN = {
    "--images": "shown__images",
    "--points": "shown__cloud__points",
    "--camera-size": "shown__cloud__camera_size",
    "--robot": "shown__cloud__robot",
    "--fovea": "shown__cloud__fovea",
    "--fps-backend": "shown__cloud__fps_backend",
}
"""Options and the settings they mean."""


@dataclass(frozen=True)
class Asked:
    """What the line says about files."""

    suite: str
    tasks: Sequence[str] = ()
    source: str | None = None
    file: Path | None = None
    format: str | None = None
    offline: bool = False
    demos: int | None = None
    config: Path | None = None
    sets: Sequence[str] = ()
    workers: int | None = None
    seen: Mapping[str, Any] = field(default_factory=dict)
    """Options, by name, on how states of the simulator in files are shown anew."""


def list_catalogue(globals_: Globals, suite: str | None, tasks: Sequence[str], source: str | None) -> None:
    """Print what the catalogue knows."""
    from omp_cli.core.data.catalogue import cache_folder, read_catalogue

    entries = read_catalogue().of(suite, tasks, source)
    columns = ("suite", "task", "source", "format", "size", "licence", "fetched")
    rows = [(e.suite, e.task, e.source, e.format, e.size, e.licence, e.fetched) for e in entries]
    document = {
        "command": "prepare",
        "cache": str(cache_folder()),
        "datasets": [
            {**e.model_dump(mode="json"), "fetched": e.fetched, "urls": [u for f in e.files for u in e.urls(f)]}
            for e in entries
        ],
    }
    unchecked = sum(not e.checked for e in entries)
    lines = [
        f"{len(entries)} data sets; the addresses of {unchecked} are as published and were not opened with this omp"
    ]
    lines += ["made here, without a download: gym --source sb3; robomimic --source scripted, scripted-noisy"]
    lines += [f"notes and addresses: --json   cache: {cache_folder()}"]
    globals_.console.result(document, [make_table("Data sets", columns, rows)], lines)


def refuse(what: str, options: Mapping[str, Any]) -> None:
    """UsageError when one of the options, which mean nothing for what is asked, was given."""
    from omp_cli.core.errors import UsageError

    for option, value in options.items():
        if value is not None and value != []:
            raise UsageError(f"{option} does not go with {what}", "leave it out")


def prepare_files(globals_: Globals, asked: Asked) -> None:
    """Download what is not here, and convert."""
    from omp_cli.core.data.catalogue import read_catalogue
    from omp_cli.core.errors import UsageError
    from omp_cli.core.prepare.origin import from_catalogue, from_file

    if asked.file is not None and len(asked.tasks) > 1:
        raise UsageError("--file is one task's; several --task were given")
    if asked.file is None and asked.format is not None:
        raise UsageError("--format says how to read --file; the catalogue knows its own formats")
    if globals_.out is not None and len(asked.tasks) > 1:
        raise UsageError("--out is one data set's folder; several --task were given")
    catalogue = read_catalogue()
    origins = [
        from_catalogue(catalogue, asked.suite, task, asked.source)
        if asked.file is None
        else from_file(catalogue, asked.suite, task, asked.source, asked.file, asked.format)
        for task in asked.tasks or [None]
    ]
    if not all(origin.subject.states for origin in origins):
        refuse(f"data of {asked.suite} from files", asked.seen)
    results = [_prepare_one(globals_, asked, origin) for origin in origins]
    if not globals_.dry_run:
        _report(globals_, results)


def _prepare_one(globals_: Globals, asked: Asked, origin: Any) -> dict[str, Any]:
    from omp_cli.core import config as c
    from omp_cli.core.prepare.collect import default_workers
    from omp_cli.core.prepare.convert import ConvertConfig, convert, folder_name, wanted_files
    from omp_cli.core.run import Run

    subject = origin.subject
    named = c.Layer(
        "argument" if origin.task_by == "asked for" else origin.task_by,
        {"suite": subject.suite, "task": subject.task, "source": origin.source, "format.name": origin.format}
        | ({"shown.name": subject.suite} if subject.states else {}),
    )
    seen = {SHOWN[option]: value for option, value in asked.seen.items()}
    flags = c.flag_layer(demos=asked.demos, download__offline=asked.offline or None, **seen)
    values, layer_of = c.merge(base_layers(ConvertConfig, named, asked.config, asked.sets, flags))
    settings = c.validated(ConvertConfig, values)
    sources = c.sources_of(settings, layer_of)
    folder = globals_.out or DATA / settings.suite / folder_name(settings)
    where = str(origin.file) if origin.file else [w.urls[0] for w in wanted_files(origin.entry)]
    if globals_.dry_run:
        size = {} if origin.file else {"size": origin.entry.size, "licence": origin.entry.licence}
        show_dry_run(globals_, "prepare", sources, files=where, **size, folder=str(folder))
        return {}
    _say(globals_, origin)
    sources = {**sources, "files": {"value": where, "source": "argument" if origin.file else "catalogue"}}
    with globals_.console.progress() as progress, Run(folder, "prepare", sources, {}) as run:
        figures = convert(run, settings, origin, progress, asked.workers or default_workers())
    globals_.console.times(
        f"omp prepare, {subject.task}", figures.get("seconds_by_part", {}), "frame", figures["frames"]
    )
    return {"run_dir": str(folder), "manifest": str(run.path), "result": figures}


def _say(globals_: Globals, origin: Any) -> None:
    """Before anything is fetched: how much, from where, to where, under which licence."""
    from omp_cli.core.prepare.convert import wanted_files

    console, subject = globals_.console, origin.subject
    if origin.task_by == "default":
        console.note(f"task {subject.task}: the usual one of {subject.suite}; --task names another")
    if origin.file is None:
        entry, wanted = origin.entry, wanted_files(origin.entry)
        console.note(f"{entry.name}: {len(wanted)} file(s), size {entry.size}, licence {entry.licence}")
        if entry.note:
            console.note(entry.note)
        here = all(w.target.is_file() for w in wanted)
        console.note(f"in the cache: {wanted[0].target.parent}" if here else f"from {wanted[0].urls[0]}")
        if not here:
            console.note(f"to {wanted[0].target.parent}")


def _report(globals_: Globals, results: list[dict[str, Any]]) -> None:
    columns = ("task", "source", "demos", "frames", "steps", "return", "success", "state", "picture", "content")
    rows = []
    for entry in results:
        r = entry["result"]
        returns, share = r["returns"], r["success_share"]
        picture = "none" if r["image"] is None else "x".join(map(str, r["image"]))
        row = [r["task"], r["source"], r["demos"], r["frames"], r["mean_steps"]]
        row += ["none" if returns is None else returns["mean"], "unknown" if share is None else f"{100 * share:.1f} %"]
        rows.append([str(x) for x in [*row, r["state_dim"], picture, r["content_sha256"][:12]]])
    document = {"command": "prepare", **results[0]} if len(results) == 1 else {"command": "prepare", "runs": results}
    lines = [f"data set: {e['run_dir']}{' (kept)' if e['result']['reused'] else ''}" for e in results]
    pictures, clouds = (results[-1]["result"][key] is not None for key in ("image", "points"))
    lines += ["look at its contact_sheet.png"] if pictures or clouds else []
    for entry in results:
        lines += [f"{entry['result']['task']}: {sentence}" for sentence in entry["result"]["said"]]
        lines += _unclipped(entry["result"])
    lines += [
        f"omp eval rolls {e['result']['task']} out in {name}" for e in results if (name := e["result"]["environment"])
    ]
    preset = "" if clouds else f" --preset {'dmpo' if pictures else 'dmpo-state'}"
    lines.append(f"next: omp pretrain{preset}")
    globals_.console.result(document, [make_table("Data sets", columns, rows)], lines)


def _unclipped(result: dict[str, Any]) -> list[str]:
    """What to say of actions that a simulator would clip."""
    reach, beyond = max(map(abs, result["action_range"])), result["actions_beyond_one"]
    if reach <= 1 or (beyond is None and reach <= 1.01):
        return []
    line = f"actions of {result['task']} reach {reach:.3g}: so will a policy; simulators clip to [-1, 1]"
    return [line if beyond is None else f"{line}; {beyond} of {result['action_values']} values are stored unclipped"]
