#!/usr/bin/env bash
# bash launch/test.sh [pytest arguments]
# Lints and tests everything, with all set-up. PYTHON=python3.12 bash launch/test.sh uses another interpreter.
EXTRAS=dev,torch
# PyTorch takes part as a reference only; without it the parity tests against it are skipped.
[ -z "${VGLAMM_TEST_WITHOUT_TORCH:-}" ] || EXTRAS=dev
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ruff check .
ruff format --check .
exec python -m pytest -n "${VGLAMM_TEST_WORKERS:-2}" "$@"
