"""deploy/kubernetes: what kustomize makes of it is what API servers take, hangs together, and has a plan's numbers."""

import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from capacity.reports.kubernetes import KubernetesFigures, server_patch
from tests.capacity.plan_history import level, written
from tests.capacity.planner_cli import whisper_ops
from tests.support.kubernetes import FOLDER, Manifest, built, check, named, of_kind, pods
from whisper_ops.cli import LazyGroup
from whisper_ops.errors import Exit

OVERLAYS = ("base", "overlays/try", "overlays/production", "cluster", "load")
MEAN = ("--mean-length", "6min")


def said(container: Manifest) -> list[str]:
    """A container's arguments as its program gets them: Kubernetes puts its environment into them."""
    environment = {one["name"]: one["value"] for one in container["env"]}
    return [re.sub(r"\$\((\w+)\)", lambda name: str(environment[name[1]]), word) for word in container["args"]]


@pytest.fixture(scope="module")
def production() -> list[Manifest]:
    return built(FOLDER / "overlays/production")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    levels = [level(n, n <= 80, stable_p95_seconds=0.3 + n / 60) for n in (16, 32, 48, 64, 80, 88)]
    return written(tmp_path / "history.db", levels)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_one_that_the_api_server_takes(overlay: str) -> None:
    manifests = built(FOLDER / overlay)
    for manifest in manifests:
        check(manifest)
    assert len({(one["kind"], one["metadata"]["name"]) for one in manifests}) == len(manifests)
    with pytest.raises(Exception, match="replicaz"):  # the check does refuse
        check({**manifests[0], "replicaz": 1})


def test_the_extensions_schemas_refuse_what_is_misspelled(production: list[Manifest]) -> None:
    scaled = named(production, "ScaledObject", "whisper-ops-server")
    wrong = {**scaled, "spec": {**scaled["spec"], "fallback": {"failureThreshold": 4, "replicas": 2, "behaviour": "x"}}}
    with pytest.raises(jsonschema.ValidationError, match="behaviour"):
        check(wrong)


def test_nothing_runs_as_root_or_writes_to_its_image(production: list[Manifest]) -> None:
    for name, template in pods(production):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == 10001
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            security = container["securityContext"]
            assert security["readOnlyRootFilesystem"] is True
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]
            mounted = {mount["name"]: mount for mount in container["volumeMounts"]}
            assert mounted["tokens"]["readOnly"] is True
        # Only the broker speaks to the API server.
        assert spec.get("automountServiceAccountToken", True) is (name == "whisper-ops-broker")


def test_a_broker_may_read_endpoint_slices_and_patch_pods_and_no_more(production: list[Manifest]) -> None:
    rules = [
        (rule["apiGroups"], rule["resources"], rule["verbs"])
        for role in of_kind(production, "Role", "ClusterRole")
        for rule in role["rules"]
    ]
    assert rules == [(["discovery.k8s.io"], ["endpointslices"], ["list", "watch"]), ([""], ["pods"], ["patch"])]
    assert not of_kind(production, "ClusterRole", "ClusterRoleBinding")
    for binding in of_kind(production, "RoleBinding"):
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": "whisper-ops-broker", "namespace": "whisper-ops"}
        ]
    # Who does not want the emptiest pod to go first gives no right to patch.
    assert len(of_kind(built(FOLDER / "base"), "Role")) == 1


@pytest.mark.parametrize("overlay", ["overlays/try", "overlays/production"])
def test_a_pod_that_goes_may_finish_its_drain(overlay: str) -> None:
    for name, template in pods(built(FOLDER / overlay)):
        (container,) = template["spec"]["containers"]
        grace = template["spec"]["terminationGracePeriodSeconds"]
        before = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        drain = [int(found[1]) for word in said(container) if (found := re.match(r"--drain-timeout=(\d+)", word))]
        assert grace >= before + sum(drain) + 10
        assert (before > 0) is (name != "whisper-ops-recorder"), "whoever sends clients there must learn of it first"
        assert len(drain) == (name == "whisper-ops-server")


