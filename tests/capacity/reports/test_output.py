"""One interface to every form of a result, each made only when it is asked for."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from capacity.reports.output import Form, Output, form_of
from capacity.reports.report import Report
from whisper_ops import console
from whisper_ops.errors import UserError

OUTPUT = Output(
    schema="plan",
    body=lambda: {"limit": 4},
    show=lambda console: console.print("Run 4."),
    report=lambda: Report(answer="Run 4.", lines=("Why: 5 failed.",)),
    configuration=lambda: "limit = 4\n",
)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (form_of(), "Run 4.\n"),
        (form_of(as_markdown=True), "# Run 4.\n\n- Why: 5 failed.\n"),
        (form_of(configuration=True), "limit = 4\n"),
    ],
)
def test_a_result_is_printed_in_the_form_that_is_asked_for(
    form: Form, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    console.data.cache_clear()
    OUTPUT.print(form)
    assert capsys.readouterr().out == text


def test_a_file_of_json_is_what_json_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    console.data.cache_clear()
    OUTPUT.print(form_of(as_json=True))
    OUTPUT.write_json(tmp_path / "plan.json")
    assert capsys.readouterr().out == (tmp_path / "plan.json").read_text("utf-8")
    assert json.loads(OUTPUT.json()) == {"schema": "whisper-ops/plan/1", "limit": 4}


def test_a_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    OUTPUT.write_html(tmp_path / "plan.html")
    assert "<h1>Run 4.</h1>" in (tmp_path / "plan.html").read_text("utf-8")
    with pytest.raises(UserError, match="cannot write the report"):
        OUTPUT.write_html(tmp_path)


def test_only_a_written_page_loads_the_template_engine() -> None:
    program = (
        "import sys, capacity.reports.plan_report, capacity.reports.sweep_report, capacity.reports.host_report; "
        "print('jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
