"""The source of Adroit's files, whose states of the simulator are shown anew unless the line says otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, SerializeAsAny

from omp_cli.core.base.config import Flag, Member, Settings
from omp_cli.core.base.layers import Layer
from omp_cli.core.base.progress import Progress
from omp_cli.core.data.readers.base import Recording
from omp_cli.core.prepare.files import Files
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.origin import FileOrigin
from omp_cli.core.prepare.record import CAMERA_SIZE, FOVEA, FPS_BACKEND, POINTS, ROBOT
from omp_cli.core.prepare.source import SOURCES, Asked, recommended_layer
from omp_cli.core.suites.adroit.config import AdroitConfig
from omp_cli.core.suites.adroit.shown import show_recording
from omp_cli.core.suites.base import SUITES


class ShownConfig(FilesConfig):
    """What is taken from files, and how what they hold is shown."""

    shown: Annotated[
        SerializeAsAny[Member] | None,
        BeforeValidator(lambda value: None if value is None else SUITES.parse(value)),
        POINTS,
        CAMERA_SIZE,
        ROBOT,
        FOVEA,
        FPS_BACKEND,
        Flag("--images", "Recording", "images", bool, "Whether to store RGB pictures, too.", only_on=True),
    ] = None
    """The suite's configuration with which the simulator's states in files are shown anew: cloud, picture, state; how
    long an action lasts there is the files' to say. None takes what files hold themselves.
    """
    replay: bool = True
    """False takes what files hold themselves."""
    keep_failures: bool = False
    """Whether episodes that are at the goal for less than ten actions are kept, too, of what is shown anew."""

    def content(self) -> dict[str, Any]:
        """See the base class; data made before there was ``shown`` keep their names."""
        later = {"shown", "replay", "keep_failures"} if self.shown is None else set()
        return {key: value for key, value in super().content().items() if key not in later}

    def unusual(self) -> dict[str, Any]:
        """See the base class."""
        found = super().unusual()
        found |= {} if self.replay else {"replay": False}
        found |= {"keep_failures": True} if self.keep_failures else {}
        shown: Settings | None = self.shown
        if shown is not None and shown != AdroitConfig():
            found["shown"] = shown.model_dump(mode="json")
        return found


@SOURCES.register("adroit/files")
class ShownAnew(Files):
    """Files of Adroit's data."""

    Config: ClassVar[type[Settings]] = ShownConfig
    config: ShownConfig

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[FileOrigin]:
        """See the base class."""
        found = super().origins(asked)
        return [replace(o, layer=Layer(o.layer.source, {**o.layer.values, "shown.name": o.suite})) for o in found]

    @classmethod
    def recommended(cls, config: Settings) -> Layer | None:
        """What the suite recommends, where it shows the states of the files."""
        assert isinstance(config, ShownConfig)
        return recommended_layer("shown", config.shown) if config.replay and config.shown is not None else None

    @property
    def limit(self) -> int | None:
        """Episodes to read; all are read where some of what is shown is left out."""
        shown = self.config.replay and self.config.shown is not None
        return None if shown and not self.config.keep_failures else self.config.demos

    def shown(self, recording: Recording, workers: int, progress: Progress) -> Recording:
        """See ``show_recording``."""
        config = self.config
        if config.shown is None or not config.replay:
            return super().shown(recording, workers, progress)
        subject, limit = self.origin.subject, config.demos
        return show_recording(recording, config.shown, subject, config.keep_failures, limit, workers, progress)
