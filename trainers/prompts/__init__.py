"""The choice of the instances of a step: of the pool, fresh ones, and those of easier levels."""
