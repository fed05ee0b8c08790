"""The command line: `edge-wam <verb>`. Nothing heavy is imported before the verb needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_wam import __version__, layers
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError


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
    demo.add_argument("--seed", type=int, default=0, help="where the cubes lie")
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
        choices=("parts", "loop", "engine", "chain", "sizes", "voice"),
        default="parts",
        help="parts: of a tick and of a thought. loop: how late it is, and the bus, beside others. "
        "engine: every one this machine can run. chain: from 16 eager steps with video to one in INT8. "
        "sizes: from nano to 1.3B. voice: what the robot hears, in noise, and how late STOP is",
    )
    bench.add_argument("--plot", type=Path, help="engine: every call; sizes: the curve; voice: all (PNG)")
    bench.add_argument("--save", type=Path, help="engine: write the figures here, as a baseline")
    bench.add_argument("--compare", type=Path, help="engine: fail if anything is worse than in this baseline")
    bench.add_argument("--rounds", type=int, default=100)
    bench.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=(),
        help="sizes: these, e.g. nano tiny; voice: these recognisers or languages, e.g. vosk (default: all)",
    )
    bench.add_argument("--quick", action="store_true", help="voice: a minute, little of everything")
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
    soak.add_argument("--hours", type=float, default=1.0)
    soak.add_argument("--seed", type=int, default=0, help="which faults, and when")

    verbs.add_parser("config", parents=[common], help="every setting, and where it comes from")
    doctor = verbs.add_parser(
        "doctor", parents=[common], help="look at everything the robot needs, move nothing"
    )
    doctor.add_argument("--json", action="store_true", help="the findings as JSON")

    fetch = verbs.add_parser(
        "fetch-voice", help="download the speech model of a language, size and sha256 checked"
    )
    fetch.add_argument("language", help="en")
    fetch.add_argument("--file", type=Path, help="a zip that is here already, instead of downloading")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb. 0: done; 1: done, but not achieved; 2: a mistake of the user's, in one line."""
    arguments = parser().parse_args(argv)
    try:
        return _VERBS[arguments.verb](arguments)
    except EdgeWamError as error:
        print(f"edge-wam: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


REAL = ("run", "doctor", "compile", "config")  # verbs of a robot that has been set up


def _layered(arguments: argparse.Namespace) -> layers.Layered:
    """--config, or for what may move a real arm the system's and the user's files; the rest on top."""
    usual = layers.files() if arguments.verb in REAL else []
    paths = usual if arguments.config is None else [arguments.config]
    return layers.load(paths, arguments.set)


def _config(arguments: argparse.Namespace) -> Config:
    config = _layered(arguments).config
    if arguments.model is not None:
        config = replace(config, model=replace(config.model, folder=arguments.model))
    if language := getattr(arguments, "language", ""):
        config = replace(config, voice=replace(config.voice, language=language))
    return config


def _show_config(arguments: argparse.Namespace) -> int:
    print(layers.show(_layered(arguments)))
    return 0


def _demo(arguments: argparse.Namespace) -> int:
    from edge_wam import manifest
    from edge_wam.demo import Wanted, demo

    config = _config(arguments)
    if arguments.episodes < 1:
        raise EdgeWamError(f"--episodes: expected at least 1, found {arguments.episodes}")
    wanted = Wanted(
        arguments.command,
        arguments.say,
        arguments.wav,
        arguments.episodes,
        arguments.seed,
        arguments.out,
        arguments.headless,
        arguments.keep,
    )
    return demo(config, manifest.load(config.model.folder), wanted)


def _run(arguments: argparse.Namespace) -> int:
    from edge_wam import manifest
    from edge_wam.live import live

    config = _config(arguments)
    return live(config, manifest.load(config.model.folder))


def _evaluate(arguments: argparse.Namespace) -> int:
    from edge_wam import manifest
    from edge_wam.robot import check, simulated

    config = _config(arguments)
    if arguments.episodes < 1:
        raise EdgeWamError(f"--episodes: expected at least 1, found {arguments.episodes}")
    if not 0 <= (arguments.delay_ms or 0.0) <= 1000:
        raise EdgeWamError(f"--delay-ms: expected 0 to 1000, found {arguments.delay_ms}")
    evaluation = simulated("evaluate")
    entrants = simulated("entrants").entrants_of(arguments.policy, config.model.folder, arguments.steps)
    for entrant in entrants:
        check(config, manifest.load(Path(entrant.folder)))
    delay_s = evaluation.DELAY_S if arguments.delay_ms is None else arguments.delay_ms / 1e3
    wanted = evaluation.Wanted(
        config.robot.calibration, entrants, arguments.episodes, arguments.seed, arguments.workers,
        arguments.task, arguments.group, delay_s, arguments.quick, arguments.json,
        arguments.out, arguments.plot, arguments.strip,
    )  # fmt: skip
    code: int = evaluation.main(wanted)
    return code


def _bench(arguments: argparse.Namespace) -> int:
    from edge_wam.robot import simulated

    config, rounds = _config(arguments), max(1, arguments.rounds)
    if arguments.what == "chain":
        return _chain(config, rounds)
    if arguments.what == "loop":
        loop = simulated("bench_loop")
        code: int = loop.main(config.robot.calibration, rounds, picture=arguments.plot)
        return code
    if arguments.what == "sizes":
        return _sizes(config, arguments)
    if arguments.what == "voice":
        return _voice(config, arguments)
    if arguments.what == "engine":
        from edge_wam.think import benchmark

        return benchmark.main(
            config.model.folder,
            config.model.threads,
            rounds,
            arguments.plot,
            arguments.save,
            arguments.compare,
        )
    code = simulated("bench").main(
        config.robot.calibration, config.model.folder, config.model.threads, rounds
    )
    return code


def _voice(config: Config, arguments: argparse.Namespace) -> int:
    from edge_wam.robot import simulated

    code: int = simulated("bench_voice").main(
        config.model.folder,
        config.voice.vosk_model,
        arguments.seed,
        arguments.quick,
        arguments.workers,
        arguments.only,
        arguments.recordings,
        config.voice.language,
        arguments.plot,
    )
    return code


def _faults(arguments: argparse.Namespace) -> int:
    from edge_wam import manifest
    from edge_wam.robot import simulated

    config, processes = _config(arguments), None
    if arguments.processes:
        manifest.load(config.model.folder)  # refused now, rather than by a process
        processes = simulated("process_faults").Processes(config, arguments.light)
    code: int = simulated("faults").main(
        config.robot.calibration, arguments.only, arguments.json, arguments.plot, processes
    )
    return code


def _soak(arguments: argparse.Namespace) -> int:
    from edge_wam.robot import simulated

    folder = _config(arguments).robot.calibration
    code: int = simulated("soak").main(folder, arguments.hours, arguments.seed)
    return code


def _sizes(config: Config, arguments: argparse.Namespace) -> int:
    try:
        from edge_wam.train import sizes
    except ImportError as error:
        raise EdgeWamError(
            f"sizes are built by torch ({error}); try: pip install 'edge-wam[train]'"
        ) from None
    return sizes.main(config.model.threads or 1, arguments.only, arguments.plot)


def _chain(config: Config, rounds: int) -> int:
    try:
        from edge_wam.train import chain
    except ImportError as error:
        raise EdgeWamError(
            f"the slow end of the chain is eager torch ({error}); try: pip install 'edge-wam[train]'"
        ) from None
    return chain.main(config.model.folder, config.model.threads or 1, rounds)


def _compile(arguments: argparse.Namespace) -> int:
    from edge_wam.think import compile as compiling
    from edge_wam.think import store

    config = _config(arguments)
    for name, value, low in (("--threads", arguments.threads, 0), ("--rounds", arguments.rounds, 1)):
        if value < low:
            raise EdgeWamError(f"{name}: expected at least {low}, found {value}")
    return compiling.main(
        config.model.folder,
        store.state() if arguments.state is None else arguments.state,
        arguments.precision,
        arguments.threads,
        arguments.rounds,
    )


def _doctor(arguments: argparse.Namespace) -> int:
    from edge_wam.service.doctor import examine

    return examine(_config(arguments), arguments.json)


def _fetch_voice(arguments: argparse.Namespace) -> int:
    from edge_wam.sense.fetch import fetch_voice

    print(fetch_voice(arguments.language, file=arguments.file))
    return 0


_VERBS = {
    "demo": _demo,
    "run": _run,
    "evaluate": _evaluate,
    "bench": _bench,
    "config": _show_config,
    "faults": _faults,
    "soak": _soak,
    "compile": _compile,
    "doctor": _doctor,
    "fetch-voice": _fetch_voice,
}

if __name__ == "__main__":
    sys.exit(main())
