"""Manifests as `kubectl apply -k` would send them, held against the schemas of the API server and of the extensions."""

import json
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.support.programs import DEPLOY, checked

FOLDER = DEPLOY / "kubernetes"
SCHEMAS = Path(__file__).parents[1] / "data/kubernetes"
VERSIONS = ("1.31", "1.37")
"""The oldest that knows everything we use, and the newest."""

Manifest = dict[str, Any]


@cache
def built(folder: Path) -> list[Manifest]:
    """The objects of an overlay, put together once by the real kustomize. Without kubectl the test is skipped."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl 1.27 or newer is not installed, and Debian has none: see kubernetes.io/docs/tasks/tools")
    return list(yaml.safe_load_all(checked("kubectl", "kustomize", str(folder))))


def check(manifest: Manifest) -> None:
    """Fail where an API server would refuse it, or would warn of a field that it does not know."""
    schema = SCHEMAS / f"{manifest['kind']}.json"
    if schema.exists():
        jsonschema.validate(manifest, _read(schema))
        return
    for version in VERSIONS:
        kubernetes_validate.validate(manifest, version, strict=True)


@cache
def _read(path: Path) -> Manifest:
    schema: Manifest = json.loads(path.read_text("utf-8"))
    return schema


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    (found,) = [one for one in of_kind(manifests, kind) if one["metadata"]["name"] == name]
    return found


def pods(manifests: Sequence[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Each workload's name and the template of its pods."""
    for workload in of_kind(manifests, "Deployment", "StatefulSet"):
        yield workload["metadata"]["name"], workload["spec"]["template"]
