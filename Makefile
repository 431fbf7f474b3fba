# make venv    .venv in the checkout, with annexd installed
# make serve   a demonstration in ./demo, or REPO=/srv/annex/x of your own
# make test    everything but the long loops; installs what is missing; JOBS=1 one part at a time
# make soak    the long loops, at full length: SOAK_SECONDS=600 each
# make lint    style, types, imports
# make bench   annexd and git-annex-shell side by side

PYTHON ?= python3
VENV = .venv
BIN = $(VENV)/bin
REPO =
SOAK_SECONDS = 600

# Tests run the git-annex that came with the environment.
RUN = PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m

# Parts of the tests at a time; they wait for each other's programs a third of the time.
JOBS = $(shell expr $$(nproc) + 1)
SIDE_BY_SIDE = $(RUN) tests.support.side_by_side -j $(JOBS)

PACKAGES = $(patsubst tests/%/__init__.py,tests.%,$(wildcard tests/*/__init__.py))
MODULES = $(patsubst tests/%.py,tests.%,$(wildcard tests/test_*.py)) \
          $(patsubst tests/interop/%.py,tests.interop.%,$(wildcard tests/interop/test_*.py))

# Two parts of the same length, and the rest of the modules one by one, the long ones first.
# Those with onions share a Tor network.
HALF = tests.app tests.client tests.protocol tests.transports
UNIT = "$(HALF)" "$(filter-out $(HALF) tests.interop tests.soak,$(PACKAGES))"
ONION = tests.interop.test_onion tests.interop.test_onion_nodes
LONG = tests.interop.test_gateways tests.interop.test_differential tests.interop.test_ssh_listener \
       tests.interop.test_tls tests.interop.test_clients tests.interop.test_content \
       tests.interop.test_gateways_failing tests.interop.test_cluster_failures

.PHONY: venv serve test unit compiled lint bench soak needs programs clean

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

test: needs programs lint compiled
	@$(SIDE_BY_SIDE) "$(ONION)" $(LONG) $(UNIT) $(filter-out $(ONION) $(LONG),$(MODULES))

# Without the real programs and a compiler: seconds.
unit: compiled
	@$(SIDE_BY_SIDE) $(UNIT)

# Daemons and shells are started a thousand times, and write down nothing of what they compile.
compiled: venv
	@$(BIN)/python -m compileall -q annexd tests

lint: venv
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --check --quiet
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: venv
	$(BIN)/python -m bench

soak: needs programs compiled
	ANNEXD_SOAK_SECONDS=$(SOAK_SECONDS) $(RUN) twisted.trial tests.soak

needs:
	@.ci/needs

# The versions of git-annex that clients have.
programs: venv
	@$(BIN)/python -m tests.support.fetch_programs

clean:
	rm -rf $(VENV) build dist demo .cache _trial_temp* .mypy_cache .ruff_cache .hypothesis *.egg-info
