"""What is timed: presets that ship, one that does not exist yet, a checkpoint."""

from pathlib import Path

import pytest
import torch

from omp_cli.core.base.errors import DataError, UsageError
from omp_cli.core.base.presets import preset_names
from omp_cli.core.measure.latency import subjects
from omp_cli.core.measure.latency.subjects import from_checkpoint, from_document, from_preset, from_presets
from tests.measure.latency_policies import document


def test_every_preset_that_ships_has_its_rows() -> None:
    found = from_presets([])
    assert {subject.name for subject in found} == set(preset_names("pretrain"))
    assert len({subject.label for subject in found}) == len(found)
    marked = [subject.bench.reference_nfe is not None for subject in found]
    assert marked == sorted(marked, reverse=True)  # what speed-ups refer to comes first
    assert sum(marked) <= 1
    for subject in found:
        assert {p.nfe for p in subject.bench.published} <= set(subject.nfe), subject.name
        reference = subject.bench.reference_nfe
        assert reference is None or reference in subject.nfe


def test_a_preset_added_later_appears_without_an_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = {"first": document(nfe=[1, 4]), "second": document(label="The Reference", nfe=[9], reference_nfe=9)}
    monkeypatch.setattr(subjects, "preset_names", lambda command: tuple(made_up))
    monkeypatch.setattr(subjects, "preset_document", lambda command, name: made_up[name])
    found = from_presets([])
    assert [(s.name, s.label, s.nfe) for s in found] == [
        ("second", "The Reference", (9,)),
        ("first", "first", (1, 4)),
    ]
    assert found[0].spec.suite == "toy"
    assert sum(p.numel() for p in found[0].load().parameters()) > 1000


def test_without_a_bench_table_it_is_meta_world_at_one_step() -> None:
    plain = document()
    del plain["bench"]
    subject = from_document("plain", plain)
    assert (subject.label, subject.nfe, subject.bench.published) == ("plain", (1,), ())
    assert (subject.spec.suite, subject.spec.task, subject.spec.points) == ("metaworld", "assembly", 512)


def test_the_seed_makes_the_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        return next(from_document("t", document(), seed).load().parameters()).detach()

    assert torch.equal(weights(3), weights(3))
    assert not torch.equal(weights(3), weights(4))


@pytest.mark.parametrize(
    ("bench", "words"),
    [
        ({"nfe": []}, "bench.nfe"),
        ({"nfe": [0]}, "bench.nfe"),
        ({"labl": "x"}, "labl"),
        ({"published": [{"source": "a", "device": "b", "nfe": 1, "ms": 0}]}, "bench.published.0.ms"),
        ({"published": [{"source": "a", "nfe": 1, "ms": 1}]}, "bench.published.0.device"),
    ],
)
def test_a_wrong_bench_table_is_named(bench: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        from_document("wrong", document(**bench))


def test_unknown_presets_and_wrong_settings() -> None:
    with pytest.raises(UsageError, match="unknown preset 'ligth'") as caught:
        from_preset("ligth")
    assert "light" in caught.value.hint
    broken = {**document(), "net": {"name": "film-mlp", "hiden": 3}}
    subject = from_document("broken", broken)  # a table must be able to list it
    with pytest.raises(UsageError, match="hiden"):
        subject.load()


def test_a_checkpoint(run: Path) -> None:
    subject = from_checkpoint(run, "ema")
    assert subject.checkpoint is not None
    assert subject.checkpoint.meta.step == 30
    assert (subject.label, subject.nfe, subject.suite["name"]) == ("omp reach", (1,), "toy")
    raw = from_checkpoint(run / "checkpoints" / "step-00000030", "raw").load()
    assert any(not torch.equal(a, b) for a, b in zip(subject.load().parameters(), raw.parameters(), strict=True))
    with pytest.raises(DataError):
        from_checkpoint(run / "nowhere")


def test_the_module_names_no_preset() -> None:
    text = Path(subjects.__file__).read_text()
    assert not [name for name in preset_names("pretrain") if f'"{name}"' in text]
