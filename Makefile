# The commands a person needs. Everything is installed into .venv, with pip, at the versions of constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
# One process per core, two at least; the tests that start a whole stack are the long ones.
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); [ $$n -gt 8 ] && echo 8 || echo $$n)

.PHONY: help install demo up test chaos soak compose-test pictures results bench bench-core gpu-check wheel docs generated lint format lock clean

help: ## show this
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

CPP := $(wildcard $(foreach folder,cpt_core/quant cpt_core/quant/integer,$(folder)/*.cpp $(folder)/*.h))

.venv/installed: pyproject.toml constraints.txt $(CPP)
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

install: .venv/installed ## make .venv and install everything

demo: install ## train the bundled recipe on a stack of its own, live, in about a minute
	@$(BIN)/cpt demo

up: install ## keep a stack running at http://127.0.0.1:8000 until Ctrl-C
	@$(BIN)/cpt up

test: install ## run all tests, on real servers that the tests start themselves
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

pictures: install ## take the pictures of docs/images anew, in a chromium that is installed
	CPT_PICTURES=$(CURDIR)/docs/images $(BIN)/python -m pytest tests/browser/test_looks.py -k "jobs or new or job or compare"

compose-test: install ## build the images, run docker-compose.yml for real, kill containers, tear it down; without an engine it says so and fails
	@docker info >/dev/null 2>&1 || { echo "compose-test: no Docker engine answers; nothing was run" >&2; exit 1; }
	CPT_COMPOSE_TEST=1 $(BIN)/python -m pytest tests/compose -v -rs

chaos: install ## try what is not kept yet of the fault matrix, and write docs/reliability.md, in hours; CELLS="redis_*/M3 ..." RUNS=3 LANES=2 AGAIN=1
	$(BIN)/python -m tests.chaos $(if $(RUNS),--runs $(RUNS)) $(if $(LANES),--lanes $(LANES)) $(if $(AGAIN),--again) $(CELLS)

soak: install ## an hour of jobs, and whether memory, descriptors, threads or Redis keys grow; MINUTES=5 for less
	$(BIN)/python -m tests.chaos.soak $(if $(MINUTES),--minutes $(MINUTES))

results: install ## train what docs/results.md shows and write its tables, in about an hour: make results DATA=folder
	$(BIN)/python benchmarks/results.py --data-root $(DATA)

bench: install ## measure the service beside MLflow, Prefect and Ray, and write docs/service-benchmarks.md, in 20 minutes; AGAIN="submit ..." repeats
	$(BIN)/python benchmarks/service.py --again $(AGAIN)

bench-core: install ## measure what docs/benchmarks.md shows and write its tables, in 25 minutes; AGAIN="resnet38 ..." repeats
	$(BIN)/python benchmarks/core.py --again $(AGAIN)

gpu-check: install ## check and time everything on an NVIDIA GPU, and print JSON; without one it says so and ends with 3
	$(BIN)/python benchmarks/gpu_check.py

# Of what it is linked with only OpenMP's runtime is no part of every Linux, and torch brings that.
wheel: install ## build a wheel in dist/, with the C++ functions in it, that needs no compiler where it is installed
	rm -rf dist
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist/built .
	PATH="$(CURDIR)/$(BIN):$$PATH" auditwheel repair --exclude libgomp.so.1 --wheel-dir dist dist/built/*.whl
	rm -rf dist/built

docs: install ## docs/ as a site in site/, which can be opened as files
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet

generated: install ## make the synchronous client, the spec reference, the gallery and the drawn schedules anew
	$(BIN)/python -m tools.sync_client
	$(BIN)/python -m tools.spec_reference
	$(BIN)/python -m tools.recipes_gallery
	$(BIN)/python -m tools.schedule_pictures

lint: install ## check style, types and the import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy
	$(BIN)/lint-imports

format: install ## rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

lock: install ## write constraints.txt from what is installed
	@{ echo '# Versions that the tests ran with. Make it anew: make lock'; \
	   $(BIN)/python -m pip freeze --exclude-editable | grep -vE '^(nvidia-|cuda-|triton|pip|setuptools)'; } > constraints.txt

clean: ## remove .venv and what tools left behind
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
