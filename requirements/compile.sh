#!/bin/sh
# Compile the pins, for every supported Python at once and without an address of any index.
# base.txt, demo.txt and dev.txt agree with each other: dev.txt is compiled first and constrains the rest.
set -eu
uv=$1
compile() {
    "$uv" pip compile --quiet --universal --python-version 3.11 --no-emit-index-url --no-emit-find-links \
        --no-annotate --no-header --upgrade "$@"
}
compile pyproject.toml --extra server --extra speech --group dev -o requirements/dev.txt
compile pyproject.toml --extra server --extra speech -c requirements/dev.txt -o requirements/demo.txt
compile pyproject.toml --extra server -c requirements/dev.txt -o requirements/server.txt
compile pyproject.toml -c requirements/dev.txt -o requirements/base.txt
compile --group multilingual -o requirements/multilingual.txt
compile pyproject.toml --extra server --extra speech --extra ray --group dev -c requirements/dev.txt -o requirements/ray.txt
compile --group cuda -o requirements/cuda.txt
