"""Scenes that others recorded, as XML: refused where they are not the task's own, completed where merely older."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from copy import deepcopy
from xml.etree import ElementTree

from omp_cli.core.base.errors import DataError
from omp_cli.core.data.foreign import listed, short

_PARTS = ("asset", "worldbody")
"""Parts that robosuite looks for in every scene."""


def completed(scene: str, own: str) -> tuple[str, tuple[str, ...]]:
    """A recorded scene with the geoms that a newer robosuite has added to the same bodies.

    robosuite 1.4.1 looks for geoms that 1.4.0 did not name, such as ``robot0_link7_collision``.

    Args:
        scene: the recorded one.
        own: robosuite's own, of the same task.

    Returns:
        The scene, the very same text where nothing is added, and the names of the geoms that are. Nothing is added to
        one that has other bodies or joints: it is of another robot or task, and completing it would hide that.

    Raises:
        DataError: it takes parts from other files, lacks a part that all have, or has solid geoms that ours has not.
            The message says what "it", the scene, has.
        ElementTree.ParseError: it is not XML.
    """
    found, ours = ElementTree.fromstring(scene), ElementTree.fromstring(own)
    _check_files(found)
    _check_geoms(found, ours)
    if any(_names(found, kind) != _names(ours, kind) for kind in ("body", "joint", "freejoint")):
        return scene, ()
    known, bodies = _names(found, "geom"), {body.get("name"): body for body in found.iter("body")}
    added = []
    for body in ours.iter("body"):
        for geom in body.findall("geom"):
            if (name := geom.get("name")) is not None and name not in known:
                bodies[body.get("name")].append(deepcopy(geom))
                added.append(name)
    return (ElementTree.tostring(found, encoding="unicode"), tuple(added)) if added else (scene, ())


def _check_files(scene: ElementTree.Element) -> None:
    """DataError unless all that the scene takes from files are meshes and textures of robosuite's."""
    if scene.find(".//include") is not None:
        raise DataError("it includes other files, which omp does not read", "put their content into it")
    known = {id(asset) for kind in ("mesh", "texture") for asset in scene.findall(f"asset/{kind}")}
    for element in scene.iter():
        for name, file in element.attrib.items():
            if name.startswith("file") and not (id(element) in known and name == "file" and _of_robosuite(file)):
                raise DataError(
                    f"its {element.tag} is of the file {short(file)}, which is none of robosuite's",
                    "expected: meshes and textures alone, at .../robosuite/models/assets/...",
                )


def _of_robosuite(file: str) -> bool:
    """Whether robosuite finds the file below its own folder, as which it takes the last one of that name."""
    parts = file.split("/")
    if "robosuite" not in parts:
        return False
    last = len(parts) - 1 - parts[::-1].index("robosuite")
    return not posixpath.normpath("/".join(parts[last + 1 :])).startswith("..")


def _check_geoms(scene: ElementTree.Element, own: ElementTree.Element) -> None:
    """DataError for a scene without a part that all have, or with things to touch that ``own`` has not."""
    if lacking := [part for part in _PARTS if scene.find(part) is None and own.find(part) is not None]:
        raise DataError(
            f"it has no {' and no '.join(lacking)}",
            "expected: the whole model as robosuite writes it, in the attribute model_file",
        )
    solid, known = _solid(scene), _names(own, "geom")
    others = sorted(name for geom in solid if (name := geom.get("name")) is not None and name not in known)
    nameless = _nameless(solid) - _nameless(_solid(own))
    if others or nameless > 0:
        what = f"the geoms {listed(others, 4)}" if others else f"{nameless} more geoms without a name"
        raise DataError(
            f"it has {what}, which robosuite's own scene of the task has not",
            "policies are rolled out in robosuite's own scene: take recordings of that one",
        )


def _solid(scene: ElementTree.Element) -> list[ElementTree.Element]:
    """The geoms that can touch others: those that are only seen were called otherwise by older versions, too."""
    return [geom for geom in scene.iter("geom") if (geom.get("contype"), geom.get("conaffinity")) != ("0", "0")]


def _nameless(geoms: Iterable[ElementTree.Element]) -> int:
    return sum(geom.get("name") is None for geom in geoms)


def _names(scene: ElementTree.Element, kind: str) -> set[str]:
    return {name for element in scene.iter(kind) if (name := element.get("name")) is not None}
