"""Words are for people: no module outside those that make them takes a sentence of ours apart, or decides by one.

A small data flow over each function: what holds words of ours (a field, a function of a renderer, `str` of a finding, a
variable made of these) must not be searched, split, matched or compared with other words.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RENDERERS = {
    "capacity.reports.plan_report": "capacity/reports/plan_report.py",
    "capacity.planner.explanations": "capacity/planner/explanations.py",
    "dashboard.alerts.messages": "dashboard/alerts/messages.py",
    "dashboard.monitoring.progress_log": "dashboard/monitoring/progress_log.py",
    "whisper_ops.formatting": "whisper_ops/formatting.py",
    "whisper_ops.objective.findings": "whisper_ops/objective/findings.py",
    "whisper_ops.plan.plan_answer": "whisper_ops/plan/plan_answer.py",
    "whisper_ops.plan.plan_sentences": "whisper_ops/plan/plan_sentences.py",
}
"""Modules that make words, whose functions return them."""
MAKE_WORDS = {"in_words", "sentences", "findings_text", "missed_text", "against", "reason", "sure", "told", "said",
              "ended", "spread", "place", "cut_text", "trend_text", "next_step", "all_invalid", "none_passed",
              "polls_say_nothing", "five_lines",
              "answered", "confidence", "fleet_figures", "probability",
              "result", "limit_text", "age", "counted", "span_of_time", "summary", "readable"}  # fmt: skip
FIELDS = {"sentence", "reason", "said", "detail", "sure", "next_test", "next_step", "cut", "stability", "law",
          "cap_text", "evidence", "binding_resource", "runner_up", "note", "notes", "remark", "trouble", "failure",
          "why", "first_error", "reading_error", "spread", "each", "have"}  # fmt: skip
"""Fields that hold words of ours, whatever they are fields of."""
VARIABLES = {"said", "sentence", "reason", "why", "told", "words_of_ours"}
"""What such words are called in the house; what somebody else wrote is a `text`."""
NAMES = {"first", "after", "resource", "limit", "row", "rule_", "binding"}
"""Variables whose `.name` is what a resource is called for people."""
TAKE_APART = {"split", "rsplit", "partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix",
              "find", "rfind", "index", "replace", "splitlines", "count"}  # fmt: skip
MATCH = {"search", "match", "fullmatch", "findall", "finditer", "sub", "subn", "split"}
KEEP = {"lower", "upper", "casefold", "strip", "rstrip", "lstrip", "title", "capitalize", "format", "join"}
ALLOWED = {
    ("whisper_ops/addresses.py", "in"): "what Python says of an address, which has no kinds",
    ("server/http/tls.py", "=="): "OpenSSL's own code of a reason",
    ("capacity/hosts/profile.py", "in"): "a file of the user's, read as TOML",
    ("dashboard/monitoring/change_events.py", "=="): "whether two GPUs have the same trouble",
    ("dashboard/tui/pages/fleet_rows.py", "=="): "the same",
}
"""What looks like it and reads no words of ours."""


class Reader(ast.NodeVisitor):
    """Finds where words are read in one module."""

    def __init__(self, tree: ast.AST, theirs: frozenset[str]) -> None:
        self.variables = VARIABLES - theirs
        self.makers = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in RENDERERS
            for alias in node.names
            if alias.name in MAKE_WORDS
        }
        self.local: list[set[str]] = [set()]
        self.found: list[tuple[int, str]] = []

    def words(self, node: ast.AST) -> bool:
        """Whether an expression holds words of ours."""
        match node:
            case ast.Attribute(attr=attr, value=value):
                return attr in FIELDS or (attr == "name" and isinstance(value, ast.Name) and value.id in NAMES)
            case ast.Name(id=name):
                return name in self.variables or any(name in names for names in self.local)
            case ast.Call(func=ast.Name(id=name), args=arguments):
                made = name == "str" and any(_is_finding(one) or self.words(one) for one in arguments)
                return made or name in self.makers
        return any(map(self.words, _parts(node)))

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.local.append(set())
        self.generic_visit(node)
        self.local.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # ast's own spelling
        self._function(node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._function(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self.generic_visit(node)
        if self.words(node.value):
            self.local[-1] |= {target.id for target in node.targets if isinstance(target, ast.Name)}

    def visit_Compare(self, node: ast.Compare) -> None:
        self.generic_visit(node)
        sides = [node.left, *node.comparators]
        for operator, left, right in zip(node.ops, sides, node.comparators, strict=False):
            if isinstance(operator, ast.In | ast.NotIn) and self.words(right):
                self.found.append((node.lineno, "in"))
            if isinstance(operator, ast.In | ast.NotIn) and self.words(left) and _constants(right):
                self.found.append((node.lineno, "in"))
            if isinstance(operator, ast.Eq | ast.NotEq):
                about = [side for side in (left, right) if self.words(side)]
                if len(about) == 2 or (about and any(map(_constants, (left, right)))):
                    self.found.append((node.lineno, "=="))

    def visit_Call(self, node: ast.Call) -> None:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Attribute):
            return
        attr = node.func.attr
        if attr in TAKE_APART and self.words(node.func.value):
            self.found.append((node.lineno, attr))
        if attr in MATCH and not self.words(node.func.value) and any(map(self.words, node.args)):
            self.found.append((node.lineno, attr))

    def visit_Match(self, node: ast.Match) -> None:
        self.generic_visit(node)
        if self.words(node.subject):
            self.found.append((node.lineno, "match"))


def _parts(node: ast.AST) -> list[ast.expr]:
    """The expressions of which one holding words makes the whole hold them."""
    match node:
        case ast.Call(func=ast.Attribute(attr=attr, value=value)) if attr in KEEP:
            return [value]
        case ast.BoolOp(values=values):
            return values
        case ast.IfExp(body=left, orelse=right) | ast.BinOp(left=left, right=right):
            return [left, right]
        case ast.Subscript(value=value) | ast.NamedExpr(value=value):
            return [value]
    return []


def _is_finding(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in {"finding", "found", "missed", "verdict", "audited"}


def _constants(node: ast.AST) -> bool:
    """Whether it is a text, or some of them; the empty one asks whether there are any words."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, str) and bool(node.value)
    return isinstance(node, ast.Tuple | ast.List | ast.Set) and any(map(_constants, node.elts))


