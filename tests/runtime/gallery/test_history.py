"""Replaying events gives the state that plain bookkeeping gives, however often it rolls back."""

from __future__ import annotations

import random
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision_edge.runtime.gallery.history import Event, State, contents_of


def event(version: int, kind: str, label: str | None = None, **fields: object) -> Event:
    values = {"snapshot": None, "argument": None, **fields}
    return Event(version, "2026-01-01T00:00:00Z", "tester", kind, label, **values)  # type: ignore[arg-type]


def copied(state: State) -> State:
    return {label: list(ids) for label, ids in state.items()}


def random_history(seed: int, length: int) -> tuple[list[Event], list[State]]:
    """Return random events, and every state kept by plain bookkeeping: states[v] after event v."""
    rng = random.Random(seed)
    events: list[Event] = []
    states: list[State] = [{}]
    for version in range(1, length + 1):
        state = copied(states[-1])
        labels = list(state)
        kind = rng.choice(["add", "add", "add", "remove", "rename", "rollback", "reembed"])
        if kind == "add" or (kind in ("remove", "rename") and not labels):
            label = rng.choice(labels) if labels and rng.random() < 0.4 else f"p{version}"
            state.setdefault(label, []).append(version)
            events.append(event(version, "add", label, snapshot=version))
        elif kind == "remove":
            label = rng.choice(labels)
            del state[label]
            events.append(event(version, kind, label))
        elif kind == "rename":
            label = rng.choice(labels)
            state[f"r{version}"] = state.pop(label)
            events.append(event(version, kind, label, argument=f"r{version}"))
        elif kind == "rollback":
            back = rng.randint(0, version - 1)
            state = copied(states[back])
            events.append(event(version, kind, argument=str(back)))
        else:
            events.append(event(version, kind, argument="f" * 64))
        states.append(state)
    return events, states


@settings(max_examples=100)
@given(seed=st.integers(0, 2**32), length=st.integers(0, 40))
def test_every_prefix_replays_to_its_state(seed: int, length: int) -> None:
    events, states = random_history(seed, length)
    for version, state in enumerate(states):
        got = contents_of(events[:version]).products
        assert got == state
        assert list(got) == list(state)  # and in the same order


def test_ten_thousand_events_replay_to_their_state() -> None:
    events, states = random_history(7, 10_000)
    assert len(states[-1]) > 0
    assert contents_of(events).products == states[-1]


def test_ten_thousand_rollbacks_in_a_row_replay() -> None:
    events = [event(1, "add", "a", snapshot=1)]
    events += [event(v, "rollback", argument=str(v - 1)) for v in range(2, 10_001)]
    assert contents_of(events).products == {"a": [1]}


def test_a_rollback_of_a_rollback_brings_back_what_the_first_undid() -> None:
    events = [
        event(1, "add", "a", snapshot=1),
        event(2, "add", "b", snapshot=2),
        event(3, "rollback", argument="1"),
        event(4, "rollback", argument="2"),
    ]
    assert [contents_of(events[:k]).products for k in range(5)] == [
        {},
        {"a": [1]},
        {"a": [1], "b": [2]},
        {"a": [1]},
        {"a": [1], "b": [2]},
    ]


def test_what_comes_after_a_rollback_builds_on_the_earlier_state() -> None:
    events = [
        event(1, "add", "a", snapshot=1),
        event(2, "rename", "a", argument="b"),
        event(3, "rollback", argument="1"),
        event(4, "add", "a", snapshot=4),
    ]
    assert contents_of(events).products == {"a": [1, 4]}
    assert contents_of([*events, event(5, "rollback", argument="0")]).products == {}


@pytest.mark.parametrize("argument", ["3", "4", "99", None])
def test_a_damaged_rollback_ends_all_the_same(argument: str | None) -> None:
    """A rollback to itself or to the future cannot be made, but a damaged file may hold one."""
    events = [event(1, "add", "a", snapshot=1), event(2, "add", "b", snapshot=2)]
    got = contents_of(
        [*events, event(3, "rollback", argument=argument), event(4, "remove", "b")]
    ).products
    assert set(got) <= {"a", "b"}


def test_an_event_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        event(1, "add").label = "other"  # type: ignore[misc]
