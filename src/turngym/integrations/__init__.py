"""The games in the trainers of others. A module needs the package that it is named after; `session` needs none."""
