"""The form of a trial by hand."""

from typing import Final

from airflow.sdk import Param

from airflow_llm_provisioning.core.experiment import Experiment
from airflow_llm_provisioning.core.offer import OFFER, offer_of
from airflow_llm_provisioning.operators.trial import LOCK_WAIT_S

TRIAL_TIME_LIMIT_S: Final = 3600.0


def single_trial_params(experiment: Experiment) -> dict[str, Param]:
    """Return the form of a trial by hand: enums from the experiment, defaults that work."""
    variants = list(dict.fromkeys(variant for target in experiment.targets for variant in target.variants))
    return {
        "target": _target(experiment),
        "setup": Param(
            "static",
            type="string",
            enum=["static", "dynamic"],
            title="Scaling set-up",
            description="static: one GPU worker from the start. dynamic: Ray's autoscaler asks for it once "
            "Serve has the application.",
        ),
        "variant": Param(
            variants[0],
            type="string",
            enum=variants,
            title="Variant",
            description="The set of treatments. A target runs only the variants it was prepared for.",
        ),
        "workload": Param(
            experiment.workloads[0].name,
            type="string",
            enum=[workload.name for workload in experiment.workloads],
            title="Workload",
            description="What is served, by its name in the experiment file.",
        ),
        # Without "null" the form counts an empty field as missing and disables its button (Airflow 3.3).
        "model": Param(
            None,
            type=["null", "string"],
            title="Model",
            description="Model id on the hub; empty: the workload's own. A manifest names its model itself.",
        ),
        "image": Param(
            None,
            type=["null", "string"],
            title="Image",
            description="Image of all Ray containers; empty: the workload's own.",
        ),
        "time_limit_s": Param(
            int(TRIAL_TIME_LIMIT_S),
            type="integer",
            minimum=60,
            maximum=4 * 3600,
            title="Time limit (s)",
            description="How long the deployment may take until its endpoint is ready, in the cluster's clock.",
        ),
        "lock_wait_s": Param(
            int(LOCK_WAIT_S),
            type="integer",
            minimum=0,
            maximum=24 * 3600,
            title="Wait for a busy cluster (s)",
            description="How long to wait while another trial holds the cluster, in the cluster's clock; 0: fail at "
            "once. The log of the task `open` says for which trial it waits.",
        ),
    }


def _target(experiment: Experiment) -> Param:
    param = Param(
        experiment.targets[0].name,
        type="string",
        enum=[target.name for target in experiment.targets],
        title="Target",
        description="Where the trial runs: a cluster and its node profile, prepared beforehand.",
    )
    # Read by the page, which offers only what is possible.
    param.schema[OFFER] = offer_of(experiment)
    return param
