"""A run on a rented or containerised machine; docs/deploy.md says how. No part of the package that is installed."""
