"""Measurements of the health of learning, and alarms that ring when it collapses."""
