# make run        serve the committed model and print its decisions about samples/; PORT=8001 takes another port
# make test-fast  lint, types and the tests that need only pip packages; two minutes
# make test       lint, types and every test, with containers and fuzzing; needs Debian and root
# make up         gate, Prometheus, Alertmanager and Grafana in containers
# make docs       the documentation as a site in runs/site
PYTHON ?= python3
BIN := .venv/bin
# Variables for other projects must not add modules to those of the locks, nor lead pip to another place or release.
unexport PYTHONHOME PYTHONPATH
unexport PIP_CONSTRAINT PIP_NO_BUILD_ISOLATION PIP_PREFIX PIP_PYTHON PIP_REQUIRE_HASHES PIP_ROOT PIP_TARGET
# Containers set it. Every process would compile all that it imports: 4 s of processor time for Keras and TensorFlow.
unexport PYTHONDONTWRITEBYTECODE
export PIP_USER := 0
# Compiling every module took a third of the installation; Python compiles those that it imports.
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --no-compile
FACES ?= ../shared/faces
# Quoted where it is used, so that a name may have blanks; a shell expands no ~ in quotes.
DATA = $(FACES:~/%=$(HOME)/%)
VERSION ?= 6
# The locks keep extras: without them older releases of pip treat a requirement with an extra as unpinned.
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-strip-extras \
	--python-version 3.11 --custom-compile-command "make locks" pyproject.toml

.PHONY: run setup setup-training usable faces test test-all test-alone test-rest background collect coverage test-fast test-newest unit test-containers fuzz lint lint-python lint-pages proto openapi reference docs tools container-tools up readable image pin sbom bench bench-tools bench-training train paper locks clean

run: setup
	@$(if $(PORT),LENSGATE_PORT=$(PORT)) $(BIN)/python -m service.demo samples

setup: .venv/cpu
setup-training: .venv/training

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Lensgate needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# The scripts in .venv name its folder: those of a copy would run, and change, the original.
usable: .venv/python
	@$(BIN)/python -c 'import pip, sys; sys.exit(f"{sys.prefix}/" not in open(f"{sys.prefix}/bin/pip").read())' 2>/dev/null \
		|| { echo ".venv was made in another folder, or its Python is gone: rm -r .venv, then run make again" >&2; exit 1; }

# Stamp files. The packages of a lock are installed once and need no compiler; the project itself is built after them.
LOCKS := cpu training dev docs
$(LOCKS:%=.venv/%-packages): .venv/%-packages: locks/%.txt | usable
	@test $* = cpu -o $* = docs || $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))' \
		|| { echo "TensorFlow has no wheel for this Python: rm -r .venv, then make PYTHON=python3.13" >&2; exit 1; }
	@echo "installing locks/$*.txt into .venv"
	@$(PIP) --require-hashes -r locks/$*.txt
	@touch $@

$(LOCKS:%=.venv/%): .venv/%: .venv/%-packages pyproject.toml client/pyproject.toml hatch_build.py gate/formats/png/scanlines.c gate/formats/png/lanes.h
	@$(PIP) --no-deps --editable . $(if $(filter cpu docs,$*),,--editable client)
	@touch $@

PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder --max-worker-restart 0
PYTEST_ALONE := $(BIN)/python -m pytest --numprocesses 0

# Packages of several kinds are installed at the same time, then the project, which needs the C compiler. The containers
# follow the tests, whose time limits a build would upset; fuzzing fills the cores meanwhile.
test:
	$(MAKE) --jobs 3 --output-sync=target container-tools node_modules/.stamp .venv/dev-packages
	$(MAKE) .venv/dev
	$(MAKE) --jobs 2 --output-sync=target test-alone background
	$(MAKE) test-rest
	$(MAKE) --jobs 2 test-containers fuzz SECONDS= JOBS=2 SEED=1

test-all:
	$(MAKE) test-alone
	$(MAKE) test-rest

# Ray's start has a time limit that a busy machine exceeds, so its cluster is tested first and alone. Tests that fail run
# once more, alone, and have to pass then: a busy machine fails none of them, and a fault fails both times.
ALONE := tests/bulk/test_ray_cluster.py
AGAIN := { test $$? = 1 && echo "the tests that failed run again, alone" \
	&& $(PYTEST_ALONE) --last-failed --last-failed-no-failures none; }
