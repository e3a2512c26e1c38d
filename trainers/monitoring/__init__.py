"""What a step tells about the health of learning, and the alarms that ring when it collapses."""
