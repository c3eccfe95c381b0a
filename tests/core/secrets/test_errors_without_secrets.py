"""An error may end in any log, so it holds no secret from the moment it is made; what is redacted stays so."""

import copy

import pytest

from airflow_llm_provisioning import exceptions
from airflow_llm_provisioning.core.secrets import redacted_value
from airflow_llm_provisioning.exceptions import ProvisioningError
from airflow_llm_provisioning.gateways.clouds.verbs import TransientError

SECRET = "hf_abcdefghijklmnopqrstuvwxyz"
KINDS = [kind for kind in vars(exceptions).values() if isinstance(kind, type) and issubclass(kind, ProvisioningError)]


@pytest.mark.parametrize("kind", [*KINDS, TransientError], ids=lambda kind: kind.__name__)
def test_a_quoted_answer_is_redacted(kind: type[ProvisioningError]) -> None:
    """All that a cloud or a cluster says back; also in a copy."""
    error = kind(f"The build was refused: token={SECRET}, see the log.")
    for told in (str(error), repr(error), str(copy.copy(error))):
        assert SECRET not in told
        assert "The build was refused" in told


def test_a_sentence_without_a_secret_is_what_it_was() -> None:
    """Names, paths and figures stay."""
    told = "RayService ml/llm on sim was not applied (403 Forbidden): give the user the verb create on rayservices."
    assert str(ProvisioningError(told)) == told


def test_what_is_redacted_is_clean_also_where_a_name_held_the_secret() -> None:
    """What is left of such a name says that the value is a secret too: a second pass finds nothing more."""
    made = {"machpassword=[hunter2hunter2hunter2": "of-the-machine", "plain": 1}
    once = redacted_value(made)
    assert "hunter2" not in str(once)
    assert redacted_value(once) == once
