# Two commands do all the set-up: `make demo` and `make test`. The rest is for developers.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Everything is pinned in requirements.txt; a subset is installed by using it as the constraints.
PINNED := -c requirements.txt

.PHONY: demo test guides guide-pictures proof proof-arm proof-boot bench lint format schemas data eval train-env tools clean

demo: $(VENV)/.demo
	$(BIN)/banksman demo $(if $(SOURCE),--source "$(SOURCE)") $(if $(PORT),--port $(PORT)) $(if $(FOR),--for $(FOR))

# Three workers for two cores: a third of the time is waiting for programs that start, or die. A file of tests stays in
# one, because servers are shared by its tests.
test: $(VENV)/.dev tools
	$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder --ignore=tests/arm $(TESTS)

# The node's packages on the processor of a Pi 4, emulated: sizes, imports, what the shipped model sees. Two minutes.
proof-arm: $(VENV)/.dev
	sh tests/arm/tools.sh
	$(BIN)/pytest -s tests/arm

# Nightly: a whole arm64 system boots from a card until its first message is with the broker. Half an hour.
proof-boot: $(VENV)/.dev tools
	sh tests/boot/tools.sh
	$(BIN)/python -m tests.boot

# The full-size runs of the kill test and the fuzz tests.
proof: $(VENV)/.dev tools
	BANKSMAN_PROOF=1 $(BIN)/pytest --timeout=3600 tests/kill tests/dispatch/kill tests/dispatch/core/test_fuzz.py \
		tests/site tests/mqtt tests/detect tests/models tests/card tests/update tests/enrol

bench: $(VENV)/.dev tools
	$(BIN)/python -m tests.bench.node

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# JSON Schemas that are committed: the site file and the wire contract.
schemas: $(VENV)/.dev
	$(BIN)/python -m edge.site
	$(BIN)/python -m broker

# The labelled photos of all sources as one set in var/labelled; made anew.
data: $(VENV)/.dev
	$(BIN)/banksman model data build $(or $(DATA),../shared/data) var/labelled

# What people print, in both languages, as PDF in var/guides; and their pictures, made anew from what runs.
guides: $(VENV)/.dev
	$(BIN)/python -m docs.guides.build var/guides

guide-pictures: $(VENV)/.dev tools
	$(BIN)/python -m docs.guides.screenshots

# The shipped weights, or MODEL, on the held-out photos and the clips; BEFORE names models to compare with. Weights that
# are a .pt need `make train-env` first.
eval: $(VENV)/.dev
	@test -f var/labelled/photos.tsv || $(MAKE) data
	$(BIN)/banksman model eval $(or $(MODEL),models/weights/site-v1) var/labelled --out var/report \
		--clips $(or $(DATA),../shared/data)/clips $(addprefix --before ,$(BEFORE))

# ultralytics and torch, for training, export and the parity tests. Installed from the lock without asking for
# dependencies, because ultralytics would bring a second build of OpenCV.
train-env: $(VENV)/.dev
	$(PIP) install $(PINNED) torch torchvision
	$(PIP) install --no-deps -r requirements.txt

# Programs that the integration tests start: a broker, a camera, a browser. Without them those tests skip and say so.
tools:
	@sh tests/tools.sh

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

# Not compiled: Python does that for the few modules that are imported, and pip took longer for all than for the rest.
$(VENV)/.demo: $(VENV)/bin/python pyproject.toml requirements.txt
	@echo "Installing node and dispatch (about 185 MB to fetch)…"
	$(PIP) install --no-compile $(PINNED) -e '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml requirements.txt
	@echo "Installing the node and the test tools…"
	$(PIP) install $(PINNED) -e '.[demo,ncnn,openvino,dev]'
	@touch $@ $(VENV)/.demo

clean:
	rm -rf $(VENV) .cache var .mypy_cache .ruff_cache .pytest_cache .hypothesis
