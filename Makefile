# Warren's commands. They need make and Node.js 20 or newer, and install everything else inside this checkout.

.DEFAULT_GOAL := help
.PHONY: help env node install demo example services test watch e2e bench fuzz mutants coverage check fix definitions docs charts topology cluster dev deploy clean

# Node.js 24, if the machine's own is older; see scripts/node.sh.
export PATH := $(CURDIR)/.tools/node/bin:$(PATH)

help: ## show this list
	@echo 'Warren: event-driven services on RabbitMQ. Commands:'
	@sed -n 's/^\([a-z0-9]*\):[^#]*## \(.*\)/  make \1 @\2/p' $(MAKEFILE_LIST) | awk -F@ '{ printf "%-20s %s\n", $$1, $$2 }'

env: node ## print the shell command that puts Node.js 24 on the PATH, for eval
	@echo "export PATH='$(CURDIR)/.tools/node/bin':\"\$$PATH\""

node:
	@sh scripts/node.sh

install: node ## install Node.js if it is missing, and the dependencies of every directory
	@node scripts/packages.mjs --all

demo: node ## start broker, databases and services on this machine, and show a tour; ONCE=1 exits after it, AUTH=jwt requires tokens
	@node scripts/packages.mjs --services $(if $(filter jwt,$(AUTH)),e2e/issuer)
	@node scripts/demo.ts

example: node ## start an example beside the services, as demo does; NAME=fastify-outbox ONCE=1
	@node scripts/packages.mjs --services $(patsubst %,examples/%,$(or $(NAME),fastify-outbox))
	@EXAMPLES='$(or $(NAME),fastify-outbox)' node scripts/demo.ts

services: install ## start a broker and a PostgreSQL that keep running for the tests of this checkout; STOP=1 stops them
	@node scripts/keep-services.ts $(if $(STOP),--stop)

watch: install ## run the tests affected by a change whenever a file is saved
	@node scripts/watch.ts

test: install ## run all tests against a real broker and real databases; SUITES="services/user" JOBS=3 SLOW=1
	@node scripts/test.ts $(SUITES)

e2e: install ## run the tests against Warren in the current kube context: rollouts, kills and upgrades under load
	@node scripts/test.ts --cluster $(SUITES)

bench: install ## compare Warren with its peers and write docs/performance.md; QUICK=1 FULL=1 BASE=/checkout ONLY=product SYSTEMS=warren,nest
	@node bench/src/main.ts

fuzz: install ## send random input from a fixed seed to every service; SEED=1 MINUTES=5 TARGETS=http,raw CASE="…"
	@node scripts/test.ts --fuzz

mutants: install ## plant faults one at a time and run the tests that must find each; NAMES="refund,lease" JOBS=2
	@node scripts/mutants.ts

coverage: install ## run the tests of `test` and report the lines that no test executes
	@node_modules/.bin/c8 node scripts/test.ts $(SUITES)

check: install ## check types, lint, format, dead code, imports, lockfiles, packed packages, releases, definitions, documents, docs, commits, alerts and charts; CHECKS="types lint"
	@node scripts/check.ts $(CHECKS)

fix: install ## fix format and lint where it can be done automatically
	@node_modules/.bin/biome check --write

definitions: install ## generate the broker's definitions file from the services' broker.ts
	@node scripts/definitions.ts

docs: install ## generate what the docs repeat of the code: OpenAPI, AsyncAPI, the tables of docs/reference, the public surface of each package
	@node scripts/openapi.ts
	@node scripts/asyncapi.ts
	@node scripts/reference.ts
	@node scripts/api.ts

charts: install ## generate each chart's values.schema.json and the table in its README
	@node scripts/charts.ts

topology: install ## print everything that SERVICE declares on the broker: make topology SERVICE=user
	@cd services/$(or $(SERVICE),user) && npm run --silent topology

cluster: ## create a kind cluster called warren if there is none; dev, deploy and e2e use the current kube context
	$(call needs,kind,https://kind.sigs.k8s.io/docs/user/quick-start/#installation)
	$(call needs,kubectl,https://kubernetes.io/docs/tasks/tools/)
	@kind get clusters 2>&1 | grep -qx warren || kind create cluster --config k8s/kind.yaml
	@kubectl --context kind-warren get nodes

dev: skaffold ## run skaffold dev: deploy to the cluster, and redeploy what changes; ARGS="-m order" or ARGS="-p minimal"
	skaffold dev $(ARGS)

deploy: skaffold ## run skaffold run: deploy everything to the cluster; ARGS="-p prod-like"
	skaffold run $(ARGS)

.PHONY: skaffold
skaffold:
	$(call needs,skaffold,https://skaffold.dev/docs/install/)
	$(call needs,helm,https://helm.sh/docs/intro/install/)
	$(call needs,kubectl,https://kubernetes.io/docs/tasks/tools/)
	$(call needs,docker,https://docs.docker.com/engine/install/ (with buildx))
	@kubectl version >/dev/null 2>&1 || { echo 'The current kube context has no reachable cluster: run make cluster' >&2; exit 1; }

needs = @command -v $(1) >/dev/null || { echo "$(1) is not installed: $(2)" >&2; exit 1; }

clean: ## remove everything that was installed or built here
	rm -rf .tools coverage node_modules bench/node_modules packages/*/node_modules services/*/node_modules e2e/*/node_modules examples/*/node_modules
	rm -rf examples/*/.venv
	rm -rf packages/*/dist services/*/dist bench/peers/*/dist
