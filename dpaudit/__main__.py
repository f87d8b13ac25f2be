"""``python -m dpaudit`` is the command ``dpaudit``."""

import sys

from dpaudit.cli import main

sys.exit(main())
