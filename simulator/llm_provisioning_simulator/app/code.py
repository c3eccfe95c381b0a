"""The applications' code behind `working_dir`: an archive by URI, as the host of the repository serves it now.

A commit's archive is always the same; a branch's is what was pushed last. It knows what code does to the engine it
starts, and no deployment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from llm_provisioning_simulator.app.application import Engine


@dataclass(slots=True)
class CodeHost:
    """`eager`: URI of an archive -> whether its code starts engines with `enforce_eager`. An archive that is not there
    does as the configuration says.
    """

    eager: dict[str, bool] = field(default_factory=dict)

    def push(self, uri: str, *, eager: bool) -> None:
        """Let an address that moves lead to other code from now on."""
        self.eager[uri] = eager

    def engine(self, uri: str | None, configured: Engine) -> Engine:
        """Return the engine that the code at this address starts."""
        found: Mapping[str, bool] = self.eager
        return configured if uri is None or not found.get(uri) else replace(configured, enforce_eager=True)
