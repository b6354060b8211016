"""Learning to classify with layered networks, by whichever rule: examples and their coding, the trainer."""
