"""The parts of the recorder: what concerns a trial, what Ray says of itself, whether the endpoint answers."""
