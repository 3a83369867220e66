"""`python -m genlip` is the command `genlip`."""

import sys

from genlip.cli import main

sys.exit(main())
