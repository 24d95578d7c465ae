"""Numbers as a reader wants them."""

from __future__ import annotations

NONE = "–"
"""What stands for a number that is not known."""


def number(value: float | None, digits: int = 1, unit: str = "", *, sign: bool = False) -> str:
    """Return a number with a real minus, its unit on the same line.

    Args:
        value: The number; None is not known.
        digits: Behind the point.
        unit: What follows, after a space that does not break.
        sign: Whether what is not negative bears a plus.
    """
    if value is None:
        return NONE
    rounded = round(value, digits) + 0.0  # no minus zero
    text = f"{rounded:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    return f"{text}\N{NO-BREAK SPACE}{unit}" if unit else text


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share, 0 to 1, in percent."""
    return number(None if share is None else 100 * share, digits, "%")


def brief(value: float) -> str:
    """Return a value with the three digits that count, as few as it takes."""
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def counted(count: int, one: str, many: str | None = None) -> str:
    """Return a number with what it counts, by default with an s where it is not one."""
    return f"{count:,} {one if count == 1 else many or one + 's'}".replace(",", " ")


def duration(seconds: float | None) -> str:
    """Return a time in the units that suit it."""
    if seconds is None:
        return NONE
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
