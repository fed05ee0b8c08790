"""The simulated world: MuJoCo physics, the servo drives' motion profile, cameras and the judge's view.

A `World` knows nothing of bytes, time of day or policies. It steps by 1/300 s and exposes the
arrays the servo emulator reads and writes (the `Plant` of sim/servos.py), in the arm's calibrated
convention of edge_wam/types.py.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_wam.errors import EdgeWamError
from edge_wam.sim.scene import (
    COLOURS,
    CUBE_DENSITY_KG_M3,
    CUBE_SIZE_M,
    FRAME_HEIGHT_PX,
    FRAME_WIDTH_PX,
    GRIPPER_CLOSED_MODEL_RAD,
    PHYSICS_DT_S,
    PLATE_HALF_HEIGHT_M,
    STALL_TORQUE_NM,
    build_spec,
)
from edge_wam.types import JOINTS, FloatArray, ImageArray

LIFT_M = 0.05  # a cube this far above where it lay counts as lifted
LIMP_FRICTION_NM, POWERED_FRICTION_NM = 1.0, 0.052  # a 1:345 gearbox resists being driven backwards
# Folded over the base, gripper half closed: stays put when torque goes, and leaves the table in view.
PARK_RAD = np.array([0.0, -1.70, 1.45, 0.50, 0.0, 0.15])
# Above the table, gripper down and open: where every task begins.
READY_RAD = np.array([0.0, -1.35, 0.85, 1.45, 0.0, 0.65])


class Scene(NamedTuple):
    """What lies on the table: n cubes of different colours, m plates. cubes_xy_yaw (n, 3): metres from the
    base, yaw in radians; sizes_m (n,): edges; plates_xy (m, 2)."""

    seed: int
    colours: tuple[str, ...]
    cubes_xy_yaw: FloatArray
    sizes_m: FloatArray
    plates: tuple[str, ...] = ()
    plates_xy: FloatArray = np.zeros((0, 2))


class World:
    """One simulated arm and its table."""

    def __init__(self, seed: int = 0, spec: Any = None) -> None:
        """spec: the scene, if it is to have more in it than build_spec's (sim/workbench.py)."""
        os.environ.setdefault("MUJOCO_GL", "egl")
        import mujoco

        self._mujoco = mujoco
        self.model = (spec or build_spec()).compile()
        self.data = mujoco.MjData(self.model)
        self._renderers: dict[tuple[int, int], Any] = {}
        count = len(JOINTS)
        joints = [self.model.joint(name) for name in JOINTS]
        self._qpos = np.array([joint.qposadr[0] for joint in joints])
        self.dofs = np.array([joint.dofadr[0] for joint in joints])
        self._actuators = np.array([self.model.actuator(name).id for name in JOINTS])
        self._offset_rad = np.zeros(count)
        self._offset_rad[-1] = GRIPPER_CLOSED_MODEL_RAD
        self.joint_low_rad = self.model.jnt_range[[j.id for j in joints], 0] - self._offset_rad
        self.joint_high_rad = self.model.jnt_range[[j.id for j in joints], 1] - self._offset_rad
        self._cube_qpos = {c: int(self.model.joint(f"cube_{c}").qposadr[0]) for c in COLOURS}
        self._cube_dof = {c: int(self.model.joint(f"cube_{c}").dofadr[0]) for c in COLOURS}
        self._cube_body = {c: self.model.body(f"cube_{c}").id for c in COLOURS}
        self._cube_geom = {c: self.model.geom(f"cube_{c}").id for c in COLOURS}
        self._cube_size_m = dict.fromkeys(COLOURS, CUBE_SIZE_M)
        self._plate_mocap = {c: int(self.model.body(f"plate_{c}").mocapid[0]) for c in COLOURS}
        self._camera_pose = (self.model.cam_pos.copy(), self.model.cam_quat.copy())
        self._light = self.model.light("lamp").id
        self._table = self.model.geom("table").id
        self._grasp_site = self.model.site("grasp").id

        self.goal_rad = PARK_RAD.copy()
        self.torque_on: NDArray[np.bool_] = np.ones(count, bool)
        self.speed_limit_rad_s = np.full(count, np.inf)
        self.accel_limit_rad_s2 = np.full(count, np.inf)
        self.torque_limit = np.ones(count)
        self._drives, self._limp = b"", False  # as _set_drives last had them
        self._reference_rad = PARK_RAD.copy()
        self._reference_rad_s = np.zeros(count)
        self.scene = Scene(seed, (), np.zeros((0, 3)), np.zeros(0))
        self.reset(seed)

    # --- what lies on the table -------------------------------------------------------------

    def reset(self, seed: int, joints_rad: FloatArray | None = None) -> None:
        """An empty table in new light, seen by cameras a hair off their places; the arm at joints_rad (J,) or
        the park pose, at rest."""
        rng = np.random.default_rng(seed)
        self._mujoco.mj_resetData(self.model, self.data)
        self._dress(rng)
        self.set_table(Scene(seed, (), np.zeros((0, 3)), np.zeros(0)))
        self.place_arm(PARK_RAD if joints_rad is None else joints_rad)

    def set_table(self, scene: Scene) -> Scene:
        """Put cubes and plates where the scene says, at rest; what it does not name goes out of sight.
        The arm stays as it is."""
        for index, colour in enumerate(COLOURS):
            here, size_m = (3.0 + index, 0.0, 0.0), CUBE_SIZE_M
            if colour in scene.colours:
                which = scene.colours.index(colour)
                here, size_m = scene.cubes_xy_yaw[which], float(scene.sizes_m[which])
            self._resize(colour, size_m)
            x, y, yaw = here
            start = self._cube_qpos[colour]
            turn = (np.cos(yaw / 2), 0, 0, np.sin(yaw / 2))
            self.data.qpos[start : start + 7] = (x, y, size_m / 2, *turn)
            dof = self._cube_dof[colour]
            self.data.qvel[dof : dof + 6] = 0
            spot = (
                scene.plates_xy[scene.plates.index(colour)] if colour in scene.plates else (3.0 + index, 1.0)
            )
            self.data.mocap_pos[self._plate_mocap[colour]] = (*spot, PLATE_HALF_HEIGHT_M)
        self.scene = scene
        self._mujoco.mj_forward(self.model, self.data)
        return scene

    def _resize(self, colour: str, size_m: float) -> None:
        """Give a cube another edge; its mass goes with it."""
        model, body, geom, half_m = self.model, self._cube_body[colour], self._cube_geom[colour], size_m / 2
        mass_kg = CUBE_DENSITY_KG_M3 * size_m**3
        model.geom_size[geom] = half_m
        model.geom_rbound[geom] = half_m * 3**0.5
        model.geom_aabb[geom] = (0, 0, 0, half_m, half_m, half_m)
        model.body_mass[body] = model.body_subtreemass[body] = mass_kg
        model.body_inertia[body] = mass_kg * size_m**2 / 6
        # What mj_setConst would compute, without its pass over the whole model.
        dof = self._cube_dof[colour]
        model.body_invweight0[body] = 1 / mass_kg, 6 / (mass_kg * size_m**2)
        model.dof_invweight0[dof : dof + 3] = 1 / mass_kg
        model.dof_invweight0[dof + 3 : dof + 6] = 6 / (mass_kg * size_m**2)
        self._cube_size_m[colour] = size_m

    def hold(self, colour: str, off_m: FloatArray) -> None:
        """Put a cube between the jaws, off_m (3,) from the grasp point in the gripper's frame."""
        frame = self.data.site_xmat[self._grasp_site].reshape(3, 3)
        start = self._cube_qpos[colour]
        self.data.qpos[start : start + 3] = self.data.site_xpos[self._grasp_site] + frame @ off_m
        self._mujoco.mju_mat2Quat(self.data.qpos[start + 3 : start + 7], frame.flatten())
        self._mujoco.mj_forward(self.model, self.data)

    def place_arm(self, joints_rad: FloatArray) -> None:
        """Set the arm's pose without physics (J,); goals follow, so that it stays there."""
        self.data.qpos[self._qpos] = joints_rad + self._offset_rad
        self.data.qvel[self.dofs] = 0
        self.goal_rad[:] = joints_rad
        self._reference_rad[:] = joints_rad
        self._reference_rad_s[:] = 0
        self.data.ctrl[self._actuators] = joints_rad + self._offset_rad
        self._mujoco.mj_forward(self.model, self.data)

    def _dress(self, rng: np.random.Generator) -> None:
        """Light, table colour, friction and the cameras' poses, varied a little."""
        level = rng.uniform(0.35, 0.65)
        self.model.light_diffuse[self._light] = level * rng.uniform(0.95, 1.05, 3)
        self.model.light_pos[self._light] = (0.3, 0.0, 1.2) + rng.uniform(-0.5, 0.5, 3) * (1, 1, 0.4)
        self.model.vis.headlight.ambient[:] = rng.uniform(0.28, 0.42)
        grey = rng.uniform(0.40, 0.62)
        self.model.geom_rgba[self._table, :3] = np.clip(grey + rng.uniform(-0.04, 0.04, 3), 0, 1)
        for geom in (self._table, *self._cube_geom.values()):
            self.model.geom_friction[geom, 0] = rng.uniform(0.6, 1.0)
        self._nudge_cameras(rng)

    def _nudge_cameras(self, rng: np.random.Generator) -> None:
        """Each camera up to 2 mm and 0.3 degrees off; its square crop moves along."""
        position, quat = self._camera_pose
        for name in ("front", "wrist"):
            shift_m = rng.uniform(-0.002, 0.002, 3)
            turn = np.append(1.0, rng.uniform(-1, 1, 3) * np.radians(0.3) / 2)
            for camera in (name, f"{name}_crop"):
                index = self.model.camera(camera).id
                self.model.cam_pos[index] = position[index] + shift_m
                self._mujoco.mju_mulQuat(self.model.cam_quat[index], quat[index], turn / np.linalg.norm(turn))

    # --- physics ----------------------------------------------------------------------------

    @property
    def time_s(self) -> float:
        return float(self.data.time)

    @property
    def position_rad(self) -> FloatArray:
        position: FloatArray = self.data.qpos[self._qpos] - self._offset_rad
        return position

    @property
    def velocity_rad_s(self) -> FloatArray:
        velocity: FloatArray = self.data.qvel[self.dofs].copy()
        return velocity

    @property
    def load(self) -> FloatArray:
        """Signed fraction of the stall torque, (J,)."""
        load: FloatArray = self.data.actuator_force[self._actuators] / STALL_TORQUE_NM
        return load

    def step(self, count: int = 1) -> None:
        """Advance count physics steps of 1/300 s, each drive following its own trapezoid towards its goal."""
        self._set_drives()
        goal_rad = np.clip(self.goal_rad, self.joint_low_rad, self.joint_high_rad)
        for _ in range(count):
            self._advance_profile(goal_rad)
            self.data.ctrl[self._actuators] = self._reference_rad + self._offset_rad
            self._mujoco.mj_step(self.model, self.data)
        if self._limp:  # a limp joint's profile starts again from wherever it fell
            limp = ~self.torque_on
            self._reference_rad[limp] = self.position_rad[limp]
            self._reference_rad_s[limp] = 0

    def _set_drives(self) -> None:
        """Torque limits and gearboxes' friction into the model; only what has changed costs anything."""
        drives = self.torque_on.tobytes() + self.torque_limit.tobytes()
        if drives == self._drives:
            return
        self._drives, self._limp = drives, not self.torque_on.all()
        limit_nm = STALL_TORQUE_NM * self.torque_limit * self.torque_on
        self.model.actuator_forcerange[self._actuators, 0] = -limit_nm
        self.model.actuator_forcerange[self._actuators, 1] = limit_nm
        self.model.dof_frictionloss[self.dofs] = np.where(
            self.torque_on, POWERED_FRICTION_NM, LIMP_FRICTION_NM
        )

    def _advance_profile(self, goal_rad: FloatArray) -> None:
        """Speed towards the goal, never more than can still be braked away at the acceleration limit."""
        error_rad = goal_rad - self._reference_rad
        distance_rad = np.abs(error_rad)
        # 0 x inf: a drive without a limit that has arrived. It arrives by the line below as well.
        with np.errstate(invalid="ignore"):
            braking_rad_s = np.sqrt(2 * self.accel_limit_rad_s2 * distance_rad)
        speed = np.fmin(np.fmin(self.speed_limit_rad_s, braking_rad_s), distance_rad / PHYSICS_DT_S)
        most = self.accel_limit_rad_s2 * PHYSICS_DT_S
        low, high = self._reference_rad_s - most, self._reference_rad_s + most
        # np.clip and np.sign would say the same more slowly: this runs 300 times a second.
        self._reference_rad_s = np.minimum(np.maximum(np.copysign(speed, error_rad), low), high)
        self._reference_rad = self._reference_rad + self._reference_rad_s * PHYSICS_DT_S

    # --- seeing and judging -----------------------------------------------------------------

    def render(self, camera: str, width: int = FRAME_WIDTH_PX, height: int = FRAME_HEIGHT_PX) -> ImageArray:
        """What a camera of the model sees now: (height, width, 3) uint8 RGB."""
        renderer = self._renderers.get((width, height))
        if renderer is None:
            renderer = self._renderers[(width, height)] = make_renderer(self.model, width, height)
        renderer.update_scene(self.data, camera)
        image: ImageArray = renderer.render()
        return image

    def close(self) -> None:
        """Free the GL contexts; MuJoCo complains at interpreter exit otherwise."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def cube_position_m(self, colour: str) -> FloatArray:
        """Where a cube's centre is, (3,), metres from the base."""
        position: FloatArray = self.data.xpos[self._cube_body[colour]].copy()
        return position

    def cube_yaw_rad(self, colour: str) -> float:
        """A cube's turn about the vertical."""
        matrix = self.data.xmat[self._cube_body[colour]]
        return float(np.arctan2(matrix[3], matrix[0]))

    def cube_size_m(self, colour: str) -> float:
        """A cube's edge."""
        return self._cube_size_m[colour]

    def plate_position_m(self, colour: str) -> FloatArray:
        """Where a plate's centre is, (2,), metres from the base."""
        position: FloatArray = self.data.mocap_pos[self._plate_mocap[colour]][:2].copy()
        return position

    def grasp_position_m(self) -> FloatArray:
        """The point between the fingertips, (3,), metres from the base."""
        position: FloatArray = self.data.site_xpos[self._grasp_site].copy()
        return position

    def height_m(self, colour: str) -> float:
        """How far a cube has been raised from where it lay."""
        return float(self.data.xpos[self._cube_body[colour]][2] - self._cube_size_m[colour] / 2)

    def lifted(self) -> str | None:
        """The colour of the cube that is at least LIFT_M above the table, if any."""
        for colour in self.scene.colours:
            if self.height_m(colour) >= LIFT_M:
                return colour
        return None


def make_renderer(model: Any, width: int, height: int) -> Any:
    """A renderer of this size, in the calling thread's GL context. Close it before the interpreter ends."""
    import mujoco

    try:
        renderer = mujoco.Renderer(model, height, width)
    except (RuntimeError, ImportError, AttributeError) as error:
        raise EdgeWamError(
            f"the simulation cannot render without a screen ({str(error).splitlines()[0]}); "
            f"try: sudo apt-get install libegl1 libegl-mesa0 libgl1-mesa-dri"
        ) from error
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = False  # five times the cost in software GL
    renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
    return renderer
