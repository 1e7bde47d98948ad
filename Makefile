# Two commands: `make demo` shows it, `make test` checks it. Each makes .venv first if needed.
# `make bench` times the losses against other libraries', in .venv-bench; it takes hours.
PYTHON ?= python3
BIN := .venv/bin
BENCH := .venv-bench/bin

.PHONY: demo test format bench clean

demo: .venv/ready
	$(BIN)/nearfar demo

test: .venv/ready
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

format: .venv/ready
	$(BIN)/ruff format src tests benchmarks
	$(BIN)/ruff check --fix src tests benchmarks

bench: .venv-bench/ready
	$(BENCH)/python benchmarks/cpu.py --out benchmarks/results/loss_cpu.json
	$(BENCH)/python benchmarks/floor.py --out benchmarks/results/loss_floor.json
	$(BENCH)/python benchmarks/memory.py --huge --out benchmarks/results/loss_memory.json
	$(BENCH)/python benchmarks/ddp_exactness.py --ranks 2,4 \
		--out benchmarks/results/ddp_exactness.json
	$(BENCH)/python benchmarks/page.py

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv-bench/ready: pyproject.toml benchmarks/peers.txt
	$(PYTHON) -m venv .venv-bench
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check -r benchmarks/peers.txt
	$(BENCH)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	touch $@

clean:
	rm -rf .venv .venv-bench build dist .pytest_cache .mypy_cache .ruff_cache
