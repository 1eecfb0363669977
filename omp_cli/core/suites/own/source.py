"""The source of data of one's own: any file or folder of a known format, under the name that the user gives it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from omp_cli.core.base.config import LARGEST, Above0, Count, CountOrZero, Flag, Names, Settings, from_commas
from omp_cli.core.base.errors import UsageError
from omp_cli.core.base.progress import Progress, Silent
from omp_cli.core.data.catalogue import TaskFacts
from omp_cli.core.data.foreign import listed
from omp_cli.core.data.readers import Recording, Subject
from omp_cli.core.data.readers.pictures import remark_on_size
from omp_cli.core.data.readers.prepared import otherwise
from omp_cli.core.data.readers.roles import DEPTH
from omp_cli.core.data.store import HELD_OUT, Arrays
from omp_cli.core.prepare.files import Files
from omp_cli.core.prepare.files_config import FilesConfig
from omp_cli.core.prepare.named_files import NamedFile, about_files, together
from omp_cli.core.prepare.next_line import next_line
from omp_cli.core.prepare.origin import FileOrigin, file_origin, found_files, label_of
from omp_cli.core.prepare.source import SOURCES, Asked
from omp_cli.core.suites.own.ahead import acted
from omp_cli.core.suites.own.camera import CameraConfig, Crop
from omp_cli.core.suites.own.channels import channels_of, check_names, names_of, ranges
from omp_cli.core.suites.own.clouds import check_cloud_settings, with_clouds
from omp_cli.core.suites.own.rotations import Rotations, rotations_of, said_of
from omp_cli.core.suites.own.sensing import how_it_was_read
from omp_cli.core.suites.own.taken import what_was_taken

NAME = "own"
EXAMPLE = "omp prepare own PATH --task NAME --hz 30"


class OwnFilesConfig(FilesConfig):
    """What is taken from the file, and what the file does not say of itself."""

    hz: Annotated[Above0 | None, Flag(panel="Observation")] = None
    """Frames per second of the recording; None takes what the file says."""
    points: Annotated[Count | None, Flag(panel="Observation")] = None
    """Points per cloud, to which larger ones are sampled by exact farthest point sampling; None takes all there are."""
    crop: Annotated[Crop | None, Flag(panel="Observation", kind=object, metavar="X,Y,Z,X,Y,Z")] = None
    """Box of which a cloud's points are kept: lowest x, y, z, then highest x, y, z, metres, in the frame of the cloud;
    None takes all points.
    """
    camera: CameraConfig = CameraConfig()
    """The camera of depth pictures (``format.depth``)."""
    end_effector: Annotated[tuple[CountOrZero, CountOrZero, CountOrZero], BeforeValidator(from_commas)] | None = None
    """Which numbers of the state are x, y, z of the end-effector, in the frame and units of the clouds; lets a policy
    see clouds from the gripper.
    """
    state_names: Names = ()
    """Names of the state's numbers, where the file says none or others."""
    action_names: Names = ()
    """Names of the action's numbers, where the file says none or others ("shoulder", "elbow", "gripper")."""
    action_ahead: CountOrZero = 0
    """How many frames later what is named as actions is taken: where nothing was commanded, as with a gripper that a
    person holds or an arm that is led by hand, the pose of the next frame is the action of this one (1).
    """
    state_rotations: Rotations | None = None
    """Which numbers of the state are rotations, for policies to see them in numbers that jump nowhere: each
    ``PLACE:KIND``, the place or name of its first number and ``axis-angle``, ``euler`` (about fixed x, y, z),
    ``quaternion`` or ``angle``; of angles in degrees ``PLACE:KIND:degrees``. None takes those that the file says, an
    empty list none.
    """
    action_rotations: Rotations | None = None
    """Likewise of the action; a policy learns them in such numbers and gives them out as they were recorded."""
    state_unit: str = ""
    """Unit of the state, for people; it goes into exports."""
    action_unit: str = ""
    """Unit of the actions, for people; it goes into exports."""

    def content(self) -> dict[str, Any]:
        """See the base class; of later settings nothing where they are not set, for old data say nothing of them."""
        later: dict[str, Any] = {"action_ahead": 0, "state_rotations": None, "action_rotations": None}
        return {name: value for name, value in super().content().items() if later.get(name, ...) != value}

    def unusual(self) -> dict[str, Any]:
        """Settings that are not the usual ones, of the format and of this source, but for rate and points."""
        mine = set(OwnFilesConfig.model_fields) - set(FilesConfig.model_fields) - {"hz", "points"}
        given = {
            name: getattr(self, name)
            for name in mine
            if getattr(self, name) != OwnFilesConfig.model_fields[name].default
        }
        chosen = self.model_dump(mode="json", include=set(given))
        return {**super().unusual(), **dict(sorted(chosen.items()))}


