"""Every verb of the command line, and its flags."""

from __future__ import annotations

import argparse
from pathlib import Path

from edge_wam import __version__
from edge_wam.config import SERVOS


def parser() -> argparse.ArgumentParser:
    """Every verb and flag."""
    top = argparse.ArgumentParser(prog="edge-wam", description="A World Action Model on the robot itself.")
    top.add_argument("--version", action="version", version=f"edge-wam {__version__}")
    verbs = top.add_subparsers(dest="verb", required=True, metavar="verb")

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, help="settings (TOML); default: the simulated robot")
    common.add_argument(
        "--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="one setting over all files"
    )
    common.add_argument("--model", type=Path, help="model folder, instead of the settings'")

    demo = verbs.add_parser(
        "demo", parents=[common], help="a spoken command moves the simulated arm, and a film of it"
    )
    demo.add_argument("--command", default="", help="what the robot is to do (default: pick up the red cube)")
    demo.add_argument("--say", default="", help="let espeak-ng say this instead of the recorded sentence")
    demo.add_argument("--wav", default="", help="play this recording instead")
    demo.add_argument("--language", default="", help="language spoken: en, zh")
    demo.add_argument("--episodes", type=int, default=1)
    demo.add_argument("--seed", type=int, default=1, help="where the cubes lie")
    demo.add_argument("--out", type=Path, default=Path("demo.mp4"), help="the film")
    demo.add_argument("--keep", type=Path, help="folder for what the film is made from, and a still")
    demo.add_argument("--headless", action="store_true", help="do not open the film at the end")

    run = verbs.add_parser(
        "run", parents=[common], help="the robot: listen, and do what is said, until Ctrl-C"
    )
    run.add_argument("--language", default="", help="language spoken: en, zh")

    evaluate = verbs.add_parser(
        "evaluate", parents=[common], help="policies compared on the same episodes, faster than real time"
    )
    evaluate.add_argument(
        "--policy",
        action="append",
        default=[],
        metavar="LABEL=FOLDER[@STEPS[,NOISE_STD]]",
        help="a policy to compare, as often as there are any (default: --model alone)",
    )
    evaluate.add_argument("--episodes", type=int, default=50)
    evaluate.add_argument("--seed", type=int, default=0, help="0 to 99: which tables, commands and phrases")
    evaluate.add_argument("--task", default="", help="only this one: pick, push, put, point, home")
    evaluate.add_argument("--group", default="", help="only this one: seen, held_out_pair, held_out_phrasing")
    evaluate.add_argument(
        "--steps", type=int, default=0, help="denoising steps of --model; 0: its manifest's"
    )
    evaluate.add_argument(
        "--delay-ms", type=float, help="from exposure until a chunk is there (default: as measured)"
    )
    evaluate.add_argument("--quick", action="store_true", help="success alone: no imagining, no action error")
    evaluate.add_argument("--workers", type=int, default=0, help="processes; 0: one a core")
    evaluate.add_argument("--out", type=Path, help="keep every result here, and go on from what is kept")
    evaluate.add_argument("--plot", type=Path, help="draw success by task and group (PNG)")
    evaluate.add_argument("--strip", type=Path, help="draw present, imagined and real frames (PNG)")
    evaluate.add_argument("--json", action="store_true", help="nothing but the JSON line")

    build = verbs.add_parser(
        "compile",
        parents=[common],
        help="build the engines this machine can run, keep the fastest that is right",
    )
    build.add_argument(
        "--precision", default="", help="only this one: fp32, bf16, fp16, int8 (default: whatever is best)"
    )
    build.add_argument("--threads", type=int, default=0, help="only so many; 0: what is best")
    build.add_argument("--rounds", type=int, default=60, help="turns of each engine when they are timed")
    build.add_argument("--state", type=Path, help="where engines are kept (default: $EDGE_WAM_STATE, or ~)")

    bench = verbs.add_parser(
        "bench", parents=[common], help="what each part costs; what every engine is worth; the whole chain"
    )
    bench.add_argument(
        "what",
        nargs="?",
        choices=("parts", "loop", "engine", "chain", "sizes", "voice", "record"),
        default="parts",
        help="parts: of a tick and of a thought. loop: how late it is, and the bus, beside others. "
        "engine: every one this machine can run. chain: from 16 eager steps with video to one in INT8. "
        "sizes: from nano to 1.3B. voice: what the robot hears, in noise, and how late STOP is. "
        "record: what a recorder takes, and what it costs the loop",
    )
    bench.add_argument("--plot", type=Path, help="engine: every call; sizes: the curve; voice: all (PNG)")
    bench.add_argument("--save", type=Path, help="engine: write the figures here, as a baseline")
    bench.add_argument("--compare", type=Path, help="engine: fail if anything is worse than in this baseline")
    bench.add_argument("--rounds", type=int, default=100, help="record: a minute for every 25 (default: 100)")
    bench.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=(),
        help="sizes: these, e.g. nano tiny; voice: of recognisers, languages, voices, conditions, backgrounds"
        " those with such a word, e.g. vosk kokoro 'servos 10 dB' (default: all)",
    )
    bench.add_argument("--quick", action="store_true", help="voice: a minute, little of everything")
    bench.add_argument(
        "--stops", action="store_true", help="voice: nothing but STOP, every sentence and manner"
    )
    bench.add_argument("--seed", type=int, default=0, help="voice: who says what, and the noise")
    bench.add_argument("--workers", type=int, default=0, help="voice: processes; 0: one a core")
    bench.add_argument(
        "--recordings",
        type=Path,
        help="voice: people too: a folder of WAVs, each with a .txt of its words, or a .tsv",
    )
    bench.add_argument("--language", default="", help="voice: what is spoken in the recordings (en, zh)")

    faults = verbs.add_parser(
        "faults", parents=[common], help="let everything go wrong, and judge the bytes on the servo bus"
    )
    faults.add_argument("--servos", choices=SERVOS, help="of the arm, instead of the settings'")
    faults.add_argument("--only", default="", help="those whose name or group (wire, servo, ...) holds this")
    faults.add_argument(
        "--processes", action="store_true", help="also those of real processes, in real time (some minutes)"
    )
    faults.add_argument(
        "--light", action="store_true", help="those with a kinematic arm and a policy without a model"
    )
    faults.add_argument("--plot", type=Path, help="draw the table (PNG)")
    faults.add_argument("--json", action="store_true", help="nothing but the JSON line")

    soak = verbs.add_parser(
        "soak", parents=[common], help="hours of faults in simulated time, on one arm (a day takes about one)"
    )
    soak.add_argument("--servos", choices=SERVOS, help="of the arm, instead of the settings'")
    soak.add_argument("--hours", type=float, default=1.0)
    soak.add_argument("--seed", type=int, default=0, help="which faults, and when")

    verbs.add_parser(
        "record", parents=[common], help="write down what the robot on this machine sees, decides and does"
    )
    replay = verbs.add_parser(
        "replay", parents=[common], help="think and guard a recording again, and compare with what was sent"
    )
    replay.add_argument("file", type=Path, help="a recording (.mcap)")
    replay.add_argument("--json", action="store_true", help="nothing but the JSON line")

    dataset = verbs.add_parser(
        "dataset", parents=[common], help="LeRobot datasets (v3): made, and learned from"
    )
    dataset.add_argument(
        "what",
        choices=("export", "import"),
        help="export: recordings, or a folder of training shards, to a dataset; import: a dataset to shards",
    )
    dataset.add_argument("source", type=Path, nargs="+", help="recordings, a folder of shards, or a dataset")
    dataset.add_argument("--out", type=Path, required=True, help="the folder to make")

    verbs.add_parser("config", parents=[common], help="every setting, and where it comes from")
    doctor = verbs.add_parser(
        "doctor", parents=[common], help="look at everything the robot needs, move nothing"
    )
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")
    doctor.add_argument("--fix", action="store_true", help="do what is safe about what is not well")

    verbs.add_parser(
        "web", parents=[common], help="the page: what the robot sees, imagines and does; STOP; /metrics"
    )

    fetch = verbs.add_parser(
        "fetch-voice", help="download the speech model of a language, size and sha256 checked"
    )
    fetch.add_argument("language", help="en")
    fetch.add_argument("--file", type=Path, help="a zip that is here already, instead of downloading")
    return top