def reads(source: str, theirs: frozenset[str] = frozenset()) -> list[tuple[int, str]]:
    """Lines that read words; `theirs`: variables that hold what others said, in this module."""
    tree = ast.parse(source)
    reader = Reader(tree, theirs)
    reader.visit(tree)
    return reader.found


def modules() -> Iterator[Path]:
    for room in ("whisper_ops", "server", "dashboard", "capacity"):
        yield from (ROOT / room).rglob("*.py")


def test_no_module_that_does_not_make_words_reads_them() -> None:
    found = []
    for path in modules():
        name = str(path.relative_to(ROOT))
        if name not in RENDERERS.values():
            # To a server what is said is what a client says, in the words of a protocol.
            here = reads(path.read_text("utf-8"), frozenset({"said"} if name.startswith("server/") else ()))
            found += [f"{name}:{line} ({how})" for line, how in here if (name, how) not in ALLOWED]
    assert found == []


PUT_BACK = {
    "audit": 'def f(level):\n    return "never came" in level.reason',
    "admission": 'def f(said):\n    return "1008" in said or "HTTP 401" in said',
    "memory": 'def f(alert):\n    return alert.sentence.split(": ", 1)[-1]',
    "silence": "from dashboard.alerts.messages import told\ndef f(alert):\n    return told(alert) == 'no answer'",
    "recorder": "def f(alert):\n    first = alert.sentence\n    return first.split(': ')[0]",
    "age": "def f(plan):\n    return _AGE.sub(str, plan.sure)",
    "age again": "import re\ndef f(plan):\n    words = plan.sure.lower()\n    return re.search('newest', words)",
    "binding": "def f(resource, plan):\n    return resource.name == plan.binding_resource",
    "memory's name": "def f(resource):\n    return resource.name == 'GPU memory'",
    "fills up": "def f(resource):\n    return resource.name in ('GPU memory', 'host memory')",
    "finding": "def f(finding):\n    said_ = str(finding)\n    return said_.replace('wer', 'word error rate')",
    "walrus": "def f(level):\n    return (x := level.reason or '').partition(':')",
    "matched": "def f(event):\n    match event.detail:\n        case 'it drains':\n            return 1",
    "law": "def f(resource):\n    return 'does not grow' in resource.law",
    "hosts": "def f(first):\n    return first.name.split(' (')[0]",
}


@pytest.mark.parametrize("line", PUT_BACK.values(), ids=PUT_BACK)
def test_a_line_that_is_put_back_is_found(line: str) -> None:
    assert reads(line) != []


@pytest.mark.parametrize(
    "line",
    [
        'def f(level):\n    return f"{level.reason}; {level.streams}"',
        "def f(level):\n    return level.reason or 'none'",
        "def f(level):\n    return level.reason == ''",
        "def f(text):\n    return text.split(',')",
        "def f(plan):\n    return plan.binds is None or plan.binding_kind == 'host_cpu'",
    ],
)
def test_what_only_shows_words_is_left_alone(line: str) -> None:
    assert reads(line) == []
