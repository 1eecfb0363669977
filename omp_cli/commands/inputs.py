"""Parameters that several commands share: workers, runs and data sets, which are looked up where a line names none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

from omp_cli.commands.options import argument, option
from omp_cli.core.base.processes import MOST_WORKERS

DATA, RUNS = Path("data"), Path("runs")


@dataclass(frozen=True)
class Newest:
    """The finished run that a command takes where the line names none.

    Attributes:
        root: folder below which it is looked for.
        commands: the commands that may have made it.
        what: what messages call such a run.
        hint: how the user makes one, where there is none.
    """

    root: Path
    commands: tuple[str, ...]
    what: str
    hint: str

    @property
    def words(self) -> str:
        """The words by which the help says which run is taken."""
        return f"the newest of omp {' or '.join(self.commands)}"


DATASET = Newest(DATA, ("prepare",), "data set", "make one with: omp prepare metaworld")
PRETRAINED = Newest(RUNS, ("pretrain",), "trained run", "train one with: omp pretrain")
TRAINED = replace(PRETRAINED, commands=("pretrain", "finetune"))

DatasetArgument = Annotated[Path | None, argument("Folder of a data set.", DATASET.words)]
CheckpointArgument = Annotated[
    Path | None, argument("Folder of a run or of a checkpoint.", TRAINED.words, metavar="RUN_OR_CHECKPOINT")
]
PolicyArgument = Annotated[
    Path | None,
    argument("Folder of a run, of a checkpoint or of an export.", TRAINED.words, metavar="RUN_OR_EXPORT"),
]


def workers(panel: str) -> Any:
    """The option of worker processes."""
    return option("Worker processes.", "--workers", panel=panel, default=f"one per core, at most {MOST_WORKERS}", min=1)
