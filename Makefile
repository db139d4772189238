# tcplab: what is run here needs Go, git and make; the rest is installed when it is missing.

SUITES ?= ./scenarios/...
SEED   ?= 1
ARGS   ?=
# What make lab shows first, so that one table is there long before all scenarios have run.
FIRST  := ./scenarios/handshake --focus 'completes a three-way handshake in one RTT'
# How many scenarios of a suite may share a guest, in make lab and make seeds: 1 is a guest for each, and three times the work.
SHARE  ?= 16
# For make seeds: which seeds, on which kernels.
SEEDS   ?= 1-20
KERNELS ?= 6.1,6.12,newest
# For make fuzz: how long each target.
FUZZTIME ?= 60s

# For make kill: how many kills, and of which seed: with several seeds they can be split over several calls.
KILLS     ?= 1000
KILL_SEED ?= 1
export KILLS KILL_SEED

# Of what tests one package, on a machine that is busy with others.
TIMEOUT := 30m

TCPLAB := bin/tcplab
# The race detector needs a C compiler; without one the tests run all the same.
RACE   := $(shell command -v gcc >/dev/null && echo -race)
# Hosts may be of one or the other, guests are amd64 always.
OTHER_ARCH := $(if $(filter arm64,$(shell go env GOARCH)),amd64,arm64)
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# Packages whose tests need root or netem: they run in a guest, whatever this machine is. And those whose tests boot guests.
PRIVILEGED   = $(shell internal/testenv/packages guest)
BOOTS_GUESTS = $(shell internal/testenv/packages boots)

.PHONY: help hello lab plan test examples unit privileged reproducible seeds kernels mutate kill fuzz bench bench-compare captures connections exported lint setup clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

lab: hello setup ## run the scenario suites, print a table, write results/ and results/report.html (SUITES=, SEED=, SHARE=, ARGS=)
ifeq ($(SUITES)$(ARGS),./scenarios/...)
	@[ -e results/latest ] || { echo 'One scenario first:'; $(TCPLAB) run $(FIRST) --seed $(SEED) || [ $$? = 1 ] || exit; echo; }
endif
	@mkdir -p results
	$(TCPLAB) run $(SUITES) --seed $(SEED) --share $(SHARE) --report html=results/report.html $(ARGS)

hello:
	@[ -e $(TCPLAB) ] || printf '%s\n' \
	  'This compiles tcplab, gets QEMU and a guest kernel (70 MB) where they are' \
	  'needed and missing, runs one scenario to show what comes of it, and then all.' \
	  'The first time it takes about 13 minutes on two cores: 2 to compile, 1 to' \
	  'download and unpack, 10 to run. Later only what has changed is run.'

test: plan unit privileged lab examples ## run all tests: without root, then with root in a guest, then the suites

plan:
	@printf '%s\n' \
	  'This runs the tests that need nothing, then those that need root, in guests, and then' \
	  'make lab. The first time it takes about 40 minutes on two cores, a quarter of it to compile.'

examples: $(TCPLAB) ## run the examples, which are a module of their own, as a user's suites are
	cd examples && go vet ./... && $(CURDIR)/$(TCPLAB) run ./... --results $(CURDIR)/results/examples --seed $(SEED)

unit: ## run the tests that any machine can run
	go vet ./...
	GOARCH=$(OTHER_ARCH) go vet ./...
	cd examples && go vet ./...
	go test $(RACE) -timeout $(TIMEOUT) ./...
	cd internal/benchtable && go vet . && go test .
	cd internal/htmlreport/browsertest && go vet . && go test -timeout $(TIMEOUT) .

privileged: $(TCPLAB) ## run the tests that boot guests, and, in a guest, those that need root or netem
	@$(TCPLAB) setup --virtual
	TCPLAB_TEST_GUEST=1 TCPLAB_REQUIRE=1 go test -timeout $(TIMEOUT) $(BOOTS_GUESTS)
	$(TCPLAB) run $(PRIVILEGED) --clock virtual --memory 1024 --limit $(TIMEOUT) --seed $(SEED)
	$(TCPLAB) run flowcontrol --focus 'however much memory' --memory 2048 --seed $(SEED)

reproducible: $(TCPLAB) ## run the suites twice with one seed and once with another; the bytes must show it
	@$(TCPLAB) setup --virtual
	$(TCPLAB) reproducible $(SUITES) --seed $(SEED)

seeds: $(TCPLAB) ## run everything with many seeds on all kernels; no expectation may hang on luck (SEEDS=, KERNELS=, SHARE=)
	@$(TCPLAB) setup --virtual
	$(TCPLAB) seeds $(SUITES) --seeds $(SEEDS) --kernel $(KERNELS) --share $(SHARE) $(ARGS)