test-alone: tools .venv/dev
	$(PYTEST_ALONE) $(ALONE) || $(AGAIN)

test-rest: tools .venv/dev
	$(PYTEST) $(ALONE:%=--ignore=%) || $(AGAIN)

# What fits beside Ray, which waits much of its time: lint, and one collection of all tests, so that the workers find
# every test file compiled. The lowest priority leaves Ray the cores.
background:
	nice -n 19 $(MAKE) lint collect

collect: .venv/dev
	@$(BIN)/python -m pytest -p no:cacheprovider --collect-only --quiet >/dev/null

# Measuring adds half to the tests' processor time on Python 3.11, so `make test` leaves it out.
coverage: tools .venv/dev
	$(PYTEST) --cov --cov-fail-under=95

# Without Debian packages, root, TensorFlow, Ray, a browser or a network. tests/support/fast_lane.py selects the tests.
test-fast: .venv/dev
	$(MAKE) --jobs 2 --output-sync=target unit lint-python

unit: .venv/dev
	$(PYTEST) --fast --quiet

# The newest releases of the dependencies whose private parts are used, beyond the upper bounds of pyproject.toml, in an
# environment of its own. Where this passes the bound, and the version that the adapter names as tested, can be raised.
NEWEST := uvicorn httptools fastapi starlette pydantic psycopg[binary] keras keras-tuner ray[data]
NEWEST_EXTRAS := service,postgres,cpu,tracing,grpc,bulk,ray,training
NEWEST_TESTS := tests/service/test_connections.py tests/service/test_faults.py tests/service/test_stock_uvicorn.py \
	tests/service/access/test_tls.py tests/service/v2 tests/service/records/test_store.py tests/training/test_search.py \
	tests/training/test_coordinator.py
test-newest:
	@set -e; folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	$(PYTHON) -m venv "$$folder"; pip="$$folder/bin/pip --disable-pip-version-check --no-input install --quiet"; \
	$$pip --upgrade pip; $$pip --editable '.[$(NEWEST_EXTRAS)]' --editable client --group test; \
	$$pip --upgrade $(foreach name,$(NEWEST),'$(name)'); \
	"$$folder/bin/pip" list | grep -iE '^($(subst $() ,|,$(foreach name,$(NEWEST),$(firstword $(subst [, ,$(name))))))\b'; \
	"$$folder/bin/python" -m pytest -p tests.support.newest -k "not allowed_at_installation" \
		$(NEWEST_TESTS)

# Fuzz each parser of untrusted bytes for SECONDS on one core, JOBS parsers at a time. Findings stay in runs/fuzz, and the
# next run continues from there. `make test` fixes the seed and the number of inputs, so that its result repeats.
SECONDS ?= 60
JOBS ?= 1
SEED ?= 0
fuzz: .venv/dev
	@mkdir -p runs/fuzz
	@printf '%s\n' png tar multipart header v2 | xargs -P $(JOBS) -I{} sh -c '$(BIN)/python -m tests.fuzz.run {} \
		$(if $(SECONDS),--seconds $(SECONDS)) --seed $(SEED) >runs/fuzz/{}.log 2>&1 || { echo "fuzzing {} failed:"; tail -40 runs/fuzz/{}.log; exit 1; }'

# Build the image and run the compose files on a Docker engine that the tests start and stop. The engine has its own data,
# socket and network. Needs root.
test-containers: container-tools .venv/dev
	$(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CI) $(PYTEST_ALONE) --durations 5 tests/containers

# The packages are installed without starting their daemons.
CONTAINER_TOOLS := dockerd debootstrap docker-compose iptables nsenter ip curl
container-tools: tools
	@for tool in $(CONTAINER_TOOLS); do PATH=$$PATH:/usr/sbin:/sbin command -v $$tool >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "install first: $(CONTAINER_TOOLS)" >&2; exit 1; }; \
		echo "installing Debian's docker.io, debootstrap, docker-compose, iptables and iproute2"; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		policy=/usr/sbin/policy-rc.d; test -e $$policy || { \
			printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod 755 $$policy; trap "$$sudo rm $$policy" EXIT; }; \
		$$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		$$sudo apt-get -qq install --yes --no-install-recommends docker.io debootstrap docker-compose iptables \
		iproute2 util-linux >/dev/null; fi

# Prometheus, Alertmanager and Grafana read these files under their own users, so a tight umask must not hide them.
readable:
	@chmod -R go+rX deploy/grafana deploy/prometheus

