# Everything that a contributor or CI runs. A machine needs Python 3.11 or newer, make and git; the rest goes
# into .tools (uv alone) and .venv (what uv.lock says), and again only when pyproject.toml or uv.lock changed.
# Tests that make boards or drive a browser need some Debian packages, which root installs here and others are told of.

UV_VERSION := 0.13.9
PYTHONS := python3 /usr/bin/python3 python3.14 python3.13 python3.12 python3.11
# Two for each core of a small machine: tests wait for processes, sockets and clocks for half of their time, and with more of
# them some would run out of patience.
WORKERS := 4
WHEEL_VENV := $(CURDIR)/build/venv-wheel
PACKAGES := at caddy chromium-headless-shell cloud-init cron groovy iproute2 mmdebstrap nftables openssh-client openssh-server procps qemu-user-static \
    sudo systemd systemd-container

export UV_PROJECT_ENVIRONMENT := $(CURDIR)/.venv
export UV_PYTHON := $(CURDIR)/.tools/bin/python
export UV_PYTHON_DOWNLOADS := never
export UV_SYSTEM_CERTS := 1
# Tests start hundreds of processes; each would compile a thousand modules anew where bytecode may not be kept.
export UV_COMPILE_BYTECODE := 1
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install serve demo test test-long test-wheel dist lint bench docs docs-html packages screenshots

help:  ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-11s %s\n", $$1, $$2}' Makefile

install: .venv/.installed  ## everything locked, into .venv; then .venv/bin/picluster works

serve: install  ## the service on this machine
	.venv/bin/picluster serve

demo: install  ## a service with eight simulated boards, to try everything
	.venv/bin/picluster demo

test: lint packages  ## all that CI runs: style, types, every test
	.venv/bin/pytest -n $(WORKERS) --dist loadgroup

test-long: install packages  ## campaigns of minutes
	.venv/bin/pytest -n 2 --dist loadgroup -m long

test-wheel: dist packages  ## every test, against the wheel of `make dist`
	UV_PROJECT_ENVIRONMENT=$(WHEEL_VENV) .tools/bin/uv sync --locked --all-extras --no-install-project
	.tools/bin/uv pip install --python $(WHEEL_VENV)/bin/python --no-deps --reinstall dist/*.whl
	$(WHEEL_VENV)/bin/pytest -n $(WORKERS) --dist loadgroup

dist: install  ## wheel, sources, the agent, its package for Debian, and what they are made of, into dist
	rm -rf dist
	.venv/bin/python -m tools.dist

packages:
	@have=$$(dpkg-query -W -f '$${db:Status-Status} $${Package}\n' $(PACKAGES) 2>/dev/null | sed -n 's/^installed //p'); \
	missing=$$(for package in $(PACKAGES); do echo "$$have" | grep -qx "$$package" || echo "$$package"; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -q && \
	    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $$missing; \
	else \
	    echo "Tests that make boards or drive a browser are skipped here. They run as root, on Debian with:" $$missing >&2; \
	fi

lint: install  ## style and types
	.venv/bin/ruff check
	.venv/bin/ruff format --check
	.venv/bin/mypy

bench: install  ## how fast it is, here
	.venv/bin/python -m benchmarks

docs: install  ## the reference, from the code, and the terminal session of the README
	.venv/bin/python -m docs.generate
	.venv/bin/python -m docs.record_session

docs-html: install  ## all of docs to read in a browser, into build/docs
	.venv/bin/python -m sphinx -E -W --keep-going -q -b html docs build/docs

screenshots: install packages  ## every page, in both themes and all sizes, into .screenshots
	.venv/bin/python -m tools.screenshots

.venv/.installed: .tools/uv-$(UV_VERSION) pyproject.toml uv.lock
	.tools/bin/uv sync --locked --all-extras
	@touch $@

# Debian takes ensurepip out of Python; only its python3.X-venv package brings it back.
.tools/uv-$(UV_VERSION):
	@set -e; \
	for python in $(PYTHONS) none; do \
	    "$$python" -c 'import sys, ssl, sqlite3; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	done; \
	if [ "$$python" = none ]; then \
	    echo "No Python 3.11 or newer here. On Debian 12 or later: apt install python3 python3-venv" >&2; exit 1; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' 2>/dev/null; then \
	    package=$$("$$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])'); \
	    if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	        apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y "$$package"; \
	    else \
	        echo "$$python cannot make virtual environments. As root: apt install $$package" >&2; exit 1; \
	    fi; \
	fi; \
	"$$python" -m venv --clear .tools; \
	.tools/bin/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION); \
	touch $@
