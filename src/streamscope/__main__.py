"""``python -m streamscope``: the same as the command ``streamscope``."""

from __future__ import annotations

import sys

from ._cli import main

if __name__ == "__main__":
    sys.exit(main())
