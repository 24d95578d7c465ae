from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pydantic_settings")

from vision_edge.runtime.images.reading import Reading
from vision_edge.station.settings.file import SettingsError, load_settings

LEAST = """
bundle = "bundle"
gallery = "/data/parts.gallery"
[[sources]]
name = "belt"
address = "belt.mp4"
empty = "empty.png"
"""


def written(folder: Path, more: str = "", least: str = LEAST) -> Path:
    path = folder / "station.toml"
    path.write_text(least + more, encoding="utf-8")
    return path


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path, '[server]\ntls_cert = "c.pem"\ntls_key = "/k.pem"'))
    assert settings.bundle == tmp_path / "bundle"
    assert settings.gallery == Path("/data/parts.gallery")
    assert settings.sources[0].address == str(tmp_path / "belt.mp4")
    assert settings.sources[0].empty == tmp_path / "empty.png"
    assert (settings.server.tls_cert, settings.server.tls_key) == (
        tmp_path / "c.pem",
        Path("/k.pem"),
    )
    assert settings.state_dir == Path("/data/parts.gallery.station")


def test_a_camera_is_no_path(tmp_path: Path) -> None:
    camera = '[[sources]]\nname = "cam"\naddress = "rtsp://10.0.0.7/a"'
    assert load_settings(written(tmp_path, camera)).sources[1].address == "rtsp://10.0.0.7/a"


def test_the_environment_overrides_the_file_and_the_command_line_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, "[server]\nport = 81\nmax_upload_mb = 3")
    assert load_settings(path).server.port == 81
    monkeypatch.setenv("VISION_EDGE_SERVER__PORT", "82")
    assert load_settings(path).server.port == 82
    assert load_settings(path).server.max_upload_mb == 3
    assert load_settings(path, server={"port": 83}).server.port == 83


@pytest.mark.parametrize(
    ("more", "parts"),
    [
        ("[server]\nprot = 81", ["server.prot", "did you mean port?"]),
        ("[sevrer]\nport = 81", ["sevrer", "did you mean server?"]),
        ("[review]\nzzz = 1", ["review.zzz", "known are: most, per_minute"]),
        ('[[sources]]\nname = "b"\naddress = "0"\nrotat = 90', ["rotat", "did you mean rotate?"]),
        ("[server]\nport = 99999", ["server.port = 99999", "65535"]),
        ("[scoring]\nfalse_accept_rate = 1.5", ["scoring.false_accept_rate", "1.5"]),
        ('[[sources]]\nname = "a b"\naddress = "0"', ["sources.1.name", "'a b'"]),
        ('[[sources]]\nname = "belt"\naddress = "0"', ["two sources are called 'belt'"]),
        ('[[sources]]\nname = "c"\naddress = "0"\ntrigger = "presence"', ["empty", "PICTURE"]),
        ('[[sources]]\nname = "c"\naddress = "0"\nroi = [0, 0, 0, 5]', ["region of interest"]),
        ('[[sources]]\nname = "c"\naddress = "0"\nloop = true', ["a camera never ends"]),
        ('[[sources]]\nname = "c"\naddress = "0"\nbits = 12', ["bits and background", "pictures"]),
        ('[[sources]]\nname = "c"\naddress = "rtsp://c/1"\nbackground = "#000000"', ["pictures"]),
        ('[[sources]]\nname = "c"\naddress = "http://c/s.png"\nbits = 20', ["bits = 20"]),
        ('[[sources]]\nname = "c"\naddress = "pictures"\nbackground = "red"', ["background"]),
        ('[server]\nhost = "0.0.0.0"', ["users_file or token_file", "127.0.0.1"]),
        ('[server]\ntls_cert = "c.pem"', ["both tls_cert and tls_key"]),
    ],
)
def test_a_mistake_is_named_with_file_key_and_fix(
    tmp_path: Path, more: str, parts: list[str]
) -> None:
    path = written(tmp_path, more)
    with pytest.raises(SettingsError) as raised:
        load_settings(path)
    for part in [str(path), *parts]:
        assert part in str(raised.value)


def test_a_mistake_in_the_environment_names_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISION_EDGE_SERVER__PORT", "many")
    with pytest.raises(SettingsError, match="environment variable VISION_EDGE_SERVER__PORT"):
        load_settings(written(tmp_path))


def test_no_secret_is_shown(tmp_path: Path) -> None:
    bad = '[[sources]]\nname = "c"\naddress = 7\n[[sources]]\nname = "-"\naddress = "0"'
    with pytest.raises(SettingsError):
        load_settings(written(tmp_path, bad))
    long = f'[[sources]]\nname = "c"\naddress = "rtsp://me:hunter2@cam/{"x" * 2000}"'
    with pytest.raises(SettingsError) as raised:
        load_settings(written(tmp_path, long))
    assert "hunter2" not in str(raised.value)


@pytest.mark.parametrize(
    ("text", "said"), [("bundle = ", "not a TOML file"), ("", "bundle is missing")]
)
def test_a_file_that_is_not_fit(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        load_settings(written(tmp_path, least=text))
    with pytest.raises(SettingsError, match="cannot be read"):
        load_settings(tmp_path / "absent.toml")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_loopback_needs_no_users(tmp_path: Path, host: str) -> None:
    assert not load_settings(written(tmp_path), server={"host": host}).server.guarded


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load_settings(written(tmp_path))
    with pytest.raises(ValueError, match="frozen"):
        settings.server.port = 1  # type: ignore[misc]


def test_what_pictures_do_not_say_is_a_setting_of_files_and_polled_addresses(
    tmp_path: Path,
) -> None:
    more = "".join(
        f'[[sources]]\nname = "{name}"\naddress = "{address}"\nbits = 12\n'
        for name, address in (("folder", "pictures"), ("polled", "http://camera/s.png"))
    )
    settings = load_settings(written(tmp_path, more))
    assert [source.reading.bits for source in settings.sources] == [None, 12, 12]
    assert settings.reading == Reading(bits=12), "uploads are read as all sources say that say it"
    more += '[[sources]]\nname = "x"\naddress = "others"\nbits = 10\nbackground = "#010203"\n'
    settings = load_settings(written(tmp_path, more))
    assert settings.sources[-1].reading == Reading(10, (1, 2, 3))
    assert settings.reading == Reading()


def test_a_video_has_no_such_pictures(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(40))
    more = '[[sources]]\nname = "v"\naddress = "clip.mp4"\nbits = 12\n'
    with pytest.raises(SettingsError, match="bits and background"):
        load_settings(written(tmp_path, more))
