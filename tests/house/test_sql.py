"""Where SQL is: in the history's own package, so that a change of a table is a change in one place."""

import ast
import re
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
_SQL = re.compile(
    r"^\s*(SELECT\s.+\sFROM|INSERT\s+(OR \w+ )?INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM|PRAGMA\s+\w+|VACUUM\b)", re.DOTALL
)


def statements(path: Path) -> list[int]:
    """Lines with a text that is an SQL statement."""
    lines = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        parts = node.values if isinstance(node, ast.JoinedStr) else [node]
        text = "".join(p.value if isinstance(p, ast.Constant) and isinstance(p.value, str) else "x" for p in parts)
        if isinstance(node, ast.JoinedStr | ast.Constant) and _SQL.match(text):
            lines.add(node.lineno)
    return sorted(lines)


def test_only_the_history_holds_sql() -> None:
    rooms = ("whisper_ops", "server", "dashboard", "capacity")
    files = [path for room in rooms for path in (_ROOT / room).rglob("*.py")]
    outside = [path for path in files if _ROOT / "whisper_ops" / "history" not in path.parents]
    assert len(outside) > 200
    assert [f"{path.relative_to(_ROOT)}:{line}" for path in outside for line in statements(path)] == []


def test_a_statement_is_recognised(tmp_path: Path) -> None:
    source = tmp_path / "one.py"
    source.write_text(
        'rows(f"SELECT at FROM {table} WHERE 1")\ndb.execute("PRAGMA user_version")\nsay("Update the server")\n'
    )
    assert statements(source) == [1, 2]
