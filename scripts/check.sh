#!/usr/bin/env bash
# The checks of .ci/run in the environment at hand (needs `pip install -e '.[test,dev]'`), without
# the clean environments and the slow tests. Arguments go to pytest; `--all` runs .ci/run itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [[ ${1:-} == --all ]]; then
    exec .ci/run
fi
python -m ruff check .
python -m ruff format --check .
python -m mypy
python -m pytest -q -m "not slow" "$@"
