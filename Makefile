# make run    serve the committed model and show what it decides about samples/
# make test   lint, types and every test
# make up     gate, Prometheus, Alertmanager and Grafana in containers
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip --disable-pip-version-check --no-input install --quiet
FACES ?= ../shared/faces
VERSION ?= 2
# Extras stay: without them older releases of pip take what an extra stands at for unpinned once a newer one is out.
COMPILE := uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-strip-extras \
	--python-version 3.11 --custom-compile-command "make locks" pyproject.toml

.PHONY: run setup setup-training test test-containers fuzz lint tools container-tools up readable image pin sbom bench bench-tools bench-training train locks clean

run: setup
	@$(BIN)/python -m service.demo samples

setup: .venv/cpu
setup-training: .venv/training

.venv/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Lensgate needs Python 3.11 or newer: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	@touch $@

# A stamp for each lock: what is installed is exactly what the lock names, and nothing is installed twice.
.venv/cpu .venv/training .venv/dev: .venv/%: locks/%.txt pyproject.toml client/pyproject.toml hatch_build.py gate/formats/png/scanlines.c | .venv/python
	@test $* = cpu || $(BIN)/python -c 'import sys; sys.exit(sys.version_info >= (3, 14))' \
		|| { echo "TensorFlow has no wheel for this Python: make clean, then PYTHON=python3.13" >&2; exit 1; }
	@echo "installing locks/$*.txt into .venv"
	@$(PIP) --require-hashes -r locks/$*.txt
	@$(PIP) --no-deps --editable . $(if $(filter cpu,$*),,--editable client)
	@touch $@

test: tools .venv/dev lint
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--cov --cov-fail-under=95
	$(MAKE) --jobs 2 test-containers fuzz JOBS=2

# Each parser of untrusted bytes for so many seconds of one core, JOBS of them at a time. What is found stays in runs/fuzz,
# where the next run goes on.
SECONDS ?= 60
JOBS ?= 1
fuzz: .venv/dev
	@mkdir -p runs/fuzz
	@printf '%s\n' header multipart png tar v2 | xargs -P $(JOBS) -I{} sh -c '$(BIN)/python -m tests.fuzz.run {} \
		--seconds $(SECONDS) >runs/fuzz/{}.log 2>&1 || { echo "fuzzing {} failed:"; tail -40 runs/fuzz/{}.log; exit 1; }'

# The image and the compose files on a Docker engine that the tests start and end: its data, its socket and its network
# are its own. Needs root.
test-containers: container-tools .venv/dev
	$(if $(filter 0,$(shell id -u)),,sudo --preserve-env=CI) $(BIN)/python -m pytest --numprocesses 0 --durations 5 tests/containers

# Installed without being started.
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

# Prometheus, Alertmanager and Grafana read these files as users of their own, whatever the umask of the checkout.
readable:
	@chmod -R go+rX deploy/grafana deploy/prometheus

up: readable
	docker compose up --build

# Behind a mirror: make image PIP_CONF=FILE APT_SOURCES=FILE CA=FILE, each as far as it is needed.
TARGET ?= cpu
image:
	DOCKER_BUILDKIT=1 docker build --file deploy/Dockerfile --target $(TARGET) --tag lensgate:$(TARGET) \
		$(if $(PYTHON_IMAGE),--build-arg PYTHON_IMAGE=$(PYTHON_IMAGE)) \
		$(if $(PIP_CONF),--secret id=pip.conf,src=$(PIP_CONF)) \
		$(if $(APT_SOURCES),--secret id=apt.sources,src=$(APT_SOURCES)) $(if $(CA),--secret id=ca,src=$(CA)) .

# Writes the base images with their digests of today into .env, which compose reads.
pin:
	@grep -v '^#' deploy/images.env | while IFS='=' read -r name image; do \
		digest=$$(docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$$image") || exit 1; \
		touch .env; sed -i "/^$$name=/d" .env; echo "$$name=$$image@$$digest" | tee -a .env; done

# CycloneDX, of what .venv holds; an image has its own in /usr/share/doc/lensgate.
sbom: .venv/dev
	$(BIN)/python -m deploy.sbom --output runs/sbom.cdx.json

lint: .venv/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m tests.plain_words

# Some tests run Debian's servers and its browser against the service and the files in deploy/, some what a compiler
# made. PostgreSQL is run by the tests themselves: its package need not start one.
TOOLS := prometheus promtool prometheus-alertmanager docker-compose wrk cc curl openssl chromium nginx
tools:
	@for tool in $(TOOLS); do command -v $$tool >/dev/null || missing=1; done; \
	ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing=1; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "install first: $(TOOLS) and PostgreSQL" >&2; exit 1; }; \
		echo "installing Debian's prometheus, alertmanager, docker-compose, wrk, gcc, curl, openssl, chromium, nginx and postgresql"; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		$$sudo mkdir -p /etc/postgresql-common/createcluster.d; \
		echo "create_main_cluster = false" | $$sudo tee /etc/postgresql-common/createcluster.d/lensgate.conf >/dev/null; \
		$$sudo apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
		$$sudo apt-get -qq install --yes --no-install-recommends prometheus prometheus-alertmanager docker-compose \
		wrk gcc libc6-dev curl openssl chromium nginx postgresql >/dev/null; fi

