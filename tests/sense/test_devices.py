"""Which microphone a setting means, with a sysfs of the test's own."""

import pytest

from edge_wam.errors import VoiceError
from edge_wam.sense.devices import choose, inputs, name_to_keep, usb_cards


class PortAudio:
    """sounddevice's two questions, over a list of (name, channels)."""

    class PortAudioError(Exception):
        pass

    def __init__(self, *devices, default=-1):
        self._devices, self._default = devices, default

    def query_devices(self, device=None, kind=None):
        found = [
            {"index": index, "name": name, "max_input_channels": channels, "default_samplerate": 48_000.0}
            for index, (name, channels) in enumerate(self._devices)
        ]
        if kind is None:
            return found
        if device is None and self._default < 0:
            raise self.PortAudioError("Error querying device -1")
        if isinstance(device, str):
            fits = [one for one in found if device in one["name"] and one["max_input_channels"]]
            if len(fits) > 1:
                raise ValueError(f"Multiple input devices found for '{device}':\n[0] ...")
            if not fits:
                raise ValueError(f"No input device matching '{device}'")
            return fits[0]
        number = self._default if device is None else device
        if number >= len(found) or not found[number]["max_input_channels"]:
            raise ValueError("Not an input device")
        return found[number]


HDMI, BOARD = ("HDA NVidia: HDMI 0 (hw:0,3)", 0), ("APE: - (hw:1,0)", 2)
HEADSET, CAMERA = ("USB Headset: Audio (hw:2,0)", 1), ("HD Webcam: USB Audio (hw:10,0)", 2)
ALL = PortAudio(HDMI, BOARD, HEADSET, CAMERA, default=1)


class SysSound:
    """/sys/class/sound as the kernel makes it: links to interfaces, whose USB device is the folder above."""

    def __init__(self, root):
        self._root, self.path = root, root / "class/sound"
        self.path.mkdir(parents=True)

    def card(self, number, place, usb_id=""):
        device = self._root / "devices" / place
        folder = (device / f"{device.name}:1.0" if usb_id else device) / "sound" / f"card{number}"
        folder.mkdir(parents=True)
        if usb_id:
            self.usb(place, usb_id)
        (folder / "device").symlink_to(folder.parents[1])
        (self.path / f"card{number}").symlink_to(folder)
        (self.path / f"pcmC{number}D0c").mkdir()

    def usb(self, place, usb_id):
        for name, text in zip(("idVendor", "idProduct"), usb_id.split(":"), strict=True):
            (self._root / "devices" / place / name).write_text(f"{text}\n")


@pytest.fixture
def sys_sound(tmp_path):
    made = SysSound(tmp_path)
    made.card(0, "pci0000:00/0000:00:1f.3")
    made.card(2, "pci0000:00/usb1/1-2/1-2.1", "0d8c:0014")
    made.card(10, "pci0000:00/usb1/1-2/1-2.4", "046D:0825")
    made.usb("pci0000:00/usb1/1-2", "1d6b:0002")  # a hub has an id too, and is not the microphone
    return made


def test_only_what_can_be_listened_to_is_an_input():
    assert [one.number for one in inputs(ALL)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("wanted", "number"), [("", 1), ("3", 3), ("USB Headset", 2), ("Webcam", 3), (HEADSET[0], 2)]
)
def test_the_default_a_number_a_name_and_a_part_of_it(wanted, number):
    chosen = choose(ALL, wanted)
    assert (chosen.number, chosen.name, chosen.rate_hz) == (number, inputs(ALL)[number - 1].name, 48_000)


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ("USB Hedset", r"No input device.*found: APE: - \(hw:1,0\), USB Headset.*HD Webcam"),
        ("USB", r"\(Multiple input devices found for 'USB'\)"),
        ("0", "Not an input device"),
        ("17", "Not an input device"),
    ],
)
def test_what_is_none_or_several_names_what_there_is(wanted, said):
    with pytest.raises(VoiceError, match=said) as caught:
        choose(ALL, wanted)
    assert "\n" not in str(caught.value)


def test_a_machine_without_microphones_says_so():
    with pytest.raises(VoiceError, match=r"'the default one'.*no microphone at all"):
        choose(PortAudio(HDMI), "")


def test_cards_on_usb_are_known_by_the_device_they_sit_on(sys_sound):
    assert usb_cards(sys_sound.path) == {2: "0d8c:0014", 10: "046d:0825"}


@pytest.mark.parametrize(("wanted", "number"), [("0d8c:0014", 2), ("046d:0825", 3), ("046D:0825", 3)])
def test_a_usb_id_is_the_input_of_its_card(sys_sound, wanted, number):
    assert choose(ALL, wanted, sys_sound.path).number == number


def test_a_card_is_not_taken_for_one_whose_number_begins_alike(sys_sound):
    sys_sound.card(1, "pci0000:00/usb1/1-3", "1234:abcd")
    assert choose(PortAudio(CAMERA, ("Mic: - (hw:1,0)", 1)), "1234:abcd", sys_sound.path).number == 1


def test_a_usb_id_that_is_not_plugged_in_names_those_that_are(sys_sound):
    with pytest.raises(VoiceError, match=r"dead:beef; found: 0d8c:0014 \(card 2\), 046d:0825 \(card 10\)"):
        choose(ALL, "dead:beef", sys_sound.path)


def test_without_any_sound_card_on_usb_that_is_said(tmp_path):
    with pytest.raises(VoiceError, match="found: no sound card on USB"):
        choose(ALL, "dead:beef", tmp_path / "nothing")


def test_a_card_without_an_input_is_told_from_one_that_is_not_there(sys_sound):
    with pytest.raises(VoiceError, match="0d8c:0014 is sound card 2, but PortAudio has no input of it"):
        choose(PortAudio(HDMI, ("USB Headset: Audio (hw:2,0)", 0)), "0d8c:0014", sys_sound.path)


def test_two_of_a_kind_are_not_guessed_between(sys_sound):
    sys_sound.card(1, "pci0000:00/usb1/1-3", "0d8c:0014")
    with pytest.raises(VoiceError, match=r"several sound cards.*'APE: - \(hw:1,0\)', 'USB Headset"):
        choose(ALL, "0d8c:0014", sys_sound.path)


@pytest.mark.parametrize(
    ("wanted", "name", "kept"),
    [
        ("", "USB Headset: Audio (hw:2,0)", "USB Headset: Audio"),
        ("2", "USB Headset: Audio (plughw:2,0)", "USB Headset: Audio"),
        ("", "pulse", "pulse"),
        ("Headset", "USB Headset: Audio (hw:2,0)", "Headset"),
        ("0d8c:0014", "USB Headset: Audio (hw:2,0)", "0d8c:0014"),
    ],
)
def test_numbers_that_change_at_every_plugging_are_not_looked_for(wanted, name, kept):
    assert name_to_keep(wanted, name) == kept
