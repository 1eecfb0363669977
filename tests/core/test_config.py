"""One merge order, strict sections, and the source of every value."""

from pathlib import Path
from typing import Any

import pytest

from omp_cli.core.base import config as c
from omp_cli.core.base.errors import DataError, OmpError, UsageError
from omp_cli.core.base.layers import Layer, env_layer, file_layer, flatten, merge, set_layer, unflatten
from omp_cli.core.base.presets import preset_document, preset_layer, preset_names
from omp_cli.core.base.registry import Family
from omp_cli.core.encoders import ENCODERS
from omp_cli.core.methods import METHODS
from omp_cli.core.nets import NETS
from omp_cli.core.rl.base import ALGORITHMS
from omp_cli.core.rl.config import FinetuneConfig
from omp_cli.core.suites import SUITES
from omp_cli.core.train.config import PretrainConfig, TrainConfig


class Inner(c.Settings):
    width: int = 8
    name: str = "a"


class Outer(c.Settings):
    inner: Inner = Inner()
    steps: int = 5


def test_later_layers_win_and_sources_are_kept() -> None:
    layers = [
        Layer("preset x", {"steps": 1, "inner.width": 1}),
        Layer("file f", {"steps": 2}),
        env_layer(
            {"OMP_CLI_STEPS": "3", "OMP_CLI_INNER__WIDTH": "30", "OMP_CLI_DEVICE": "cpu", "OMP_NUM_THREADS": "7"}, Outer
        ),
        set_layer(["steps=4"]),
        Layer("flag", {"steps": 6}),
    ]
    values, sources = merge(layers)
    resolved = c.validated(Outer, values)
    assert (resolved.steps, resolved.inner.width) == (6, 30)
    table = c.sources_of(resolved, sources)
    assert table["steps"] == {"value": 6, "source": "flag"}
    assert table["inner.width"] == {"value": 30, "source": "environment"}
    assert table["inner.name"] == {"value": "a", "source": "default"}


@pytest.mark.parametrize(
    ("family", "name"), [(f, name) for f in (METHODS, NETS, ENCODERS, ALGORITHMS, SUITES) for name in f.names()]
)
def test_setting_one_key_leaves_its_neighbours_at_the_members_defaults(family: Family[Any], name: str) -> None:
    """A section whose default is an instance of a general class would fall back to that class's defaults."""
    usual = family.parse({"name": name})
    for section in type(usual).model_fields:
        if isinstance(inner := getattr(usual, section), c.Settings):
            for key, value in inner.model_dump(mode="json").items():
                named = {"name": inner.name, key: value} if hasattr(inner, "name") else {key: value}
                assert family.parse({"name": name, section: named}) == usual, f"{section}.{key}"


def test_choosing_another_member_drops_the_old_members_settings() -> None:
    values, _ = merge([Layer("preset", {"net.name": "a", "net.hidden": 3}), Layer("flag", {"net.name": "b"})])
    assert values == {"net": {"name": "b"}}


def test_settings_said_without_a_name_are_for_the_member_chosen_in_the_end() -> None:
    preset = Layer("preset", {"net.name": "a", "net.hidden": 3, "network": 1})
    said = set_layer(["net.depth=4"])
    values, sources = merge([preset, said, Layer("flag", {"net.name": "b"})])
    assert values == {"net": {"name": "b", "depth": 4}, "network": 1}
    assert sources == {"net.name": "flag", "net.depth": "--set", "network": "preset"}


def test_naming_the_same_member_again_keeps_its_settings() -> None:
    values, _ = merge([Layer("preset", {"net.name": "a", "net.hidden": 3}), Layer("flag", {"net.name": "a"})])
    assert values == {"net": {"name": "a", "hidden": 3}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", 1e-3), ("true", True), ("[1, 2]", [1, 2]), ("none", None), ("cosine", "cosine"), ("'7'", "7")],
)
def test_values_of_set_are_toml_or_text(text: str, value: object) -> None:
    assert set_layer([f"a.b={text}"]).values == {"a.b": value}


def test_unknown_setting_names_the_nearest() -> None:
    with pytest.raises(UsageError) as error:
        c.validated(Outer, {"stepz": 3})
    assert "stepz" in error.value.message
    assert "steps" in error.value.hint


def test_wrong_value_is_one_line_with_its_place() -> None:
    with pytest.raises(UsageError) as error:
        c.validated(Outer, {"inner": {"width": "wide"}})
    assert error.value.message.startswith("inner.width: ")
    assert "\n" not in error.value.message


