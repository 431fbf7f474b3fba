# make venv    .venv in the checkout, with annexd installed
# make serve   a demonstration in ./demo, or REPO=/srv/annex/x of your own
# make test    everything but the long loops; installs what is missing
# make soak    the long loops, at full length: SOAK_SECONDS=600 each
# make lint    style, types, imports
# make bench   annexd and git-annex-shell side by side

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
REPO =
SOAK_SECONDS = 600

# Tests run the git-annex that came with the environment.
TRIAL = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m twisted.trial

TESTS = $(filter-out tests.soak,$(patsubst tests/%/__init__.py,tests.%,$(wildcard tests/*/__init__.py))) \
        $(patsubst tests/%.py,tests.%,$(wildcard tests/test_*.py))

.PHONY: venv serve test unit lint bench soak needs programs clean

venv: $(BIN)/.installed

$(BIN)/.installed: setup.cfg pyproject.toml annexd/__init__.py $(wildcard annexd/client/annexd_shell.*) \
                   annexd/client/git-annex-p2p-annexd
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "annexd needs Python 3.11 or later: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "Python cannot make virtual environments. On Debian, as root: apt-get install python3-venv" >&2; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check \
	    --config-settings editable_mode=compat -e '.[server,annex,test,lint]'
	$(BIN)/python -m compileall -q annexd/__init__.py annexd/client
	@! command -v cc >/dev/null || $(BIN)/annexd build-shell || true
	@touch $@

serve: venv
	@etc/demonstrate $(BIN) $(if $(REPO),"$(patsubst ~/%,$(HOME)/%,$(REPO))")

test: needs venv programs lint
	$(TRIAL) $(TESTS)

# Without the real programs and a compiler: seconds.
unit: venv
	$(TRIAL) $(filter-out tests.interop tests.test_packaging,$(TESTS))

lint: venv
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: venv
	$(BIN)/python -m bench

soak: needs venv programs
	ANNEXD_SOAK_SECONDS=$(SOAK_SECONDS) $(TRIAL) tests.soak

needs:
	@.ci/needs

# The versions of git-annex that clients have.
programs: venv
	@$(BIN)/python -m tests.support.fetch_programs

clean:
	rm -rf $(VENV) build dist demo .cache _trial_temp* .mypy_cache .ruff_cache .hypothesis *.egg-info
