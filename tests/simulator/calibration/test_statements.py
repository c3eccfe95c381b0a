"""Statements: what the origin published, and a user's own file."""

import pytest

from airflow_llm_provisioning.exceptions import ConfigurationError
from llm_provisioning_simulator.calibration.statements import Cell, origin_statements, read_statements

OWN = """
name: ours
statements:
  - {cloud: eks, setup: static, variant: baseline, total_s: [600, 700], within: 20}
  - {cloud: eks, setup: static, variant: improved, reduction_pct: 40, within: 5}
"""


def test_the_origin_states_reductions_a_range_and_what_fast_download_did() -> None:
    """Six reductions, both ends of the range, three clouds in which it was slower, one modest gain."""
    found = origin_statements()
    assert len(found.items) == 12
    assert sum("saves" in item.name for item in found.items) == 6
    assert sum("slower" in item.name for item in found.items) == 3
    assert {cell.cloud for cell in found.cells} == {"eks", "gke", "aks"}


def test_a_world_as_the_origin_printed_it_meets_every_statement() -> None:
    """The right value of each statement is none that is missed: its signs are the published ones."""
    found = origin_statements()
    saved = {item.cells[1]: item.low for item in found.items if "saves" in item.name}
    minutes = dict(zip(sorted({cell[:2] for cell in found.cells}), (13, 26, 20, 20, 20, 20), strict=True))
    seconds = {}
    for cell in found.cells:
        baseline_s = 60.0 * minutes[cell[:2]]
        bundle = baseline_s * (1 - saved[cell._replace(variant="improved")] / 100)
        of_variant = {"baseline": baseline_s, "improved": bundle, "fast_download": baseline_s + 20}
        seconds[cell] = of_variant.get(cell.variant, bundle * 1.05)
    assert [item.name for item in found.items if not item.holds(seconds)] == []
    faster = {**seconds, **{cell: seconds[cell] - 60 for cell in found.cells if cell.variant == "fast_download"}}
    assert sum(not item.holds(faster) for item in found.items) == 3


def test_a_users_statements_are_read_with_their_bounds() -> None:
    """A total is a range of seconds; a reduction is against the baseline unless another variant is named."""
    took, saved = read_statements(OWN, "own.yaml").items
    plain, improved = Cell("eks", "static", "baseline"), Cell("eks", "static", "improved")
    assert took.cells == (plain,)
    assert took.missed_by({plain: 730.0}) == pytest.approx(30.0)
    assert took.missed_by({plain: 590.0}) == pytest.approx(-10.0)
    assert (took.holds({plain: 590.0}), took.holds({plain: 730.0})) == (True, False)
    assert saved.missed_by({plain: 1000.0, improved: 500.0}) == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("statements: []", "at least one entry"),
        ("{", "no YAML"),
        ("statements: [1]", "statement 1 is no mapping"),
        ("statements: [{cloud: eks, setup: static, variant: baseline, total_s: 1}]", "within"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: 1, reduction_pct: 2, within: 1}]", "one of"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: [2, 1], within: 1}]", "2 is above 1"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: soon, within: 1}]", "neither a number"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: 1, within: 0}]", "above 0"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: .nan, within: 1}]", "neither a number"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: [300, .inf], within: 1}]", "neither a number"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: 300, within: .inf}]", "above 0"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: 300 s, within: 1}]", "neither a number"),
        ("statements: [{cloud: eks, setup: static, variant: b, total_s: 13, within: 1}]", "seconds, not in minutes"),
        ("statements: [{cloud: eks, setup: static, variant: b, reduction_pct: 0.47, within: 1}]", "in per cent"),
        ("statements: [{cloud: eks, setup: static, variant: b, reduction_pct: 100, within: 1}]", "below 100"),
        ("statements: [{cloud: eks, setup: static, variant: b, reduction_pct: 9, within: 1, agianst: c}]", "agianst"),
        ("statements: [{cloud: eks, setup: static, variant: baseline, reduction_pct: 9, within: 1}]", "against itself"),
        (f"{OWN}variants: [fast]", "mapping of names"),
        (f"{OWN}variants: {{fast: fast_download}}", "lists of treatments"),
    ],
)
def test_a_statement_that_says_nothing_is_refused(text: str, told: str) -> None:
    """The message names the file and the statement."""
    with pytest.raises(ConfigurationError, match=told) as raised:
        read_statements(text, "own.yaml")
    assert "own.yaml" in str(raised.value)
