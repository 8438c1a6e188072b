#!/bin/sh
# A base image from Debian's packages alone, for BASE of deploy/Dockerfile where no image registry is reached.
# As root on Debian, with mmdebstrap:  sh deploy/base-image.sh base.tar && podman import base.tar whisper-ops-base
# Packages come from where this machine's own do.
set -eu
out=$1
suite=${2:-bookworm}
sources=/etc/apt/sources.list.d/debian.sources
[ -f "$sources" ] || sources=/etc/apt/sources.list
# Whole or not at all: a tar that was cut off would be taken for a base by whoever finds it.
trap 'rm -f "$out.part"' EXIT
mmdebstrap --quiet --variant=minbase --format=tar --include=ca-certificates,python3,python3-venv \
    --aptopt='Acquire::Retries "3"' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    "$suite" "$out.part" "$sources"
mv "$out.part" "$out"
