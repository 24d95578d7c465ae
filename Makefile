# The two commands of the README are `make demo` and `make test`; each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
OUT ?= .out

.PHONY: demo station test test-edge triton sparkplug opcua-client check lint types layers docs bench faults attack install-check wheel wheel-edge wheel-twice sbom licences audit clean

demo: $(VENV)/.server
	$(BIN)/vision-edge demo --out $(OUT)/demo --json $(OUT)/demo/summary.json

# The station on a rendered belt: http://127.0.0.1:8080, until Ctrl-C.
station: $(VENV)/.station
	$(BIN)/python examples/station/render.py
	$(BIN)/vision-edge serve --config examples/station/station.toml

test: $(VENV)/.dev $(VENV)/.triton $(VENV)/.sparkplug $(VENV)/.opcua-client
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=worksteal

# NVIDIA's Triton server for the tests, on a CPU: 55 MB. Beside the packages, not among them, since
# its wheel asks for an older numpy than ours. Where there is no wheel, the tests of it skip.
triton: $(VENV)/.triton

# Peers of other projects for the wires' tests, which skip where they are absent: pysparkplug decodes
# Sparkplug B (beside the packages, since it asks for an older paho-mqtt than ours), node-opcua
# speaks OPC UA (needs npm).
sparkplug: $(VENV)/.sparkplug
opcua-client: $(VENV)/.opcua-client

# The runtime as a device has it: Python 3.10, numpy 1.26, no torch.
EDGE_PYTHON ?= python3.10
EDGE_VENV ?= .venv-edge
test-edge: $(EDGE_VENV)/.edge
	OMP_NUM_THREADS=1 $(EDGE_VENV)/bin/python -m pytest tests/runtime -n auto --maxprocesses=4

check: lint types layers docs test

# The long form of the fault tests: a real RTSP server 50 times, `kill -9` 200 times, a broker
# killed 40 times, over MQTT and over Sparkplug.
faults: $(VENV)/.dev $(VENV)/.sparkplug
	VISION_EDGE_FAULT_CYCLES=50 VISION_EDGE_KILLS=200 VISION_EDGE_BROKER_KILLS=40 OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -s tests/runtime/sources/test_rtsp.py tests/runtime/gallery/test_kill.py \
		tests/runtime/station/wires/test_mqtt.py tests/runtime/station/wires/test_sparkplug.py

# A real station under attack, over loopback: about 6 minutes and 1.5 GB, on a quiet machine.
attack: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/attack.py --out $(OUT)/attack

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# The site of docs/, in $(OUT)/site: needs no network; a dead link, anchor or name fails.
docs: $(VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --site-dir $(abspath $(OUT))/site

# Figures for the README and docs: needs no GPU; SHARED is a folder with weights/ and data/.
SHARED ?= ../shared
bench: $(VENV)/.dev
	$(BIN)/python benchmarks/startup.py --out $(OUT)/bench
	$(BIN)/python benchmarks/build_average.py --out $(OUT)/bench
	$(BIN)/python benchmarks/run_speed.py --shared $(SHARED) --out $(OUT)/bench
	$(BIN)/python benchmarks/memory.py --out $(OUT)/bench
	$(BIN)/python benchmarks/outbox_speed.py --out $(OUT)/bench
	$(BIN)/python benchmarks/provenance.py --out $(OUT)/bench

# What a user installs, tried on every Python that is found: wheel and sdist, from another folder.
install-check:
	.ci/install

# Into dist/: the wheel, and one for devices, without the server's code and models (17 MB less). Both
# are the same whoever builds a commit: its time, and tools that are pinned.
wheel wheel-edge: export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || echo 315532800)
wheel wheel-edge: | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt build hatchling wheel
	$(BIN)/python -m build --no-isolation --wheel --outdir dist .
	if [ $@ = wheel-edge ]; then $(BIN)/python .ci/wheel_for_devices.py dist; fi

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade pip

$(VENV)/.server: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[server]"
	touch $@

$(VENV)/.station: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[edge,station]"
	touch $@

$(VENV)/.docs: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --quiet --constraint constraints.txt --editable ".[server,station,signing,modbus,opcua,sparkplug,openvino,tensorrt-rtx,triton,dev,docs]"
	touch $@ $(VENV)/.server $(VENV)/.station $(VENV)/.docs

$(VENV)/.triton: constraints.txt | $(VENV)/bin/python
	rm -rf $(VENV)/triton
	$(PIP) install --quiet --no-deps --constraint constraints.txt --target $(VENV)/triton nvidia-pytriton \
		&& touch $@ || echo "no Triton server for this machine: its tests skip"

$(VENV)/.sparkplug: constraints.txt | $(VENV)/bin/python
	rm -rf $(VENV)/sparkplug
	$(PIP) install --quiet --no-deps --constraint constraints.txt --target $(VENV)/sparkplug pysparkplug \
		&& touch $@ || echo "no foreign decoder of Sparkplug: its tests skip"

$(VENV)/.opcua-client: | $(VENV)/bin/python
	mkdir -p $(VENV)/opcua-client
	npm install --silent --no-audit --no-fund --prefix $(VENV)/opcua-client node-opcua-client@2.186.4 \
		&& touch $@ || echo "no npm, or no node-opcua: its test skips"

$(EDGE_VENV)/.edge: pyproject.toml constraints.txt
	$(EDGE_PYTHON) -m venv $(EDGE_VENV)
	$(EDGE_VENV)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable ".[edge,station,signing,sparkplug]" httpx httpx2 hypothesis onnx pillow psutil pytest pytest-xdist
	$(EDGE_VENV)/bin/python -m pip install --quiet --no-deps --constraint constraints.txt --target $(EDGE_VENV)/sparkplug pysparkplug \
		|| echo "no foreign decoder of Sparkplug: its tests skip"
	touch $@

# What it is made of. `make audit OSV=all.zip` asks a copy of OSV's database; without one status 3
# says that nothing was asked, and nothing is known.
SUPPLY = PYTHONPATH=.ci $(BIN)/python -m supply
sbom: $(VENV)/.dev
	$(SUPPLY) sbom $(OUT)/sbom

licences: $(VENV)/.dev
	$(SUPPLY) licences

audit: $(VENV)/.dev
	@$(SUPPLY) audit $(OSV); status=$$?; echo "audit: status $$status"; exit $$status

wheel-twice: $(VENV)/.dev
	$(SUPPLY) wheel-twice

clean:
	rm -rf $(VENV) $(EDGE_VENV) $(OUT) .mypy_cache .ruff_cache .pytest_cache
