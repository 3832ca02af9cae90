# The commands of the project. `make help` lists them.
PYTHON ?= python3
CLUSTER ?= kaon
NAMESPACE ?= kaon-demo
PYTEST ?=
VENV := .venv
BIN := $(VENV)/bin
DEMO_BIN := .venv-demo/bin
LOCALCLUSTER = $(PYTHON) hack/localcluster
ROOT := $(filter 0,$(shell id -u))
UV_VERSION := 0.13.9
UV_COMPILE = $(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate

# One thing after the other: first what the machine lacks, then the environment, then the work.
.NOTPARALLEL:

.PHONY: help
help: ## list the commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{sub(/:.*/, "", $$1); printf "  %-16s %s\n", $$1, $$2}'

# -- first experience ------------------------------------------------------------------------------------------------

.PHONY: demo
demo: ## real data to a served, compressed model, in a cluster of its own (root; CLUSTER=kaon)
	@$(PYTHON) hack/prerequisites.py demo
	@$(MAKE) --no-print-directory .venv-demo/.stamp
	@$(DEMO_BIN)/python hack/demo --cluster $(CLUSTER) --namespace $(NAMESPACE)

.PHONY: demo-down
demo-down: ## end the demo's cluster and remove every trace (PURGE=1: its images too)
	@$(LOCALCLUSTER) down --name $(CLUSTER) $(if $(PURGE),--purge)
	@$(PYTHON) hack/demo/leftovers.py

# -- development -----------------------------------------------------------------------------------------------------

.PHONY: venv
venv: $(VENV)/.stamp ## the Python environment, from the lock file

$(VENV)/.stamp: requirements/dev.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older. Say PYTHON=… to use another."; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --require-hashes -r requirements/dev.lock
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps -e .
	touch $@

# The demo needs the command line and a store's client, not PyTorch: seconds instead of minutes.
.venv-demo/.stamp: requirements/demo.lock pyproject.toml
	@echo "==> Python environment of the demo"
	@test -x $(DEMO_BIN)/python || $(PYTHON) -m venv .venv-demo
	@$(DEMO_BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@VIRTUAL_ENV=$(CURDIR)/.venv-demo $(DEMO_BIN)/uv pip install --quiet --require-hashes -r requirements/demo.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv-demo $(DEMO_BIN)/uv pip install --quiet --no-deps -e .
	@touch $@

.PHONY: lock
lock: venv ## renew requirements/*.lock
	for extra in operator jobs; do $(UV_COMPILE) pyproject.toml --extra $$extra -o requirements/$$extra.lock; done
	$(UV_COMPILE) pyproject.toml --extra operator --extra cli --extra jobs --extra dev -o requirements/dev.lock
	$(UV_COMPILE) pyproject.toml requirements/demo.in --extra cli -o requirements/demo.lock
	for part in triton torchserve router; do $(UV_COMPILE) requirements/$$part.in -o requirements/$$part.lock; done
	$(UV_COMPILE) --no-deps requirements/data.in -o requirements/data.lock
	for part in compression tasks; do $(UV_COMPILE) --no-deps benchmarks/$$part/data.in -o benchmarks/$$part/data.lock; done
	for file in benchmarks/compression/judge.in benchmarks/compression/peers/*.in; do $(UV_COMPILE) $$file -o $${file%.in}.lock; done

.PHONY: generate
generate: venv ## write what is derived: CRDs, the chart's files, plain manifests
	$(BIN)/python -m kaon.api.schema
	$(BIN)/python charts/generate.py
	$(BIN)/python docs/spec/fields.py

.PHONY: crds
crds: venv ## write crds/ from the models
	$(BIN)/python -m kaon.api.schema

.PHONY: lint
lint: venv ## style, types, and that nothing derived is stale
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m kaon.api.schema --check
	$(BIN)/python charts/generate.py --check
	$(BIN)/python docs/spec/fields.py --check
	$(PYTHON) hack/localcluster tool helm > /dev/null && $$($(PYTHON) hack/localcluster tool helm) lint --quiet charts/kaon

# -- tests -----------------------------------------------------------------------------------------------------------

# Says in seconds what the machine lacks for a target; root on Debian installs it.
needs-%:
	@$(PYTHON) hack/prerequisites.py $*

.PHONY: tools
tools: ## Kubernetes and its tools, from their sources; half an hour the first time
	@for tool in kube-apiserver helm $(if $(ROOT),buildctl pause); do $(LOCALCLUSTER) tool $$tool > /dev/null || exit 1; done

.PHONY: test
test: needs-test lint tools ## everything; without root all but the end-to-end tests. 30 to 45 minutes, more the first time
	$(BIN)/pytest --numprocesses 2 --no-loadscope-reorder --durations 15 --durations-min 20 $(if $(ROOT),,--without-root) $(PYTEST)

.PHONY: test-unit
test-unit: needs-test-unit venv ## tests of pure code; seconds
	$(BIN)/pytest tests/unit $(PYTEST)

.PHONY: test-golden
test-golden: venv ## what is rendered, against what was reviewed
	$(BIN)/pytest tests/golden $(PYTEST)

.PHONY: test-cluster
test-cluster: needs-test-cluster venv ## against a real API server
	$(BIN)/pytest tests/cluster $(PYTEST)

.PHONY: test-e2e
test-e2e: needs-test-e2e venv ## on a real node, images and all (root)
	$(BIN)/pytest tests/e2e $(PYTEST)

.PHONY: test-exhaustive
test-exhaustive: venv ## every fault, small world, family and technique, 10,000 hostile objects and requests; hours
	$(BIN)/python tests/smallworld --full
	$(BIN)/python tests/faults --full
	$(BIN)/python tests/hostile --count 10000
	$(BIN)/python tests/readers --count 5000
	$(BIN)/python tests/families --folders 500
	$(BIN)/python tests/families --full
	$(BIN)/python tests/serving
	$(BIN)/python tests/serving --model odd-classes --count 500
	$(BIN)/python tests/serving --model classes --count 5000
	$(BIN)/python tests/serving --model number --count 5000
	$(BIN)/python tests/serving --model history --count 5000
	$(BIN)/python benchmarks/operator/failover.py

.PHONY: benchmark-operator
benchmark-operator: venv ## the operator beside bare Jobs and Kubeflow Trainer, in one run; about an hour
	$(BIN)/python benchmarks/operator

.PHONY: benchmark-router
benchmark-router: venv ## what the router's check of requests costs; minutes
	$(BIN)/python benchmarks/router

.PHONY: benchmark-compression
benchmark-compression: venv ## Kaon's compression beside its peers, in one run; hours
	$(BIN)/python benchmarks/compression

.PHONY: benchmark-tasks
benchmark-tasks: venv ## models of tables beside LightGBM and scikit-learn with their defaults; minutes
	$(BIN)/python benchmarks/tasks

.PHONY: benchmark-rankings
benchmark-rankings: venv ## models that rank items beside the library implicit, on MovieLens 100k; minutes
	$(BIN)/python benchmarks/tasks/rankings.py

.PHONY: benchmark-images
benchmark-images: venv ## networks over images beside a plain torchvision script; an hour
	$(BIN)/python benchmarks/tasks/images.py

.PHONY: benchmark-texts
benchmark-texts: venv ## an encoder beside a plain Trainer script; an hour
	$(BIN)/python benchmarks/tasks/texts.py

# -- the local cluster -----------------------------------------------------------------------------------------------

.PHONY: cluster-up
cluster-up: ## a real single-node Kubernetes (root; CLUSTER=kaon)
	$(LOCALCLUSTER) up --name $(CLUSTER)

.PHONY: cluster-down
cluster-down: ## end it (PURGE=1: remove its images too)
	$(LOCALCLUSTER) down --name $(CLUSTER) $(if $(PURGE),--purge)

.PHONY: cluster-status
cluster-status: ## what of it runs
	$(LOCALCLUSTER) status --name $(CLUSTER)

.PHONY: images
images: ## build what changed of the images into it
	$(PYTHON) hack/images.py --cluster $(CLUSTER)
