"""TSSL-BP: temporal spike-sequence learning, errors by what each spike changes of later spikes and traces.

Source: Zhang, Li: Temporal Spike Sequence Learning via Backpropagation for Deep Spiking Neural Networks, NeurIPS
2020, and the authors' code, from which the constants come that the paper does not give.
"""
