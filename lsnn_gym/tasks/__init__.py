"""Supervised benchmarks as pure functions: inputs and targets drawn or coded, outputs scored."""
