"""One scheme of tags, in three spellings: what is written is read back under our own keys."""

from datetime import UTC, datetime

import pytest

from airflow_llm_provisioning.core.names import LABEL_EXPIRES, LABEL_MANAGED_BY, expiry, label_keys_for_google
from airflow_llm_provisioning.core.names import preparation_tags as tags_for
from airflow_llm_provisioning.core.operation import KEEP_DAYS, Operation
from airflow_llm_provisioning.gateways.clouds.tags import OUR_KEYS, TagScheme, preparation_tags_of
from airflow_llm_provisioning.gateways.clouds.verbs import (
    keep_until,
)

UNTIL = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
SCHEMES = {
    "as it is": TagScheme(),
    "google": TagScheme(label_keys_for_google),
    "azure": TagScheme(lambda tags: {key.replace("/", "_"): value for key, value in tags.items()}),
}
each = pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)


@each
def test_what_is_spelled_is_read_back(scheme: TagScheme) -> None:
    """Keys and the expiry, in either spelling; tags of others stay."""
    ours = tags_for("abc", UNTIL, "target")
    spelled = scheme.spell(ours)
    assert scheme.read({**spelled, "team": "ml"}) == {**ours, "team": "ml"}
    assert scheme.read(ours) == ours
    assert set(ours) == set(OUR_KEYS)


@each
def test_only_our_own_mark_is_ours(scheme: TagScheme) -> None:
    """Not the absence of tags, and not another's mark under the same key."""
    assert scheme.is_ours(scheme.spell(tags_for("abc", UNTIL)))
    assert not scheme.is_ours(None)
    assert not scheme.is_ours({})
    assert not scheme.is_ours(scheme.spell({LABEL_MANAGED_BY: "helm"}))


@each
def test_an_expiry_is_only_moved_later(scheme: TagScheme) -> None:
    """Written where there is none or an earlier one; nothing where it is late enough."""
    later = UNTIL.replace(day=2)
    assert scheme.later_expiry(scheme.spell({LABEL_EXPIRES: expiry(UNTIL)}), later) == scheme.spell(
        {LABEL_EXPIRES: expiry(later)}
    )
    assert scheme.later_expiry(scheme.spell({LABEL_EXPIRES: expiry(later)}), UNTIL) == {}
    assert scheme.later_expiry(scheme.spell({LABEL_EXPIRES: expiry(UNTIL)}), UNTIL) == {}
    assert scheme.later_expiry({}, UNTIL)


@pytest.mark.parametrize(
    ("request_", "days"), [({}, KEEP_DAYS), ({"keep_days": None}, KEEP_DAYS), ({"keep_days": 7}, 7)]
)
def test_one_default_says_how_long_things_are_kept(request_: dict[str, int], days: int) -> None:
    """For every verb of every cloud."""
    operation = Operation("x", {**request_, "target": "t"}, progress={"started_at": UNTIL.isoformat()})
    assert (keep_until(operation) - UNTIL).days == days
    assert preparation_tags_of(operation, "c")[LABEL_EXPIRES] == expiry(keep_until(operation))
