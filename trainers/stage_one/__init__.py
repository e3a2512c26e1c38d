"""Stage 1: episodes of a frozen policy in, the optimal value V* of instances and states out."""
