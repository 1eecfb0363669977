"""The file of a sweep: tasks x variants x seeds, in the words of the command line.

seeds = [0, 1, 2]
tasks = ["hammer", "assembly"]
prepare = "metaworld --points 512"
pretrain = "--preset light"
eval = "--episodes 50"

nfe = [1, 5]
[task.assembly]
eval = "--max-steps 300"
[variants."omp dde"]
pretrain = "--derivative dde"
finetune = "--iterations 50"
[variants."raw actions"]
prepare = "--raw-actions --frame dp3"
seeds = [0]
"""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from omp_cli.core.base.config import Depth, Seed, Settings, validated
from omp_cli.core.base.errors import DataError, UsageError

CHOSEN = {
    "prepare": {"--task", "-t", "--suite", "--list"},
    "pretrain": {"--seed", "--resume"},
    "finetune": {"--seed", "--resume"},
    "eval": {"--label"},
}
"""Options of each command that the sweep sets, or that make no job."""
CHOSEN_ALWAYS = {"--out", "--dry-run", "--json", "--help", "-h"}
FINE_TUNED = ", fine-tuned"
"""What reports add to the name of a variant after the second stage."""
LONGEST = 100
"""Letters of a variant's folder."""


def _split(value: Any) -> Any:
    """Words as one string, quoted as for a shell, or as a list."""
    if isinstance(value, str):
        return shlex.split(value)
    return [str(word) for word in value] if isinstance(value, list) else value


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]


class Lines(Settings):
    """How runs are made."""

    prepare: Words = ()
    """Words of ``omp prepare``, the benchmark first."""
    pretrain: Words = ()
    """Words of ``omp pretrain``."""
    finetune: Words | None = None
    """Words of ``omp finetune``, "" for its defaults; None for policies that are not fine-tuned."""
    eval: Words = ()
    """Words of ``omp eval``."""
    nfe: tuple[Depth, ...] = ()
    """Network evaluations per decision, with each of which every policy is evaluated; () for its own number alone."""

    @model_validator(mode="after")
    def _leaves_the_sweep_its_part(self) -> Self:
        for command, chosen in CHOSEN.items():
            for word in getattr(self, command) or ():
                option = word.partition("=")[0] if word.startswith("--") else word[:2]  # -tTASK
                if option == "--plugin":
                    raise ValueError(f"{command}: {word} goes with the whole sweep: omp --plugin FILE sweep SWEEP")
                if option in chosen | CHOSEN_ALWAYS:
                    raise ValueError(f"{command}: {word} is for the sweep to choose")
        return self


class Cells(Lines):
    """Some runs and how they are made."""

    tasks: tuple[str, ...] = ()
    """Names of tasks."""
    groups: tuple[str, ...] = ()
    """Names of the suite's groups of tasks, beside ``tasks``."""
    seeds: tuple[Seed, ...] = ()
    """Seeds of the trainings."""


class SweepConfig(Cells):
    """A whole sweep. The words of a task come after those of all, and a variant's after these; a variant's tasks or
    groups, and its seeds, replace those of all.
    """

    task: dict[str, Lines] = Field(default={})
    """Words of single tasks."""
    variants: dict[str, Cells] = Field(min_length=1)

    @model_validator(mode="after")
    def _folders_differ(self) -> SweepConfig:
        taken: dict[str, str] = {}
        for name in self.variants:
            if (other := taken.setdefault(slug(name), name)) != name or not slug(name):
                what = f"and {other!r} have the same folder" if slug(name) else "has no letter or digit"
                raise ValueError(f"variant {name!r} {what}: choose another name")
            if len(slug(name)) > LONGEST:
                raise ValueError(f"variant {name!r}: choose a name of at most {LONGEST} letters")
            tuned = self.finetune is not None or self.variants[name].finetune is not None
            if tuned and name + FINE_TUNED in self.variants:
                raise ValueError(f"variant {name + FINE_TUNED!r} is what {name!r} is called once it is fine-tuned")
        return self


def slug(name: str) -> str:
    """A variant's name as a folder."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-.")


def read_sweep(path: Path) -> SweepConfig:
    """Read a sweep file; DataError when it is missing, UsageError in one line when it is wrong."""
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DataError(f"sweep {path}: {(error.strerror or 'cannot be read').lower()}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"sweep {path}: {error}") from None
    try:
        return validated(SweepConfig, document)
    except UsageError as error:
        raise UsageError(f"sweep {path}: {error.message}", error.hint) from None
