"""Tells people about results through the notifiers of other providers: mail, Slack and any other.

    on_success_callback=ResultNotifier(
        about="alarm",
        through=[
            SmtpNotifier(to="on-call@example.com", subject=SUBJECT, html_content=HTML),
            SlackWebhookNotifier(text=SLACK),
        ],
    )

The others' fields are Jinja templates in which `message` has `subject`, `text`, `slack`, `html`, `lines` and `links`.
What a cluster or a user said is a value there, never a template.
"""

from collections.abc import Sequence
from copy import copy
from typing import Any, Final

from airflow.sdk import BaseNotifier, Context

from airflow_llm_provisioning.core.messages import KINDS, Message, message_of
from airflow_llm_provisioning.exceptions import ConfigurationError

SUBJECT: Final = "{{ message.subject }}"
TEXT: Final = "{{ message.text }}"
SLACK: Final = "{{ message.slack }}"
HTML: Final = "{{ message.html }}"


class ResultNotifier(BaseNotifier):
    """Makes a message of what a task returned or raised, and gives it to other notifiers; without news it is silent.

    Use it as a task's `on_success_callback` and `on_failure_callback`. If one of the others fails, the rest still get
    the message; then the error is raised, which Airflow logs.

    :param about: `alarm` (of `TellChanges`), `gate` and `serving` (of `JudgeRun`), `leaks` (of the reaper), `budget`.
    :param through: notifiers whose templates use `message`.
    """

    def __init__(self, *, about: str, through: Sequence[BaseNotifier], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if about not in KINDS:
            raise ConfigurationError(f"There is no message about {about!r}. Use one of: {', '.join(KINDS)}.")
        self.about = about
        self.through = tuple(through)

    def notify(self, context: Context) -> None:
        """Tell it now."""
        message = self._message(context)
        failed: list[Exception] = []
        for other in self.through if message is not None else ():
            try:
                # Rendering changes a notifier, and each of them may be called again.
                copy(other)(_with(context, message))
            except Exception as error:  # noqa: BLE001 - the next one must still be told
                failed.append(error)
        if failed:
            raise failed[0]

    async def async_notify(self, context: Context) -> None:
        """Tell it in the triggerer, as for a missed deadline."""
        message = self._message(context)
        for other in self.through if message is not None else ():
            told = copy(other)
            told.context = _with(context, message)
            await told

    def _message(self, context: Context) -> Message | None:
        ti: Any = context.get("ti")
        error = context.get("exception")
        result = ti.xcom_pull(task_ids=ti.task_id) if ti is not None and error is None else None
        return message_of(
            self.about, result, str(error) if error else None, _where(context), _links(self.about, context)
        )


def _with(context: Context, message: Message | None) -> Any:
    return {**context, "message": message}


def _where(context: Context) -> str:
    run: Any = context.get("dag_run")
    ti: Any = context.get("ti")
    known = run or ti
    return f"{known.dag_id}, {known.run_id}" if known is not None else "unknown DAG"


def _links(about: str, context: Context) -> list[tuple[str, str]]:
    """Return the addresses of the page and of the task's log, where Airflow knows its own address."""
    from urllib.parse import urlsplit

    from airflow_llm_provisioning.compat import conf
    from airflow_llm_provisioning.core.page_links import history_link, owned_link

    ti: Any = context.get("ti")
    base = (conf.get("api", "base_url", fallback="") or "").rstrip("/")
    if ti is None or "://" not in base:
        return []
    host = base[: len(base) - len(urlsplit(base).path)]
    root = urlsplit(base).path
    page = owned_link(root) if about == "leaks" else history_link(root=root)
    log_url = getattr(ti, "log_url", None)
    return [("LLM deployments", f"{host}{page}"), *([("Log", str(log_url))] if log_url else [])]
