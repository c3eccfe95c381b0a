"""What people are told about results, in three forms: a subject, plain text (also for chats), and HTML for mail.

A message is made of what a task returned or raised. None means that there is nothing to tell. Texts of clusters and
users appear in it, so secrets are removed, and HTML is escaped.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from types import MappingProxyType
from typing import Any, Final

from airflow_llm_provisioning.core.fields import mapping, number
from airflow_llm_provisioning.core.one_line import one_line

# Chats cut longer texts (Slack: 40,000 characters, and reads badly before that).
MOST_LINES: Final = 20


@dataclass(frozen=True, slots=True)
class Message:
    """One message. `lines`: one fact each; `links`: (title, address)."""

    subject: str
    lines: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        """The message as plain text."""
        return "\n".join([self.subject, *(f"- {line}" for line in self.lines), *(f"{a}: {b}" for a, b in self.links)])

    @property
    def slack(self) -> str:
        """The message for Slack, in which `<!channel>` of a cluster's sentence must not call anyone
        (docs.slack.dev/messaging/formatting-message-text, "Escaping text").
        """
        return self.text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

    @property
    def html(self) -> str:
        """The message as HTML."""
        told = "".join(f"<li>{escape(line)}</li>" for line in self.lines)
        linked = "".join(f'<p><a href="{escape(to, quote=True)}">{escape(title)}</a></p>' for title, to in self.links)
        return f"<h3>{escape(self.subject)}</h3><ul>{told}</ul>{linked}"


def message_of(
    about: str, result: Any, error: str | None, where: str, links: Sequence[tuple[str, str]] = ()
) -> Message | None:
    """Return what is to be told, or None. `about`: a key of `KINDS`; `result`: what the task returned; `error`: why it
    failed, or None; `where`: DAG and run, in words.
    """
    title, read = KINDS[about]
    lines = [error] if error else list(read(result))
    if not lines:
        return None
    told = [one_line(str(line)) for line in lines[:MOST_LINES]]
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return Message(f"{title}: {one_line(str(where))}", (*told, *more), tuple(links))


def _alarm(result: Any) -> Iterable[str]:
    """Yield the changes of level that `TellChanges` returned; a recovery too, because readers wait for it."""
    for row in _rows(result):
        if row.get("text"):
            yield str(row["text"])


def _gate(result: Any) -> Iterable[str]:
    """Yield the gates that did not pass; a gate that fails its task is told by the task's error."""
    for row in _rows(mapping(result).get("gates")):
        if row.get("outcome") not in (None, "passes"):
            yield f"{row.get('arm', '')}: {row.get('sentence', row.get('outcome', ''))}"


def _serving(result: Any) -> Iterable[str]:
    """Yield the arms that serve slower than their baseline (`decisions.judge.judge_run`)."""
    told = mapping(result).get("serves_slower")
    yield from map(str, told if isinstance(told, (list, tuple)) else ())


def _leaks(result: Any) -> Iterable[str]:
    """Yield what is left and what could not be listed (`reaping.reap.Reaped.as_dict`, or a list of owned things)."""
    found = mapping(result)
    for row in _rows(found.get("left") if found else result):
        name = " ".join(str(row[key]) for key in ("kind", "name") if row.get(key))
        told = [name, f"in {row['place']}" if row.get("place") else "", str(row.get("state") or "")]
        price = number(row.get("price_usd_h"))
        told += [f"{price:.2f} USD an hour"] if price else []
        why = f": {row['why']}" if row.get("why") else ""
        yield f"{', '.join(part for part in told if part)}{why}"
    for problem in found.get("problems") or ():
        yield f"not known: {problem}"


def _budget(result: Any) -> Iterable[str]:
    """Yield the budgets that are used up ({exceeded, sentence} each)."""
    found = mapping(result)
    for row in _rows(found.get("budgets") if found else result) or ([dict(found)] if found else []):
        if row.get("sentence") and row.get("exceeded"):
            yield str(row["sentence"])


KINDS: Final[Mapping[str, tuple[str, Callable[[Any], Iterable[str]]]]] = MappingProxyType(
    {
        "alarm": ("Deployments changed", _alarm),
        "gate": ("The gate did not pass", _gate),
        "serving": ("Starts faster, serves slower", _serving),
        "leaks": ("Left in clusters or clouds", _leaks),
        "budget": ("The budget is used up", _budget),
    }
)
"""What can be told -> its title, and how its lines follow from what the task returned."""


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, (list, tuple)) else []
