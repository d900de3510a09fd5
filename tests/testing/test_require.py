from __future__ import annotations

import pytest
import trio

from streamscope.testing._require import Refusal, require, require_equal


def test_require():
    require(condition=True, message="fine")
    with pytest.raises(AssertionError, match=r"^not fine$"):
        require(condition=[], message="not fine")


def test_require_equal():
    require_equal("it", 1, 1)
    with pytest.raises(AssertionError, match=r"^it is 1; it should be 2$"):
        require_equal("it", 1, 2)


def test_a_refusal_keeps_the_error():
    with Refusal("it", LookupError) as refusal:
        raise KeyError("x")
    assert refusal.error.args == ("x",)


def test_no_refusal():
    with (
        pytest.raises(AssertionError, match=r"^it should raise KeyError, and raises nothing$"),
        Refusal("it", KeyError),
    ):
        pass


def test_another_error():
    with (
        pytest.raises(AssertionError, match=r"^it should raise KeyError, not ValueError\('x'\)$") as caught,
        Refusal("it", KeyError),
    ):
        raise ValueError("x")
    assert isinstance(caught.value.__context__, ValueError)


async def test_a_cancellation_passes():
    with trio.CancelScope() as scope:
        scope.cancel()
        with Refusal("it", KeyError):
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
