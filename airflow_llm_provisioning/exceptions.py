"""Every error this package raises on purpose.

    ProvisioningError
    ├── ConfigurationError        the user's input; surfaces when the DAG is parsed where it can
    │   ├── ManifestError         no RayService, no serve application, name too long, ...
    │   ├── MissingExtraError     a cloud's SDK is not installed
    │   └── ConnectionConfigError an Airflow connection is absent or lacks a field
    ├── ClusterError              the Kubernetes API answered, or did not
    │   ├── ClusterUnreachableError
    │   ├── ForbiddenError        RBAC refused
    │   ├── ConflictError         another owner's object of that name
    │   └── NotDeletedError       what was to be deleted still exists
    ├── LockHeldError             another trial holds the cluster
    ├── NotReadyError             what was prepared for a trial is not ready yet
    ├── TrialClosedError          a task of a trial whose row is written was run again alone
    ├── TrialFailedError          the deployment itself failed, or did not become ready in time
    │   └── OverBudgetError       the budget is used up
    ├── GateNotPassedError        an arm is slower than its gate allows, or that could not be decided
    ├── CloudError                a cloud's API refused or a long operation failed
    │   └── NoCapacityError       the cloud had no machine, or a quota is used up
    ├── HubError                  the model hub cannot be asked, or does not know the model
    ├── TraceError                a recorded trace cannot be read
    └── StoreError                the results store cannot be read or written

A message says what was attempted, on which object, what was found, and what to do.
"""

from typing import Any


class ProvisioningError(Exception):
    """Base of all errors of this package. Its message quotes clusters, clouds and files; secrets in it are redacted
    when it is made, because it may end in any log.
    """

    def __init__(self, *args: object) -> None:
        from airflow_llm_provisioning.core.secrets import redacted_text

        super().__init__(*(redacted_text(one) if isinstance(one, str) else one for one in args))


class ConfigurationError(ProvisioningError):
    """The user's input cannot work on any cluster or cloud."""


class ManifestError(ConfigurationError):
    """The manifest is not a RayService that can be deployed and measured."""


class MissingExtraError(ConfigurationError):
    """A cloud's SDK is not installed: the message names the extra to install."""


class ConnectionConfigError(ConfigurationError):
    """An Airflow connection is absent, of the wrong type, or lacks a field."""


class ClusterError(ProvisioningError):
    """The Kubernetes API refused a call or could not be asked."""


class ClusterUnreachableError(ClusterError):
    """No answer from the API server."""


class ForbiddenError(ClusterError):
    """The API server knows us and says no: the message names verb and resource."""


class ConflictError(ClusterError):
    """An object of that name belongs to another owner, or changed underneath."""


class NotDeletedError(ClusterError):
    """What was to be deleted still exists, or was not seen to be gone: the message names it and what it waits for."""


class LockHeldError(ProvisioningError):
    """Another trial holds the cluster's lock."""


class NotReadyError(ProvisioningError):
    """What was prepared for a trial is there and not ready yet, for example the next nodes of a buffer. `objects`: what
    to wait for, as the prepared step (`core.prepared_objects.as_it_is`) with its `treatment`.
    """

    def __init__(self, message: str, objects: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.objects: dict[str, Any] = objects or {}


class TrialClosedError(ProvisioningError):
    """A task of a trial was run again after the trial's row was written, without the tasks before it."""


class TrialFailedError(ProvisioningError):
    """A deployment failed or did not become ready in time; it is a result, and is recorded as one."""


class GateNotPassedError(ProvisioningError):
    """A gate of a run did not pass: slower, undecided, no capacity or not judged."""


class OverBudgetError(TrialFailedError):
    """The budget of the experiment is used up, so a trial was ended or not begun."""


class CloudError(ProvisioningError):
    """A cloud's API refused, or a long operation of it ended badly."""


class NoCapacityError(CloudError):
    """A machine was refused, because the cloud has none at this moment or a quota is used up."""


class StoreError(ProvisioningError):
    """The results store cannot be opened, read or written."""


class MissingStoreError(StoreError):
    """There is no results store yet; the first trial, preparation or import creates it."""


class HubError(ProvisioningError):
    """The model hub cannot be asked, or does not show the model or revision."""


class TraceError(ProvisioningError):
    """A recorded trace cannot be read: not ours, damaged, or of a newer format."""