# Real generator output where it is at hand, drawn faces elsewhere.
bench: setup-training bench-tools
	$(BIN)/python -m bench.decoding $(or $(wildcard $(FACES)/originals),samples)
	$(BIN)/python -m bench.startup
	$(BIN)/python -m bench.records --images $(or $(wildcard $(FACES)/originals),samples)
	$(BIN)/python -m bench.bulk --images $(or $(wildcard $(FACES)/originals),samples)
	$(BIN)/python -m bench.client --images $(or $(wildcard $(FACES)/originals),samples)
	$(BIN)/python -m bench.preparing $(or $(wildcard $(FACES)/originals),samples)
	$(BIN)/python -m bench.serving --images $(or $(wildcard $(FACES)/originals),samples)
	$(BIN)/python -m bench.scaling.check --images $(or $(wildcard $(FACES)/originals),samples)

# wrk makes the load, nginx is the balancer; Triton, of the servers compared, runs with Debian 12's own Python alone, and
# is reported as missing where there is none.
bench-tools:
	@if ! command -v wrk >/dev/null || ! command -v nginx >/dev/null || ! ls /usr/lib/*/libpython3.11.so.1.0 >/dev/null 2>&1; then \
		command -v apt-get >/dev/null || { echo "install wrk and nginx first" >&2; exit 1; }; \
		echo "installing Debian's wrk, nginx and python3.11"; \
		if [ "$$(id -u)" = 0 ]; then sudo=; else sudo=sudo; fi; \
		export DEBIAN_FRONTEND=noninteractive; \
		$$sudo apt-get -qq update; \
		$$sudo apt-get -qq install --yes --no-install-recommends wrk nginx >/dev/null || exit 1; \
		$$sudo apt-get -qq install --yes --no-install-recommends python3.11 python3.11-venv libpython3.11 >/dev/null \
			|| echo "Triton is left out"; fi

# Trains for as long as it takes; the second reads what `make train` left in runs/.
bench-training: setup-training
	$(BIN)/python -m bench.audit $(FACES)
	$(BIN)/python -m bench.novelty runs/records runs/fit

# What is said of the default data set holds for no other.
ifeq ($(origin FACES),file)
TERMS = --source "faces=stand-in for Kaggle's Glasses or No Glasses: 2,313 GAN faces of eight collections, labelled by eye" \
	--licence "faces=research, non-commercial; no terms for most of the pictures: see the data set's README"
endif

# The faces are not part of the project; what they are and under which terms stands in the model's card.
train: setup-training
	@test -f $(FACES)/train.csv || { echo "there is no $(FACES)/train.csv: make train FACES=DIR" >&2; exit 1; }
	$(BIN)/lensgate train draw --count 200 --seed 7 --out runs/drawn
	$(BIN)/lensgate train all --data $(FACES) --auxiliary runs/drawn --preset gate --work runs --out runs/models \
		--version $(VERSION) $(TERMS)

locks:
	$(COMPILE) --extra service --extra postgres --extra cpu --extra tracing --extra bulk --extra ray --extra training --group test --output-file locks/dev.txt
	$(COMPILE) --extra service --extra postgres --extra cpu --extra tracing --extra bulk --extra ray --extra training client/pyproject.toml --constraint locks/dev.txt --output-file locks/training.txt
	$(COMPILE) --extra service --extra postgres --extra cpu --extra tracing --constraint locks/dev.txt --output-file locks/cpu.txt
	$(COMPILE) --extra service --extra postgres --extra gpu --extra tracing --constraint locks/dev.txt --output-file locks/gpu.txt
	$(subst pyproject.toml,,$(COMPILE)) --group build --output-file locks/build.txt

clean:
	rm -rf .venv runs .mypy_cache .pytest_cache .ruff_cache .coverage*
