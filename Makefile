# Two commands do everything: `make run` and `make test`. The others look longer, or elsewhere.
PYTHON ?=
FUZZ_SECONDS ?= 60
BYSTANDER_SECONDS ?= 4
BYSTANDER_BEFORE ?=
CHAOS_SECONDS ?= 120
CHAOS_ROUNDS ?= 300
DRAIN_CONNECTIONS ?= 5000
MODEL_RUNS ?= 20000
MODEL_SEED ?=
SOAK_SECONDS ?= 1200
VENV := .venv
BIN := $(VENV)/bin
COMPILED := PYTHONDONTWRITEBYTECODE=
SOURCES := pyproject.toml README.md $(shell find plugin -name '*.py' -o -name '*.pyi' -o -name '*.c' -o -name 'py.typed')

# command=Debian package
TEST_PACKAGES := php=php-cli phpunit=phpunit chromium=chromium openssl=openssl \
	redis-server=redis-server redis-sentinel=redis-sentinel redis-cli=redis-tools \
	nginx=nginx-light haproxy=haproxy caddy=caddy node=nodejs npm=npm

.PHONY: run test check unit php-unit js-unit python-unit then-python-unit collect collect-adapters collect-others lint conformance compat valkey pure sanitize proto bench growth bystander fuzz chaos chaos-redis feed-model drain soak screenshot clean help

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

run: $(VENV)/.installed ## start the server with .rr.yaml: a chat at http://127.0.0.1:8080/
	@echo "Open http://127.0.0.1:8080/ in two browser windows: a chat, see examples/chat/."
	@echo "Next, in other terminals of this directory:"
	@echo "  $(BIN)/rr-py-ws publish chat.lobby 'hello'   say something there"
	@echo "  $(BIN)/rr-py-ws listen chat.lobby            join the room and print what arrives"
	@echo "  php examples/publish.php chat.lobby 'hello'  publish from PHP"
	@echo "Ctrl-C here stops the server."
	@echo
	@exec $(BIN)/rr-py-ws serve -c .rr.yaml

test: ## install what the tests need, run every check and every test
	@./.ci/system-packages $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory -j2 --output-sync=target php-unit js-unit collect then-python-unit lint

check: test

lint: $(VENV)/.dev ## style, types, layers, generated code
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

unit: php-unit js-unit python-unit ## all tests: PHP, JavaScript, Python

php-unit:
	phpunit -c php-client

js-unit: ## the tests of js-client/ alone
	@./.ci/js-client

python-unit: $(VENV)/.dev
	$(COMPILED) $(BIN)/pytest -q -n 5 --dist loadfile --no-loadscope-reorder

# Its output is shown while it runs.
then-python-unit: collect
	@$(MAKE) --no-print-directory --output-sync=none python-unit

# Compiling the tests with pytest's rewritten asserts takes three times as long as importing them: once, in two halves
# at a time, and not in each of the processes that run them.
collect: collect-adapters collect-others

collect-adapters: $(VENV)/.dev
	@$(COMPILED) $(BIN)/pytest -q --collect-only tests/adapters > /dev/null

collect-others: $(VENV)/.dev
	@$(COMPILED) $(BIN)/pytest -q --collect-only --ignore=tests/adapters > /dev/null

conformance: $(VENV)/.dev ## WebSocket conformance in all combinations (`make test` runs all pairs)
	CONFORMANCE=full $(BIN)/pytest -q -n 2 tests/conformance

compat: ## the tests with the lowest versions that pyproject.toml allows, and with Python 3.13
	./.ci/compat lowest
	./.ci/compat 3.13

valkey: $(VENV)/.dev ## the tests of the Redis broker with Valkey, from PyPI
	./.ci/valkey

pure: $(VENV)/.dev ## all tests in Python, without the native part
	RR_PY_WS_PURE=1 $(COMPILED) $(BIN)/pytest -q -n 4 --dist loadfile --no-loadscope-reorder

sanitize: $(VENV)/.dev ## the tests and the fuzzer of the native part, with the sanitizers of the compiler
	PYTHONPATH=tests $(BIN)/python -m fuzz.sanitize --seconds $(FUZZ_SECONDS)

proto: $(VENV)/.dev ## regenerate plugin/rr_py_ws/wire/pb from proto/
	$(BIN)/python proto/generate.py

bench: $(VENV)/.dev ## measure speed and memory, against Bun where npm is there
	$(BIN)/python -m bench

growth: $(VENV)/.dev ## measure how costs grow with clients, topics and payloads, and draw docs/growth.svg
	$(BIN)/python -m bench.growth --svg docs/growth.svg

bystander: $(VENV)/.dev ## measure what others notice of an attacker, of each kind (BYSTANDER_SECONDS=4 beside each)
	PYTHONPATH=tests $(BIN)/python -m chaos.bystander --seconds $(BYSTANDER_SECONDS) \
		$(if $(BYSTANDER_BEFORE),--before $(BYSTANDER_BEFORE))

fuzz: $(VENV)/.dev ## look for inputs that break a decoder (FUZZ_SECONDS=60 for each)
	PYTHONPATH=tests $(BIN)/python -m fuzz --seconds $(FUZZ_SECONDS)

chaos: $(VENV)/.dev ## kill workers, clients and publishers at random, beside attackers (CHAOS_SECONDS=120)
	PYTHONPATH=tests $(BIN)/python -m chaos --seconds $(CHAOS_SECONDS)

chaos-redis: $(VENV)/.dev ## break Redis, Sentinel and Cluster under nodes that publish (CHAOS_ROUNDS=300)
	CHAOS_ROUNDS=$(CHAOS_ROUNDS) $(BIN)/pytest -q -n 2 tests/adapters/brokers/redis/test_chaos.py \
		tests/adapters/brokers/redis/test_history_chaos.py tests/adapters/brokers/redis/test_history_failovers.py

feed-model: $(VENV)/.dev ## random failures of the model of histories (MODEL_RUNS=20000, MODEL_SEED= repeats them)
	PYTHONPATH=tests $(BIN)/python -m chaos.feed_model --runs $(MODEL_RUNS) $(if $(MODEL_SEED),--seed $(MODEL_SEED))

drain: $(VENV)/.dev ## stop a server with 5,000 clients; with a tenth beside each attacker (DRAIN_CONNECTIONS=5000)
	PYTHONPATH=tests $(BIN)/python -m chaos.drain --connections $(DRAIN_CONNECTIONS)

soak: $(VENV)/.dev ## 2,000 clients that come and go, beside attackers; nothing may grow (SOAK_SECONDS=1200)
	PYTHONPATH=tests $(BIN)/python -m chaos.soak --seconds $(SOAK_SECONDS)

screenshot: $(VENV)/.dev ## make docs/chat.png, the picture of the chat in the README
	PYTHONPATH=tests $(BIN)/python docs/screenshot.py

clean: ## remove the environment and caches
	rm -rf $(VENV) js-client/node_modules js-client/dist js-client/build .compat .fuzz .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/bin/python:
	@python=$$(./.ci/python $(PYTHON)) && echo "$$python -m venv $(VENV)" && $$python -m venv $(VENV)

# The package is installed as a user would have it, not in place: the tests see what the wheel holds.
$(VENV)/.installed: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install -q --disable-pip-version-check .
	@touch $@

# What is imported is compiled then; of the tools most is not.
$(VENV)/.dev: $(VENV)/bin/python $(SOURCES)
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-compile '.[dev]'
	@touch $(VENV)/.installed $@
