"""The page "LLM deployments" in Airflow's navigation, found by the entry point `airflow.plugins`.

Airflow imports this module in every process that loads plugins, each task's included. So it imports nothing besides
the class it derives from; the web application is built when the API server asks for it.
"""

from functools import cached_property
from typing import Any, Final

from airflow.plugins_manager import AirflowPlugin

PREFIX: Final = "/llm-deployments"
TITLE: Final = "LLM deployments"


class LlmDeploymentsPlugin(AirflowPlugin):
    """Adds the page to the navigation, and the application that serves it."""

    name = "llm_deployments"
    # Airflow removes entries from this list, so it is one of the class (airflow/plugins_manager.py, 3.3).
    external_views: list[Any] = [  # noqa: RUF012 - the base class declares it so
        {
            "name": TITLE,
            # Relative to Airflow's own address, which may have a path.
            "href": f"{PREFIX.removeprefix('/')}/now",
            "destination": "nav",
            "url_route": PREFIX.removeprefix("/"),
            "nav_top_level": True,
            "icon": f"{PREFIX.removeprefix('/')}/assets/icon.svg",
            "icon_dark_mode": f"{PREFIX.removeprefix('/')}/assets/icon-dark.svg",
        }
    ]

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override] # the base class has a list
        """Return the application. Only the API server reads this."""
        from airflow_llm_provisioning.ui.app import build_app

        return [{"app": build_app(), "url_prefix": PREFIX, "name": TITLE}]
