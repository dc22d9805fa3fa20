"""How numbers are computed: convolutions, products, norms, activations and sums that differentiate
to any order, and the kernels for CPU and CUDA behind them. Imports `backend` alone.
"""
