# make demo   five frames from the simulated camera through a real indiserver, into demo/
# make test   formatting, lint, types, imports and all tests but those of make test-clients
# make test-clients   the driver under KStars and other clients of Debian and PyPI
# make bench  how fast and how small, against INDI's own driver and the limits of the machine
# make bench-guard   fails when what a frame costs has doubled
# They install what they need first (packaging/prepare) and are quick about it the second time.

SHELL := /bin/bash
# Each of some hundred drivers, workers and sensors would compile itself anew.
unexport PYTHONDONTWRITEBYTECODE
BIN := .venv/bin
PIP := -c packaging/constraints.txt -e .[camera,client,test,dev]

# The capture test also runs on older releases in the field: picamera2 of 2025, and numpy and astropy of
# Raspberry Pi OS bookworm (numpy 1.24 has wheels for Python 3.11 alone).
VERSIONS := picamera2-0.3.27 picamera2-0.3.31 bookworm
picamera2-0.3.27 := picamera2==0.3.27
picamera2-0.3.31 := picamera2==0.3.31
bookworm := picamera2==0.3.31 numpy==1.24.* astropy==5.2.*
CAPTURE_TESTS := tests/camera/test_frames.py \
    tests/camera/test_faults.py::test_a_camera_that_cannot_be_opened_is_told

# What users had before, unmodified; measured beside our driver on the same simulated camera.
PEER := indi-pylibcamera==3.2.0 lxml numpy astropy picamera2

.PHONY: demo bench bench-guard test format lint types imports test-all test-clients test-versions $(VERSIONS) venv clean

demo: venv
	@$(BIN)/python packaging/demo.py

test: format lint types imports test-all test-versions

format: venv
	$(BIN)/ruff format --check

lint: venv
	$(BIN)/ruff check

types: venv
	$(BIN)/mypy

imports: venv
	$(BIN)/lint-imports

test-all: venv
	$(BIN)/pytest --ignore=tests/clients

test-clients: venv
	@packaging/debian kstars xvfb dbus-daemon at-spi2-core
	$(BIN)/pytest tests/clients

test-versions: $(VERSIONS)

bookworm: export PYTHON_BELOW := 3.12
bench: venv
	@packaging/prepare .venv-matrix/indi_pylibcamera -c packaging/constraints.txt $(PEER)
	$(BIN)/python -m benchmarks --page benchmarks/RESULTS.md

bench-guard: venv
	$(BIN)/python -m benchmarks guard --strict --json /dev/null

$(VERSIONS):
	@packaging/prepare .venv-matrix/$@ -e .[test] $($@)
	.venv-matrix/$@/bin/pytest $(CAPTURE_TESTS)

venv:
	@packaging/prepare .venv $(PIP)

clean:
	rm -rf .venv .venv-matrix demo
