"""What a variant would take that was never run: from the user's own measured phases and the treatments' mechanisms.

`starts` makes a measured trial into spans that can be changed and put together again along the causal order;
`sources` decides for every phase whether it is taken over from trials that had the same treatments on it, or computed;
`prediction` draws totals and says what they rest on; `held` holds predictions against trials that were run later.
"""

from airflow_llm_provisioning.core.what_if.held import Held, held_against
from airflow_llm_provisioning.core.what_if.prediction import CONFIDENCE, Prediction, predict
from airflow_llm_provisioning.core.what_if.starts import MeasuredStart, measured_start

__all__ = ["CONFIDENCE", "Held", "MeasuredStart", "Prediction", "held_against", "measured_start", "predict"]
