"""A preset's value is the public one, or its file's table of deviations names it with the public value and a reason."""

from __future__ import annotations

from typing import Any

import pytest

from omp_cli.core.base import config as c
from omp_cli.core.base.deviations import deviations, page
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.layers import Layer, flatten, merge
from omp_cli.core.base.presets import DEVIATIONS, preset_layer, preset_names
from omp_cli.core.families import ALGORITHMS
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.train.config import PretrainConfig
from tests.core.public_values import PUBLIC

CASES = [(command, preset) for command, presets in PUBLIC.items() for preset in presets]
EVERY = [(command, preset) for command in PUBLIC for preset in preset_names(command)]
WITHOUT_PUBLIC_CODE = {"dp-metaworld-paper"}
NAMES_OF_PARTS = {f"{section}.name" for section in ("algorithm", "method", "net", "encoder")}
OF_THE_MACHINE = {"algorithm.micro_batch", "train.precision"}
NOT_COUNTED = {"train.steps"}  # where train.epochs says how long
IN_NO_PUBLIC_FILE = NAMES_OF_PARTS | OF_THE_MACHINE | NOT_COUNTED


def settings(command: str, preset: str) -> dict[str, Any]:
    """All settings as the command takes them; a preset for several algorithms is read with the first that fits."""
    layers = [preset_layer(command, preset)]
    if command == "pretrain":
        config: Any = c.validated(PretrainConfig, merge(layers)[0])
    else:
        first = next((name for name in sorted(ALGORITHMS.names()) if name.startswith(preset.split("-")[0])), "dmpo")
        layers.insert(0, Layer("checkpoint", {"algorithm.name": first}))
        config = c.validated(FinetuneConfig, merge(layers)[0])
    return flatten(config.model_dump(mode="json", context=c.COMPLETE))


@pytest.mark.parametrize(("command", "preset"), CASES)
def test_a_value_is_public_or_a_named_deviation(command: str, preset: str) -> None:
    values, named = settings(command, preset), deviations(command, preset)
    for key, public in PUBLIC[command][preset].items():
        if values[key] == public:
            assert key not in named, f"{key} is the public value, and no deviation"
        else:
            assert key in named, f"{key} = {values[key]} and not {public}: name it in [deviations]"
            assert named[key].public == public, key


@pytest.mark.parametrize(("command", "preset"), CASES)
def test_what_a_preset_sets_has_a_public_value(command: str, preset: str) -> None:
    """Else it could drift unseen, for only what has a row is compared."""
    without = preset_layer(command, preset).values.keys() - PUBLIC[command][preset].keys() - IN_NO_PUBLIC_FILE
    assert not without, f"{preset} sets {sorted(without)}: say in public_values.py what is public"


@pytest.mark.parametrize(("command", "preset"), EVERY)
def test_a_deviation_is_complete(command: str, preset: str) -> None:
    """Of a setting it has a row among the public values; of anything else it says what there is instead."""
    values, public = settings(command, preset), PUBLIC[command].get(preset)
    for key, entry in deviations(command, preset).items():
        assert entry.why
        if key in values:
            assert entry.ours is None
            assert public is None or key in public, f"{key} has no row in public_values.py"
        elif public is not None:
            assert "." not in key, f"{key} is no setting"
            assert entry.ours is not None


def test_every_preset_of_a_paper_has_its_public_values() -> None:
    for command, presets in PUBLIC.items():
        papers = {name for name in preset_names(command) if name.endswith("-paper")}
        if command == "pretrain":
            papers |= {name for name in preset_names(command) if name.startswith("dmpo")} - {"dmpo-state"}
        assert papers - WITHOUT_PUBLIC_CODE == set(presets)


def test_deviations_are_handed_on_but_for_what_a_preset_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, dict[str, Any]] = {
        "base": {"a": 1, "b": 2, "deviations": {"a": {"public": 3, "why": "x"}, "b": {"public": None, "why": "y"}}},
        "derived": {"extends": "base", "a": 3},
    }
    monkeypatch.setattr("omp_cli.core.base.deviations.preset_file", lambda command, name: dict(files[name]))
    assert set(deviations("pretrain", "base")) == {"a", "b"}
    assert set(deviations("pretrain", "derived")) == {"b"}
    files["derived"]["deviations"] = {"a": {"public": 5}}
    with pytest.raises(UsageError, match="preset derived: deviations"):
        deviations("pretrain", "derived")


def test_they_are_no_settings_and_can_be_shown() -> None:
    for command, preset in EVERY:
        assert not any(key.startswith(DEVIATIONS) for key in preset_layer(command, preset).values)
    shown = page("finetune")
    assert "### `dmpo-lift-paper`" in shown
    assert "| algorithm.sigma.kind | fixed | net |" in shown
