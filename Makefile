# Two commands do everything: `make run` and `make test`. The others look longer, or elsewhere.
PYTHON ?= python3
FUZZ_SECONDS ?= 60
BYSTANDER_SECONDS ?= 4
BYSTANDER_BEFORE ?=
CHAOS_SECONDS ?= 120
CHAOS_ROUNDS ?= 300
DRAIN_CONNECTIONS ?= 5000
SOAK_SECONDS ?= 1200
VENV := .venv
BIN := $(VENV)/bin
SOURCES := pyproject.toml README.md $(shell find plugin -name '*.py' -o -name '*.pyi' -o -name 'py.typed')

# command=Debian package
TEST_PACKAGES := python:ensurepip=python3-venv php=php-cli phpunit=phpunit chromium=chromium openssl=openssl \
	redis-server=redis-server redis-sentinel=redis-sentinel redis-cli=redis-tools

.PHONY: run test check unit lint conformance compat proto bench bystander fuzz chaos chaos-redis drain soak clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## start the server with .rr.yaml (memory broker)
	@echo "Next, in other terminals of this directory:"
	@echo "  $(BIN)/rr-py-ws listen news            join a topic and print what arrives"
	@echo "  $(BIN)/rr-py-ws publish news 'hello'   publish to it"
	@echo "  php examples/publish.php news 'hello'  the same from PHP"
	@echo "  open examples/browser.html in a browser; Ctrl-C here stops the server"
	@echo
	@exec $(BIN)/rr-py-ws serve -c .rr.yaml

test: ## install what the tests need, run every check and every test
	@./.ci/system-packages $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory lint unit

check: test

lint: $(VENV)/.dev ## style, types, layers, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: $(VENV)/.dev ## all tests, Python and PHP
	phpunit -c php-client
	$(BIN)/pytest -q -n 3 --dist loadfile

conformance: $(VENV)/.dev ## WebSocket conformance in all combinations (`make test` runs all pairs)
	CONFORMANCE=full $(BIN)/pytest -q -n 2 tests/conformance

compat: ## the tests with the lowest versions that pyproject.toml allows, and with Python 3.13
	./.ci/compat lowest
	./.ci/compat 3.13

proto: $(VENV)/.dev ## regenerate plugin/rr_py_ws/wire/pb from proto/
	$(BIN)/python proto/generate.py

bench: $(VENV)/.dev ## measure speed and memory, against Bun where npm is there
	$(BIN)/python -m bench

bystander: $(VENV)/.dev ## measure what others notice of an attacker, of each kind (BYSTANDER_SECONDS=4 beside each)
	PYTHONPATH=tests $(BIN)/python -m chaos.bystander --seconds $(BYSTANDER_SECONDS) \
		$(if $(BYSTANDER_BEFORE),--before $(BYSTANDER_BEFORE))

fuzz: $(VENV)/.dev ## look for inputs that break a decoder (FUZZ_SECONDS=60 for each)
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

chaos: $(VENV)/.dev ## kill workers, clients and publishers at random, beside attackers (CHAOS_SECONDS=120)
	PYTHONPATH=tests $(BIN)/python -m chaos --seconds $(CHAOS_SECONDS)

chaos-redis: $(VENV)/.dev ## break Redis, Sentinel and Cluster under nodes that publish (CHAOS_ROUNDS=300)
	CHAOS_ROUNDS=$(CHAOS_ROUNDS) $(BIN)/pytest -q -n 2 tests/adapters/brokers/redis/test_chaos.py

drain: $(VENV)/.dev ## stop a server with 5,000 clients; with a tenth beside each attacker (DRAIN_CONNECTIONS=5000)
	PYTHONPATH=tests $(BIN)/python -m chaos.drain --connections $(DRAIN_CONNECTIONS)

soak: $(VENV)/.dev ## 2,000 clients that come and go, beside attackers; nothing may grow (SOAK_SECONDS=1200)
	PYTHONPATH=tests $(BIN)/python -m chaos.soak --seconds $(SOAK_SECONDS)

clean: ## remove the environment and caches
	rm -rf $(VENV) .compat .fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@./.ci/system-packages python:ensurepip=python3-venv
	$(PYTHON) -m venv $(VENV)

# The package is installed as a user would have it, not in place: the tests see what the wheel holds.
$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install -q --disable-pip-version-check .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	$(BIN)/python -m pip install -q --disable-pip-version-check '.[dev]'
	@touch $@
