"""From a sweep to its jobs, each an ordinary ``omp`` line with a folder of its own; every line is checked first."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omp_cli.core.base.config import COMPLETE, RECOMMENDED
from omp_cli.core.base.errors import DataError, OmpError, UsageError, did_you_mean
from omp_cli.core.base.files import name_part
from omp_cli.core.base.layers import flatten
from omp_cli.core.base.manifest import read_manifest, run_folders
from omp_cli.core.base.run import changed_code
from omp_cli.core.base.table import first_few
from omp_cli.core.suites import SUITES
from omp_cli.core.sweep.config import CHOSEN, FINE_TUNED, Cells, SweepConfig, slug
from omp_cli.core.sweep.job import Job

Sources = Mapping[str, Mapping[str, Any]]
Words = tuple[str, ...]
Start = tuple[str, str]
"""Suite and pre-training method of a policy that is to be fine-tuned."""
Resolve = Callable[[str, Words, Start | None], Sources]
"""From a command, its words and where it starts to the settings that they come to; UsageError when they are wrong."""
ONE_WORKER = ("--workers", "1")
"""What a line has before its own words: the sweep has workers of its own."""


@dataclass(frozen=True)
class Cell:
    """One policy of the sweep, and the words that are particular to it."""

    task: str
    variant: str
    seed: int
    prepare: Words
    pretrain: Words
    finetune: Words | None
    eval: Words
    nfe: tuple[int, ...]


def cells_of(config: SweepConfig) -> list[Cell]:
    """Tasks x variants x seeds, seed by seed, so that an unfinished sweep compares like with like."""
    cells = []
    for name, variant in config.variants.items():
        benchmark = _benchmark((*config.prepare, *variant.prepare))
        tasks, seeds = _tasks(benchmark, config, variant), tuple(dict.fromkeys(variant.seeds or config.seeds))
        if not tasks or not seeds:
            raise UsageError(f"variant {name!r}: no {'seeds' if tasks else 'tasks'}", 'tasks = ["hammer"], seeds = [0]')
        cells += [_cell(config, task, name, seed) for task in tasks for seed in seeds]
    by_seed = {seed: i for i, seed in enumerate(dict.fromkeys(cell.seed for cell in cells))}
    by_task = {task: i for i, task in enumerate(dict.fromkeys(cell.task for cell in cells))}
    if idle := [task for task in config.task if task not in by_task]:
        raise UsageError(f"task.{idle[0]}: no variant has this task", did_you_mean(idle[0], by_task))
    return sorted(cells, key=lambda cell: (by_seed[cell.seed], by_task[cell.task]))


def _cell(config: SweepConfig, task: str, variant: str, seed: int) -> Cell:
    """The words of all, those of the task, those of the variant; of their ``nfe`` the last that is there."""
    parts = [config, *([config.task[task]] if task in config.task else []), config.variants[variant]]
    finetune = [part.finetune for part in parts if part.finetune is not None]
    evaluate = tuple(word for part in parts for word in part.eval)
    nfe = next((part.nfe for part in reversed(parts) if part.nfe), ())
    if nfe and any(word.partition("=")[0] == "--nfe" for word in evaluate):
        raise UsageError(f"variant {variant!r}, task {task}: eval has --nfe, and nfe = {list(nfe)}", "keep one of them")
    prepare = tuple(word for part in parts for word in part.prepare)
    _benchmark(prepare)
    return Cell(
        task,
        variant,
        seed,
        prepare,
        pretrain=tuple(word for part in parts for word in part.pretrain),
        finetune=tuple(word for words in finetune for word in words) if finetune else None,
        eval=evaluate,
        nfe=tuple(dict.fromkeys(nfe)),
    )


def _benchmark(words: Words) -> str:
    if not words or words[0].startswith("-"):
        raise UsageError("prepare: begins with the benchmark", 'prepare = "metaworld --points 512"')
    return words[0]


def _tasks(benchmark: str, config: SweepConfig, variant: Cells) -> tuple[str, ...]:
    chosen = variant if variant.tasks or variant.groups else config
    if not chosen.groups:
        return tuple(dict.fromkeys(chosen.tasks))
    suite = SUITES.build(SUITES.parse({"name": benchmark}))
    try:
        return tuple(dict.fromkeys((*chosen.tasks, *suite.select((), chosen.groups))))
    except UsageError as error:
        raise UsageError(f"groups of the sweep: {error.message}", error.hint) from None


def plan_jobs(config: SweepConfig, folder: Path, resolve: Resolve, options: Words = ()) -> list[Job]:
    """The jobs in the order in which they are wanted: all data, then the policies, each with its evaluation.

    Args:
        config: the sweep.
        folder: folder of the sweep.
        resolve: see ``Resolve``.
        options: global options that every line gets.

    Raises:
        OmpError: a line is wrong; the message says which.
    """
    planner = _Planner(folder, functools.cache(resolve), options)
    data: dict[tuple[str, Words], Job] = {}
    trained: dict[tuple[str, Words, Words, int], Job] = {}
    rest: list[Job] = []
    for cell in cells_of(config):
        made, start = (cell.task, cell.prepare), (cell.task, cell.prepare, cell.pretrain, cell.seed)
        if made not in data:
            data[made] = planner.prepare(cell)
        if start not in trained or cell.finetune is None:
            train = planner.pretrain(cell, data[made])
            trained.setdefault(start, train)
            rest += [train, *planner.evaluations(cell, train, cell.variant)]
        if cell.finetune is not None:
            tuned = planner.finetune(cell, trained[start])
            rest += [tuned, *planner.evaluations(cell, tuned, cell.variant + FINE_TUNED)]
    return [*_as_begun(data), *rest]


def _as_begun(data: Mapping[tuple[str, Words], Job]) -> list[Job]:
    """The data sets of a sweep that goes on, made as those of the same words that an earlier omp began.

    What new data are made with changes from one omp to the next, and a sweep compares policies on one kind of data.
    """
    begun: dict[Words, Mapping[str, Any]] = {}
    for (_, words), job in data.items():
        if words not in begun and (found := job.manifest()) is not None:
            begun[words] = {key: entry.value for key, entry in found.config.items()}
    return [
        _with_old_defaults(job, begun[words], words[0]) if words in begun else job for (_, words), job in data.items()
    ]


def _with_old_defaults(job: Job, begun: Mapping[str, Any], benchmark: str) -> Job:
    """The job with the settings that nobody asked for as they were, said on its line."""
    asked = {key: entry["value"] for key, entry in job.settings.items() if entry["source"] == RECOMMENDED}
    if not asked:
        return job
    default = flatten({"suite": SUITES.parse({"name": benchmark}).model_dump(mode="json", context=COMPLETE)})
    before = {key: begun.get(key, default.get(key, value)) for key, value in asked.items()}
    sets = [f"{key}={value}" for key, value in before.items() if value != asked[key]]
    line = (*job.line, *itertools.chain.from_iterable(("--set", word) for word in sets))
    settings = {**job.settings, **{key: {"value": value, "source": "--set"} for key, value in before.items()}}
    return replace(job, line=line, settings=settings if sets else job.settings)


@dataclass(frozen=True)
class _Planner:
    """Makes the jobs of a cell; see ``plan_jobs``."""

    folder: Path
    resolve: Resolve
    options: Words

    def prepare(self, cell: Cell) -> Job:
        words = (*cell.prepare, "--task", cell.task)
        name = f"data/{name_part(cell.task)}-{hashlib.sha256(json.dumps(words).encode()).hexdigest()[:6]}"
        return self._job(cell, "prepare", name, words)

    def pretrain(self, cell: Cell, data: Job) -> Job:
        job = self._job(cell, "pretrain", _folder(cell), cell.pretrain, data, seed=cell.seed)
        return replace(job, settings={**job.settings, "dataset": {"value": str(data.folder), "source": "argument"}})

    def finetune(self, cell: Cell, train: Job) -> Job:
        start = (cell.prepare[0], train.settings["method.name"]["value"])
        name, words = f"{_folder(cell)}/finetune", cell.finetune or ()
        return self._job(cell, "finetune", name, words, train, start, seed=cell.seed)

    def evaluations(self, cell: Cell, policy: Job, label: str) -> list[Job]:
        """One with each of the cell's numbers of network evaluations, else one with the policy's own."""
        name = f"{policy.name}/eval"
        lines = {f"{name}-nfe{nfe}": (*cell.eval, "--nfe", str(nfe)) for nfe in cell.nfe} or {name: cell.eval}
        return [self._job(cell, "eval", each, words, policy, label=label) for each, words in lines.items()]

    def _job(
        self,
        cell: Cell,
        command: str,
        name: str,
        words: Words,
        needs: Job | None = None,
        start: Start | None = None,
        **own: Any,
    ) -> Job:
        """A job of the file's ``words``.

        The settings ``own``, which the sweep chooses itself, are put into what the rest of a line comes to: so a line
        is resolved once for all seeds, and a large sweep is planned in seconds.
        """
        steps_environments = command != "pretrain" and not (command == "eval" and "--offline" in words)
        workers = ONE_WORKER if steps_environments else ()
        shown = words if needs is None else ("DATA" if needs.command == "prepare" else "RUN", *words)
        try:
            settings = self.resolve(command, (*workers, *shown), start)
        except OmpError as error:
            where = f"variant {cell.variant!r}: omp {command} {shlex.join(shown)}"
            raise type(error)(f"{where}: {error.message}", error.hint) from None
        begins = () if needs is None else (str(needs.folder),)
        chosen = itertools.chain.from_iterable((f"--{key}", str(value)) for key, value in own.items())
        line = (*self.options, command, *begins, *workers, *words, *chosen, "--out", str(self.folder / name))
        settings = {**settings, **{key: {"value": value, "source": "flag"} for key, value in own.items()}}
        return Job(name, command, self.folder, line, settings, None if needs is None else needs.name)


def _folder(cell: Cell) -> str:
    return f"{name_part(cell.task)}/{slug(cell.variant)}/seed{cell.seed}"


def same_settings(jobs: Sequence[Job]) -> None:
    """UsageError when what jobs have left in their folders was made with other settings than those planned now."""
    changes = {job.folder: change for job in jobs if (change := job.change()) is not None}
    if not changes:
        return
    first, *others = _outermost(list(changes))
    also = f"; made with other settings, too: {first_few([str(folder) for folder in others], ', ')}"
    raise UsageError(
        f"{first}: made with {changes[first]}{also * bool(others)}",
        f"delete {'these folders' if others else 'that folder'} to make what is in there anew, or choose another for "
        "the sweep with --out DIR",
    )


def of_no_job(folder: Path, jobs: Sequence[Job]) -> str:
    """What to say where a sweep's folder holds runs that no job of its file makes; else ""."""
    known = {folder, *(job.folder for job in jobs)}
    strangers = _outermost([run for run in run_folders(folder) if run not in known and _could_be_a_job(run)])
    if not strangers:
        return ""
    names = first_few([run.relative_to(folder).as_posix() for run in strangers], ", ")
    return f"{folder} holds what is of no job of this sweep: {names}; omp report counts evaluations there, too"


def _outermost(folders: Sequence[Path]) -> list[Path]:
    """Those that lie in none of the others."""
    return [folder for folder in folders if not set(folders).intersection(folder.parents)]


def _could_be_a_job(run: Path) -> bool:
    """Whether a run is of a command that sweeps have jobs of; one whose manifest cannot be read may be."""
    try:
        return read_manifest(run).command in CHOSEN
    except DataError:
        return True


def made_with_other_code(jobs: Sequence[Job]) -> str:
    """What to say where finished jobs, which are kept, were made with other code of a plugin than today's; else ""."""
    found = [(job.folder, made) for job in jobs if (made := job.manifest()) is not None and made.status == "succeeded"]
    said = [text for folder, made in found if (text := changed_code(folder, made))]
    kept = f"{len(said)} finished jobs of such code are kept: delete their folders to make them anew"
    return f"{said[0]}; {kept}" if said else ""
