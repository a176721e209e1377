# The commands of the project. `make demo` and `make test` install what they need, see scripts/setup.sh.
#
# One profile for everything (dev), so that a fresh clone compiles its dependencies once.
# A fast edge: make demo PROFILE=release

PROFILE ?= dev
STEP := ./scripts/step.sh
export PATH := $(HOME)/.cargo/bin:$(PATH)

.PHONY: demo test fmt lint counts counts-accept fuzz clients realtime deny bench bench-full setup

## A guarded edge in front of sample services, with a curl line for each capability.
demo:
	@./scripts/setup.sh build
	@echo "Building; the first time takes some minutes."
	cargo run --quiet --locked --profile $(PROFILE) -p sallyport -- demo

## Everything that has to hold before a change is merged. .ci/run calls this. What fails soon comes first.
test:
	@$(STEP) "set-up" ./scripts/setup.sh test
	@$(STEP) "format" cargo fmt --all --check
	@$(STEP) "dependencies" ./scripts/deny.sh
	@$(STEP) "lints" cargo clippy --workspace --all-targets --locked -- -D warnings
	@$(STEP) "unit, story and doc tests" ./scripts/test.sh
	@$(STEP) "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	@$(STEP) "reference" ./scripts/reference.sh --check
	@$(STEP) "examples" ./scripts/examples.sh
	@$(STEP) "real clients" ./tests/clients/run.sh
	@$(STEP) "real Kafka, real browsers" ./scripts/realtime.sh
	@$(STEP) "counts" ./scripts/counts.sh
	@$(STEP) "fuzzing, a short run" ./scripts/fuzz.sh
	@./scripts/not-run.sh

## Formats everything.
fmt:
	cargo fmt --all

## The lints of `make test`.
lint:
	cargo clippy --workspace --all-targets --locked -- -D warnings

## What the hot path costs in instructions and allocations, beside bench/counts.json; ONLY=filter make counts
counts:
	@./scripts/counts.sh

## Moves the baselines that no longer hold: make counts-accept REASON="the log line has the trace id"
counts-accept:
	@./scripts/counts.sh accept "$(REASON)"

## Every fuzz target; FUZZ_SECONDS=3600 make fuzz
fuzz: setup
	./scripts/fuzz.sh

## curl, h2load and httpx against a running edge.
clients: setup
	./tests/clients/run.sh

## The stories of the live events with a real Kafka, the official SDK and Chromium; STORIES="recovery sse" make realtime
realtime:
	@./scripts/realtime.sh $(STORIES)

## Licences, duplicates, sources, advisories of the dependencies.
deny: setup
	./scripts/deny.sh

## Sallyport side by side with its rivals, on this machine: a report in bench/results, in less than ten minutes once all is built.
bench:
	@./scripts/bench.sh --quick $(BENCH)

## The same, longer and so more exact, about an hour; BENCH="--only pass,job" make bench-full
bench-full:
	@./scripts/bench.sh --full $(BENCH)

setup:
	@./scripts/setup.sh test