def test_what_is_full_or_loads_is_not_killed(production: list[Manifest]) -> None:
    (server,) = next(template for name, template in pods(production) if name == "whisper-ops-server")["spec"][
        "containers"
    ]
    assert server["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert {server[probe]["httpGet"]["path"] for probe in ("livenessProbe", "startupProbe")} == {"/livez"}


@pytest.mark.parametrize("overlay", ["overlays/try", "overlays/production"])
def test_every_name_leads_somewhere(overlay: str) -> None:
    manifests = built(FOLDER / overlay)
    labels = [template["metadata"]["labels"] for _, template in pods(manifests)]
    services = {one["metadata"]["name"]: one for one in of_kind(manifests, "Service")}
    for service in services.values():
        assert [one for one in labels if service["spec"]["selector"].items() <= one.items()]
    for budget in of_kind(manifests, "PodDisruptionBudget"):
        assert [one for one in labels if budget["spec"]["selector"]["matchLabels"].items() <= one.items()]
    for route in of_kind(manifests, "HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                assert backend["port"] in [port["port"] for port in services[backend["name"]]["spec"]["ports"]]
    for monitor in of_kind(manifests, "ServiceMonitor"):
        wanted = monitor["spec"]["selector"]["matchLabels"].items()
        (scraped,) = [one for one in services.values() if wanted <= one["metadata"].get("labels", {}).items()]
        # The queries go by the job, which is the service's name.
        assert scraped["metadata"]["name"] == monitor["metadata"]["name"]
    for _, template in pods(manifests):
        claims = {one["name"] for one in template["spec"]["volumes"]} | {"data"}
        assert {mount["name"] for mount in template["spec"]["containers"][0]["volumeMounts"]} <= claims
        assert (
            template["metadata"]["labels"].items()
            <= {
                key: value
                for policy in of_kind(manifests, "NetworkPolicy")
                for key, value in policy["spec"]["podSelector"].get("matchLabels", {}).items()
                if value == template["metadata"]["labels"][key]
            }.items()
        ), "a policy of its own"


@pytest.mark.parametrize("overlay", ["overlays/try", "overlays/production"])
def test_every_command_is_one_that_the_program_takes(overlay: str) -> None:
    for _, template in pods(built(FOLDER / overlay)):
        command, *arguments = said(template["spec"]["containers"][0])
        found = LazyGroup().get_command(None, command)  # type: ignore[arg-type]  # it reads no context
        assert found is not None
        found.make_context(command, list(arguments))


def test_a_pod_that_is_not_ready_is_not_said_to_be(production: list[Manifest]) -> None:
    """EndpointSlices say `ready` of every pod behind a service with publishNotReadyAddresses."""
    for service in of_kind(production, "Service"):
        assert "publishNotReadyAddresses" not in service["spec"]


def test_applying_it_again_does_not_undo_what_was_scaled(production: list[Manifest]) -> None:
    server = named(production, "Deployment", "whisper-ops-server")
    assert "replicas" not in server["spec"]
    scaled = named(production, "ScaledObject", "whisper-ops-server")["spec"]
    assert scaled["scaleTargetRef"]["name"] == server["metadata"]["name"]
    assert scaled["minReplicaCount"] >= 1


def test_a_lost_prometheus_is_an_error_and_an_error_holds_what_there_is(production: list[Manifest]) -> None:
    spec = named(production, "ScaledObject", "whisper-ops-server")["spec"]
    (trigger,) = spec["triggers"]
    assert trigger["metadata"]["ignoreNullValues"] == "false", "KEDA's own default takes null for no load"
    assert trigger["metricType"] == "AverageValue", "KEDA's fallback knows no other"
    assert spec["fallback"]["behavior"] == "currentReplicasIfHigher", "alone it would set exactly `replicas`"
    assert spec["fallback"]["replicas"] == spec["minReplicaCount"]


@pytest.fixture
def overlay(tmp_path: Path) -> Path:
    """deploy/kubernetes as somebody copied it."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    return tmp_path / "kubernetes/overlays/production"


def test_a_plan_fills_in_the_numbers(capsys: pytest.CaptureFixture[str], db: Path, overlay: Path) -> None:
    where = ("--history", str(db), "--emit")
    patch = whisper_ops(capsys, "plan", *where, "kubernetes", *MEAN).out
    scaling = whisper_ops(capsys, "plan", *where, "keda", "--target", "500").out
    for text in (patch, scaling):
        first, second = text.splitlines()[:2]
        assert first.startswith("# whisper-ops plan for http://asr-1:8000 · ")
        assert second.startswith("# 72 connections a GPU: ")
    (overlay / "plan.yaml").write_text(patch)
    (overlay / "../../components/autoscaling/scaledobject.yaml").write_text(scaling)
    manifests = built(overlay)
    for manifest in manifests:
        check(manifest)
    pod = named(manifests, "Deployment", "whisper-ops-server")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    words = said(container)
    assert "--max-connections-per-gpu=72" in words
    assert "--lag-objective=2" in words
    assert "--model=large-v3-turbo" in words
    # Calls of 6 min: five times that to end, the pause before, and ten seconds.
    assert "--drain-timeout=1800" in words
    assert pod["terminationGracePeriodSeconds"] == 1815
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["resources"]["limits"]["memory"] == "12Gi", "what a patch does not name stays"
    spec = named(manifests, "ScaledObject", "whisper-ops-server")["spec"]
    assert spec["triggers"][0]["metadata"]["threshold"] == "72"
    assert spec["maxReplicaCount"] == 9, "500 calls of 72 a GPU are 7 pods, and two more"
    assert "+ 72 * sum((1 - up{" in spec["triggers"][0]["metadata"]["query"]


@pytest.mark.parametrize(
    ("mean", "drain"), [((), 1800), (("--mean-length", "1s"), 60), (("--mean-length", "3h"), 21600), (MEAN, 1800)]
)
def test_how_long_a_pod_that_goes_has(
    capsys: pytest.CaptureFixture[str], db: Path, mean: tuple[str, ...], drain: int
) -> None:
    done = whisper_ops(capsys, "plan", "--history", str(db), "--emit", "kubernetes", *mean)
    assert done.code == Exit.GOOD, done.err
    patch: Any = yaml.safe_load(done.out)
    pod = patch["spec"]["template"]["spec"]
    assert {"name": "DRAIN_SECONDS", "value": str(drain)} in pod["containers"][0]["env"]
    assert pod["terminationGracePeriodSeconds"] == drain + 15


def test_a_length_that_nothing_asks_for_is_refused(capsys: pytest.CaptureFixture[str], db: Path) -> None:
    for emitted in ((), ("--emit", "keda"), ("--emit", "nginx")):
        assert "go together" in whisper_ops(capsys, "plan", "--history", str(db), *MEAN, *emitted).sentence()
    wrong = whisper_ops(capsys, "plan", "--history", str(db), "--emit", "kubernetes", "--mean-length", "soon")
    assert wrong.code == Exit.USAGE


def test_a_patch_names_nothing_that_the_base_has_not() -> None:
    patch: Any = yaml.safe_load(server_patch(KubernetesFigures(slots=16, gpus=1, lag_seconds=2)))
    (ours,) = patch["spec"]["template"]["spec"]["containers"]
    base = named(built(FOLDER / "base"), "Deployment", "whisper-ops-server")["spec"]["template"]["spec"]
    (theirs,) = base["containers"]
    assert {one["name"] for one in ours["env"]} < {one["name"] for one in theirs["env"]}
    assert patch["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == base["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("name", ['x", value: "y', "a b", "$(TOKEN)", "-x", "", None])
def test_a_models_name_that_is_none_is_left_to_the_base(name: str | None) -> None:
    patch: Any = yaml.safe_load(server_patch(KubernetesFigures(slots=16, gpus=1, lag_seconds=2, model=name)))
    assert "MODEL" not in {one["name"] for one in patch["spec"]["template"]["spec"]["containers"][0]["env"]}
