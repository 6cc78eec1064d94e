# Two commands matter: `make demo` and `make test`. Both do all the set-up that is missing.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
RUN := OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 ORT_DISABLE_TELEMETRY=1
STAMP := $(VENV)/.coolctl-installed

.PHONY: setup demo test check docs site bench faults soak nightly chaos bugs mutants coverage sbom deb deb-test clean

setup: $(STAMP)
	@$(RUN) $(VENV)/bin/python -m coolctl.warmup

$(STAMP): pyproject.toml constraints.txt tools/system_packages.sh
	@echo "== system packages"
	@tools/system_packages.sh
	@echo "== virtual environment"
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@echo "== Python packages (a few minutes the first time)"
	@$(VENV)/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train,demo,report,cluster,dev]'
	@touch $(STAMP)
	@echo "== warming up the compiled kernels"

demo: setup
	@$(RUN) $(VENV)/bin/coolctl demo $(ARGS)

# Three parts: what needs nothing but a processor, real processes that mostly wait, and what measures time, alone.
test: setup
ifdef ARGS
	@$(RUN) $(VENV)/bin/python -m pytest $(ARGS)
else
	@$(RUN) $(VENV)/bin/python -m pytest -n auto -m 'not (hil or alone or nightly)'
	@$(RUN) $(VENV)/bin/python -m pytest -n 3 --dist loadfile -m 'hil and not (alone or nightly or package)'
	@$(RUN) $(VENV)/bin/python -m pytest -m 'alone and not (nightly or package)'
endif

check: setup
	@$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy
	@$(RUN) $(VENV)/bin/python -m pytest -m 'not hil and not slow' $(ARGS)

docs: setup
	@$(VENV)/bin/python -m tools.docs

# The documents as a site in build/site; strict, so a link that leads nowhere is an error (`--quiet` would hide it from mkdocs too).
site: docs
	@$(VENV)/bin/mkdocs build
	@echo "build/site/index.html"

# Every figure of docs/PERFORMANCE.md anew, each beside its reference; ARGS="--only P1,P4" measures some and writes no page.
bench: setup
ifdef ARGS
	@$(RUN) $(VENV)/bin/coolctl bench $(ARGS)
else
	@mkdir -p build
	@$(RUN) $(VENV)/bin/coolctl bench --json build/bench.json
	@$(VENV)/bin/python -m tools.performance build/bench.json
endif

# Every row of the fault matrix, every tier; goes on where it was ended. ARGS="--seeds 3 --tiers P"
faults: setup
	@$(RUN) $(VENV)/bin/python -m tools.faults $(ARGS)

# Every line and branch of the safety code, by the tests that are about it; kernels in plain Python, where their lines are seen.
SAFETY := coolctl/gateway.py,coolctl/lease.py,coolctl/proof.py,coolctl/strict_json.py,coolctl/dialects/*.py,coolctl/onnx_graph.py
SAFETY := $(SAFETY),coolctl/control/mode.py,coolctl/control/shield.py,coolctl/control/ranges.py,coolctl/control/foresight.py,coolctl/control/heat.py
SAFETY := $(SAFETY),coolctl/control/machines.py,coolctl/control/zones.py,coolctl/control/health.py
SAFETY_TESTS := $(addprefix tests/test_,wire.py gateway.py control.py admission.py transitions.py safety_edges.py dialects.py sparkplug.py dsx.py shield.py mode.py enforcer.py messages.py proof.py machines.py zones.py health.py heat.py foresight.py outputs.py sparkplug_node.py gateways.py)
PLAIN_TESTS := $(addprefix tests/test_,foresight.py weighed.py machines.py health.py zones.py)
coverage: setup
	@$(RUN) $(VENV)/bin/python -m coverage run --branch --include='$(SAFETY)' -m pytest -p no:xdist -m 'not nightly' $(SAFETY_TESTS)
	@NUMBA_DISABLE_JIT=1 $(RUN) $(VENV)/bin/python -m coverage run --append --branch --include='$(SAFETY)' -m pytest -p no:xdist $(PLAIN_TESTS) -k 'not (restless or may_lie or odd_hall or own_racks or accuses_nobody or leaves_the or cold_for_all)'
	@$(VENV)/bin/python -m coverage report -m --fail-under=100

# What takes its time or a network; the fault matrix has its own: `make faults`.
nightly: setup
	@$(RUN) $(VENV)/bin/python -m pytest -m nightly $(ARGS)

# Two hundred faults of the network, one after the other; data must flow again within ten seconds of each.
chaos: setup
	@COOLCTL_CHAOS_CYCLES=200 $(RUN) $(VENV)/bin/python -m pytest -s tests/hil/test_transport.py -k after_each_fault

# Random episodes and a year of faults until it is ended; goes on where it was. ARGS="--minutes 60", ARGS="--again random:7"
soak: setup
	@$(RUN) nice -n 10 $(VENV)/bin/python -m tools.soak $(ARGS)

# Each bug of the bank, put in and caught; ARGS="--from 20" goes on.
bugs: setup
	@$(RUN) $(VENV)/bin/python -m tools.bugs $(ARGS)

# What runs, part by part with its hash: CycloneDX in build/coolctl.cdx.json, and the lock that the hashes are from.
sbom: setup
	@$(VENV)/bin/python -m tools.lock --out build/requirements.lock
	@$(RUN) $(VENV)/bin/python -m tools.sbom --lock build/requirements.lock --out build/coolctl.cdx.json

# The Debian package, and its life in a fresh root (needs root and debootstrap).
deb: setup
	@tools/deb.sh

deb-test: deb
	@$(RUN) $(VENV)/bin/python -m pytest -m package -s

# Every small change of the safety code, and which test notices it; goes on where it was ended. ARGS="--only gateway,mode"
mutants: setup
	@$(RUN) $(VENV)/bin/python -m tools.mutants $(ARGS)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache
