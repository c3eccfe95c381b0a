"""The parts of the recorder: the scope of a trial, the state of Ray, and the completion probe."""
