"""Evaluations and latency measurements among the manifests of some folders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.files import walk
from omp_cli.core.base.manifest import FILE_NAME, Manifest, read_manifest
from omp_cli.core.base.run import EPISODES, state_of
from omp_cli.core.base.statistics import counted

COMMANDS = ("eval", "bench-latency", "deploy")
"""Of whose runs a report is made."""


@dataclass(frozen=True)
class Point:
    """One checkpoint's evaluation: success rate in [0, 1], or mean return where that counts."""

    step: int
    value: float
    episodes: int


@dataclass(frozen=True)
class Judged:
    """One run of ``omp eval``.

    Attributes:
        path: the evaluation's manifest.
        manifest: all of it.
        policy: what was evaluated (``metrics.policy``).
        label: how the policy is called: the name given, or its method and derivative; or what the report renames it to.
        suite: suite.
        task: task.
        seed: seed of the training; None where it is not known.
        nfe: evaluations of the network per decision.
    """

    path: Path
    manifest: Manifest
    policy: Mapping[str, Any]
    label: str
    suite: str
    task: str
    seed: int | None
    nfe: int

    @property
    def own_label(self) -> str:
        """How the policy was called when it was evaluated: the name given, or its method and derivative."""
        return _label(self.manifest, self.policy)

    @property
    def data(self) -> str:
        """Content of the data set that the policy was trained on."""
        return str(self.policy["data"]["content_sha256"])

    def setting(self, key: str) -> Any:
        """A setting of the evaluation itself; None where it has none of that name."""
        value = self.manifest.config.get(key)
        return None if value is None else value.value

    @property
    def precision(self) -> str:
        """In what the network computed; evaluations by an omp that knew fp32 alone do not say it."""
        return str(self.setting("precision") or "fp32")

    @property
    def execute(self) -> int | None:
        """How many actions of a chunk were executed; None where nothing says so."""
        found: int | None = self.setting("execute") or self.policy["settings"].get("chunk.execute")
        return found

    @property
    def noise_scale(self) -> float:
        """Of the noise that decisions began with; an omp that could not scale it does not say it."""
        found = self.setting("noise_scale")
        return 1.0 if found is None else float(found)

    @property
    def checkpoint(self) -> str | None:
        """Content of the evaluated checkpoint."""
        return next((i.sha256 for i in self.manifest.inputs if i.kind == "checkpoint"), None)

    @property
    def export(self) -> str | None:
        """Content of the exported file that decided in the checkpoint's place; None where none did."""
        return next((i.sha256 for i in self.manifest.inputs if i.kind == "export"), None)

    def same_policy(self, other: Judged) -> bool:
        """Whether both evaluated the same weights of one checkpoint in the same way."""

        def what(one: Judged) -> tuple[Any, ...]:
            how = one.setting("weights"), one.precision, one.execute, one.noise_scale
            return (one.checkpoint, one.export, *how)

        return self.checkpoint is not None and what(self) == what(other)

    @property
    def key(self) -> tuple[Any, ...]:
        """What two evaluations have in common of which only the later one counts."""
        return (self.label, self.nfe, self.suite, self.task, self.seed)