up: readable
	docker compose up --build

# Behind a mirror: make image PIP_CONF=FILE APT_SOURCES=FILE CA=FILE, each one optional.
TARGET ?= cpu
image:
	DOCKER_BUILDKIT=1 docker build --file deploy/Dockerfile --target $(TARGET) --tag lensgate:$(TARGET) \
		$(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) \
		$(if $(PIP_CONF),--secret id=pip.conf,src=$(PIP_CONF)) \
		$(if $(APT_SOURCES),--secret id=apt.sources,src=$(APT_SOURCES)) $(if $(CA),--secret id=ca,src=$(CA)) .

# Write the current digests of the base images into .env, which compose reads. Buildx ignores a format that begins with
# .Manifest and prints a table.
pin:
	@touch .env; grep -v '^#' deploy/images.env | while IFS='=' read -r name image; do \
		digest=$$(docker buildx imagetools inspect --format '{{printf "%s" .Manifest.Digest}}' "$$image") || exit 1; \
		others=$$(grep -v "^$$name=" .env); echo "$$name=$$image@$$digest"; \
		printf '%s\n' $${others:+"$$others"} "$$name=$$image@$$digest" >.env; done

# Write a CycloneDX bill of materials for .venv. An image carries its own in /usr/share/doc/lensgate.
sbom: .venv/dev
	$(BIN)/python -m deploy.sbom --output runs/sbom.cdx.json

lint: lint-python lint-pages

lint-python: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tests.plain_words

lint-pages: node_modules/.stamp
	node_modules/.bin/biome ci
	@mkdir -p runs
	node_modules/.bin/openapi-typescript docs/openapi.json --output runs/openapi.d.ts
	node_modules/.bin/tsc

# The committed form of the gRPC protocol, which a test holds to its source.
proto: .venv/dev
	$(BIN)/python -m grpc_tools.protoc -Iservice/grpc_server \
		--descriptor_set_out=service/grpc_server/open_inference.binpb open_inference.proto

# The committed OpenAPI document, which a test holds to the service.
openapi: .venv/dev
	$(BIN)/python -m tests.support.openapi >docs/openapi.json

# The tables and pictures in docs/ that come from the code and from committed figures; a test holds them to it.
reference: .venv/dev
	$(BIN)/python -m docs.generate

docs: .venv/docs
	@$(BIN)/zensical build --strict --clean
	@echo "open runs/site/index.html; for the search: $(BIN)/python -m http.server --directory runs/site 8001"

# The pages' JavaScript is served as it is; Node.js only checks it.
node_modules/.stamp: package.json package-lock.json | tools
	@echo "installing package-lock.json into node_modules"
	@npm ci --ignore-scripts --no-audit --no-fund --loglevel error
	@touch $@

# Some tests run Debian's servers and browser against the service and the files in deploy/, others need a C compiler, or
# one for 64-bit ARM and an emulator.
# The tests start PostgreSQL themselves, so its package must not create a cluster.
TOOLS := prometheus promtool prometheus-alertmanager docker-compose wrk cc curl openssl chromium-headless-shell nginx node npm aarch64-linux-gnu-gcc qemu-aarch64 systemd-analyze
tools:
	@for tool in $(TOOLS); do command -v $$tool >/dev/null || missing=1; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing=1; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "install first: $(TOOLS) and PostgreSQL" >&2; exit 1; }; \
		echo "installing Debian's prometheus, alertmanager, docker-compose, wrk, gcc, curl, openssl, chromium-headless-shell, nginx, nodejs, npm, postgresql, gcc-aarch64-linux-gnu, qemu-user and systemd"; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		$$sudo mkdir -p /etc/postgresql-common/createcluster.d; \
		echo "create_main_cluster = false" | $$sudo tee /etc/postgresql-common/createcluster.d/lensgate.conf >/dev/null; \
		$$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		$$sudo apt-get -qq install --yes --no-install-recommends prometheus prometheus-alertmanager docker-compose \
		wrk gcc libc6-dev curl openssl chromium-headless-shell nginx postgresql gcc-aarch64-linux-gnu libc6-dev-arm64-cross \
		qemu-user systemd $$(command -v npm >/dev/null || echo nodejs npm) >/dev/null; fi

