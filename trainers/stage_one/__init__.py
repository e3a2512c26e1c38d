"""Stage 1: the optimal values V* of instances and states, estimated from episodes of a frozen policy."""