def test_malformed_set_and_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"expected section\.key=value"):
        set_layer(["steps"])
    with pytest.raises(DataError):
        file_layer(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(UsageError):
        file_layer(tmp_path / "bad.toml")
    with pytest.raises(UsageError):
        unflatten({"a": 1, "a.b": 2})


def test_a_file_turns_a_setting_off_as_the_line_does(tmp_path: Path) -> None:
    """TOML has no null."""
    (tmp_path / "a.toml").write_text('algorithm = { grad_clip = "none", name = "dmpo" }\n[train]\ngrad_clip = "None"\n')
    assert file_layer(tmp_path / "a.toml").values == {
        "algorithm.grad_clip": None,
        "algorithm.name": "dmpo",
        "train.grad_clip": None,
    }
    assert preset_layer("finetune", "dppo-lift-paper").values["algorithm.grad_clip"] is None


def test_flatten_and_unflatten_are_inverse() -> None:
    tree = {"a": {"b": {"c": 1}, "d": [1, 2]}, "e": None}
    assert unflatten(flatten(tree)) == tree


def test_a_preset_takes_what_it_does_not_say_from_the_one_it_extends() -> None:
    base, derived = (preset_document("pretrain", name) for name in ("dmpo-state", "dmpo-humanoid"))
    assert derived["net"] == {**base["net"], "hidden": 768}
    assert derived["chunk"] == base["chunk"]
    assert derived["bench"]["label"] == "DMPO Humanoid"
    layer = preset_layer("pretrain", "dmpo-humanoid")
    assert (layer.source, layer.values["train.batch_size"]) == ("preset dmpo-humanoid", 128)
    assert "extends" not in layer.values
    other = preset_document("pretrain", "reflow")
    assert other["method"] == {"name": "reflow"}, "the settings of dmpo mean nothing to it"
    assert other["net"] == preset_document("pretrain", "dmpo")["net"]


def test_every_preset_validates_and_unknown_ones_are_refused() -> None:
    for name in preset_names("pretrain"):
        c.validated(PretrainConfig, merge([preset_layer("pretrain", name)])[0])
    with pytest.raises(UsageError, match="unknown preset"):
        preset_layer("pretrain", "lihgt")


def test_a_preset_of_ones_own_is_the_path_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "lab").mkdir()
    mine, ours = tmp_path / "mine.toml", tmp_path / "lab/ours.toml"
    (tmp_path / "odd.toml").write_text("bench = 5\n")
    (tmp_path / "of_odd.toml").write_text('extends = "odd.toml"\n')
    assert preset_document("pretrain", str(tmp_path / "of_odd.toml")) == {"bench": 5}
    ours.write_text('extends = "dmpo-state"\n[train]\nlr = 0.5\nsteps = 7\n[bench]\nlabel = "Ours"\n')
    mine.write_text('extends = "lab/ours.toml"\nversion = 2\n[train]\nsteps = 9\n')
    layer = preset_layer("pretrain", str(mine))
    found = {key: layer.values[key] for key in ("train.lr", "train.steps", "method.name")}
    assert found == {"train.lr": 0.5, "train.steps": 9, "method.name": "dmpo"}
    assert layer.source == f"preset {mine}, version 2"
    assert preset_document("pretrain", str(ours))["bench"]["label"] == "Ours"
    assert "label" not in preset_document("pretrain", str(mine)).get("bench", {})
    assert not {"bench.label", "version", "extends"} & layer.values.keys()


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ('extends = "mine.toml"', UsageError, "which builds on it"),
        ('extends = "other.toml"', DataError, "other.toml: No such file"),
        ("extends = 3", UsageError, "extends is 3"),
        ('extends = "../{folder}/mine.toml"', UsageError, "which builds on it"),
        ('extends = "lihgt"', UsageError, "unknown preset 'lihgt'"),
        ("steps = ", UsageError, "mine.toml: Invalid value"),
    ],
)
def test_a_file_that_is_no_preset_is_refused(text: str, error: type[OmpError], words: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text.replace("{folder}", tmp_path.name))
    with pytest.raises(error, match=words):
        preset_layer("pretrain", str(tmp_path / "mine.toml"))


LIGHT = Layer("preset light", {"inner.width": 1, "inner.name": "a", "steps": 3})


@pytest.mark.parametrize(
    "upper",
    [
        set_layer(["inner={width=2}"]),
        env_layer({"OMP_CLI_INNER": "{width=2}"}, Outer),
        Layer("file f", {"inner": {"width": 2}}),
        set_layer(["inner={name='a'}", "inner={width=2}"]),
    ],
    ids=lambda layer: layer.source,
)
def test_a_table_sets_its_keys_and_leaves_the_others(upper: Layer) -> None:
    values, sources = merge([LIGHT, upper])
    assert values == {"inner": {"width": 2, "name": "a"}, "steps": 3}
    assert (sources["inner.width"], sources["steps"]) == (upper.source, "preset light")


