"""Which microphone a setting means: PortAudio's number, a name or part of it, or a USB id as 1234:abcd.

A USB id is the one thing that stays when a microphone goes to another port: sysfs says which sound card
it became, and PortAudio's ALSA devices carry the card in their names, as "USB Audio: - (hw:1,0)".
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from edge_wam.errors import VoiceError, nearest

SYS_SOUND = Path("/sys/class/sound")
_USB_ID = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}", re.IGNORECASE)
_CARD = re.compile(r"\s*\((?:plug)?hw:(\d+),\d+\)$")


class Input(NamedTuple):
    """One of PortAudio's inputs, by its number there. rate_hz is the rate it prefers."""

    number: int
    name: str
    rate_hz: int


def inputs(sounddevice: Any) -> list[Input]:
    """Every device that can be listened to. Any: the package has no types."""
    return [
        Input(number, str(device["name"]), round(device["default_samplerate"]))
        for number, device in enumerate(sounddevice.query_devices())
        if device["max_input_channels"] > 0
    ]


def choose(sounddevice: Any, wanted: str, sys_sound: Path = SYS_SOUND) -> Input:
    """The input that `wanted` means; '' is the system's default.

    VoiceError names what there is if it is none of these, or several.
    """
    found = inputs(sounddevice)
    if _USB_ID.fullmatch(wanted):
        return _by_usb_id(found, wanted.lower(), sys_sound)
    try:
        asked = int(wanted) if wanted.isdigit() else wanted or None
        number = int(sounddevice.query_devices(asked, "input")["index"])
    except (sounddevice.PortAudioError, ValueError) as error:
        said = str(error).strip().splitlines() or [type(error).__name__]
        names = [one.name for one in found]
        raise VoiceError(
            f"voice.device: no microphone '{wanted or 'the default one'}' ({said[0].rstrip(':')})"
            f"{nearest(wanted, names)}; found: {', '.join(names) or 'no microphone at all'}"
        ) from error
    return next(one for one in found if one.number == number)


def name_to_keep(wanted: str, name: str) -> str:
    """What to look for when the device that was opened as `name` comes back.

    Numbers, of devices and of sound cards, are given anew at every plugging; so is what is the default.
    """
    return wanted if wanted and not wanted.isdigit() else _CARD.sub("", name)


def usb_cards(sys_sound: Path = SYS_SOUND) -> dict[int, str]:
    """Number of the sound card -> USB id, for those on USB, by number."""
    cards = {}
    for link in sys_sound.glob("card[0-9]*"):
        place = (link / "device").resolve()  # an interface of the USB device; the device is above it
        for folder in (place, *place.parents):
            if (folder / "idVendor").is_file():
                vendor, product = ((folder / name).read_text().strip() for name in ("idVendor", "idProduct"))
                cards[int(link.name.removeprefix("card"))] = f"{vendor}:{product}".lower()
                break
    return dict(sorted(cards.items()))


def _by_usb_id(found: Iterable[Input], wanted: str, sys_sound: Path) -> Input:
    cards = usb_cards(sys_sound)
    numbers = [number for number, usb_id in cards.items() if usb_id == wanted]
    if not numbers:
        there = ", ".join(f"{usb_id} (card {number})" for number, usb_id in cards.items())
        raise VoiceError(
            f"voice.device: no sound card has the USB id {wanted}; found: {there or 'no sound card on USB'}; "
            "try: lsusb"
        )
    of_card = {number: [one for one in found if _card_of(one.name) == number] for number in numbers}
    heard = [number for number in numbers if of_card[number]]
    if not heard:
        raise VoiceError(
            f"voice.device: {wanted} is sound card {numbers[0]}, but PortAudio has no input of it; has it a "
            "microphone? does another program hold it? try: fuser -v /dev/snd/*"
        )
    if len(heard) > 1:
        names = ", ".join(f"'{of_card[number][0].name}'" for number in heard)
        raise VoiceError(f"voice.device: several sound cards have the USB id {wanted}; try a name: {names}")
    return of_card[heard[0]][0]


def _card_of(name: str) -> int | None:
    card = _CARD.search(name)
    return int(card[1]) if card else None
