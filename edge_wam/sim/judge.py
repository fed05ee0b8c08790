"""Did it do what it was told? Read off the simulator's state, which no policy sees."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from edge_wam.sim.scene import PLATE_RADIUS_M
from edge_wam.sim.tasks import TIME_LIMIT_S, command, side_sign
from edge_wam.sim.world import LIFT_M, READY_RAD, World

PUSHED_M = 0.04  # to the side that was named
DISTURBED_M = 0.03  # a cube that was not named and is this far from where it lay
AT_M, HOVER_M = 0.022, (0.04, 0.11)  # pointing: this near, and the grasp point this high above the table
STILL_RAD_S = 0.25
AT_HOME_RAD = 0.10
RELEASED_M = 0.028  # the grasp point is this far from a cube that was let go


class Verdict(NamedTuple):
    """success: it is done; wrong_object: it was done to another cube, or on another plate; over: no need to
    go on."""

    success: bool
    wrong_object: bool
    over: bool


class Judge:
    """Looks once a tick. What counts has to last hold_s."""

    def __init__(self, world: World, command_id: str, hold_s: float = 0.3) -> None:
        self._world, self._wish, self._hold_s = world, command(command_id), hold_s
        self._since_s: float | None = None
        self._wrong = False
        self._wrong_since_s: float | None = None
        self._start_s = world.time_s
        self._start_m = {c: world.cube_position_m(c) for c in world.scene.colours}

    def look(self) -> Verdict:
        """The verdict so far."""
        now_s = self._world.time_s
        self._since_s = self._lasting(self._done(self._wish.colour, self._wish.place), self._since_s)
        self._wrong_since_s = self._lasting(self._mistaken(), self._wrong_since_s)
        self._wrong |= self._wrong_since_s is not None and now_s - self._wrong_since_s >= self._hold_s
        success = self._since_s is not None and now_s - self._since_s >= self._hold_s
        late = now_s - self._start_s >= TIME_LIMIT_S[self._wish.verb]
        return Verdict(success, self._wrong, success or late)

    def _lasting(self, now: bool, since_s: float | None) -> float | None:
        if not now:
            return None
        return self._world.time_s if since_s is None else since_s

    def _mistaken(self) -> bool:
        """The verb was done to a cube that was not named, or the named cube was put on another plate; after a
        push, any other cube lies elsewhere."""
        wish, world = self._wish, self._world
        others = [c for c in world.scene.colours if c != wish.colour]
        if wish.verb in ("pick", "put"):
            lifted = world.lifted()
            elsewhere = [p for p in world.scene.plates if p != wish.place]
            astray = wish.verb == "put" and any(self._done(wish.colour, plate) for plate in elsewhere)
            return astray or (lifted is not None and lifted != wish.colour)
        if wish.verb == "push":
            return any(self._moved_m(c)[:2] @ self._moved_m(c)[:2] >= DISTURBED_M**2 for c in others)
        return wish.verb == "point" and any(self._done(c, "") for c in others)

    def _moved_m(self, colour: str) -> np.ndarray:
        return self._world.cube_position_m(colour) - self._start_m[colour]

    def _done(self, colour: str, place: str) -> bool:
        world, verb = self._world, self._wish.verb
        if verb == "home":
            return bool(np.abs(world.position_rad[:5] - READY_RAD[:5]).max() < AT_HOME_RAD)
        cube_m, tip_m = world.cube_position_m(colour), world.grasp_position_m()
        if verb == "pick":
            return world.lifted() == colour
        if verb == "push":
            moved_m = self._moved_m(colour)
            aside_m = moved_m[1] * side_sign(place)
            return bool(aside_m >= PUSHED_M and aside_m > abs(moved_m[0]) and abs(moved_m[2]) < LIFT_M / 2)
        if verb == "point":
            near = bool(np.hypot(*(tip_m - cube_m)[:2]) < AT_M and HOVER_M[0] < tip_m[2] < HOVER_M[1])
            calm = bool(np.abs(world.velocity_rad_s[:5]).max() < STILL_RAD_S)
            still_there = float(np.linalg.norm(self._moved_m(colour))) < DISTURBED_M
            closed = bool(world.position_rad[5] < 0.3)
            return near and calm and still_there and closed
        on_plate = float(np.hypot(*(cube_m[:2] - world.plate_position_m(place)))) < PLATE_RADIUS_M
        low = world.height_m(colour) < 0.006
        return bool(on_plate and low and float(np.linalg.norm(tip_m - cube_m)) > RELEASED_M)
