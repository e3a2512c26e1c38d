"""Which instances a step plays: of the pool of stage 1, fresh ones, and those of easier levels."""
