"""`python -m fastrms` is the `fastrms` command."""

import sys

from fastrms.cli import main

if __name__ == "__main__":
    sys.exit(main())