@dataclass(frozen=True)
class Evaluation(Judged):
    """In an environment.

    Attributes:
        metric: "success", or what the return counts ("return", "finished sub-tasks").
        successes: of the last checkpoint; None where the return counts.
        last: the last checkpoint.
        curve: earlier checkpoints.
    """

    metric: str
    successes: int | None
    last: Point
    curve: tuple[Point, ...]

    @property
    def outcomes(self) -> tuple[str, list[bool]] | None:
        """The hash of the start states, and which episodes succeeded; None where the manifest does not say it."""
        metrics = self.manifest.metrics
        found = metrics.get("starts_sha256"), metrics.get("by_episode", {}).get("success")
        return None if None in found else (str(found[0]), list(found[1]))

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of policy, training and data by one dotted name each."""
        data = {f"data.{key}": value for key, value in self.policy["data"]["settings"].items()}
        more = {"finetuned_by": self.policy.get("finetuned_by"), "data.demos": self.policy["data"].get("demos")}
        return {**self.policy["settings"], **data, **more}


@dataclass(frozen=True)
class Offline(Judged):
    """Without an environment; ``figures`` are those of the errors."""

    figures: Mapping[str, Any]

    @property
    def key(self) -> tuple[Any, ...]:
        """See the base class; other weights and other episodes have rows of their own."""
        weights = self.manifest.metrics["weights"], self.manifest.metrics["checkpoint_step"]
        return (*super().key, *weights, self.figures["content_sha256"], tuple(self.figures["episodes"]))


@dataclass(frozen=True)
class OnRobot(Judged):
    """One session of ``omp deploy`` whose episodes were judged; ``figures`` are all of it."""

    figures: Mapping[str, Any]

    @property
    def key(self) -> tuple[Any, ...]:
        """See the base class; every session counts."""
        return (*super().key, self.path)

    @property
    def acted(self) -> tuple[Any, ...]:
        """What sessions have in common whose episodes are counted together."""
        of = [self.setting(name) for name in ("weights", "execute", "ensemble", "env", "episode_seconds")]
        said = (self.figures["hz"], self.figures["judged_by"])
        return (*super().key, self.checkpoint, self.export, self.precision, self.noise_scale, *of, *said)


@dataclass(frozen=True)
class InTurns:
    """One session of ``omp deploy`` in which policies took turns.

    Attributes:
        path: path of its manifest.
        manifest: whose metrics are those of ``turns.compared``; each policy has a manifest of its own besides.
    """

    path: Path
    manifest: Manifest


def pooled(evaluations: Iterable[Evaluation]) -> tuple[int, int]:
    """Successes and episodes of several evaluations together."""
    counts = [(e.successes or 0, e.last.episodes) for e in evaluations]
    return sum(successes for successes, _ in counts), sum(episodes for _, episodes in counts)


J = TypeVar("J", bound=Judged)


@dataclass
class Found:
    """What the folders hold; ``left_out`` has a line for each evaluation that does not count, and why, and for each
    sweep of which jobs are not finished.
    """

    evaluations: list[Evaluation] = field(default_factory=list)
    offline: list[Offline] = field(default_factory=list)
    robots: list[OnRobot] = field(default_factory=list)
    in_turns: list[InTurns] = field(default_factory=list)
    latencies: list[Manifest] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def everything(self) -> list[Evaluation | Offline | OnRobot]:
        """All evaluations, with and without an environment, and on robots."""
        return [*self.evaluations, *self.offline, *self.robots]


def read_evaluations(folders: Sequence[Path]) -> Found:
    """Every evaluation and latency measurement below the folders, oldest first; copies count once.

    Of several evaluations of one policy under one name the newest counts; ``left_out`` says which do not.

    Raises:
        DataError: a folder is not there, or there is no evaluation to report on.
        UsageError: two evaluations of the same label, NFE, task and training seed, of different policies or in
            different precision.
    """
    found, seals = Found(), set()
    for path in _manifests(folders):
        try:
            manifest = read_manifest(path)
        except DataError as error:
            found.left_out.append(f"refused: {error.message}")
            continue
        if manifest.seal in seals or manifest.command not in (*COMMANDS, "sweep"):
            continue
        seals.add(manifest.seal)
        turns = manifest.command == "deploy" and bool(manifest.metrics.get("differences"))
        if manifest.command == "deploy" and not turns and not manifest.metrics.keys() >= {"success", "policy"}:
            found.left_out += _unreported(path, manifest)
            continue
        if manifest.command == "sweep":
            found.left_out += _unfinished_sweep(path, manifest)
        elif manifest.status != "succeeded" and not (manifest.command == "deploy" and manifest.status == "interrupted"):
            found.left_out.append(f"omp {manifest.command} {path}: {state_of(path.parent, manifest)}")
        elif manifest.command == "bench-latency":
            found.latencies.append(manifest)
        elif turns:
            found.in_turns.append(InTurns(path, manifest))
        elif manifest.command == "deploy":
            found.robots.append(OnRobot(**_what(path, manifest), figures=manifest.metrics))
        elif "policy" not in manifest.metrics:
            found.left_out.append(f"omp eval {path}: does not say what was evaluated (made by an earlier omp)")
        elif "offline" in manifest.metrics:
            found.offline.append(Offline(**_what(path, manifest), figures=manifest.metrics["offline"]))
        else:
            found.evaluations.append(_evaluation(path, manifest))
    if not found.everything:
        where = ", ".join(map(str, folders))
        reason = f"; {found.left_out[0]}" if found.left_out else ""
        raise DataError(
            f"no evaluation to report on below {where}{reason}",
            "make some with: omp eval, omp sweep or omp deploy --judge",
        )
    found.latencies.sort(key=lambda manifest: manifest.started_at)
    found.evaluations = _newest(found.evaluations, found.left_out)
    found.offline = _newest(found.offline, found.left_out)
    found.in_turns.sort(key=lambda session: session.manifest.started_at)
    found.robots.sort(key=lambda e: (e.suite, e.task, e.manifest.started_at))
    found.offline.sort(key=lambda e: (e.suite, e.task, e.figures["content_sha256"]))
    return found


def _unreported(path: Path, manifest: Manifest) -> list[str]:
    """A line of a robot's session that was judged and has no figures for a report; none where nobody has judged."""
    if "success" in manifest.metrics:
        return [f"omp deploy {path}: the checkpoint that its export was made of is gone, so nothing says what acted"]
    if (path.parent / EPISODES).is_file() and (state := state_of(path.parent, manifest)) == "lost":
        return [f"omp deploy {path}: {state}; its {EPISODES} has what was said until then"]
    return []


