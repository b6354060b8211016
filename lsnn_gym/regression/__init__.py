"""Learning to regress: networks whose fixed weights learn a function from examples, within an episode."""
