"""What is timed: a preset with random weights, or a checkpoint; and what a preset's ``[bench]`` table says of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from omp_cli.core.base import papers
from omp_cli.core.base.config import Above0, Depth, Settings, validated
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.presets import preset_document, preset_names
from omp_cli.core.checkpoint import Checkpoint, open_run
from omp_cli.core.deploy.graph import fresh_policy
from omp_cli.core.policy import Policy, usual_nfe
from omp_cli.core.policy_config import Weights
from omp_cli.core.spec import Spec
from omp_cli.core.suites.base import SUITES
from omp_cli.core.train.config import PretrainConfig

COMMAND = "pretrain"
DEFAULT_SUITE = {"name": "metaworld"}


class Published(Settings):
    """A figure from a paper: printed beside ours, never mixed with them."""

    source: str
    """Paper and table."""
    device: str
    """On which they measured."""
    nfe: Depth
    """Evaluations of the network per decision."""
    ms: Above0
    """Per decision."""
    reference: bool = False
    """The row that the paper's own speed-ups refer to."""


class BenchTable(Settings):
    """The ``[bench]`` table of a preset."""

    label: str | None = None
    """What the row is called; None: the preset's name."""
    nfe: tuple[Depth, ...] | None = Field(None, min_length=1)
    """Rows; None: the method's own number alone."""
    spec: Spec | None = None
    """Observation and action; None: the default task of Meta-World."""
    published: tuple[Published, ...] = ()
    """The papers' own figures; those of the presets that ship are in ``papers.toml``."""
    reference_nfe: Depth | None = None
    """The row with this many evaluations is the one that our speed-ups refer to."""


@dataclass(frozen=True)
class TimedPolicy:
    """One policy to time.

    Attributes:
        name: name of the preset, or path of the checkpoint.
        label: what tables call it.
        suite: configuration of the suite that shows the observations.
        spec: observation and action.
        bench: what the preset says of its rows.
        nfe: evaluations per decision of its rows.
        load: makes the policy, on the CPU, in evaluation mode; raises what is wrong with it.
        checkpoint: where the weights come from; None for random ones.
    """

    name: str
    label: str
    suite: Mapping[str, Any]
    spec: Spec
    bench: BenchTable
    nfe: tuple[int, ...]
    load: Callable[[], Policy]
    checkpoint: Checkpoint | None = None


def from_document(name: str, document: Mapping[str, Any], seed: int = 0) -> TimedPolicy:
    """A preset as it stands in its file, with random weights.

    Raises:
        UsageError: the ``[bench]`` table is wrong; what is wrong with the settings themselves comes with ``load``.
    """
    bench = validated(BenchTable, document.get("bench", {}), where=f"preset {name}: bench")
    settings = {section: value for section, value in document.items() if section != "bench"}
    spec = bench.spec or _default_spec()
    suite = _suite_of(spec) if bench.spec else DEFAULT_SUITE

    def load() -> Policy:
        return fresh_policy(validated(PretrainConfig, settings).policy(), spec, seed)

    return TimedPolicy(name, bench.label or name, suite, spec, bench, bench.nfe or _own_nfe(settings), load)


def from_preset(name: str, seed: int = 0) -> TimedPolicy:
    """A preset that ships, or one of the user's by its path; UsageError with the nearest names when there is none."""
    document = preset_document(COMMAND, name)
    bench = document.get("bench", {}) | {"published": papers.latency(name)}
    return from_document(name, document | {"bench": bench}, seed)


def from_presets(names: Sequence[str], seed: int = 0) -> list[TimedPolicy]:
    """Presets of these names, all that ship when none is named; the one that speed-ups refer to comes first."""
    subjects = [from_preset(name, seed) for name in names or preset_names(COMMAND)]
    return sorted(subjects, key=lambda subject: subject.bench.reference_nfe is None)


def from_checkpoint(path: Path, weights: Weights = "ema") -> TimedPolicy:
    """The newest checkpoint of a run, or one checkpoint; DataError when there is none or it is damaged."""
    checkpoint = open_run(path)[-1]
    spec = checkpoint.meta.spec
    label = f"{checkpoint.config().method.name} {spec.task}"
    return TimedPolicy(
        str(checkpoint.path),
        label,
        checkpoint.meta.suite,
        spec,
        BenchTable(),
        (checkpoint.nfe,),
        lambda: checkpoint.load(weights),
        checkpoint,
    )


def _own_nfe(settings: Mapping[str, Any]) -> tuple[int, ...]:
    """The number of the preset's method; 1 where the settings are wrong, which ``load`` tells."""
    with suppress(UsageError):
        return (usual_nfe(validated(PretrainConfig, settings).policy()),)
    return (1,)


def _suite_of(spec: Spec) -> dict[str, Any]:
    """The suite that should show this, as configuration; it need not exist here."""
    cloud = {} if spec.points is None else {"cloud": {"points": spec.points}}
    return {"name": spec.suite, **cloud}


def _default_spec() -> Spec:
    suite = SUITES.build(SUITES.parse(DEFAULT_SUITE))
    return suite.spec(suite.default_task)
