"""`whisper-ops fit`: a scaling law for any table of load levels."""

from pathlib import Path

import click

from whisper_ops import console
from whisper_ops.cli.options import MARKS, decimal_option, json_option
from whisper_ops.errors import Exit, UserError
from whisper_ops.units import amount

_MOST_LOAD = 10**9


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--load", required=True, metavar="COLUMN", help="The column of the load: streams, clients, tasks.")
@click.option("--metric", required=True, metavar="COLUMN", help="The column of the figure that grows with it.")
@click.option(
    "--kind",
    required=True,
    type=click.Choice(["throughput", "latency", "memory", "cpu"]),
    help="What the figure is, and so which models compete.",
)
@click.option("--unit", help="The figure's unit, for the report and for the objective's bound.")
@click.option(
    "--objective", metavar="COLUMN<=NUMBER", help="What must hold; the capacity is the load up to which it does."
)
@click.option("--predict", metavar="LOAD,…", help="Loads to predict the figure at, each with an 80 % interval.")
@click.option(
    "--by", metavar="COLUMN,…", help="Columns that tell the curves of a file apart; each is fitted by itself."
)
@decimal_option
@json_option
def command(  # noqa: PLR0913, PLR0917  # an argument an option, as click calls it
    file: Path,
    load: str,
    metric: str,
    kind: str,
    unit: str | None,
    objective: str | None,
    predict: str | None,
    by: str | None,
    decimal: str | None,
    as_json: bool,
) -> int:
    """Fit a scaling law to the load levels in FILE, a CSV file; lines that start with # are comments.

    Models compete on the error they make on levels they have not seen; the last value is among them. The answer has a
    status: identified, a lower bound, an upper bound, or not identifiable. Exit code 4: the file is no evidence.
    """
    import msgspec

    from capacity.fit.fit_document import FitRequest, answer, refused
    from capacity.models.selection import LEAST_LEVELS
    from capacity.reports.fit_report import output
    from capacity.reports.output import form_of

    question = msgspec.convert(
        {
            "load": load,
            "metric": metric,
            "kind": kind,
            "unit": unit,
            "objective": objective,
            "predict": _loads(predict),
            "by": _names(by),
            "decimal": None if decimal is None else MARKS[decimal],
        },
        FitRequest,
    )
    try:
        fits = answer(file, question)
    except UserError as error:
        if as_json and error.code == Exit.EVIDENCE:
            output([refused(str(error), question)], msgspec.structs.replace(question, by=())).print("json")
        raise
    few = sum(1 for fit in fits if fit.model is not None and not fit.predictions)
    if predict and few:
        which = "a curve" if by else "the table"
        words = f"--predict: {which} with fewer than {LEAST_LEVELS} levels has no prediction"
        console.narration().print(words, soft_wrap=True, markup=False)
    output(fits, question).print(form_of(as_json=as_json))
    return Exit.GOOD if any(fit.model is not None for fit in fits) else Exit.EVIDENCE


def _loads(text: str | None) -> list[float]:
    loads = []
    for part in _names(text):
        found = amount(part.lstrip("+-"))
        if found is None or found[1]:
            raise UserError(f"--predict takes loads such as 64,72; {part!r} is not a number")
        if part.startswith("-") or not 0 < found[0] <= _MOST_LOAD:
            raise UserError(f"--predict takes loads above 0 and up to {_MOST_LOAD:,}, not {part}")
        loads.append(found[0])
    return loads


def _names(text: str | None) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()] if text else []
