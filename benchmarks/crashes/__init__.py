"""Crash points: every call to the outside fails in every way, one at a time, in virtual time and in one process.

`machine` is the computer: time, network and processes. `wires` puts every call of a process through `points`, which
forks a child for each fault. `runs` is Airflow's part, `scene` the experiment, `truth` the judge.
"""
