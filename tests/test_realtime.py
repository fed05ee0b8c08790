"""Real time as far as the kernel lets it: what is refused is said, and everything is as before afterwards."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
import types

import pytest

from edge_wam import realtime as rt


@pytest.fixture
def kernel(monkeypatch):
    """A kernel that grants everything and notes what it was asked for; `refuse` names what it will not do."""
    asked, refuse = [], {}

    def call(name, result=None):
        def answer(*arguments):
            asked.append((name, *arguments))
            if name in refuse:
                raise PermissionError(1, refuse[name])
            return result

        return answer

    monkeypatch.setattr(rt, "_CORES", frozenset({0, 1, 2, 3}))
    monkeypatch.setattr(rt.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    for name in ("sched_setaffinity", "sched_setscheduler", "setpriority"):
        monkeypatch.setattr(rt.os, name, call(name))
    monkeypatch.setattr(rt.os, "sched_getscheduler", lambda pid: os.SCHED_OTHER)
    monkeypatch.setattr(rt.os, "getpriority", lambda which, who: 5)
    monkeypatch.setattr(rt.os, "geteuid", lambda: 1000)
    limit = rt.resource.RLIM_INFINITY
    monkeypatch.setattr(rt.resource, "getrlimit", lambda which: (refuse.get("limit", limit),) * 2)
    libc = types.SimpleNamespace(
        mlockall=call("mlockall", 0), munlockall=call("munlockall", 0), mallopt=call("mallopt", 1)
    )
    monkeypatch.setattr(rt.ctypes, "CDLL", lambda *a, **k: libc)
    return types.SimpleNamespace(asked=asked, refuse=refuse, libc=libc)


def names(kernel):
    return [call[0] for call in kernel.asked]


def test_everything_that_is_granted_is_taken_back(kernel):
    said = []
    with rt.realtime(said.append):
        assert ("sched_setaffinity", 0, {3}) in kernel.asked
        policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
        assert kernel.asked[1][:3] == ("sched_setscheduler", 0, policy)
        assert kernel.asked[1][3].sched_priority == rt.PRIORITY
        assert ("mlockall", 3) in kernel.asked
        assert not gc.isenabled()
        assert gc.get_freeze_count() > 0
    assert said == []
    assert gc.isenabled()
    assert gc.get_freeze_count() == 0
    assert kernel.asked[-3][0] == "munlockall"
    assert kernel.asked[-2][:3] == ("sched_setscheduler", 0, os.SCHED_OTHER)
    assert kernel.asked[-1] == ("sched_setaffinity", 0, {0, 1, 2, 3})


def test_everything_is_taken_back_after_an_error_too(kernel):
    with pytest.raises(ValueError, match="in the loop"), rt.realtime(print):
        raise ValueError("in the loop")
    assert gc.isenabled()
    assert kernel.asked[-1] == ("sched_setaffinity", 0, {0, 1, 2, 3})


def test_a_kernel_without_fifo_gives_a_nice_level_and_it_is_said_once(kernel):
    kernel.refuse["sched_setscheduler"] = "Operation not permitted"
    said = []
    with rt.realtime(said.append):
        assert ("setpriority", os.PRIO_PROCESS, 0, rt.NICE) in kernel.asked
    assert len(said) == 1
    assert "refuses SCHED_FIFO (Operation not permitted); a nice level of -15 stands in" in said[0]
    assert ("setpriority", os.PRIO_PROCESS, 0, 5) in kernel.asked[-2:]


def test_a_user_who_may_do_nothing_is_told_everything_in_one_line(kernel):
    kernel.refuse |= {"sched_setscheduler": "no", "setpriority": "no", "sched_setaffinity": "no"}
    kernel.refuse["limit"] = 8 << 20
    said = []
    with rt.realtime(said.append):
        assert not gc.isenabled()  # this is nobody's to refuse
    assert len(said) == 1
    for part in ("control cannot have core 3", "LimitRTPRIO=60", "not be locked beyond 8 MB"):
        assert part in said[0]
    assert "mlockall" not in names(kernel)  # under a limit it would fail later, in the middle of a motion


def test_memory_that_cannot_be_locked_is_said_with_the_reason(kernel, monkeypatch):
    kernel.libc.mlockall = lambda flags: ctypes.set_errno(12) or -1
    said = []
    rt.prepare(said.append)
    gc.unfreeze()
    gc.enable()
    assert len(said) == 1
    assert "memory cannot be locked (" in said[0]


@pytest.mark.parametrize(
    ("cores", "own", "others"),
    [({0}, None, {0}), ({0, 1}, 1, {0, 1}), ({2, 3, 5}, 5, {2, 3, 5}), ({0, 1, 2, 3}, 3, {0, 1, 2})],
)
def test_others_leave_control_its_core_only_where_there_are_enough(monkeypatch, cores, own, others):
    monkeypatch.setattr(rt, "_CORES", frozenset(cores))
    assert rt.control_core() == own
    assert rt.cores_of_others() == others


def test_a_machine_with_one_core_says_so(kernel, monkeypatch):
    monkeypatch.setattr(rt, "_CORES", frozenset({0}))
    said = []
    for undo in rt.prepare(said.append):
        undo()
    assert said == ["this machine has one core only; control shares it with the model"]


def test_the_real_kernel_takes_everything_back():
    before = os.sched_getaffinity(0), os.sched_getscheduler(0), gc.isenabled()
    with rt.realtime(lambda text: None):
        pass
    assert (os.sched_getaffinity(0), os.sched_getscheduler(0), gc.isenabled()) == before


AS_A_USER = """
import os
from edge_wam import realtime
said = []
undone = realtime.prepare(said.append)
ahead = os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO
os.setresuid(65534, 65534, 65534)  # from here on: no capability
for undo in reversed(undone):
    undo()
print(ahead, os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER)
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="real time by a limit is imitated by dropping root")
def test_who_has_it_by_a_limit_alone_ends_without_an_error():
    """Linux lets nobody without CAP_SYS_NICE take SCHED_RESET_ON_FORK back: that ended in an error."""
    done = subprocess.run([sys.executable, "-c", AS_A_USER], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    ahead, back = done.stdout.split()
    if ahead != "True":
        pytest.skip("this kernel gives no SCHED_FIFO")
    assert back == "True"
