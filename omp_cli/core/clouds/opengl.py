"""RGB images by OpenGL, for policies that see pictures. Clouds and pictures for people need none of this."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import os
import subprocess
import sys
import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from omp_cli.core.base.errors import MissingDependency

_BACKENDS = ("egl", "osmesa", "glfw")
_ROUNDING = 1.001
"""Cameras have float32 numbers."""
_PROBE = """
import mujoco
model = mujoco.MjModel.from_xml_string('<mujoco><worldbody><geom size="1"/></worldbody></mujoco>')
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = mujoco.Renderer(model, 8, 8)
renderer.update_scene(data)
renderer.render()
"""


class Renderer:
    """Renders one camera of a scene, without shadows and reflections (they cost ten times the rest on a CPU).

    Geoms that lie outside of what the camera sees are not drawn, for where OpenGL runs on a CPU, time goes into the
    corners of meshes, and a wrist camera of RoboMimic sees a third of them. The picture is the same, to the bit,
    as long as geoms are as large as when the model was compiled.

    Args:
        model: ``mujoco.MjModel``.
        camera: name of the camera.
        size: width = height, pixels.
        multisampling: smooth edges, as the model asks for.

    Raises:
        MissingDependency: no OpenGL backend works here.
    """

    def __init__(self, model: Any, camera: str, size: int, multisampling: bool = True) -> None:
        backend = working_backend()
        import mujoco
        from mujoco import gl_context

        gl_context.GLContext = importlib.import_module(f"mujoco.{backend}").GLContext
        model.vis.quality.shadowsize = 0
        if not multisampling:
            model.vis.quality.offsamples = 0
        self._camera, self._model = camera, model
        self._renderer = mujoco.Renderer(model, size, size)
        # Also at exit, where a context that the interpreter frees prints a traceback: registered here, it comes before
        # mujoco's own end of OpenGL; weakref's turn may come after that.
        self._free = weakref.finalize(self, self._renderer.close)
        self._free.atexit = False
        atexit.register(self._free)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._renderer.scene.flags[flag] = False
        self._geoms = self._renderer.scene.geoms
        self._of_model, self._undrawn = mujoco.mjtObj.mjOBJ_GEOM, mujoco.mjtGeom.mjGEOM_NONE

    def render(self, data: Any) -> NDArray[np.uint8]:
        """RGB (size, size, 3), as the camera is rolled."""
        self._renderer.update_scene(data, self._camera)
        seen = in_sight(self._renderer.scene.camera, data.geom_xpos, self._model.geom_rbound)
        for geom in self._geoms[: self._renderer.scene.ngeom]:
            if geom.objtype == self._of_model and not seen[geom.objid]:
                geom.type = self._undrawn  # until the scene is next updated
        return self._renderer.render().copy()

    def close(self) -> None:
        """Free the OpenGL context."""
        self._free()


def in_sight(cameras: Sequence[Any], places: NDArray[np.float64], radii: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which balls may show in a square picture.

    Args:
        cameras: the two ``mujoco.MjvGLCamera`` of a scene, between which MuJoCo looks.
        places: (n, 3), of the balls' centres, m.
        radii: (n,), m; 0 is a plane, which has no end.

    Returns:
        (n,), False for a ball that lies as a whole beyond one of the planes through the eye and the picture's edges, or
        behind the eye.
    """
    left, right = cameras
    eye = (np.asarray(left.pos, np.float64) + right.pos) / 2
    forward, up = np.asarray(left.forward, np.float64), np.asarray(left.up, np.float64)
    side = np.cross(forward, up)
    low, high = left.frustum_bottom, left.frustum_top
    half = left.frustum_width or (high - low) / 2
    centre = (left.frustum_center + right.frustum_center) / 2
    edges = [(side, centre + half), (-side, half - centre), (up, high), (-up, -low)]
    outward = np.array([across * left.frustum_near - forward * reach for across, reach in edges] + [-forward])
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    return ((places - eye) @ outward.T <= _ROUNDING * radii[:, None]).all(1) | (radii == 0)


@functools.cache
def working_backend() -> str:
    """The first OpenGL backend that renders a scene: "egl", "osmesa" or "glfw"; the user's MUJOCO_GL comes first.

    Tried in a subprocess: with a backend that is not there, the import of mujoco itself fails or the process dies.
    """
    wished = os.environ.get("MUJOCO_GL", "").lower()
    order = (wished,) if wished in _BACKENDS else _BACKENDS
    for backend in order:
        environment = {**os.environ, "MUJOCO_GL": backend}
        environment.pop("PYOPENGL_PLATFORM", None)
        command = [sys.executable, "-c", _PROBE]
        with contextlib.suppress(subprocess.SubprocessError):
            subprocess.run(command, env=environment, capture_output=True, timeout=60, check=True)
            return backend
    raise MissingDependency(
        f"images need OpenGL, and none of {', '.join(order)} works here",
        "apt-get install libegl1 libegl-mesa0 (or libosmesa6); point clouds and videos need none of it",
    )
