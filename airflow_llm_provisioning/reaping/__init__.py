"""Use cases of clean-up after a crash. Empty: a trial's own teardown is in `trials/`."""
