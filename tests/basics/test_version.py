from __future__ import annotations

import re

import streamscope


def test_the_version_is_a_release_or_a_development_version():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|(a|b|rc)\d+)?", streamscope.__version__)
