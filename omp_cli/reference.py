"""Pages that are made from the code: all settings, and where presets are not what was published.

``python -m omp_cli.reference`` writes them anew; a test compares them with the code.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from omp_cli.commands.table import COMMANDS, find
from omp_cli.core.base.config import LARGEST, Member, default_text, kinds_of
from omp_cli.core.base.deviations import page as deviations_page
from omp_cli.core.base.flags import first_sentence, marks, options_of
from omp_cli.core.base.registry import Family
from omp_cli.core.families import ALGORITHMS, ENCODERS, FORMATS, METHODS, NETS, SOURCES, SUITES

FOLDER = Path(__file__).parent
FAMILIES: tuple[Family[Any], ...] = (METHODS, NETS, ENCODERS, ALGORITHMS, SUITES, FORMATS)
HEAD = ("| setting | takes | default | option | what it is |", "|---|---|---|---|---|")
MADE = "`python -m omp_cli.reference` makes this page from the code.\n"
BOUNDS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}


def pages() -> dict[str, str]:
    """The text of each page, by its place below the package."""
    return {"commands/settings.md": settings_page(), "presets/README.md": presets_page()}


def settings_page() -> str:
    """Every setting of the commands with its values, default, option and first sentence."""
    lines = ["# Settings", "", MADE]
    lines += [
        "Each can be set by `--set`, a file of `--config`, or the environment; [how](README.md#configuration).",
        "",
    ]
    for name in COMMANDS:
        models = list(dict.fromkeys(find(name).models()))
        lines += [f"## omp {name}", ""] if models else []
        for model in models:
            lines += [_of_several(model), ""] if len(models) > 1 else []
            lines += [*HEAD, *_rows(model), ""]
    for family in FAMILIES:
        lines += [f"## {family.kind}s", ""]
        for member in family.names():
            rows = list(_rows(family.get(member).Config, f"{family.kind}."))
            lines += [f"### {family.kind}.name = `{member}`", "", *(HEAD if rows else ()), *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def _of_several(model: type[BaseModel]) -> str:
    """Which of a command's configuration classes this is."""
    sources = [f"`{name}`" for name in SOURCES.names() if SOURCES.get(name).Config is model]
    words = first_sentence(model.__doc__ or "")
    return f"{words} Of the source {' and '.join(sources)}." if sources else words


def presets_page() -> str:
    """Where the presets are not what was published."""
    lines = ["# Where presets are not their papers' public code", "", MADE]
    lines += [
        "Each line stands in the table `[deviations]` of the preset's file, and holds for the presets that extend it."
    ]
    for command in ("pretrain", "finetune"):
        lines += ["", f"## Presets of omp {command}", "", deviations_page(command).rstrip()]
    return "\n".join(lines) + "\n"


def _rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """One row per setting; a family's section is one row, for its members have tables of their own."""
    options = {option.key: option.name for option in options_of(model)}
    for key, field in _fields(model):
        if key == "name":
            continue
        text = (first_sentence(field.description or "").replace("``", "`"), options.get(key, ""), _default(field))
        words, option, default = (part.replace("|", "\\|") for part in text)
        name = f"`{option}`" if option else ""
        yield f"| `{prefix}{key}` | {_takes(field)} | {default} | {name} | {words} |"


def _fields(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    for name, field in model.model_fields.items():
        kinds = [kind for kind in _kinds(field) if inspect.isclass(kind)]
        inner = next((kind for kind in kinds if issubclass(kind, BaseModel)), None)
        if inner is not None and not _is_family(field):
            yield from _fields(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", field


def _kinds(field: FieldInfo) -> tuple[Any, ...]:
    annotation: Any = field.annotation
    return kinds_of(annotation)


def _is_family(field: FieldInfo) -> bool:
    return Member in _kinds(field)


def _default(field: FieldInfo) -> str:
    """The default as it is typed; "" where one has to be given."""
    return "" if field.is_required() else default_text(field) or "none"


def _takes(field: FieldInfo) -> str:
    """Kind and bounds in words: "int, at least 1"."""
    if _is_family(field):
        return "a member, see below"
    kinds = [kind for kind in _kinds(field) if kind not in (type(None), Ellipsis)]
    words = [" or ".join(dict.fromkeys(_word(kind) for kind in kinds))]
    for mark in [*field.metadata, *marks(field.annotation)]:
        bounds = mark.metadata if isinstance(mark, FieldInfo) else [mark]
        for bound, text in BOUNDS.items():
            limits = [
                getattr(m, bound) for m in bounds if isinstance(m, annotated_types.BaseMetadata) and hasattr(m, bound)
            ]
            words += [f"{text} {limit}" for limit in limits if limit is not None and limit != LARGEST]
    return ", ".join(dict.fromkeys(words))


def _word(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind)) if inspect.isclass(kind) else f"`{kind}`"


if __name__ == "__main__":
    for place, text in pages().items():
        (FOLDER / place).write_text(text, encoding="utf-8")
