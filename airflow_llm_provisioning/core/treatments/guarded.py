"""A treatment of another distribution behind its contract: what it raises or returns wrongly names its distribution.

Treatments are asked while a DAG is parsed, during preflight and when a trial is judged. Without this a mistake in one
ends far from its cause: a DAG that cannot be imported, or a trial without a row.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, cast

from airflow_llm_provisioning.core.effects import Effect
from airflow_llm_provisioning.core.one_line import one_line
from airflow_llm_provisioning.core.target import NodeProfile
from airflow_llm_provisioning.core.treatments.base import DeploymentPlan, Step, Treatment
from airflow_llm_provisioning.core.verdicts import WARM_KINDS, Verdict
from airflow_llm_provisioning.exceptions import ConfigurationError

_ANSWERS: Final = ("yes", "no", "unknown")
_SHOWN: Final = 120


class _WrongShapeError(Exception):
    """What was returned is not what the contract says."""


class GuardedTreatment:
    """Passes every question to the treatment. An error, or an answer of another shape than the contract's, becomes one
    sentence with the distribution (ConfigurationError).
    """

    def __init__(self, item: Any, origin: str) -> None:
        self._item = item
        self._origin = origin

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        found = getattr(self._item, name)
        shape = _RETURNS.get(name)
        return found if shape is None else self._guarded(name, found, shape)

    def _guarded(self, name: str, asked: Callable[..., Any], shape: Callable[[Any], Any]) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            try:
                found = shape(asked(*args, **kwargs))
            except ConfigurationError:
                raise
            except _WrongShapeError as error:
                raise ConfigurationError(f"{self._origin} is broken: {name}() returned {error}.") from None
            except Exception as error:
                told = one_line(str(error), 300).rstrip(".")
                raise ConfigurationError(
                    f"{self._origin} is broken: {name}() raised {type(error).__name__}: {told}."
                ) from error
            return replace(found, claim=self._item.name) if name == "verify" else found

        return ask


def guarded(item: Any, origin: str) -> Treatment:
    """Return a treatment whose mistakes name their distribution. `origin`: which entry point of which distribution."""
    return cast("Treatment", GuardedTreatment(item, origin))


def misshapen(item: Any) -> list[str]:
    """Return what of a treatment's attributes is not of the contract's shape, in words: all of them are read while
    other treatments are sorted, grouped or asked.
    """
    found = []
    for name, (of_shape, wanted) in _ATTRIBUTES.items():
        value = getattr(item, name, None)
        if not of_shape(value):
            found.append(f"its {name} is {_shown(value)} instead of {wanted}")
    for name in _RETURNS:
        value = getattr(item, name, None)
        if hasattr(item, name) and not callable(value):
            found.append(f"its {name} is {_shown(value)} instead of a method")
    return found


def _shown(value: object) -> str:
    return one_line(repr(value), _SHOWN)


def _expected(value: object, wanted: str) -> _WrongShapeError:
    return _WrongShapeError(f"{_shown(value)} instead of {wanted}")


def _instance(kind: type, wanted: str) -> Callable[[Any], Any]:
    def shape(value: Any) -> Any:
        if not isinstance(value, kind):
            raise _expected(value, wanted)
        return value

    return shape


def _sentences(value: Any) -> tuple[str, ...]:
    """Return sentences. One text is one sentence, and None is none: `("Why.")` is no tuple in Python."""
    told = (value,) if isinstance(value, str) else () if value is None else value
    if not isinstance(told, Iterable):
        raise _expected(value, "a tuple of sentences")
    every = tuple(told)
    if not all(isinstance(one, str) for one in every):
        raise _expected(value, "a tuple of sentences")
    return tuple(one for one in every if one)


def _sentence(value: Any) -> str | None:
    if value is not None and not isinstance(value, str):
        raise _expected(value, "a sentence or None")
    return value or None


def _manifests(value: Any) -> tuple[Mapping[str, Any], ...]:
    every = () if value is None else tuple(value) if isinstance(value, list | tuple) else None
    if every is None or not all(isinstance(one, Mapping) for one in every):
        raise _expected(value, "a tuple of manifests")
    return every


def _claims(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping) or not all(isinstance(facts, Mapping) for facts in value.values()):
        raise _expected(value, "a mapping of claims to what the cloud is told")
    return value


def _verdict(value: Any) -> Verdict:
    if not isinstance(value, Verdict) or value.value not in _ANSWERS:
        raise _expected(value, f"a Verdict with one of {', '.join(_ANSWERS)}")
    evidence = _sentences(value.evidence)
    if value.value == "yes" and not evidence:
        # A treatment is believed only with what it rests on.
        return Verdict(value.claim, "unknown", ("It says yes and names no evidence.",))
    return replace(value, evidence=evidence)


_RETURNS: Final[Mapping[str, Callable[[Any], Any]]] = {
    **dict.fromkeys(("requires", "requires_of", "on_cluster", "on_cluster_of"), _sentences),
    **dict.fromkeys(("vain_in", "undeclared"), _sentence),
    **dict.fromkeys(("companions", "dry_runs"), _manifests),
    **dict.fromkeys(("verify", "kept"), _verdict),
    "asks_cloud": _claims,
    "change": _instance(DeploymentPlan, "the changed DeploymentPlan"),
    "nodes": _instance(NodeProfile, "the changed NodeProfile"),
    "effect": _instance(Effect | None, "an Effect or None"),  # type: ignore[arg-type] # isinstance takes a union
}
"""Method -> what makes its answer fit, or refuses it."""


def _texts(value: Any, known: Collection[str] = ()) -> bool:
    several = isinstance(value, tuple | list | set | frozenset)
    return several and all(isinstance(one, str) and (not known or one in known) for one in value)


def _text_or_none(value: Any) -> bool:
    return value is None or (isinstance(value, str) and bool(value))


_ATTRIBUTES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "group": (_text_or_none, "a name or None"),
    "alternative_to": (_text_or_none, "a name or None"),
    "clouds": (_texts, "a set of names"),
    "order": (lambda value: isinstance(value, int) and not isinstance(value, bool), "a whole number"),
    "steps": (
        lambda value: isinstance(value, tuple | list) and all(isinstance(one, Step) for one in value),
        "a tuple of Step objects",
    ),
    "claims": (_texts, "a tuple of names"),
    "keeps_warm": (lambda value: _texts(value, WARM_KINDS), f"a tuple of {', '.join(WARM_KINDS)}"),
    "looks_at": (_texts, "a tuple of resources"),
}
"""Attribute -> whether a value is of its shape, and what is expected."""
