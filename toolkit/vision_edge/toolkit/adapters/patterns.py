"""Patterns of `rank_pattern` and `alpha_pattern`, matched as PEFT does, in linear time.

They are regular expressions that come from a file. Python's `re` can be made to backtrack for
longer than the universe lasts, and `regex`, which has a time limit for matching, takes all memory
while it compiles nested repeats. RE2 (Cox 2010, https://swtch.com/~rsc/regexp/regexp3.html) is
linear in the text and bounded in size by construction. What it cannot express, look-around and
back references, is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import re2

MAX_LENGTH = 1000
"""Characters of a pattern; names of modules have below 100."""


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> Any:
    """Compile a pattern that matches a whole module name, or its end after a dot.

    Raises:
        ValueError: If it is too long, no regular expression, or one that RE2 cannot express.
    """
    if len(pattern) > MAX_LENGTH:
        raise ValueError(f"a pattern of {len(pattern)} characters is longer than {MAX_LENGTH}")
    options = re2.Options()
    options.log_errors = False
    try:
        re2.compile(pattern, options)  # alone: "a)|(b" makes sense only inside of brackets
        return re2.compile(rf"(?:.*\.)?(?:{pattern})", options)
    except re2.error as error:
        (reason,) = error.args or ("",)
        text = reason.decode() if isinstance(reason, bytes) else str(reason)
        raise ValueError(
            f"{pattern!r} is not a regular expression that can be read safely ({text}); "
            "look-around and back references are not"
        ) from None


def by_pattern(patterns: Mapping[str, float], module: str, default: float) -> float:
    """Return the value of the first pattern that matches a module's name, as PEFT does."""
    for pattern, value in patterns.items():
        if compiled(pattern).fullmatch(module):
            return value
    return default
