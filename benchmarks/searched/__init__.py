"""What all installed treatments do together: the record search, and which method pays when.

Every figure comes from whole simulated trials in virtual time, recorded and judged by what is shipped
(`proof.recorded_trial`). Only what is verified counts.
"""