def test_a_table_that_names_another_member_begins_anew() -> None:
    values, sources = merge([LIGHT, set_layer(["inner={name='b'}"])])
    assert values == {"inner": {"name": "b"}, "steps": 3}
    assert sources == {"inner.name": "--set", "steps": "preset light"}


def test_a_section_is_switched_off_and_on_again() -> None:
    off = set_layer(["inner=none"])
    assert merge([LIGHT, off])[0] == {"inner": None, "steps": 3}
    assert merge([off, Layer("flag", {"inner.width": 2})])[0] == {"inner": {"width": 2}}


@pytest.mark.parametrize(
    ("said", "key"),
    [
        (["method.epsilon=0.01", "method.derivative=jvp"], "method.epsilon"),
        (["method.epsilon=0.01", "method.derivative=forward"], "method.epsilon"),
        (["method.dispersion.weight=0", "method.dispersion.form=hinge"], "method.dispersion.form"),
        (["method.dispersion.margin=2"], "method.dispersion.margin"),
        (["method.alignment.scope=step", "method.alignment.weight=0"], "method.alignment.scope"),
        (["method.times.distribution=uniform", "method.times.mu_t=1"], "method.times.mu_t"),
        (["train.epochs=3", "train.steps=9"], "train.steps"),
        (["train.warmup_steps=3", "train.warmup_share=0.1"], "train.warmup_share"),
        (["train.schedule=constant", "train.lr_end=1e-6"], "train.lr_end"),
        (["train.ema_max=0", "train.ema_power=0.5"], "train.ema_power"),
        (["encoder.origin=world", "encoder.scale=0.9"], "encoder.scale"),
        (["method.adaptive.p=0", "method.adaptive.c=5"], "method.adaptive.c"),
        (["method.name=dmpo", "method.adaptive.c=5"], "method.adaptive.c"),
        (["method.name=shortcut", "method.consistency_share=0", "method.levels=3"], "method.levels"),
        (["method.name=onedp", "method.stochastic=false", "method.generator_rate=0.01"], "method.generator_rate"),
        (["algorithm.name=dppo", "algorithm.reduction=mean"], "algorithm.reduction"),
        (["algorithm.schedule.cycle=7"], "algorithm.schedule.cycle"),
        (["algorithm.critic_schedule.warmup=3"], "algorithm.critic_schedule.warmup"),
        (["algorithm.bc.weight=0", "algorithm.bc.end=7"], "algorithm.bc.end"),
        (["algorithm.critic.sees=state", "algorithm.critic.train_encoder=false"], "algorithm.critic.train_encoder"),
        (["algorithm.critic.sees=shared", "algorithm.critic.train_encoder=true"], "algorithm.critic.train_encoder"),
        (
            ["algorithm={name='fql'}", "algorithm.critic={sees='state',train_encoder=false}"],
            "algorithm.critic.train_encoder",
        ),
        (["evaluation.every=0", "evaluation.episodes=99"], "evaluation.episodes"),
    ],
    ids=str,
)
def test_what_does_not_count_is_refused_on_the_line_and_left_alone_elsewhere(said: list[str], key: str) -> None:
    pretrained = {
        "method.name": "omp",
        "method.dispersion.weight": 0.5,
        "net.name": "film-mlp",
        "encoder.name": "pointcloud",
    }
    tuned = key.startswith(("algorithm.", "evaluation."))
    model: type[c.Settings] = FinetuneConfig if tuned else PretrainConfig
    for layer in (set_layer(said), Layer("file f", set_layer(said).values)):
        values, sources = merge([Layer("preset p", {"algorithm.name": "dmpo"} if tuned else pretrained), layer])
        config = c.validated(model, values)
        if layer.source == "--set":
            with pytest.raises(UsageError, match=f"{key} does not count"):
                c.sources_of(config, sources)
        else:
            assert c.sources_of(config, sources)[key]["source"] == "file f"


def test_a_batch_larger_than_the_data_set_is_said() -> None:
    remark = TrainConfig(batch_size=700).remark(483)
    assert remark is not None
    assert "700" in remark
    assert "483" in remark
    assert TrainConfig(batch_size=483).remark(483) is None


def test_a_warm_up_longer_than_the_run_is_said() -> None:
    train = TrainConfig(steps=30, warmup_steps=100, lr=1e-3)
    assert train.remark(483) == "the warm-up of 100 steps is longer than the run of 30: the rate ends at 3e-04"
    assert train.model_copy(update={"batch_size": 700}).remark(483).count("; the warm-up of") == 1
    assert train.model_copy(update={"steps": 100}).remark(483) is None
    by_epochs = train.model_copy(update={"epochs": 1, "batch_size": 10})
    assert by_epochs.remark(483) == "the warm-up of 100 steps is longer than the run of 49: the rate ends at 5e-04"
