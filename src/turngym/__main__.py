"""`python -m turngym` is the command line."""

import sys

from turngym.cli import main

if __name__ == "__main__":
    sys.exit(main())
