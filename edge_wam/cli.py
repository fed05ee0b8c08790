"""The command line: `edge-wam <verb>`. Nothing heavy is imported before the verb needs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from edge_wam import layers
from edge_wam.config import Config
from edge_wam.errors import EdgeWamError
from edge_wam.flags import parser


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


REAL = ("run", "record", "web", "doctor", "compile", "config")  # verbs of a robot that has been set up


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
    return live(config, manifest.load(config.model.folder), load=lambda: _config(arguments))


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
    if arguments.what == "record":
        code = simulated("bench_record").main(config, max(1, rounds // 25))
        return code
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
    from edge_wam.config import home
    from edge_wam.robot import simulated
    from edge_wam.sense.spotter import STOP_MODEL

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
        str(home() / STOP_MODEL) if config.voice.stop_spotter else "",
        arguments.stops,
    )
    return code


def _faults(arguments: argparse.Namespace) -> int:
    from edge_wam import manifest
    from edge_wam.robot import simulated

    config, processes = _config(arguments), None
    servos = arguments.servos or config.robot.servos
    if arguments.processes:
        if servos != "feetech":
            raise EdgeWamError(f"--processes has a robot of Feetech servos, not of {servos}; try it without")
        manifest.load(config.model.folder)  # refused now, rather than by a process
        processes = simulated("process_faults").Processes(config, arguments.light)
    code: int = simulated("faults").main(
        config.robot.calibration, servos, arguments.only, arguments.json, arguments.plot, processes
    )
    return code


def _soak(arguments: argparse.Namespace) -> int:
    from edge_wam.robot import simulated

    robot = _config(arguments).robot
    servos = arguments.servos or robot.servos
    code: int = simulated("soak").main(robot.calibration, servos, arguments.hours, arguments.seed)
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

    return examine(_config(arguments), arguments.json, arguments.fix)


def _record(arguments: argparse.Namespace) -> int:
    try:
        from edge_wam.record import command
    except ImportError as error:
        raise EdgeWamError(f"recordings need '{error.name}'; try: pip install 'edge-wam[record]'") from None
    return command.record(_config(arguments))


def _replay(arguments: argparse.Namespace) -> int:
    try:
        from edge_wam.record import replay
    except ImportError as error:
        raise EdgeWamError(f"recordings need '{error.name}'; try: pip install 'edge-wam[record]'") from None
    return replay.main(_config(arguments), arguments.file, arguments.json)


def _dataset(arguments: argparse.Namespace) -> int:
    try:
        from edge_wam.train import exchange
    except ImportError as error:
        raise EdgeWamError(f"datasets need '{error.name}'; try: pip install 'edge-wam[record]'") from None
    if arguments.what == "import":
        return exchange.bring_in(arguments.source, arguments.out, _config(arguments))
    return exchange.take_out(arguments.source, arguments.out, _config(arguments))


def _web(arguments: argparse.Namespace) -> int:
    try:
        from edge_wam.service.web import server
    except ImportError as error:
        raise EdgeWamError(f"the page needs '{error.name}'; try: pip install 'edge-wam[web]'") from None
    return server.main(_config(arguments))


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
    "record": _record,
    "replay": _replay,
    "dataset": _dataset,
    "web": _web,
    "fetch-voice": _fetch_voice,
}

if __name__ == "__main__":
    sys.exit(main())
