"""A machine with a kernel and a udev of its own: Debian 12 in QEMU, emulated (`make test-vm`).

    with Virtual() as machine:
        machine.run("systemctl", "start", "edge-wam")

What booted.py's boxes cannot show: devices that come and go, the rules that name them, limits that are
raised. The arm hangs on QEMU's own USB adapter, an FT232: the servos are out here (Cable), the kernel's
ftdi_sio in there. The stock kernel has both ends of another cable too (dummy_hcd, a configfs gadget of
f_acm): an adapter of cdc_acm, to be named. No KVM (a stock kernel hangs in some), no disk: the root is the
initial RAM file system. Base, kernel and wheels are kept in booted.py's cache; edge_wam is installed into a
copy of the base, each time.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import booted
from machine import POLL_S, Machine, done

from edge_wam.act.calibration import Calibration
from edge_wam.act.limits import load_limits
from edge_wam.sim.faults import MIDDLE_RAD
from edge_wam.sim.kinematic import STEP_S, KinematicPlant
from edge_wam.sim.servos import ServoChain

SUITE, PACKAGES = "bookworm", "systemd,systemd-sysv,udev,dbus,python3,python3-venv,sudo,kmod,libportaudio2"
# The host controller and the adapter; both ends of another cable; a sound card.
MODULES = ("xhci_pci", "ftdi_sio", "dummy_hcd", "libcomposite", "usb_f_acm", "cdc_acm", "snd_aloop")
SERIAL = "FT5A68012345"
HERE = Path(__file__).parent / "virtual"
ROOT = booted.ROOT
TOOLS = ("mmdebstrap", "qemu-system-x86_64", "cpio", "chroot", "dpkg", "depmod", "modprobe")
EXTRAS = "voice"
MEMORY_MB, BOOT_S = 3072, 600.0


def lacking() -> str:
    """Why no virtual machine can be had here, or ''."""
    if os.uname().machine != "x86_64" or os.geteuid() != 0:
        return "a virtual machine needs root, to make its file system, and an x86_64"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return (
            f"a virtual machine needs {', '.join(missing)}; "
            f"try: apt-get install --no-install-recommends mmdebstrap qemu-system-x86 cpio kmod"
        )
    return (
        ""
        if _release()
        else f"no Debian kernel (linux-image-amd64) in apt's lists; try: {SUITE}, apt-get update"
    )


def _release() -> str:
    """Which kernel this suite has: 6.1.0-50-amd64."""
    words = ["apt-cache", "depends", "linux-image-amd64"]
    said = subprocess.run(words, capture_output=True, text=True, check=False).stdout
    found = [line.split()[-1] for line in said.splitlines() if "Depends: linux-image-" in line]
    return found[0].removeprefix("linux-image-") if found else ""


def base() -> Path:
    """A Debian without a kernel (a minute the first time)."""

    def make(folder: Path) -> None:
        words = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(folder)]
        subprocess.run(words, check=True)
        for waste in (
            "usr/share/doc",
            "usr/share/locale",
            "usr/share/man",
            "var/cache/apt",
            "var/lib/apt/lists",
        ):
            shutil.rmtree(folder / waste, ignore_errors=True)

    return booted.made(booted.cache() / f"vm-{SUITE}-{booted.key(PACKAGES)}", make)


def kernel() -> Path:
    """Debian's, unpacked; nothing is installed."""
    release = _release()

    def make(folder: Path) -> None:
        with tempfile.TemporaryDirectory() as there:
            # apt fetches as a user of its own
            os.chmod(there, 0o777)
            words = ["apt-get", "download", "--quiet", f"linux-image-{release}"]
            subprocess.run(words, check=True, cwd=there, stdout=subprocess.DEVNULL)
            (package,) = Path(there).glob("*.deb")
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True)
        subprocess.run(["depmod", "-b", str(folder), release], check=True)

    return booted.made(booted.cache() / f"kernel-{release}", make)


