from pathlib import Path

import pytest

from vision_edge.toolkit.compiling import (
    CACHE_VARIABLE,
    LONG_WORK,
    keep_compiled,
    worth_compiling,
)


@pytest.mark.parametrize(
    ("device", "passes", "asked", "expected"),
    [
        ("cuda", 0, None, False),
        ("cuda", LONG_WORK - 1, None, False),
        ("cuda:3", LONG_WORK, None, True),
        ("cpu", 100 * LONG_WORK, None, False),
        ("cpu", 0, True, True),
        ("cuda", 100 * LONG_WORK, False, False),
    ],
)
def test_only_long_work_on_a_gpu_is_compiled_unless_asked(
    device: str, passes: int, asked: bool | None, expected: bool
) -> None:
    assert worth_compiling(device, passes, asked) is expected


def test_what_is_compiled_is_kept_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert keep_compiled() == tmp_path / "vision-edge" / "inductor"
    monkeypatch.setenv(CACHE_VARIABLE, "/elsewhere")
    assert keep_compiled() == Path("/elsewhere")
