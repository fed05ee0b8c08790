"""What keeps a control loop from waiting for its own computer, as far as the kernel lets it.

    with realtime(say=print):
        run(...)

Ahead of everybody (SCHED_FIFO), on a core of its own, all memory in place (mlockall, no trimming, the stack
touched), no garbage collection. Each of these is tried by itself; one that cannot be had is said once, with
what would help, and the loop runs without it: late slots are skipped and counted either way (clock.ticks).

Children that are started inside the block inherit none of it: the kernel resets their scheduling
(SCHED_RESET_ON_FORK), memory locks never cross a fork, and process.py gives them their cores.

After upkie's configure_scheduler, lock_memory and configure_cpu; why each is needed:
wiki.linuxfoundation.org, "HOWTO build a simple RT application".
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
from collections.abc import Callable, Iterator

PRIORITY = 60  # above what Debian's kernels run their interrupt threads at (50): a servo bus is one interrupt
NICE = -15  # where there is no SCHED_FIFO
STACK_BYTES = 512 << 10
_MCL_CURRENT, _MCL_FUTURE = 1, 2
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # malloc.h

Undo = Callable[[], object]


@contextlib.contextmanager
def realtime(say: Callable[[str], object], core: int | None = None) -> Iterator[None]:
    """In the block this thread (its process's main thread) runs as `prepare` says; afterwards as before."""
    lacking: list[str] = []
    with contextlib.ExitStack() as stack:
        for undo in prepare(lacking.append, core):
            stack.callback(undo)
        if lacking:
            say(f"not wholly in real time: {'; '.join(lacking)}")
        yield


def prepare(say: Callable[[str], object], core: int | None = None) -> list[Undo]:
    """Everything there is; returns how to take it back, and says what there is not. core: None takes the last
    one, if there are two."""
    undone: list[Undo] = []
    abilities: tuple[Callable[[], Undo], ...] = (
        lambda: _own_core(core),
        _ahead_of_others,
        _locked_memory,
        _no_garbage,
    )
    for ability in abilities:
        try:
            undone.append(ability())
        except OSError as error:
            say(str(error.strerror))
            if isinstance(error, _HalfDone):
                undone.append(error.undo)
    return undone


# What this process was given to begin with: what it may use later may be one core.
_CORES = frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()
ROOM_FROM = 4  # cores; with fewer, everybody else needs control's core too (it sleeps most of the time)


def control_core() -> int | None:
    """The core that is control's: the last one this process may use, None where there is only one."""
    return max(_CORES) if len(_CORES) > 1 else None


def cores_of_others() -> frozenset[int]:
    """Where every other process of ours runs: not on control's core, if there are cores enough."""
    core = control_core()
    return _CORES - {core} if len(_CORES) >= ROOM_FROM and core is not None else _CORES


def _own_core(core: int | None) -> Undo:
    core = control_core() if core is None else core
    if core is None or not hasattr(os, "sched_setaffinity"):
        raise OSError(0, "this machine has one core only; control shares it with the model")
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {core})
    except OSError as error:
        raise OSError(error.errno, f"control cannot have core {core} for itself ({error.strerror})") from None
    return lambda: os.sched_setaffinity(0, before)


def _ahead_of_others() -> Undo:
    if not hasattr(os, "SCHED_FIFO"):
        raise OSError(0, "this system has no SCHED_FIFO")
    policy, before = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_getparam(0)
    usual = os.sched_getscheduler(0)
    try:
        os.sched_setscheduler(0, policy, os.sched_param(PRIORITY))
    except OSError as refused:
        # Kernels with CONFIG_RT_GROUP_SCHED refuse even root, in a group without a share of real time.
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICE)
        except OSError:
            raise OSError(
                refused.errno,
                f"the kernel refuses SCHED_FIFO ({refused.strerror}) and a nice level of {NICE}; try: the "
                f"service, or LimitRTPRIO={PRIORITY} and LimitNICE={NICE}",
            ) from None
        raise _HalfDone(
            f"the kernel refuses SCHED_FIFO ({refused.strerror}); a nice level of {NICE} stands in for it",
            lambda: os.setpriority(os.PRIO_PROCESS, 0, nice),
        ) from None

    def undo() -> None:
        try:
            os.sched_setscheduler(0, usual, before)
        except PermissionError:
            # Who was let do this by a limit (RLIMIT_RTPRIO) alone may go back, but not take back this flag.
            os.sched_setscheduler(0, usual | os.SCHED_RESET_ON_FORK, before)

    return undo


class _HalfDone(OSError):
    """Said like a failure, and undone like a success."""

    def __init__(self, said: str, undo: Undo) -> None:
        super().__init__(0, said)
        self.undo = undo


def _locked_memory() -> Undo:
    libc = ctypes.CDLL(None, use_errno=True)
    for name in ("mlockall", "munlockall"):
        if not hasattr(libc, name):
            raise OSError(0, f"this system has no {name}")
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit != resource.RLIM_INFINITY and os.geteuid() != 0:
        # With MCL_FUTURE under a limit, an allocation would fail later, in the middle of a motion.
        raise OSError(0, f"memory may not be locked beyond {limit >> 20} MB; try: LimitMEMLOCK=infinity")
    # Freed memory is kept, big blocks come from the heap, threads share it: no page is fetched again.
    for parameter, value in ((_M_TRIM_THRESHOLD, -1), (_M_MMAP_MAX, 0), (_M_ARENA_MAX, 1)):
        if hasattr(libc, "mallopt"):
            libc.mallopt(parameter, value)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        reason = os.strerror(ctypes.get_errno())
        raise OSError(ctypes.get_errno(), f"memory cannot be locked ({reason}); try: LimitMEMLOCK=infinity")
    ctypes.memset(ctypes.create_string_buffer(STACK_BYTES), 0, STACK_BYTES)
    return lambda: libc.munlockall()


def _no_garbage() -> Undo:
    """What is there now is never looked at again, and what comes is freed by its reference counts alone."""
    was = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()

    def undo() -> None:
        gc.unfreeze()
        if was:
            gc.enable()

    return undo
