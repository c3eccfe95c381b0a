"""`llm-provisioning what-if`: what a variant would take that was never run, from the user's own measured phases."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.commands.selecting import asked, selected, selection_options
from airflow_llm_provisioning.commands.stored import read_store, store_option
from airflow_llm_provisioning.core.arm import BASELINE
from airflow_llm_provisioning.exceptions import ConfigurationError

if TYPE_CHECKING:
    from airflow_llm_provisioning.core.what_if import Held, Prediction
    from airflow_llm_provisioning.decisions.what_if import Outlook


def add_what_if(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "what-if", help="predict a variant that was never run, from measured phases and the treatments' mechanisms"
    )
    parser.add_argument("of", metavar="EXPERIMENT", help="the experiment's name in the results store, or its YAML file")
    store_option(parser)
    selection_options(parser)
    parser.add_argument("--variant", default=BASELINE, help=f"the variant that is changed (default: {BASELINE})")
    parser.add_argument("--add", action="append", default=[], metavar="TREATMENT", help="with this treatment")
    parser.add_argument("--drop", action="append", default=[], metavar="TREATMENT", help="without this treatment")
    parser.add_argument(
        "--check", action="store_true", help="hold predictions of every arm against its trials that were run later"
    )
    parser.add_argument("--format", choices=["text", "json"], default="text")
    parser.set_defaults(command=_what_if)


def _what_if(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.decisions.what_if import held, outlooks

    if bool(parsed.check) == bool(parsed.add or parsed.drop):
        raise ConfigurationError(
            "Name what changes with --add and --drop, or hold every arm against later trials: --check."
        )
    parsed.experiment = parsed.experiment or _experiment(parsed.of)
    wanted = asked(parsed)
    with read_store(parsed) as store:
        wanted = selected(store, parsed, wanted)
        if parsed.check:
            checked = held(store, wanted)
            _put(parsed, [_held_row(each) for each in checked], _check_lines(checked))
            return ExitCode.DONE if any(each.inside is not None for each in checked) else ExitCode.NOT_DONE
        found = outlooks(store, wanted, parsed.variant, parsed.add, parsed.drop)
    _put(parsed, [_row(each) for each in found], [line for each in found for line in _lines(each)])
    return ExitCode.DONE if any(each.prediction for each in found) else ExitCode.NOT_DONE


def _experiment(given: str) -> str:
    """Return the name of an experiment that is named by its file or by itself."""
    if Path(given).suffix in (".yaml", ".yml"):
        from airflow_llm_provisioning.dag_factory import load_experiment

        return load_experiment(Path(given)).name
    return given


def _put(parsed: argparse.Namespace, rows: list[dict[str, Any]], lines: list[str]) -> None:
    from airflow_llm_provisioning.report.escaping import terminal_text

    text = json.dumps(rows, indent=1) if parsed.format == "json" else "\n".join(map(terminal_text, lines))
    sys.stdout.write(f"{text}\n")


def _lines(found: "Outlook") -> Iterator[str]:
    stratum = found.arm.stratum
    yield f"{stratum.label} ({stratum.origin}): {' + '.join(found.treatments) or 'no treatments'}"
    if found.prediction is None:
        yield f"  No prediction: {found.why}"
    else:
        yield from _predicted(found.prediction)
    if found.run_s:
        totals = ", ".join(f"{total_s:.0f}" for total_s in found.run_s)
        yield f"  It was run: {totals} s. The prediction did not see these trials."
    elif found.prediction is not None:
        yield "  Run it to know."
    yield ""


def _predicted(found: "Prediction") -> Iterator[str]:
    after = f"{found.frame} takes {found.frame_s:.0f} s, n = {found.n}."
    if found.low_s is None or found.high_s is None:
        between = f"{found.mechanism_low_s:.0f} to {found.mechanism_high_s:.0f} s"
        yield f"  About {found.middle_s:.0f} s ({between} by its mechanisms alone, no interval). {after}"
    else:
        between = f"between {found.low_s:.0f} and {found.high_s:.0f} s"
        yield f"  90 % of later totals {between}, the middle {found.middle_s:.0f} s. {after}"
    sources = list(dict.fromkeys(text for phase in found.phases for text in phase.sources))
    for phase in found.phases:
        low, high = f"{phase.low_s:.1f}", f"{phase.high_s:.1f}"
        now = low if low == high else f"{low} to {high}"
        marks = "".join(f" [{sources.index(text) + 1}]" for text in phase.sources)
        yield f"    {phase.phase}: {phase.before_s:.1f} s, then {now} s ({phase.by}{marks})"
    yield f"  It rests on: {'; '.join(found.assumptions)}."
    yield from (f"  [{number}] {text}." for number, text in enumerate(sources, start=1))


def _check_lines(checked: list["Held"]) -> list[str]:
    lines = []
    for each in checked:
        if each.prediction is None:
            lines.append(f"{each.arm}: not predicted: {each.why}")
            continue
        found = each.prediction
        interval = "no interval" if found.low_s is None else f"{found.low_s:.0f} to {found.high_s:.0f} s"
        lines.append(
            f"{each.arm}: predicted {found.middle_s:.0f} s ({interval}) from {found.frame}; {len(each.later_s)} later "
            f"trials, {each.inside} inside, the middle off by {each.error_pct:+.1f} %"
        )
    later = sum(len(each.later_s) for each in checked if each.inside is not None)
    inside = sum(each.inside or 0 for each in checked)
    lines.append(f"{inside} of {later} later totals are inside their 90 % intervals." if later else "Nothing to check.")
    return lines


def _row(found: "Outlook") -> dict[str, Any]:
    prediction = asdict(found.prediction) if found.prediction else None
    return {
        **found.arm.stratum.as_dict(),
        "variant": found.arm.variant,
        "treatments": list(found.treatments),
        "confidence": 0.9 if found.prediction and found.prediction.low_s is not None else None,
        "prediction": prediction,
        "why_not": found.why or None,
        "run_s": list(found.run_s),
    }


def _held_row(found: "Held") -> dict[str, Any]:
    return {
        "arm": found.arm,
        "prediction": asdict(found.prediction) if found.prediction else None,
        "later_s": list(found.later_s),
        "inside": found.inside,
        "error_pct": found.error_pct,
        "why_not": found.why or None,
    }
