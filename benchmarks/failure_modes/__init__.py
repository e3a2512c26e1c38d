"""Three ways in which learning fails, as experiments of minutes: rewards, samples of V*, and chains of steps.

    python -m turngym.benchmarks.failure_modes sparse
    python -m turngym.benchmarks.failure_modes samples
    python -m turngym.benchmarks.failure_modes chains

Each appends a line to a CSV file for every seed and variant, passes over what the file holds already, and writes a page
and a picture from it.
"""
