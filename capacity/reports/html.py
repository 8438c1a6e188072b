"""A report as one HTML file that needs nothing else: no script, no font, no picture from another address."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from capacity.reports.report import Report

_TEMPLATES = Environment(
    loader=PackageLoader("capacity.reports"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def html(report: Report) -> str:
    """The whole page; every word of the report is shown as it is, whatever it holds."""
    return _TEMPLATES.get_template("report.html.j2").render(report=report)
