"""`python -m genlip` is the command `genlip`."""

import sys

from genlip.cli.main import main

sys.exit(main())