def _modules(image: Path) -> None:
    """MODULES and what they need, of the kernel's four thousand."""
    folder, release = kernel(), _release()
    for name in MODULES:
        words = ["modprobe", "-d", str(folder), "-S", release, "--show-depends", name]
        said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
        for line in said.splitlines():
            if line.startswith("insmod "):
                path = Path(line.split()[1]).relative_to(folder)
                (image / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(folder / path, image / path)
    for path in (folder / f"lib/modules/{release}").glob("modules.*"):
        shutil.copy(path, image / f"lib/modules/{release}")
    subprocess.run(["depmod", "-b", str(image), release], check=True)


def image(file: Path) -> None:
    """The root with edge_wam installed by scripts/install.sh, as the kernel takes it (newc)."""
    with tempfile.TemporaryDirectory(prefix="vm-", dir=booted.cache()) as draft:
        root = Path(draft) / "root"
        subprocess.run(["cp", "-a", str(base()), str(root)], check=True)
        _modules(root)
        shutil.copytree(booted.wheels(SUITE), root / "srv/wheels", copy_function=os.link)
        booted.wheel(root / "srv/wheels")
        for name in ("scripts", "models", "calibration", "edge_wam/service/files", "tests/service/virtual"):
            shutil.copytree(ROOT / name, root / "srv/source" / name)
        words = [
            "chroot",
            str(root),
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            f"EXTRAS={EXTRAS}",
        ]
        words += ["bash", "/srv/source/scripts/install.sh", "--wheels", "/srv/wheels"]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        shutil.rmtree(root / "srv/wheels")
        shutil.copy(HERE / "agent.service", root / "etc/systemd/system")
        wanted = root / "etc/systemd/system/multi-user.target.wants"
        wanted.mkdir(exist_ok=True)
        (wanted / "agent.service").symlink_to("/etc/systemd/system/agent.service")
        (root / "etc/hostname").write_text("robot\n")
        (root / "etc/hosts").write_text("127.0.0.1 localhost robot\n")
        with file.open("wb") as out:
            script = "find . -print0 | cpio --null --create --format=newc --quiet"
            subprocess.run(["sh", "-c", script], cwd=root, stdout=out, check=True)


class Cable:
    """An arm of six simulated STS3215 without mass, and its USB cable."""

    def __init__(self, path: Path) -> None:
        folder = ROOT / "calibration/so101-sim"
        limits = load_limits(folder / "limits.toml")
        self.plant = KinematicPlant(MIDDLE_RAD, limits.low_rad - 0.02, limits.high_rad + 0.02)
        self.plant.torque_on[:] = False
        self._chain = ServoChain(self.plant, Calibration.load(folder / "arm.json"))
        self._path, self._running = str(path), False
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self.unplug()

    def plug(self) -> None:
        """Plugged in; the servos have been under power all the time."""
        line = socket.socket(socket.AF_UNIX)
        line.connect(self._path)
        self._running = True
        self._thread = threading.Thread(target=self._serve, args=(line,), daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Pulled out."""
        self._running = False
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _serve(self, line: socket.socket) -> None:
        start_s, step = time.monotonic(), 0
        with line:
            while self._running:
                there, _, _ = select.select([line], [], [], STEP_S)
                if (due := int((time.monotonic() - start_s) / STEP_S) - step) > 0:
                    self.plant.step(due)
                    self._chain.update()
                    step += due
                if there:
                    if not (data := line.recv(4096)):
                        return  # the machine is gone
                    # At once: what the bytes would need on a wire is little beside what the emulation takes.
                    line.sendall(b"".join(reply.data for reply in self._chain.replies(data)))


class Virtual(Machine):
    """One machine. It dies with whoever started it."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.boot_s = self.image_s = 0.0

    def __enter__(self) -> Virtual:
        with contextlib.ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vm-", dir=booted.cache())))
            began_s = time.monotonic()
            image(folder / "root")
            self.image_s = time.monotonic() - began_s
            self._console = folder / "console"
            agent = folder / "agent"
            words = ["setpriv", "--pdeathsig", "KILL", "qemu-system-x86_64", "-accel", "tcg,thread=multi"]
            words += [
                "-cpu",
                "max",
                "-smp",
                "2",
                "-m",
                str(MEMORY_MB),
                "-nodefaults",
                "-display",
                "none",
                "-no-reboot",
            ]
            words += [
                "-kernel",
                str(kernel() / f"boot/vmlinuz-{_release()}"),
                "-initrd",
                str(folder / "root"),
            ]
            words += ["-append", "rdinit=/sbin/init console=ttyS0 mitigations=off panic=-1 quiet"]
            words += ["-serial", f"file:{self._console}", "-serial", f"unix:{agent},server=on,wait=off"]
            # It is plugged in for as long as somebody is connected.
            words += [
                "-chardev",
                f"socket,id=arm,path={folder / 'arm'},server=on,wait=off",
                "-device",
                "qemu-xhci",
            ]
            words += ["-device", f"usb-serial,chardev=arm,serial={SERIAL}"]
            self.cable = stack.enter_context(Cable(folder / "arm"))
            qemu = subprocess.Popen(words, stdin=subprocess.DEVNULL)
            stack.callback(qemu.wait)
            stack.callback(qemu.kill)
            began_s = time.monotonic()
            self._line = stack.enter_context(socket.socket(socket.AF_UNIX))
            while not agent.exists() and time.monotonic() - began_s < 10:
                time.sleep(POLL_S)
            self._line.connect(str(agent))
            self._wait_running(qemu)
            self.boot_s = time.monotonic() - began_s
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _wait_running(self, qemu: subprocess.Popen[bytes]) -> None:
        """The agent speaks first."""
        self._line.settimeout(BOOT_S)
        try:
            hello = self._answer()
        except (TimeoutError, ConnectionError):
            hello = None
        if hello is None or qemu.poll() is not None:
            raise RuntimeError(f"it did not boot: {self._console.read_text(errors='replace')[-2000:]}")

    def _answer(self) -> dict[str, object]:
        data = b""
        while not data.endswith(b"\n"):
            if not (more := self._line.recv(65536)):
                raise ConnectionError("the virtual machine is gone")
            data += more
        found: dict[str, object] = json.loads(data)
        return found

    def run(
        self, *words: str, check: bool = True, timeout_s: float = 300.0, wish: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        asked = {"words": ["/usr/bin/env", *words], "wish": wish, "timeout_s": timeout_s}
        self._line.settimeout(timeout_s + 30.0)
        self._line.sendall(json.dumps(asked).encode() + b"\n")
        said = self._answer()
        return done(words, int(str(said["code"])), str(said["out"]), str(said["err"]), check)