def _unfinished_sweep(path: Path, manifest: Manifest) -> list[str]:
    """A line where jobs of a sweep are not finished, whose evaluations are missing below; else none."""
    states: Mapping[str, int] = manifest.metrics.get("states", {})
    left = [f"{count} {state}" for state, count in states.items() if count and state != "finished"]
    if not left:
        return []
    of = f"{states.get('finished', 0)} of {sum(states.values())} jobs finished"
    return [f"sweep {path.parent}: {state_of(path.parent, manifest)}, {of} ({', '.join(left)})"]


def _manifests(folders: Iterable[Path]) -> Iterator[Path]:
    """Manifests at any depth, under whatever name ending in .json; each file once."""
    seen = set()
    for folder in folders:
        if not folder.exists():
            raise DataError(f"folder {folder}: no such file or folder", "give folders that hold runs of omp eval")
        below = (place / name for place, _, names in walk(folder) for name in names if name.endswith(".json"))
        for path in sorted(below) if folder.is_dir() else [folder]:
            if path.resolve() in seen or path.parent.suffix == ".zarr" or not path.is_file():
                continue
            seen.add(path.resolve())
            try:
                if path.name == FILE_NAME or _is_manifest(path.read_text(encoding="utf-8", errors="replace")):
                    yield path
            except FileNotFoundError:  # it has gone meanwhile, for somebody works there
                continue
            except OSError as error:
                raise DataError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from None


def _is_manifest(text: str) -> bool:
    """Whether a file of another name looks like one; checkpoints and exports have sealed files, too."""
    return '"seal": "' in text and any(f'"command": "{command}"' in text for command in COMMANDS)


def _evaluation(path: Path, manifest: Manifest) -> Evaluation:
    metrics = manifest.metrics
    judged = metrics.get("metric", "success") == "success"
    return Evaluation(
        **_what(path, manifest),
        metric="success" if judged else metrics.get("counts", "return"),
        successes=counted(metrics)["successes"] if judged else None,
        last=_point(metrics),
        curve=tuple(_point(row) for row in metrics.get("curve", [])),
    )


def _what(path: Path, manifest: Manifest) -> dict[str, Any]:
    """The fields of ``Judged``."""
    metrics, policy = manifest.metrics, manifest.metrics["policy"]
    judged = {"policy": policy, "label": _label(manifest, policy), "seed": policy["seed"]}
    return judged | {"path": path, "manifest": manifest} | {name: metrics[name] for name in ("suite", "task", "nfe")}


def _label(manifest: Manifest, policy: Mapping[str, Any]) -> str:
    given, scale = (manifest.config.get(key) for key in ("label", "noise_scale"))
    if given is not None and given.value:
        return str(given.value)
    return usual_label(policy) + ("" if scale is None or scale.value == 1 else f", noise x {scale.value:g}")


def _point(row: Mapping[str, Any]) -> Point:
    if row.get("metric") == "return":
        return Point(row["checkpoint_step"], row["return"]["mean"], row["return"]["episodes"])
    rate = counted(row)
    return Point(row["checkpoint_step"], rate["successes"] / rate["episodes"], rate["episodes"])


def usual_label(policy: Mapping[str, Any]) -> str:
    """The name of a policy that was given none: its method, the derivative where it has one, who fine-tuned it, and the
    file that decided where it was exported.
    """
    words = [policy["method"], policy["settings"].get("method.derivative")]
    more = [f"+ {policy['finetuned_by']}"] if policy.get("finetuned_by") else []
    more += [f"by {policy['export']}"] if policy.get("export") else []
    return " ".join([*(str(word) for word in words if word), *more])


def _newest(evaluations: Sequence[J], left_out: list[str]) -> list[J]:
    """The newest of those that would be one cell of a table, oldest first; UsageError where their policies differ."""
    newest: dict[tuple[Any, ...], J] = {}
    for e in sorted(evaluations, key=lambda e: e.manifest.started_at):
        if (other := newest.pop(e.key, None)) is not None:
            if not e.same_policy(other):
                raise UsageError(
                    f"{e.label!r}, NFE {e.nfe}, on {e.task}, seed {e.seed}, stands twice: {other.path} and {e.path} "
                    "evaluate different policies, weights, precisions, exports, noise or numbers of executed actions",
                    "name what differs with omp eval --label, or leave one of them out",
                )
            left_out.append(f"omp eval {other.path}: {e.path} evaluates the same policy later, and counts")
        newest[e.key] = e
    return list(newest.values())
