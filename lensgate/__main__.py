"""`python -m lensgate` is the console script `lensgate`."""

import sys

from lensgate.cli import main

sys.exit(main())
