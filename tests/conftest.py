"""What all tests share: how much hypothesis tries."""

from __future__ import annotations

from hypothesis import settings

# No deadline per example: a machine that is busy with something else would make a test fail that has
# found nothing. A hang is ended by pytest's own time-out.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, max_examples=1000, print_blob=True)
# For `nox -s fuzz`. What a seed finds must not depend on what was found before.
settings.register_profile("fuzz", deadline=None, max_examples=4800, print_blob=True, database=None)

# hypothesis would take a profile of its own where CI is set; --hypothesis-profile=ci still tries more.
settings.load_profile("default")
