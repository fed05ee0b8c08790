"""A calibration board on the simulated table, whose place is known: what scripts/calibrate.py looks for.

world = World(seed, spec=with_board(picture, size_m))
place_board(world, table_from_board)
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from edge_wam.sim.scene import build_spec
from edge_wam.sim.world import World
from edge_wam.types import FloatArray, ImageArray

THICK_M = 0.0005
_BOARD = "board"


def with_board(picture: ImageArray, size_m: tuple[float, float]) -> Any:
    """The scene (MjSpec) with a page (H, W) uint8 of this width and height on the table; see place_board."""
    os.environ.setdefault("MUJOCO_GL", "egl")  # before its first import
    import mujoco

    spec = build_spec()
    width, height = size_m
    rgb = np.repeat(picture[:, :, None], 3, axis=2)
    texture = spec.add_texture(name=_BOARD, type=mujoco.mjtTexture.mjTEXTURE_2D, nchannel=3)
    texture.width, texture.height = picture.shape[1], picture.shape[0]
    texture.data = rgb.tobytes()
    material = spec.add_material(name=_BOARD, specular=0.0, shininess=0.0, rgba=(1, 1, 1, 1))
    material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = _BOARD
    body = spec.worldbody.add_body(name=_BOARD, mocap=True, pos=(3.0, 2.0, 0.0))
    body.add_geom(
        name=_BOARD,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=(width / 2, height / 2, THICK_M),
        pos=(0, 0, -THICK_M),
        material=_BOARD,
        contype=0,
        conaffinity=0,
    )
    return spec


def place_board(world: World, base_from_page: FloatArray) -> None:
    """Put the page's middle, its x to the right of the page and its y up the page, z towards the reader."""
    import mujoco

    index = int(world.model.body(_BOARD).mocapid[0])
    world.data.mocap_pos[index] = base_from_page[:3, 3]
    mujoco.mju_mat2Quat(world.data.mocap_quat[index], np.ascontiguousarray(base_from_page[:3, :3]).ravel())
    mujoco.mj_forward(world.model, world.data)
