#!/usr/bin/env bash
# bash launch/test.sh [pytest arguments]
# Lints and tests everything, with all set-up. PYTHON=python3.12 bash launch/test.sh uses another interpreter.
EXTRAS=dev,parity
# PyTorch takes part as a reference only, and once is enough: another Python than the default one does without.
case "${PYTHON:-}" in *3.1[2-9]*) EXTRAS=dev ;; esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
ruff check .
ruff format --check .
exec python -m pytest -n "${VGLAMM_TEST_WORKERS:-2}" --dist loadfile --no-loadscope-reorder "$@"
