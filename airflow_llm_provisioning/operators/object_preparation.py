"""Prepare Kubernetes objects that a treatment needs in a target's cluster: placeholder pods, volumes, Jobs, caches."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_llm_provisioning.core.names import DEFAULT_STORE
from airflow_llm_provisioning.core.prepared_objects import PreparedObjects
from airflow_llm_provisioning.operators.confidential import Confidential, ConfidentialFields, ManifestTemplate, given
from airflow_llm_provisioning.operators.links import TargetLink
from airflow_llm_provisioning.operators.waiting import WaitingOperator
from airflow_llm_provisioning.triggers.base import raise_error
from airflow_llm_provisioning.triggers.prepared_objects import ObjectsReadyWait

if TYPE_CHECKING:
    import jinja2


class PrepareObjects(ConfidentialFields, WaitingOperator):
    """Apply objects in a target's cluster, wait until they are ready and nodes that came for Jobs are gone, and keep
    what was made.

    The same objects are found again by their content, and their expiry is renewed; objects of an earlier content are
    removed. A Job's container may print `LLM-PREPARED ` and one JSON object: that becomes `facts`. Returns {content,
    objects, ready, nodes, facts, idle, seconds, reused, price_usd, price_basis}.

    :param target: the target, as a dict. :param treatment: the treatment that wants them; the preparation's verb is
        `prepare_<treatment>`. :param objects: manifests, as `core.prepared_objects.PreparedObjects` takes them;
        Airflow stores them without secrets.
    :param image: result of the build whose reference stands for `{image}` in the objects; or a list, of which the
        second stands for `{image-1}`, and so on.
    :param ready: kind -> condition that must be true, for kinds of other controllers. :param idle: [{what, name,
        amount}]: what it costs while no trial runs.
    """

    template_fields: Sequence[str] = ("target", "objects", "image")
    # A Job's pod has the variables of the workload's own, and may be given Serve's configuration.
    confidential_fields = ("objects",)
    operator_extra_links = (TargetLink(),)
    template_fields_renderers = {"target": "json", "objects": "json"}  # noqa: RUF012 - Airflow's name
    ui_color = "#f6efd9"

    def __init__(
        self,
        *,
        target: Mapping[str, Any],
        treatment: str,
        objects: Sequence[Mapping[str, Any]],
        image: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        ready: Mapping[str, str] | None = None,
        idle: Sequence[Mapping[str, Any]] = (),
        timeout_s: float = 3600,
        results_conn_id: str = DEFAULT_STORE,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.target = target
        self.treatment = treatment
        self.objects = self.confidential(objects)
        self.image = image
        self.ready = ready
        self.idle = idle
        self.timeout_s = timeout_s
        self.results_conn_id = results_conn_id

    def execute(self, context: Context) -> Any:
        """Apply the objects (or find them) and wait."""
        from airflow_llm_provisioning.preparation.objects import start

        arguments = start(self.target, self._wanted(), self.timeout_s, self.results_conn_id)
        at_most = timedelta(seconds=self.timeout_s + arguments["nodes_gone_s"] + 300)
        return self.wait_for(context, ObjectsReadyWait(**arguments), at_most=at_most)

    def resume(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Keep what was made."""
        from airflow_llm_provisioning.preparation.objects import finish_objects

        raise_error(event)
        return finish_objects(self.target, self._wanted(), event, context["ti"].run_id, self.results_conn_id)

    def rendered_field(self, name: str, given: Any, context: Context, jinja_env: "jinja2.Environment") -> Confidential:
        """Return the objects after rendering; braces that are none of Airflow's, as in a chat template, stay."""
        template = ManifestTemplate(lambda item: self.render_template(item, context, jinja_env), context, jinja_env)
        return Confidential(template.rendered(given))

    def _wanted(self) -> PreparedObjects:
        from airflow_llm_provisioning.preparation.objects import with_image_of

        objects = with_image_of(given(self.objects), self.image)
        told = {"treatment": self.treatment, "objects": objects, "ready": self.ready or {}, "idle": self.idle}
        return PreparedObjects.from_dict(told)
