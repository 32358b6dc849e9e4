"""`python -m unweight`."""

import sys

from unweight.cli.main import main

sys.exit(main())
