"""Operator fields that may hold secrets: Airflow stores and shows them redacted, and the task gets them as given.

Airflow keeps a DAG's template fields in `serialized_dag` and a task's in `rendered_task_instance_fields`, and masks
only keys of a few names. A field of this kind is kept behind an object whose `serialize()` Airflow calls in both places
(airflow.serialization.helpers.serialize_template_field, Airflow 3.0 to 3.3).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import XComArg

from airflow_llm_provisioning.compat import BaseOperator

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context

FILE_ENDS: Final = (".yaml", ".yml", ".json")
_EXPRESSION: Final = re.compile(r"\{\{[^{}]{0,1000}\}\}")


class Confidential:
    """A value as it was given, and what is shown of it. `shown`: a reference to show in its place, as a file's path."""

    __slots__ = ("given", "shown")

    def __init__(self, given: Any, shown: str | None = None) -> None:
        self.given = given
        self.shown = shown

    def serialize(self) -> Any:
        """Return what Airflow may store: the value without secrets."""
        from airflow_llm_provisioning.core.trace.redaction import redact

        if self.shown is not None:
            return self.shown
        if isinstance(self.given, str):
            return _shown_text(self.given)
        return redact("rayservices", self.given)

    def __repr__(self) -> str:
        return "<a confidential value>"


def _shown_text(text: str) -> Any:
    """Return YAML as its values without secrets, and a line as it is: variables in a YAML text span two lines."""
    from airflow_llm_provisioning.core.manifests.compose import compose
    from airflow_llm_provisioning.core.manifests.values import json_value
    from airflow_llm_provisioning.core.secrets import redacted_text
    from airflow_llm_provisioning.core.trace.redaction import redact
    from airflow_llm_provisioning.exceptions import ManifestError

    if "\n" not in text.strip() and not text.lstrip().startswith('{"'):
        return redacted_text(text)
    try:
        told = [json_value(item, where="It", lenient=True) for item in compose(text, "It")]
    except ManifestError:
        return f"<a text of {len(text)} characters>"
    return redact("rayservices", told[0] if len(told) == 1 else told)


class ConfidentialFields(BaseOperator):
    """An operator with confidential template fields. They are rendered like others, and then hidden again."""

    confidential_fields: tuple[str, ...] = ()

    def confidential(self, value: Any) -> Any:
        """Return a value as it is stored in a confidential field. An upstream task's output is hidden once it is
        known.
        """
        if value is None or isinstance(value, (XComArg, Confidential)):
            return value
        XComArg.apply_upstream_relationship(self, value)
        return Confidential(value)

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: "Context",
        jinja_env: "jinja2.Environment",
        seen_oids: set[int],
    ) -> None:
        # Both ways to here, of a task and of a mapped one, end in this method (Airflow 3.0 to 3.3).
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        for name in self.confidential_fields if parent is self else ():
            value = getattr(self, name)
            given = value.given if isinstance(value, Confidential) else value
            if given is not None:
                setattr(self, name, self.rendered_field(name, given, context, jinja_env))

    def rendered_field(self, name: str, given: Any, context: "Context", jinja_env: "jinja2.Environment") -> Any:
        """Return a confidential field after rendering."""
        return Confidential(self.render_template(given, context, jinja_env))


def given(value: Any) -> Any:
    """Return the value of a confidential field as it was given."""
    return value.given if isinstance(value, Confidential) else value


class ManifestTemplate:
    """Renders in a manifest what Airflow knows, and leaves all other braces alone.

    A chat template (`{{ messages }}`) and a Go template are Jinja to Airflow too, which would empty them. An expression
    is rendered if every name in it is one of the task's context or a macro of the DAG; a text whose names are all known
    is rendered as a whole, with its blocks.
    """

    def __init__(
        self, render: Callable[[Any], Any], context: Mapping[str, Any], jinja_env: "jinja2.Environment"
    ) -> None:
        self._render = render
        self._env = jinja_env
        self._known = {*context, *jinja_env.globals}

    def rendered(self, value: Any) -> Any:
        """Return a value with its texts rendered; the value is not changed."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, Mapping):
            return {key: self.rendered(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.rendered(item) for item in value]
        return self._render(value) if isinstance(value, XComArg) else value

    def _text(self, text: str) -> Any:
        if "{{" not in text and "{%" not in text:
            return text
        if self._is_known(text):
            return self._render(text)
        return _EXPRESSION.sub(
            lambda match: str(self._render(match.group())) if self._is_known(match.group()) else match.group(), text
        )

    def _is_known(self, text: str) -> bool:
        from jinja2 import TemplateError, meta

        try:
            names = meta.find_undeclared_variables(self._env.parse(text))
        except (TemplateError, RecursionError):
            return False
        # A text without names is a template only if its author marked what is none.
        return names <= self._known if names else "{% raw" in text or "{%- raw" in text
