#!/bin/sh
# An environment with everything a developer needs and torch beside it; 1 and one line where torch cannot be had.
# pip fetches torch, as it may be told (by its configuration) where a build for this machine lies.
set -eu
uv=$1 python=$2 venv=$3
[ "$venv/.dev" -nt requirements/dev.txt ] && [ "$venv/.dev" -nt requirements/torch.txt ] && [ "$venv/.dev" -nt pyproject.toml ] && exit 0
rm -f "$venv/.dev"
test -x "$venv/bin/python" || "$uv" venv --quiet --seed --python "$python" "$venv"
"$uv" pip install --quiet --python "$venv/bin/python" -r requirements/dev.txt
"$uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
if ! said=$("$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements/torch.txt 2>&1); then
    echo "test-torch: skipped, as torch cannot be installed here: $(echo "$said" | grep -i error | tail -1)" >&2
    exit 1
fi
touch "$venv/.dev"
