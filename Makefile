# A thin face over meson; `make help` lists what there is.
BUILD ?= build
T ?= 30

.PHONY: all test asan tsan scenario fuzz bench bench-quick fmt fmt-check lint sizes cover check clean help

all: ## build
	@[ -f $(BUILD)/build.ninja ] || meson setup $(BUILD)
	ninja -C $(BUILD)

test: ## unit and flow tests
	contrib/check unit

asan: ## the same under ASan and UBSan
	contrib/check asan

tsan: ## unit and flow tests under TSan
	@[ -f build-tsan/build.ninja ] || meson setup build-tsan -Db_sanitize=thread
	ninja -C build-tsan && meson test -C build-tsan --print-errorlogs

scenario: ## black box: namespaces and real clients (needs root)
	contrib/check scenario

fuzz: ## every fuzz target for T seconds (T=60)
	FUZZ_SECONDS=$(T) contrib/check fuzz

bench: ## CPU per unit of work beside the peers, into doc/benchmarks.md (root, 30 minutes)
	tests/bench/run.sh $(BUILD) --output doc/benchmarks.md

bench-quick: ## the same beside the floor only, less than a minute
	tests/bench/run.sh --quick $(BUILD)

fmt: ## format the sources
	git ls-files 'proxy/*.[ch]' 'acl/*.[ch]' 'conf/*.[ch]' 'tests/*.[ch]' | xargs clang-format -i

fmt-check: ## fail where the format differs
	git ls-files 'proxy/*.[ch]' 'acl/*.[ch]' 'conf/*.[ch]' | xargs clang-format --dry-run -Werror

lint: ## arrows, bans, guards, headers alone, globals, format, manual pages
	tests/tools/lint.sh

sizes: ## longest files (a report, no gate)
	@git ls-files '*.c' '*.h' | xargs wc -l | sort -rn | head -n 25

cover: ## line coverage of the unit tests
	@[ -f build-cover/build.ninja ] || meson setup build-cover -Db_coverage=true
	ninja -C build-cover && meson test -C build-cover && ninja -C build-cover coverage-text && tail -n 80 build-cover/meson-logs/coverage.txt

check: ## what CI runs
	contrib/check

clean: ## remove all build directories
	rm -rf build build-*

help: ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## */\t/' | expand -t 14
