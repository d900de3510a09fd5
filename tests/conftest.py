"""What all tests share: how much hypothesis tries, and what speaks HTTP."""

from __future__ import annotations

from hypothesis import settings

from tests.mcp import helpers

# No deadline per example: a machine that is busy with something else would make a test fail that has
# found nothing. A hang is ended by pytest's own time-out.
settings.register_profile("default", deadline=None)
settings.register_profile("ci", deadline=None, max_examples=1000, print_blob=True)
# For `nox -s fuzz`. What a seed finds must not depend on what was found before.
settings.register_profile("fuzz", deadline=None, max_examples=4800, print_blob=True, database=None)

# hypothesis would take a profile of its own where CI is set; --hypothesis-profile=ci still tries more.
settings.load_profile("default")


def pytest_addoption(parser):
    parser.addoption(
        "--http-server",
        choices=["streamscope", "hypercorn"],
        default="streamscope",
        help="what serves the endpoint (default: %(default)s)",
    )


def pytest_configure(config):
    helpers.http_server = config.getoption("--http-server")
