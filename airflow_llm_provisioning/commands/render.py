"""`llm-provisioning render`: the RayService that a variant applies, and what its treatments change. Asks no cluster."""

import argparse
import sys
from pathlib import Path
from typing import Any

from airflow_llm_provisioning.commands.exit_codes import ExitCode
from airflow_llm_provisioning.exceptions import ConfigurationError


def add_render(commands: Any) -> None:
    """Add the command `render`."""
    parser = commands.add_parser("render", help="print the RayService that a variant applies, or what it changes")
    parser.add_argument("experiment", type=Path, help="the experiment's YAML file")
    parser.add_argument("target", help="a target of the experiment")
    parser.add_argument("variant", help="a variant of that target")
    parser.add_argument("--workload", help="a workload of the experiment (default: the target's first)")
    parser.add_argument("--setup", choices=["static", "dynamic"], help="default: the workload's first set-up")
    parser.add_argument("--image", help="the image that the preparation built (default: a placeholder with its tag)")
    parser.add_argument("--diff", action="store_true", help="print only what differs from the workload's own manifest")
    parser.set_defaults(command=_render)


def _render(parsed: argparse.Namespace) -> int:
    import yaml

    from airflow_llm_provisioning.core.manifests import manifest_diff
    from airflow_llm_provisioning.core.trace.redaction import redact
    from airflow_llm_provisioning.dag_factory import load_experiment
    from airflow_llm_provisioning.trials.render import plan_of, render

    experiment = load_experiment(parsed.experiment)
    target = experiment.target(parsed.target)
    workload = parsed.workload or experiment.workloads_on(target)[0].name
    setup = parsed.setup or str(next(s for s in experiment.workload(workload).offered_setups))
    one = experiment.narrowed(target=target.name, workload=workload, setup=setup, variant=parsed.variant)
    (trial,) = one.plan(0, dag_id="render", run_id="render")
    served, plan = plan_of(one, trial)
    built = parsed.image or (f"REGISTRY/REPOSITORY:{plan.recipe.tag()}" if plan.own_image else None)
    rendered = render(one, trial, built_image=built, labels={})
    if others := served.left_to_the_user:
        sys.stderr.write(f"llm-provisioning: {others}\n")
    if parsed.diff:
        sys.stdout.write(manifest_diff(served.manifest, rendered.manifest) or "Nothing is changed.\n")
    else:
        sys.stdout.write(yaml.safe_dump(redact("rayservices", rendered.manifest), sort_keys=False))
    return ExitCode.DONE


def add_schema(commands: Any) -> None:
    """Add the command `schema`."""
    parser = commands.add_parser("schema", help="print the JSON schema of an experiment file")
    parser.add_argument("--out", type=Path, help="write it to this file")
    parser.set_defaults(command=_schema)


def _schema(parsed: argparse.Namespace) -> int:
    from airflow_llm_provisioning.core.experiment_schema import schema_text

    text = schema_text()
    if parsed.out is None:
        sys.stdout.write(text)
        return ExitCode.DONE
    try:
        parsed.out.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The schema could not be written to {parsed.out}: {error}.") from error
    return ExitCode.DONE
