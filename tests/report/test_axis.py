"""One axis for every chart."""

from hypothesis import given
from hypothesis import strategies as st

from airflow_llm_provisioning.report.axis import Axis

SECONDS = st.floats(0, 1e7)


@given(SECONDS)
def test_an_axis_holds_what_it_was_made_for_and_wastes_little(largest_s: float) -> None:
    """Its ticks are whole numbers at equal distances, from zero to its end."""
    axis = Axis.holding(largest_s)
    assert largest_s <= axis.end_s
    assert largest_s < 4 or axis.end_s <= 1.6 * 1.02 * largest_s
    values = [value for value, _ in axis.ticks()]
    assert values[0] == 0
    assert values[-1] == axis.end_s
    assert all(text == f"{value:,.0f}" for value, text in axis.ticks())


@given(SECONDS, st.floats(-1e7, 1e8))
def test_a_value_outside_is_drawn_at_the_edge(largest_s: float, value_s: float) -> None:
    """A bar is never wider than its chart."""
    axis = Axis.holding(largest_s)
    assert 0 <= axis.share(value_s) <= 1
    assert 0 <= float(axis.percent(value_s).rstrip("%")) <= 100
