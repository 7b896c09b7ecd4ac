"""`python -m repofs` is `repofs`."""

import sys

from repofs.cli import main

if __name__ == "__main__":
    sys.exit(main())
