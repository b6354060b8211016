"""ST-RSBP: spike-train level backpropagation, errors of spike counts by what whole trains do to each other.

Source: Zhang, Li: Spike-Train Level Backpropagation for Training Deep Recurrent Spiking Neural Networks, NeurIPS
2019, and the authors' code, which is followed where paper and code differ.
"""
