"""Which session makes room for another, against a model that looks at all of them."""

from __future__ import annotations

import math

import attrs
from hypothesis import given
from hypothesis import strategies as st

from streamscope import CloseReason, Limits, SessionId, State
from streamscope._records import SessionRecord
from streamscope._registry import Registry

NAMES = [SessionId(name) for name in "abcdef"]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["admit", "idle", "idle", "held", "close", "discharge"]),
        st.sampled_from(NAMES),
        st.sampled_from([None, "alice", "bob"]),
        st.sampled_from([10.0, 60.0, math.inf]),
        # Where time stands still, the order of the steps decides.
        st.sampled_from([0.0, 1.0, 7.0]),
    ),
    max_size=40,
)


@attrs.define
class Model:
    """One session, and since which step of the test it is idle, if it is."""

    record: SessionRecord
    since: float = 0.0
    timeout: float = 0.0
    step: int | None = None

    @property
    def goes(self) -> tuple[float, float, int]:
        assert self.step is not None
        return self.since + self.timeout, self.since, self.step


@given(steps=STEPS, evict_idle=st.sampled_from([True, True, False]))
def test_the_first_to_idle_out_makes_room(steps, evict_idle):
    registry = Registry(Limits())
    models: dict[SessionId, Model] = {}
    now = 0.0
    for step, (what, name, principal, timeout, seconds) in enumerate(steps):
        now += seconds
        registry.limits = Limits()
        model = models.get(name)
        if model is None:
            models[name] = Model(registry.admit_session(name, now=now, wall=now, principal=principal))
        elif what == "idle":
            registry.mark_idle(model.record, now, timeout)
            if model.record.state is State.OPEN:
                model.since, model.timeout, model.step = now, timeout, step
        elif what == "held":
            registry.mark_held(model.record)
            model.step = None
        elif what == "close":
            registry.close_session(model.record, CloseReason.KILLED)
            model.step = None
        elif what == "discharge":
            registry.discharge_session(model.record)
            del models[name]
        check(registry, list(models.values()), evict_idle=evict_idle)


def check(registry, models, *, evict_idle):
    idle = [model for model in models if model.step is not None]
    registry.limits = Limits(evict_idle=evict_idle)
    assert registry.find_bound("alice") is registry.find_evictable("alice") is None
    if models:
        registry.limits = Limits(max_sessions=len(models), evict_idle=evict_idle)
        assert registry.find_bound(None) == "max_sessions"
        first = min(idle, key=lambda model: model.goes, default=None)
        assert registry.find_evictable(None) is (first.record if first and evict_idle else None)
    if alices := [model for model in models if model.record.principal == "alice"]:
        registry.limits = Limits(max_sessions_per_principal=len(alices), evict_idle=evict_idle)
        assert registry.find_bound("alice") == "max_sessions_per_principal"
        assert registry.find_bound("carol") is None
        mine = [model.record.idles_out for model in idle if model in alices]
        found = registry.find_evictable("alice")
        # Of two that became idle in the same moment, either will do.
        assert (found and found.idles_out) == (min(mine) if mine and evict_idle else None)
