"""`python -m coolctl`."""

import sys

from coolctl.cli import main

sys.exit(main())
