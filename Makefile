# make demo · make test · make docs · make install. Needs Python 3.11 or later and make, nothing else.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
DEMO   := demo

.PHONY: install demo test docs check clean
install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@

demo: install
	$(BIN)/unweight demo -o $(DEMO)
	@echo "Pages: $(DEMO)/maps/sub-head.html $(DEMO)/maps/sub-phantom.html"

test: install
	scripts/test

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -n -q -b html docs docs/_build/html
	@echo "Pages: docs/_build/html/index.html"

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

check: install
	scripts/check

clean:
	rm -rf $(VENV) $(DEMO) docs/_build docs/generated docs/tutorials build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