kernels: ID := kernels-$(shell date +%Y%m%dT%H%M%S)
kernels: $(TCPLAB) ## run the suites on all kernels, compare, and write docs/kernels.md (KERNELS=, SHARE=)
	@$(TCPLAB) setup --virtual
	$(TCPLAB) run $(SUITES) --kernel $(KERNELS) --seed $(SEED) --share $(SHARE) --id $(ID) $(ARGS)
	sed '/^|/d' docs/kernels.md >docs/kernels.new
	$(TCPLAB) compare --markdown results/$(ID)-* >>docs/kernels.new
	mv docs/kernels.new docs/kernels.md

mutate: $(TCPLAB) ## break tcplab on purpose, in many ways: each must turn a spec red
	@$(TCPLAB) setup --virtual
	TCPLAB_MUTATE=1 go test -v -count 1 -timeout 3h -run TestMutationsAreNoticed ./harness/internal/mutate

kill: $(TCPLAB) ## end tcplab at 1,000 random moments by all signals: nothing may be left, and the next run be right (KILLS=, KILL_SEED=)
	@$(TCPLAB) setup --virtual
	TCPLAB_KILL=1 go test -v -count 1 -timeout 12h -run '^TestKills$$' ./cmd/tcplab

fuzz: ## fuzz all that parses bytes from outside, each target for a minute (FUZZTIME=, ARGS='-test.parallel 1')
	@internal/testenv/fuzz $(FUZZTIME) $(ARGS)

# make bench runs these, each as often as one figure needs it; BENCH=Flow chooses some by their names (a regular expression). Rules,
# topologies and captures need root on this machine; without, they are skipped by name.
BENCH       ?= .
BENCH_ONCE  := ./harness/internal/bench ./harness/analysis ./internal/watch
BENCH_GUEST := ./internal/vm
BENCH_MANY  := ./netns ./impair/rules ./harness/capture ./harness/kernel ./peers
export BENCH BENCH_ONCE BENCH_GUEST BENCH_MANY

bench: setup ## measure what performance is claimed: a table, which docs/performance.md gets as well (BENCH=)
	@mkdir -p results
	@internal/benchtable/bench >results/bench.txt.new || { cat results/bench.txt.new; exit 1; }
	@mv results/bench.txt.new results/bench.txt
	@go run -C internal/benchtable . <results/bench.txt
	@[ '$(BENCH)' != . ] || go run -C internal/benchtable . $(CURDIR)/docs/performance.md <results/bench.txt

bench-compare: setup ## the same of another commit in turns with this one, compared by benchstat (REV=, COUNT=, BENCH=)
	@internal/benchtable/compare '$(REV)' $(COUNT)

captures: ## compare the marks of all captures in a folder with tshark's, frame by frame (DIR=)
	@[ -n '$(DIR)' ] || { echo 'Which folder? make captures DIR=FOLDER' >&2; exit 2; }
	TCPLAB_REQUIRE_TSHARK=1 TCPLAB_FOLDER='$(abspath $(DIR))' go test -v -count 1 -timeout 24h -run '^TestAgreesInFolder$$' ./harness/analysis

connections: ID := connections-$(shell date +%Y%m%dT%H%M%S)
connections: setup ## measure 10,000 connections to each of the course's servers, on this machine and in a guest: one table
	@mkdir -p results
	@go test -timeout $(TIMEOUT) -run '^$$' -bench '^BenchmarkConnections$$' -benchtime 1x ./scenarios/programs -connections 10000 \
	  >results/connections.txt || { cat results/connections.txt; exit 1; }
	$(TCPLAB) run ./scenarios/programs --focus 'servers: many connections' --clock virtual --limit $(TIMEOUT) --id $(ID) -- -connections 10000
	@sort results/$(ID)/programs/*/files/connections.txt >>results/connections.txt
	@go run -C internal/benchtable . <results/connections.txt

exported: ## write docs/exported.md: how many names each package exports
	go test ./docs -count 1 -run '^TestExportedNamesAreCounted$$' -update

lint: ## check style
	go run $(GOLANGCI_LINT) run ./...

setup: $(TCPLAB) ## build tcplab, and install QEMU and a guest kernel where scenarios could not run otherwise
	@$(TCPLAB) setup

# Always run: the go command knows best what to do. Stripped, because every guest unpacks it at boot.
.PHONY: $(TCPLAB)
$(TCPLAB):
	@CGO_ENABLED=0 internal/progress/compile tcplab -trimpath -buildvcs=false -ldflags='-s -w' -o $@ ./cmd/tcplab

clean: ## remove what was built and the results; the cache stays
	rm -rf bin results/*/
