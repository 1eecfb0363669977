"""``omp prepare`` from public data sets: the catalogue as a table, and files into data set folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omp_cli.commands import options
from omp_cli.commands.frame import DATA, Call
from omp_cli.core.config import Layer
from omp_cli.core.data.catalogue import cache_folder, read_catalogue
from omp_cli.core.errors import UsageError
from omp_cli.core.files import name_part
from omp_cli.core.prepare.convert import ConvertConfig, convert, folder_name, wanted_files
from omp_cli.core.prepare.make import PrepareConfig
from omp_cli.core.prepare.origin import Origin, from_catalogue, from_file
from omp_cli.core.prepare.scripted import ScriptedConfig, record_scripted
from omp_cli.core.prepare.trained import TrainedConfig, record_trained, robot_of
from omp_cli.core.processes import default_workers
from omp_cli.core.table import Table

SHOWN = {
    f"suite.cloud.{name}": f"shown.cloud.{name}" for name in ("points", "camera_size", "robot", "fovea", "fps_backend")
}
SHOWN["collect.images"] = "shown.images"
"""Settings of a recording, and those that they mean where states of the simulator in files are shown anew."""
FILES = {"collect.demos": "demos"}
SCRIPTED = {"collect.demos": "demos", "collect.after_success": "after_success"}
TRAINED = {"collect.demos": "episodes"}
RECORD = "record."
"""Settings of a scripted recording on the line: ``--set record.image_size=64``."""
OPERATORS = {"scripted": "clean", "scripted-noisy": "noisy"}
"""Names of the source and the operator each means."""


@dataclass(frozen=True)
class Asked:
    """What the line says about files, beside settings."""

    suite: str
    tasks: Sequence[str] = ()
    source: str | None = None
    file: Path | None = None
    format: str | None = None
    offline: bool = False
    workers: int | None = None


def list_catalogue(call: Call[Any], suite: str | None, tasks: Sequence[str], source: str | None) -> None:
    """Print what the catalogue knows."""
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
    call.console.result(document, [Table("Data sets", columns, rows)], lines)


def refuse(what: str, given: Mapping[str, Any]) -> None:
    """UsageError when one of the options, which mean nothing for what is asked, was given."""
    for option, value in given.items():
        if value is not None and value != []:
            raise UsageError(f"{option} does not go with {what}", "leave it out")


def meant(call: Call[PrepareConfig], known: Mapping[str, str], what: str) -> dict[str, Any]:
    """The options on the line as the settings that they mean for ``what``; UsageError for one that means nothing."""
    names = {option.key: option.name for option in options.options_of(PrepareConfig)}
    given = {key: value for key, value in call.flags.values.items() if key != "seed"}
    refuse(what, {names[key]: value for key, value in given.items() if key not in known})
    return {known[key]: value for key, value in given.items()}


def prepare_trained(call: Call[PrepareConfig], asked: Asked, quality: str | None, steps: int | None) -> None:
    """``--source sb3``: a policy learns the task, and its episodes are the data; the cache is used again."""
    _one_recording(asked, "sb3 learns")
    robot = robot_of(asked.tasks[0] if asked.tasks else "hopper")
    flags = {"robot": robot, "quality": quality, "steps": steps, "seed": call.globals.seed}
    flags |= meant(call, TRAINED, "--source sb3")
    own = call.of(TrainedConfig, {key: value for key, value in flags.items() if value is not None}, ())
    chosen = own.settings()
    chosen.sources["steps"]["value"] = chosen.settings.budget
    if call.dry_run(chosen, file=str(chosen.settings.file)):
        return
    with call.console.progress() as progress:
        file = record_trained(chosen.settings, progress)
    settings = chosen.settings
    prepare_files(
        call.of(PrepareConfig, {}, call.sets),
        replace(asked, tasks=[settings.task], source=settings.source, file=file, format="d4rl"),
    )


def prepare_scripted(call: Call[PrepareConfig], asked: Asked) -> None:
    """``--source scripted``: operators are recorded in robosuite, and their file is the data; the cache is used."""
    _one_recording(asked, "scripted records")
    flags = meant(call, SCRIPTED, f"--source {asked.source}")
    if call.globals.seed is not None:
        flags["seed"] = call.globals.seed
    mine = tuple(s.removeprefix(RECORD) for s in call.sets if s.startswith(RECORD))
    task = asked.tasks[0] if asked.tasks else "lift"
    named = Layer("argument", {"task": task, "operator": OPERATORS[str(asked.source)]})
    chosen = call.of(ScriptedConfig, flags, mine, file=None).settings(named)
    workers = asked.workers or default_workers()
    if call.dry_run(chosen, file=str(chosen.settings.file), workers=workers):
        return
    with call.console.progress() as progress:
        file = record_scripted(chosen.settings, workers, progress)
    rest = tuple(s for s in call.sets if not s.startswith(RECORD))
    found = replace(asked, tasks=[task], source=chosen.settings.source, file=file, format="robomimic")
    prepare_files(call.of(PrepareConfig, {}, rest), found)


def _one_recording(asked: Asked, who: str) -> None:
    if len(asked.tasks) > 1:
        raise UsageError(f"--source {who} one task; several --task were given")
    if asked.format is not None:
        raise UsageError("--format says how to read --file; there is none to read")


def prepare_files(call: Call[PrepareConfig], asked: Asked) -> None:
    """Download what is not here, and convert."""
    if asked.file is not None and len(asked.tasks) > 1:
        raise UsageError("--file is one task's; several --task were given")
    if asked.file is None and asked.format is not None:
        raise UsageError("--format says how to read --file; the catalogue knows its own formats")
    if call.globals.out is not None and len(asked.tasks) > 1:
        raise UsageError("--out is one data set's folder; several --task were given")
    catalogue = read_catalogue()
    origins = [
        from_catalogue(catalogue, asked.suite, task, asked.source)
        if asked.file is None
        else from_file(catalogue, asked.suite, task, asked.source, asked.file, asked.format)
        for task in asked.tasks or [None]
    ]
    shown_anew = all(origin.subject.states for origin in origins)
    flags = meant(call, FILES | (SHOWN if shown_anew else {}), f"data of {asked.suite} from files")
    if asked.offline:
        flags["download.offline"] = True
    results = [_prepare_one(call.of(ConvertConfig, flags, call.sets), asked, origin) for origin in origins]
    if not call.globals.dry_run:
        _report(call, results)


def _prepare_one(call: Call[ConvertConfig], asked: Asked, origin: Origin) -> dict[str, Any]:
    subject = origin.subject
    named = Layer(
        "argument" if origin.task_by == "asked for" else origin.task_by,
        {"suite": subject.suite, "task": subject.task, "source": origin.source, "format.name": origin.format}
        | ({"shown.name": subject.suite} if subject.states else {}),
    )
    chosen = call.settings(named)
    settings = chosen.settings
    folder = call.globals.out or DATA / name_part(settings.suite) / name_part(folder_name(settings))
    if origin.entry is None or origin.file is not None:
        where: str | list[str] = str(origin.file)
        size: dict[str, Any] = {}
    else:
        where = [w.urls[0] for w in wanted_files(origin.entry)]
        size = {"size": origin.entry.size, "licence": origin.entry.licence}
    if call.dry_run(chosen, files=where, **size, folder=str(folder)):
        return {}
    _say(call, origin)
    chosen.add("files", where, "argument" if origin.file else "catalogue")
    with call.run(chosen, folder) as (run, progress):
        figures = convert(run, settings, origin, progress, asked.workers or default_workers())
    call.console.times(f"omp prepare, {subject.task}", figures.get("seconds_by_part", {}), "frame", figures["frames"])
    return {"run_dir": str(folder), "manifest": str(run.path), "result": figures}


def _say(call: Call[Any], origin: Origin) -> None:
    """Before anything is fetched: how much, from where, to where, under which licence."""
    console, subject = call.console, origin.subject
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


def _report(call: Call[Any], results: list[dict[str, Any]]) -> None:
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
    call.console.result(document, [Table("Data sets", columns, rows)], lines)


def _unclipped(result: dict[str, Any]) -> list[str]:
    """What to say of actions that a simulator would clip."""
    reach, beyond = max(map(abs, result["action_range"])), result["actions_beyond_one"]
    if reach <= 1 or (beyond is None and reach <= 1.01):
        return []
    line = f"actions of {result['task']} reach {reach:.3g}: so will a policy; simulators clip to [-1, 1]"
    return [line if beyond is None else f"{line}; {beyond} of {result['action_values']} values are stored unclipped"]
