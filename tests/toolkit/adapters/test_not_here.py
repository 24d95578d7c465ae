import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.toolkit import adapter_in, refusal

from vision_edge.runtime.errors import AdapterError, BackboneError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.not_here import conversion_command
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE, MODEL_FILE
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.backbones.weights import read_safetensors

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 99\n"
FOREIGN = {
    "Git LFS pointer": (POINTER, ["Git LFS pointer", "lfs pull"]),
    "empty": (b"", ["empty"]),
    "a few bytes": (b"\x01\x02", ["2 bytes"]),
    "zip": (b"PK\x03\x04" + b"\0" * 60, ["pickle"]),
    "pickle": (b"\x80\x04\x95" + b"\0" * 60, ["pickle"]),
    "web page": (b"<!DOCTYPE html><html>", ["web page"]),
    "noise": (b"\xff" * 80, ["corrupt"]),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_lies_in_an_adapter_s_place_is_named(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    folder = adapter_in(tmp_path / "an adapter", backbone)
    data, words = FOREIGN[kind]
    (folder / MODEL_FILE).write_bytes(data)
    with refusal(AdapterError, folder / MODEL_FILE, *words):
        read_adapter(folder, backbone)


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_lies_in_the_weights_place_is_named(tmp_path: Path, kind: str) -> None:
    data, words = FOREIGN[kind]
    (tmp_path / "w.safetensors").write_bytes(data)
    with refusal(BackboneError, tmp_path / "w.safetensors", *words):
        load_backbone(BackboneOptions(weights=tmp_path / "w.safetensors"))


@pytest.mark.parametrize("length", [0x0280, 0x0380, 0x0480, 0x0580])
def test_a_header_whose_length_begins_like_a_pickle_is_read(tmp_path: Path, length: int) -> None:
    """A safetensors file begins with its header's length, low byte first, as a pickle may."""
    header = b'{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'.ljust(length + 0x10000)
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack("<f", 1.5))
    tensors, _ = read_safetensors(path)
    assert tensors["x"].tolist() == [1.5]


def test_a_configuration_that_is_a_pointer_is_named(tmp_path: Path, backbone: Backbone) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    (folder / CONFIG_FILE).write_bytes(POINTER)
    with refusal(AdapterError, folder / CONFIG_FILE, "Git LFS pointer"):
        read_adapter(folder, backbone)


def test_a_pickle_is_converted_by_the_command_that_is_named(
    tmp_path: Path, backbone: Backbone
) -> None:
    folder = adapter_in(tmp_path / "my adapter's", backbone)
    tensors = load_file(folder / MODEL_FILE)
    before = read_adapter(folder, backbone).updates
    (folder / MODEL_FILE).unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    command = conversion_command(folder)
    with refusal(AdapterError, folder, "pickle", "adapter_model.bin", command):
        read_adapter(folder, backbone)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(command, shell=True, check=True, env={**os.environ, "PATH": path})
    after = read_adapter(folder).updates
    for module, update in before.items():
        torch.testing.assert_close(after[module].product(), update.product())


def test_the_command_refuses_a_pickle_that_runs_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    torch.save({"x": Evil()}, tmp_path / "adapter_model.bin")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        conversion_command(tmp_path), shell=True, check=False, capture_output=True,
        env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert done.returncode != 0
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / MODEL_FILE).exists()
