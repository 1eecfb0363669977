"""Scenes that others recorded, as XML: refused where they read other files, completed where they are merely older."""

from __future__ import annotations

from copy import deepcopy
from xml.etree import ElementTree

from omp_cli.core.base.errors import DataError


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
        DataError: it takes parts from other files.
        ElementTree.ParseError: it is not XML.
    """
    found, ours = ElementTree.fromstring(scene), ElementTree.fromstring(own)
    if found.find(".//include") is not None:
        raise DataError("a recorded scene includes other files, which omp does not read", "put their content into it")
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


def _names(scene: ElementTree.Element, kind: str) -> set[str]:
    return {name for element in scene.iter(kind) if (name := element.get("name")) is not None}
