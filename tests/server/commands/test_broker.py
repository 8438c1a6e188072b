"""The options and members of `whisper-ops broker`."""

import pytest

from server.broker.broker_settings import KubernetesService
from server.commands.broker import _service
from tests.capacity.planner_cli import whisper_ops


@pytest.mark.parametrize(
    ("said", "service"),
    [
        ("k8s+http://asr:8000", KubernetesService("asr", None, "http", 8000)),
        ("k8s+asr", KubernetesService("asr", None, "http", None)),
        ("k8s+https://asr.voice", KubernetesService("asr", "voice", "https", None)),
        ("k8s+http://asr.voice.svc.cluster.local:8000", KubernetesService("asr", "voice", "http", 8000)),
    ],
)
def test_a_service_is_named_as_in_the_cluster(said: str, service: KubernetesService) -> None:
    assert _service([said]) == service


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["k8s+http://asr.example.com:8000"], "names no service"),
        (["k8s+http://a_b"], "names no service"),
        (["k8s+http://asr:8000", "http://other:8000"], "is the whole fleet"),
        (["fra=k8s+http://asr:8000"], "is the whole fleet"),
        (["k8s+http://asr:8000/path"], "more than scheme, host and port"),
        (["k8s+ftp://asr"], "is no address of a server"),
        (["k8s+http://asr:8000"], "this is no pod with a service account"),
        (["http://a:1", "--deletion-cost"], "needs pods as members, k8s+http://SERVICE"),
    ],
)
def test_what_is_no_service_of_this_cluster_is_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    done = whisper_ops(capsys, "broker", *words, "--port", "0")
    assert done.code == 2
    assert sentence in done.sentence()
