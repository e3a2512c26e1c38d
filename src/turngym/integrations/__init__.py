"""The games in the trainers of others. Each module needs the package that it is named after; none loads it at once."""
