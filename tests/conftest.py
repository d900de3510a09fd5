"""What all tests share: how much hypothesis tries."""

from __future__ import annotations

import os

from hypothesis import settings

# No deadline per example: a machine that is busy with something else would make a test fail that has
# found nothing. A hang is ended by pytest's own time-out.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, max_examples=1000, print_blob=True)

# hypothesis would take its own "ci" profile where the variable is set; --hypothesis-profile still wins.
settings.load_profile("ci" if os.environ.get("CI") else "default")
