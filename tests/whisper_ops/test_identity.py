"""What a server runs is spelled out once: what follows from it follows everywhere."""

import ast
from pathlib import Path

import msgspec
import pytest

from capacity.planner.key import key_of
from capacity.planner.polls import read_polls
from tests.capacity.plan_history import sweep
from whisper_ops.history import History, PlanRecord, SweepRecord
from whisper_ops.identity import IDENTITY_FIELDS, Identity, differing
from whisper_ops.plan_key import PlanKey
from whisper_ops.snapshot import ServerFigures, Snapshot

ROOT = Path(__file__).parents[2]
OWNERS = {
    Path("whisper_ops/identity.py"),
    Path("whisper_ops/wire.py"),  # what a server says, in the words of its endpoints
    Path("whisper_ops/snapshot.py"),  # the same, read into an identity
    Path("server/settings.py"),  # what it is told to run
}
OTHER = {"simulated": True, "max_batch": 99}


def spelled_out(tree: ast.AST) -> bool:
    """Whether one class, call, tuple or set names four or more fields of an identity."""
    for node in ast.walk(tree):
        names: set[str] = set()
        if isinstance(node, ast.ClassDef):
            names = {n.target.id for n in node.body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
        elif isinstance(node, ast.Call):
            # A value taken from the same field of something else is a copy by hand; a value of its own is not.
            names = {k.arg for k in node.keywords if isinstance(k.value, ast.Attribute) and k.value.attr == k.arg}
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            names = {str(e.value) for e in node.elts if isinstance(e, ast.Constant)}
        if len(names & set(IDENTITY_FIELDS)) > 3:
            return True
    return False


def test_no_other_module_spells_it_out() -> None:
    sources = [
        path for room in ("whisper_ops", "server", "dashboard", "capacity") for path in (ROOT / room).rglob("*.py")
    ]
    found = [str(path.relative_to(ROOT)) for path in sources if spelled_out(ast.parse(path.read_text("utf-8")))]
    assert set(found) - {str(path) for path in OWNERS} == set()


@pytest.mark.parametrize("kind", [SweepRecord, PlanRecord, PlanKey])
def test_what_is_matched_by_it_has_all_of_it(kind: type[Identity]) -> None:
    assert set(IDENTITY_FIELDS) <= set(kind.__struct_fields__)


@pytest.mark.parametrize("field", IDENTITY_FIELDS)
def test_a_sweep_and_polls_that_differ_in_anything_are_never_put_together(field: str, tmp_path: Path) -> None:
    ran = sweep().identity
    other = msgspec.structs.replace(ran, **{field: OTHER.get(field, "another")})
    assert differing(ran, other) == (field,)
    assert differing(ran, other, not_yet=[field]) == ()
    with History.writing(tmp_path / "history.db") as history:
        history.polls.add(
            Snapshot(server=sweep().server, at=1000.0 + at, identity=other, figures=ServerFigures(streams_active=3))
            for at in range(5)
        )
        assert read_polls(history, key_of(sweep())).peak == 0
        same = key_of(msgspec.structs.replace(sweep(), **{field: getattr(other, field)}))
        assert read_polls(history, same).peak == 3
