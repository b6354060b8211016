"""ANTLR: activation- and timing-based errors of spikes, each alone or both combined.

Source: Kim, Kim, Kim: Unifying Activation- and Timing-based Learning Rules for Spiking Neural Networks, NeurIPS
2020, and the authors' code.
"""
