# Warren's commands. They need make and Node.js 20 or newer, and fetch what is missing for this checkout alone.

.DEFAULT_GOAL := help
.PHONY: help env node install demo services test watch e2e bench fuzz mutants coverage check fix definitions docs charts topology cluster dev deploy clean

# Node.js 24, where the machine's own is older; see scripts/node.sh.
export PATH := $(CURDIR)/.tools/node/bin:$(PATH)

help: ## this list
	@echo 'Warren: event-driven services on RabbitMQ. Commands:'
	@sed -n 's/^\([a-z0-9]*\):[^#]*## \(.*\)/  make \1 @\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

env: node ## prints the line that puts the right Node.js on a shell's PATH, for eval
	@echo "export PATH='$(CURDIR)/.tools/node/bin':\"\$$PATH\""

node:
	@sh scripts/node.sh

install: node ## Node.js where it is missing, and the dependencies of every directory
	@node scripts/packages.mjs --all

demo: node ## broker, databases and services on this machine, and a tour; ONCE=1 ends after it, AUTH=jwt asks for tokens
	@node scripts/packages.mjs --services $(if $(filter jwt,$(AUTH)),e2e/issuer)
	@node scripts/demo.ts

services: install ## a broker and a PostgreSQL that keep running for the tests of this checkout; STOP=1 stops them
	@node scripts/keep-services.ts $(if $(STOP),--stop)

watch: install ## runs the tests that a change touches, as soon as it is saved
	@node scripts/watch.ts

test: install ## every test, against a real broker and real databases; SUITES="services/user" JOBS=3 SLOW=1
	@node scripts/test.ts $(SUITES)

e2e: install ## the tests of the current kube context, where Warren is deployed: rolled, killed, upgraded under load
	@node scripts/test.ts --cluster $(SUITES)

bench: install ## Warren and its peers in one run, to docs/performance.md; QUICK=1 FULL=1 BASE=/checkout ONLY=product SYSTEMS=warren,nest
	@node bench/src/main.ts

fuzz: install ## random input from a seed against every service; SEED=1 MINUTES=5 TARGETS=http,raw CASE="…"
	@node scripts/test.ts --fuzz

mutants: install ## plants faults, one at a time, and runs the tests that must find each; NAMES="refund,lease" JOBS=2
	@node scripts/mutants.ts

coverage: install ## the same tests as `test`, with a report of the lines that no test runs
	@node_modules/.bin/c8 node scripts/test.ts $(SUITES)

check: install ## types, lint and format, dead code, import directions, lockfiles, definitions, documents, charts
	@node scripts/check.ts $(CHECKS)

fix: install ## mends lint and format where a machine can
	@node_modules/.bin/biome check --write

definitions: install ## writes the broker's definitions file from the services' broker.ts
	@node scripts/definitions.ts

docs: install ## writes what the docs repeat of the code: OpenAPI, AsyncAPI, the tables of docs/reference
	@node scripts/openapi.ts
	@node scripts/asyncapi.ts
	@node scripts/reference.ts

charts: install ## writes the services' schemas of values and the charts' tables of them
	@node scripts/charts.ts

topology: install ## prints what SERVICE declares on the broker, in full: make topology SERVICE=user
	@cd services/$(or $(SERVICE),user) && npm run --silent topology

cluster: ## a kind cluster called warren, when there is none; what follows uses the current kube context
	$(call needs,kind,https://kind.sigs.k8s.io/docs/user/quick-start/#installation)
	$(call needs,kubectl,https://kubernetes.io/docs/tasks/tools/)
	@kind get clusters 2>&1 | grep -qx warren || kind create cluster --config k8s/kind.yaml
	@kubectl --context kind-warren get nodes

dev: skaffold ## skaffold dev: everything in the cluster, and again whatever changes; ARGS="-m order" or ARGS="-p minimal"
	skaffold dev $(ARGS)

deploy: skaffold ## skaffold run: everything in the cluster; ARGS="-p prod-like"
	skaffold run $(ARGS)

.PHONY: skaffold
skaffold:
	$(call needs,skaffold,https://skaffold.dev/docs/install/)
	$(call needs,helm,https://helm.sh/docs/intro/install/)
	$(call needs,kubectl,https://kubernetes.io/docs/tasks/tools/)
	$(call needs,docker,https://docs.docker.com/engine/install/ (with buildx))
	@kubectl version >/dev/null 2>&1 || { echo 'No cluster answers in the current kube context: make cluster' >&2; exit 1; }

needs = @command -v $(1) >/dev/null || { echo "$(1) is not installed: $(2)" >&2; exit 1; }

clean: ## removes what was installed and made here
	rm -rf .tools coverage node_modules bench/node_modules packages/*/node_modules services/*/node_modules e2e/*/node_modules
	rm -rf packages/*/dist services/*/dist bench/peers/*/dist