# Use real generator output if FACES has it, drawn faces otherwise.
IMAGES = "$(if $(shell test -d "$(DATA)/originals" && echo found),$(DATA)/originals,samples)"
bench: setup-training bench-tools
	$(BIN)/python -m bench.decoding $(IMAGES)
	$(BIN)/python -m bench.startup
	$(BIN)/python -m bench.records --images $(IMAGES)
	$(BIN)/python -m bench.bulk --images $(IMAGES)
	$(BIN)/python -m bench.client --images $(IMAGES)
	$(BIN)/python -m bench.before_encoding --images $(IMAGES)
	$(BIN)/python -m bench.preparing $(IMAGES)
	$(BIN)/python -m bench.serving --images $(IMAGES)
	$(BIN)/python -m bench.scaling.check --images $(IMAGES)

# wrk generates the load and nginx balances it. Triton, one of the servers compared, needs Debian 12's own Python; without
# it the benchmark reports Triton as missing.
bench-tools:
	@if ! command -v wrk >/dev/null || ! command -v nginx >/dev/null || ! ls /usr/lib/*/libpython3.11.so.1.0 /usr/lib/*/libpng16.so.16 >/dev/null 2>&1; then \
		command -v apt-get >/dev/null || { echo "install wrk, nginx and libpng first" >&2; exit 1; }; \
		echo "installing Debian's wrk, nginx, libpng and python3.11"; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		export DEBIAN_FRONTEND=noninteractive; \
		$$sudo apt-get -qq update; \
		$$sudo apt-get -qq install --yes --no-install-recommends wrk nginx libpng-dev >/dev/null || exit 1; \
		$$sudo apt-get -qq install --yes --no-install-recommends python3.11 python3.11-venv libpython3.11 >/dev/null \
			|| echo "Triton is left out"; fi

# The first trains and has no time limit; the second reads the results of `make train` in runs/.
bench-training: faces setup-training
	$(BIN)/python -m bench.audit "$(DATA)"
	$(BIN)/python -m bench.novelty runs/records runs/fit

# These terms describe the default data set only.
ifeq ($(origin FACES),file)
TERMS = --source "faces=stand-in for Kaggle's Glasses or No Glasses: 2,757 GAN faces of nine collections, labelled by eye" \
	--licence "faces=research, non-commercial; no terms for most of the pictures: see the data set's README"
endif

# The faces are not part of the project; the model's card names them and their terms. They are looked for before
# TensorFlow is installed.
faces:
	@test -f "$(DATA)/train.csv" || { echo "there is no $(DATA)/train.csv: add FACES=DIR" >&2; exit 1; }

train: faces setup-training
	$(BIN)/lensgate train draw --count 200 --seed 7 --out runs/drawn
	$(BIN)/lensgate train all --data "$(DATA)" --auxiliary runs/drawn --preset gate --folds 4 --work runs --out runs/models \
		--version $(VERSION) $(TERMS)

# The paper's experiments, hours on two cores: finished parts stay in runs/paper, and a second run continues. PAPER adds
# options, such as PAPER="--seeds 5".
paper: faces setup-training
	$(BIN)/lensgate train paper --data "$(DATA)" --work runs/paper --out docs $(PAPER)

locks:
	$(COMPILE) --extra service --extra postgres --extra cpu --extra tracing --extra grpc --extra bulk --extra ray --extra training --group test --group docs --output-file locks/dev.txt
	$(COMPILE) --extra service --extra postgres --extra cpu --extra tracing --extra grpc --extra bulk --extra ray --extra training client/pyproject.toml --constraint locks/dev.txt --output-file locks/training.txt
	$(COMPILE) --extra service --extra postgres --extra cpu --extra tracing --extra grpc --constraint locks/dev.txt --output-file locks/cpu.txt
	$(COMPILE) --extra service --extra postgres --extra gpu --extra tracing --extra grpc --constraint locks/dev.txt --output-file locks/gpu.txt
	$(subst pyproject.toml,,$(COMPILE)) --group build --output-file locks/build.txt
	$(subst pyproject.toml,,$(COMPILE)) --group docs --constraint locks/dev.txt --output-file locks/docs.txt

# What took hours stays: the results of training and fuzzing in runs/.
clean:
	rm -rf .venv node_modules runs/site runs/openapi.d.ts runs/sbom.cdx.json .cache .mypy_cache .pytest_cache .ruff_cache .coverage*
