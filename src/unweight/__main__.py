"""`python -m unweight`."""

import sys

from unweight.cli.main import main

# Processes that a run starts import this module again, and must not run it.
if __name__ == "__main__":
    sys.exit(main())
