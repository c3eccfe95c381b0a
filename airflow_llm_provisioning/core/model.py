"""A model on the Hugging Face hub."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Model:
    """A model at a revision. `revision` is a commit once resolved, None where the experiment names none and the hub was
    not asked. `weight_bytes` and `largest_file_bytes` count the weight files of that revision, None where not known.

    `source`: `hub` when the hub was asked in this run, `pinned` when the built-in profile's values serve, `declared`
    when only the experiment file says so. `weight_format`: the kind of the weight files (`safetensors`, `bin`, `pt`),
    None where not known.
    """

    model_id: str
    revision: str | None = None
    weight_bytes: int | None = None
    largest_file_bytes: int | None = None
    source: str = "pinned"
    weight_format: str | None = None
