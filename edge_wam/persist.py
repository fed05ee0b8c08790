"""What to do when the arm's cable comes out: wait for it, and go on with it."""

from __future__ import annotations

from collections.abc import Callable

from edge_wam.clock import Clock
from edge_wam.errors import BusError, CalibrationError
from edge_wam.orders import OrderSource, Verb

LOOK_S = 0.1
PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
BACK = "the arm is back"
HELD = f"{BACK}, and held where it is; say the command again"


def persist(
    fly: Callable[[], None],
    reconnect: Callable[[], None],
    orders: OrderSource,
    clock: Clock,
    tell: Callable[[str], object],
    beat: Callable[[float], object] = lambda t_s: None,
    resume: Callable[[], str] = lambda: HELD,
) -> None:
    """Call `fly`, the control loop, until it ends by order; whenever it loses the bus, wait and start anew.

    reconnect raises BusError or CalibrationError while the arm is not there, or is another one: it is asked
    again after a pause that grows. Orders given meanwhile are dropped, but for QUIT; beat feeds the watchdog.
    resume is called when it is back, before it moves, and says what will happen.
    """
    while True:
        try:
            fly()
            return
        except BusError as error:
            tell(f"{error} Waiting for the arm.")
        if not _back(reconnect, orders, clock, tell, beat):
            return
        tell(resume())


def _back(
    reconnect: Callable[[], None],
    orders: OrderSource,
    clock: Clock,
    tell: Callable[[str], object],
    beat: Callable[[float], object],
) -> bool:
    """Wait until the arm is back; False if QUIT was ordered first."""
    pause_s, again_s, said = PAUSE_S, clock.now_s() + PAUSE_S, ""
    while True:
        clock.sleep_until(clock.now_s() + LOOK_S)
        beat(clock.now_s())
        if any(order.verb is Verb.QUIT for order in orders.take()):
            return False
        if clock.now_s() < again_s:
            continue
        try:
            reconnect()
            return True
        except (BusError, CalibrationError) as error:
            if str(error) != said:
                said = str(error)
                tell(said)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        again_s = clock.now_s() + pause_s
