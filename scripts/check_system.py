"""Says in one line what a machine lacks for `make demo` and `make test`, and the command that brings it.

    python3 scripts/check_system.py          # Python, its venv, OpenGL without a screen

Exit status 1 and one line on stderr if something is missing. Runs before anything is installed: the
standard library only, and the grammar of an old Python, whose age is one of the things to tell.
"""

import ctypes
import os
import sys

OLDEST = (3, 10)
EGL_PACKAGES = ("libegl1", "libegl-mesa0", "libgl1-mesa-dri")
_PLATFORM_DEVICE = 0x313F  # EGL_PLATFORM_DEVICE_EXT
_DEVICES_MAX = 16


def lacks_venv():
    """Whether `python -m venv` would fail: Debian keeps ensurepip in a package of its own."""
    try:
        import ensurepip
        import venv

        del ensurepip, venv  # looked for, not used
    except ImportError:
        return True
    return False


def egl_devices():
    """How many EGL devices can be initialised without a display, as MuJoCo does it."""
    egl = ctypes.CDLL("libEGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p

    def function(name, result, *arguments):
        address = egl.eglGetProcAddress(name)
        if not address:
            raise OSError("no " + name.decode())
        return ctypes.CFUNCTYPE(result, *arguments)(address)

    pointer, count = ctypes.c_void_p, ctypes.c_int(0)
    query = function(b"eglQueryDevicesEXT", ctypes.c_uint, ctypes.c_int, pointer, pointer)
    display_of = function(b"eglGetPlatformDisplayEXT", pointer, ctypes.c_uint, pointer, pointer)
    devices = (pointer * _DEVICES_MAX)()
    query(_DEVICES_MAX, ctypes.cast(devices, pointer), ctypes.cast(ctypes.byref(count), pointer))
    egl.eglInitialize.argtypes, egl.eglTerminate.argtypes = (pointer, pointer, pointer), (pointer,)
    alive = 0
    for device in devices[: count.value]:
        display = display_of(_PLATFORM_DEVICE, device, None)
        if display and egl.eglInitialize(display, None, None):
            egl.eglTerminate(display)
            alive += 1
    return alive


def lacks_egl():
    """Whether there is no way to render without a screen."""
    try:
        return egl_devices() == 0
    except (OSError, AttributeError):
        return True


def lacks_opengl():
    """Whether PyOpenGL would find no OpenGL functions: EGL's packages do not bring them along."""
    for name in ("libOpenGL.so.0", "libGL.so.1"):
        try:
            ctypes.CDLL(name)
            return False
        except OSError:
            continue
    return True


def main():
    """Look, and tell."""
    if sys.version_info < OLDEST:
        found = ".".join(map(str, sys.version_info[:2]))
        return complain("expected Python 3.10 or newer, found " + found + "; try: make PYTHON=python3.12 ...")
    wanted, packages = [], []
    if lacks_venv():
        wanted.append("Python's venv")
        packages.append("python3-venv")
    if os.environ.get("MUJOCO_GL", "egl") == "egl":
        if lacks_egl():
            wanted.append("headless OpenGL (EGL)")
            packages.extend(EGL_PACKAGES)
        if lacks_opengl():
            wanted.append("the OpenGL library")
            packages.append("libopengl0")
    if packages:
        return complain("missing: " + ", ".join(wanted) + "; try: sudo apt-get install " + " ".join(packages))
    return 0


def complain(line):
    """One line for a person; the exit status."""
    print(line, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
