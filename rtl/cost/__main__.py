"""`python -m rtl.cost`."""

import sys

from . import main

sys.exit(main())
