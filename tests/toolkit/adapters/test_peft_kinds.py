"""Every kind of adapter that PEFT itself makes: read with its own numbers, or refused by name."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import peft
import pytest
from support.peft_adapters import CONFIGS, CloseTo, refused_kinds, saved, tuned
from support.toolkit import (
    adapter_in,
    edit_config,
    embedding_of,
    merged_copy,
    random_pixels,
    refusal,
)

from vision_edge.runtime.errors import AdapterError
from vision_edge.toolkit.adapters.adapter import read_adapter
from vision_edge.toolkit.adapters.patterns import by_pattern, compiled
from vision_edge.toolkit.adapters.peft_format import CONFIG_FILE
from vision_edge.toolkit.adapters.peft_kinds import HONOURED, KINDS, VARIANTS, WITHOUT_EFFECT
from vision_edge.toolkit.backbones.backbone import Backbone

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning:transformers.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:peft.*"),
]
NESTED = [
    "(a+)+$",
    "(a|aa)+$",
    r"(.*.*)*x",
    r"((\w+\.)*)*y",
    "(?:(?:a{9}){9}){999999}",
    "a{1000}" * 9,
]
"""Patterns that take a backtracking matcher ages, or all memory while they are compiled."""


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_read_computes_what_peft_computes(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    model = tuned(backbone, **CONFIGS[kind])
    adapter = read_adapter(saved(model, tmp_path / "a"), backbone)
    pixels = random_pixels()
    got = embedding_of(merged_copy(backbone, adapter.updates).model, pixels)
    CloseTo(model, backbone).check(got, pixels)


@pytest.mark.parametrize("name", refused_kinds())
def test_what_peft_saves_of_another_kind_is_refused_by_name(
    tmp_path: Path, backbone: Backbone, name: str
) -> None:
    folder = saved(refused_kinds()[name](backbone), tmp_path / "a")
    with refusal(AdapterError, folder, name):
        read_adapter(folder, backbone)


@pytest.mark.parametrize("kind", [kind.value for kind in peft.PeftType if kind != "LORA"])
def test_every_method_of_peft_is_known_by_its_paper_s_name(
    tmp_path: Path, backbone: Backbone, kind: str
) -> None:
    """Before any field is looked at: those of other kinds have other types."""
    folder = adapter_in(tmp_path / "a", backbone)
    document = {"peft_type": kind, "r": None, "rank_pattern": [[True]], "lora_alpha": {"x": []}}
    (folder / CONFIG_FILE).write_text(json.dumps(document))
    assert kind in KINDS
    with refusal(AdapterError, folder, kind, KINDS[kind]):
        read_adapter(folder, backbone)


def test_every_field_of_peft_s_lora_is_honoured_refused_or_without_effect() -> None:
    fields = {field.name for field in dataclasses.fields(peft.LoraConfig)}
    assert fields - (HONOURED | VARIANTS.keys() | WITHOUT_EFFECT.keys()) == set()


def test_a_field_of_the_future_is_noted_where_it_is_set(tmp_path: Path, backbone: Backbone) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    edit_config(folder, use_hyper=True, use_nothing=False)
    (note,) = read_adapter(folder, backbone).notes
    assert "use_hyper" in note
    assert "use_nothing" not in note


@pytest.mark.parametrize("field", ["rank_pattern", "alpha_pattern"])
@pytest.mark.parametrize("pattern", NESTED)
def test_no_pattern_hangs_the_reader(
    tmp_path: Path, backbone: Backbone, field: str, pattern: str
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    edit_config(folder, **{field: {pattern: 3}})
    started = time.monotonic()
    try:
        read_adapter(folder, backbone)
    except AdapterError as error:
        assert field in str(error)
    assert by_pattern({"(a+)+$": 1.0}, "a" * 5000 + "b", 2.0) == 2.0
    assert time.monotonic() - started < 2.0


@pytest.mark.parametrize("pattern", ["(?=attn)", r"(a)\1", "(?<!x)qkv", "a)|(b", "x" * 2000])
def test_a_pattern_that_cannot_be_matched_safely_is_refused_by_name(
    tmp_path: Path, backbone: Backbone, pattern: str
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    edit_config(folder, alpha_pattern={pattern: 3})
    with refusal(AdapterError, folder, "alpha_pattern"):
        read_adapter(folder, backbone)


@pytest.mark.parametrize(
    ("pattern", "module", "matches"),
    [
        ("qkv", "blocks.0.attn.qkv", True),
        ("kv", "blocks.0.attn.qkv", False),
        ("attn.qkv", "attn.qkv", True),
        (r"blocks\.[01]\..*", "blocks.1.mlp.fc1", True),
        ("^blocks.0.attn.qkv", "blocks.0.attn.qkv", True),
        ("fc1|fc2", "blocks.0.mlp.fc2", True),
        ("fc1|fc2", "blocks.0.mlp.fc3", False),
        (r"(?P<n>q)_proj$", "layers.1.q_proj", True),
    ],
)
def test_patterns_match_as_peft_s_do(pattern: str, module: str, matches: bool) -> None:
    from peft.utils.other import get_pattern_key

    assert (get_pattern_key([pattern], module) == pattern and matches) or (
        get_pattern_key([pattern], module) == module and not matches
    )
    assert (compiled(pattern).fullmatch(module) is not None) is matches


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([1], ["no object"]),
        ({}, ["peft_type"]),
        ({"peft_type": 3}, ["peft_type", "3"]),
        ({"peft_type": "NEWEST"}, ["NEWEST", "not known here"]),
        ({"peft_type": "LORA", "rank_pattern": None, "auto_mapping": 3}, ["auto_mapping"]),
    ],
)
def test_configurations_that_make_no_sense_are_refused(
    tmp_path: Path, backbone: Backbone, document: Any, words: list[str]
) -> None:
    folder = adapter_in(tmp_path / "a", backbone)
    (folder / CONFIG_FILE).write_text(json.dumps(document))
    with refusal(AdapterError, folder, *words):
        read_adapter(folder, backbone)