@SOURCES.register("own/files")
class Own(Files):
    """A file or folder of the user's, of whatever robot."""

    Config: ClassVar[type[Settings]] = OwnFilesConfig
    names_rotations: ClassVar[bool] = True
    config: OwnFilesConfig

    @classmethod
    def about(cls, asked: Asked) -> str:
        """What messages call it: data of one's own."""
        return "data of one's own"

    @classmethod
    def origins(cls, asked: Asked) -> Sequence[FileOrigin]:
        """The one of all files and folders.

        Raises:
            UsageError: none was named, one was named twice, or they are to be several tasks.
            DataError: no such file, damaged, of no known format, or of another than the first.
        """
        if asked.groups:
            raise UsageError(f"--suite does not go with {cls.about(asked)}", "leave it out")
        if not asked.files:
            raise UsageError("which file or folder? none was named", EXAMPLE)
        if len(asked.tasks) > 1:
            raise UsageError("one file is one task's; several --task were given")
        files, format_ = found_files(asked.files, asked.format)
        label = label_of(files, format_)
        task, by = (asked.tasks[0], "asked for") if asked.tasks else (label, "file name")
        subject = Subject(NAME, task, TaskFacts(max_steps=LARGEST, control_hz=1.0))
        return [file_origin(subject, asked.source or label, format_, None, files, by)]

    @property
    def folder_name(self) -> str:
        """``<task>-<source>``, points and rate if given, then as of every file."""
        config = self.config
        given = [] if config.points is None else [f"p{config.points}"]
        given += [] if config.hz is None else [f"hz{config.hz:g}"]
        return "-".join([f"{config.task}-{config.source}", *given]) + super().folder_name.removeprefix(
            f"{config.task}-{config.source}"
        )

    @property
    def subject(self) -> Subject:
        """See the base class; with the rate that the line says."""
        return replace(self.origin.subject, hz=self.config.hz)

    def notes(self) -> list[str]:
        """What to say of the task's name, where the line did not give it."""
        if self.origin.task_by == "asked for":
            return []
        of = "file's name" if len(self.origin.files) == 1 else "first file's name"
        return [f"task {self.origin.task}: by the {of}; --task names another"]

    def check(self) -> None:
        """Compare the settings with the first episode, before all others are read.

        Raises:
            UsageError: the rate is not known; clouds are asked for and there is nothing to make them of; the
                end-effector is not in the state; or there are more or fewer names than numbers.
            DataError: a file is missing, damaged or not of its format.
        """
        config, found = self.config, self._first_episode()
        self._check_environment(found)
        first = acted(super().shown(found, 1, Silent()), config.action_ahead)
        self._rate(first)
        with about_files([NamedFile(file) for file in self.origin.files]):
            check_cloud_settings(first.episodes[0], config.points, config.crop, self._camera(first), first.name(0))
        if config.end_effector is not None and not {"point_cloud", DEPTH} & set(first.episodes[0]):
            raise UsageError(
                "end_effector: the data have no clouds that a policy could see from there",
                "leave it out, or name the array of the clouds with format.cloud or format.depth",
            )
        for key in ("state", "action"):
            check_names(f"{key}_names", getattr(config, f"{key}_names"), first.episodes[0][key].shape[1])
            rotations_of(first.episodes, key, first, config)
        width, places = first.episodes[0]["state"].shape[1], config.end_effector or (0, 1, 2)
        if config.end_effector is not None and (max(places) >= width or len(set(places)) < len(places)):
            raise UsageError(
                f"end_effector: {list(places)}, and the state has {width} numbers, counted from 0",
                f"name three of them, for x, y and z: {listed(names_of(first.episodes[0], 'state', first, config))}",
            )

    def _camera(self, recording: Recording) -> CameraConfig:
        """The camera of depth pictures: what the line says of it, else what the file says."""
        return self.config.camera.model_copy(update=self._of_camera(recording))

    def _of_camera(self, recording: Recording) -> dict[str, Any]:
        """What the file says of the camera and the line does not."""
        said = self.config.camera.model_fields_set
        return {key: value for key, value in recording.camera.items() if key not in said}

    def _rate(self, recording: Recording) -> float:
        """Frames per second; UsageError where neither the line nor the file says it."""
        if (hz := self.config.hz or recording.hz) is None:
            raise UsageError(
                f"{together(self.origin.files)}: does not say how many frames a second it has",
                "add it to the line: --hz 30, if it was 30",
            )
        return hz

    def shown(self, recording: Recording, workers: int, progress: Progress) -> Recording:
        """The recording with its clouds, its rate, and what its numbers are; ``check`` was there before.

        Raises:
            UsageError: the clouds of the episodes differ in size, and no number of points was said.
            DataError: a frame has too few points.
        """
        config, taken = self.config, what_was_taken(recording, self.config.format.name)
        recording = self._as_prepared(acted(super().shown(recording, workers, progress), config.action_ahead))
        said, prepared = [taken, *recording.said], recording.prepared
        hz = self._rate(recording)
        if recording.hz not in (None, hz):
            said.append(f"the file says {recording.hz:g} Hz, and --hz {hz:g} counts")
        if of_camera := self._of_camera(recording):
            said.append(f"camera, as the file says: {', '.join(f'{key}={value}' for key, value in of_camera.items())}")
        if (image := recording.spec.image) is not None:
            said += remark_on_size(*image[:2], config.format)
        episodes, in_order, of_clouds = with_clouds(
            recording.episodes, config.points, config.crop, self._camera(recording), progress, workers, recording.name
        )
        clouds = "point_cloud" in episodes[0]
        end_effector = config.end_effector or (prepared.end_effector if prepared is not None and clouds else None)
        if recording.held_out:
            said.append(f"{len(recording.held_out)} of {len(episodes)} episodes are held out, as their file says")
        turned = {key: rotations_of(episodes, key, recording, config) for key in ("state", "action")}
        for key, rotations in turned.items():
            said += said_of(key, rotations, names_of(episodes[0], key, recording, config))
        spec = recording.spec.model_copy(
            update={
                "suite": NAME,
                "control_hz": hz,
                "max_steps": max(len(episode["action"]) for episode in episodes),
                "end_effector": end_effector,
                "points": episodes[0]["point_cloud"].shape[1] if clouds else None,
                "cloud_in_world": end_effector is not None,
                "cloud_in_fps_order": in_order or (prepared is not None and prepared.cloud_in_fps_order),
                "state_channels": channels_of(episodes, "state", recording, config),
                "action_channels": channels_of(episodes, "action", recording, config),
                "state_rotations": turned["state"],
                "action_rotations": turned["action"],
                "cameras": recording.cameras,
            }
        )
        return replace(
            recording,
            episodes=episodes,
            spec=spec,
            simulator=False,
            sheet=_sheet(episodes) if clouds else recording.sheet,
            said=(*said, *of_clouds),
        )

    def _as_prepared(self, recording: Recording) -> Recording:
        """The recording, of which does not hold how a data set of omp's was made where a setting makes other arrays."""
        config = self.config
        size, clouds = getattr(config.format, "size", None), (config.points, config.crop)
        return recording if (size, *clouds) == (None, None, None) else otherwise(recording)

    def _provenance(self, recording: Recording, suite: dict[str, Any] | None) -> dict[str, Any]:
        config = self.config
        if recording.prepared is not None and recording.prepared.suite is not None:
            suite = dict(recording.prepared.suite)
        elif suite is not None and suite["name"] == NAME:
            camera = self._camera(recording)
            suite = how_it_was_read(recording, config.crop, camera, getattr(config.format, "size", None))
        found = super()._provenance(recording, suite)
        return {**found, HELD_OUT: list(recording.held_out)} if recording.held_out else found

    @staticmethod
    def figures(provenance: Mapping[str, Any]) -> dict[str, Any]:
        """The figures of every file, rate and units."""
        spec = provenance["spec"]
        return {
            **Files.figures(provenance),
            "hz": spec["control_hz"],
            "state_channels": spec["state_channels"],
            "action_channels": spec["action_channels"],
            "cameras": spec["cameras"],
        }

    @staticmethod
    def row(figures: Mapping[str, Any]) -> dict[str, Any]:
        """What the data are."""
        image, points = figures["image"], figures["points"]
        return {
            "task": figures["task"],
            "format": figures["format"],
            "demos": figures["demos"],
            "frames": figures["frames"],
            "Hz": f"{figures['hz']:g}",
            "state": figures["state_dim"],
            "action": figures["action_dim"],
            "picture": "none" if image is None else "x".join(map(str, image)),
            "points": "none" if points is None else points,
        }

    @staticmethod
    def lines(folders: Sequence[Path], figures: Sequence[Mapping[str, Any]]) -> list[str]:
        """Where the data are, what was taken, the range of the actions; what to do next."""
        lines = [f"data set: {f}{' (kept)' if r['reused'] else ''}" for f, r in zip(folders, figures, strict=True)]
        for folder, of_one in zip(folders, figures, strict=True):
            pictures, clouds = of_one["image"] is not None, of_one["points"] is not None
            lines += ["look at its contact_sheet.png"] if pictures or clouds else []
            lines += [*of_one["said"], ranges(of_one["action_channels"])]
            lines.append(next_line(folder, of_one))
        return lines


def _sheet(episodes: Sequence[Arrays]) -> list[Arrays]:
    """What a contact sheet shows of episodes with clouds."""
    shown = []
    for episode in episodes:
        pictures = (
            {"first_picture": episode["img"][0, ..., :3], "last_picture": episode["img"][-1, ..., :3]}
            if "img" in episode
            else {}
        )
        shown.append({**pictures, "point_cloud": episode["point_cloud"], "action": episode["action"]})
    return shown
