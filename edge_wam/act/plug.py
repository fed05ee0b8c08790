"""The arm's adapter, found again under whatever name it comes back."""

from __future__ import annotations

import os
from collections.abc import Callable

from edge_wam.errors import BusError


def usb_ports() -> dict[str, str]:
    """Serial number of each USB adapter there is -> its device."""
    from serial.tools import list_ports

    return {port.serial_number: port.device for port in list_ports.comports() if port.serial_number}


class Plug:
    """Remembers which adapter was behind a path: by its serial number, if it has one."""

    def __init__(self, path: str, ports: Callable[[], dict[str, str]] = usb_ports) -> None:
        self._path, self._ports = path, ports
        device = os.path.realpath(path)
        self._serial = next((serial for serial, there in ports().items() if there == device), "")

    def find(self) -> str:
        """Where it is now. BusError if it is nowhere."""
        if not self._serial:
            if os.path.exists(self._path):
                return self._path
            raise BusError(f"{self._path} is not there; is the adapter plugged in?")
        if there := self._ports().get(self._serial):
            return there
        raise BusError(f"the adapter {self._serial} of {self._path} is not plugged in")
