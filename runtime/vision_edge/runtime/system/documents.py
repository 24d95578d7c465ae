"""Documents from strangers: their extent, looked at before anything is built of them."""

from __future__ import annotations


def refuse_vast(document: object, *, items: int, keys: int) -> None:
    """Refuse JSON values of which a validator would complain without end.

    A validator makes a complaint of every value that is wrong, at a kilobyte each, though only the
    first is ever told.

    Args:
        document: What was parsed.
        items: Most values that a list may have, and all lists together ten times as many.
        keys: Most members that an object may have.

    Raises:
        ValueError: If it has more, with where.
    """
    left, waiting = 10 * items, [("it", document)]
    while waiting:
        where, value = waiting.pop()
        if isinstance(value, dict):
            if len(value) > keys:
                raise ValueError(f"{where} has {len(value)} members, over the limit of {keys}")
            waiting += [(str(key)[:40], inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left -= len(value)
            if len(value) > items or left < 0:
                raise ValueError(f"{where} has {len(value)} values, which is too many")
            waiting += [(where, inner) for inner in value if isinstance(inner, dict | list)]
