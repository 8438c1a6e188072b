#!/bin/sh
# An environment with everything a developer needs and Ray beside it; 1 and one line where Ray cannot be had.
set -eu
uv=$1 python=$2 venv=$3
[ "$venv/.dev" -nt requirements/ray.txt ] && [ "$venv/.dev" -nt pyproject.toml ] && exit 0
rm -f "$venv/.dev"
test -x "$venv/bin/python" || "$uv" venv --quiet --python "$python" "$venv"
if ! said=$("$uv" pip install --quiet --python "$venv/bin/python" -r requirements/ray.txt 2>&1); then
    echo "test-ray: skipped, as Ray cannot be installed here: $(echo "$said" | grep -v '^ *$' | tail -1)" >&2
    exit 1
fi
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
touch "$venv/.dev"
