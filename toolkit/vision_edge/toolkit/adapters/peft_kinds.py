"""Kinds of PEFT adapters by outcome: which are read, which are refused, by what name.

Looked at before any field is validated: a field of one kind has another type in the next (AdaLoRA's
`rank_pattern` holds lists), and a user is told the kind, not the field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vision_edge.runtime.errors import AdapterError

KINDS = {
    "ADALORA": "AdaLoRA", "ADAMSS": "AdaMSS", "ADAPTION_PROMPT": "LLaMA-Adapter",
    "BEFT": "bias-efficient tuning", "BOFT": "BOFT", "C3A": "C3A", "CARTRIDGE": "Cartridge",
    "CPT": "context-aware prompt tuning", "DEFT": "DEFT", "DELORA": "DeLoRA",
    "FOURIERFT": "FourierFT", "FROD": "FRoD", "GLORA": "GLoRA", "GRALORA": "GraLoRA",
    "HIRA": "HiRA", "HRA": "Householder reflection adaptation", "IA3": "IA3", "LILY": "Lily",
    "LN_TUNING": "layer-norm tuning", "LOHA": "LoHa", "LOKR": "LoKr", "MISS": "MiSS",
    "MULTITASK_PROMPT_TUNING": "multitask prompt tuning", "OFT": "OFT", "OSF": "OSF",
    "P_TUNING": "P-tuning", "PEANUT": "PEANuT", "POLY": "Poly", "PREFIX_TUNING": "prefix tuning",
    "PROMPT_TUNING": "prompt tuning", "PSOFT": "PSOFT", "PVERA": "PVeRA", "RANDLORA": "RandLoRA",
    "ROAD": "RoAd", "SHADOW": "Shadow", "SHIRA": "SHiRA", "SUPERTUNING": "super tuning",
    "TINYLORA": "TinyLoRA", "TRAINABLE_TOKENS": "trainable tokens", "UNILORA": "Uni-LoRA",
    "VBLORA": "VB-LoRA", "VERA": "VeRA", "WAVEFT": "WaveFT", "XLORA": "X-LoRA",
}  # fmt: skip
"""PEFT's other methods than LoRA by their `peft_type`, as their papers call them."""
MOST_BYTES = 4 << 20
"""Of a configuration's file; those of real models with a rank for each layer have 0.1 MB."""
VARIANTS = {
    "use_dora": "DoRA",
    "use_qalora": "QALoRA",
    "lora_bias": "LoRA with a bias (lora_bias)",
    "layer_replication": "layer replication",
    "target_parameters": "LoRA on bare parameters (target_parameters)",
    "trainable_token_indices": "trainable tokens",
    "arrow_config": "Arrow",
    "use_bdlora": "block-diagonal LoRA",
    "alora_invocation_tokens": "activated LoRA",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "velora_config": "VeLoRA",
}
"""Fields of a LoRA that make it compute something else, where they are set."""
BASE_CHANGING = ("pissa", "olora", "corda", "loftq", "lora_ga")
"""Initialisations that subtract the initial `B A` from the base weights, or quantise them."""
BASE_KEEPING = ("true", "false", "none", "gaussian", "eva", "orthogonal", "mica")
"""Initialisations that leave the base as it is."""
HONOURED = {
    "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "bias",
    "init_lora_weights", "base_model_name_or_path", "task_type", "auto_mapping",
}  # fmt: skip
WITHOUT_EFFECT = {
    "revision": "which version of the base: shown by no name",
    "target_modules": "the tensors in the file say which modules are changed",
    "exclude_modules": "as target_modules",
    "layers_to_transform": "as target_modules",
    "layers_pattern": "as target_modules",
    "modules_to_save": "the tensors in the file say what is saved whole",
    "fan_in_fan_out": "says how the base keeps its weight; the update is x -> B (A x) either way",
    "lora_dropout": "acts in training alone",
    "inference_mode": "acts in training alone",
    "peft_version": "says who wrote it",
    "megatron_config": "says how training was spread",
    "megatron_core": "says how training was spread",
    "loftq_config": "of an initialisation that init_lora_weights names",
    "eva_config": "of an initialisation that leaves the base as it is",
    "corda_config": "of an initialisation that init_lora_weights names",
    "lora_ga_config": "of an initialisation that init_lora_weights names",
    "qalora_group_size": "of QALoRA, which use_qalora names",
    "runtime_config": "says where weights lie while they run",
    "ensure_weight_tying": "acts on tied embeddings alone",
}
"""Fields that change nothing of what a file's tensors compute, and why."""


def read_document(path: Path) -> dict[str, Any]:
    """Read `adapter_config.json`, and refuse what is no plain LoRA by name.

    Raises:
        AdapterError: If it is absent, no JSON object, or of a kind that is not read.
    """
    if path.exists() and not (path.is_file() and path.stat().st_size <= MOST_BYTES):
        raise AdapterError(  # a pipe would never end, and what is vast is no configuration
            f"{path}: not a file of at most {MOST_BYTES >> 20} MiB",
            fix="save it again with PEFT's save_pretrained",
        )
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise AdapterError(
            f"{path}: cannot be read ({error.strerror})", fix="a PEFT directory has this file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise AdapterError(
            f"{path}: not valid JSON ({_reason(path, error)})", fix="save it again"
        ) from error
    if not isinstance(document, dict):
        raise AdapterError(
            f"{path}: JSON, but no object: {type(document).__name__}", fix="save it again"
        )
    refuse_kind(path, document)
    return document


def refuse_kind(path: Path, document: Mapping[str, Any]) -> None:
    """Raise if a configuration is not of a plain LoRA.

    Raises:
        AdapterError: Naming the kind.
    """
    kind = document.get("peft_type")
    if not isinstance(kind, str):
        raise AdapterError(
            f'{path}: peft_type: expected text such as "LORA", got {kind!r}',
            fix="give a directory that PEFT saved",
        )
    if kind.upper() != "LORA":
        name = KINDS.get(kind.upper(), f"{kind}, a kind that is not known here")
        raise AdapterError(
            f"{path}: it is a {kind} adapter ({name}); only LoRA adapters are read",
            fix="leave it out (--skip-bad), or merge it into a full model with PEFT and tune anew",
        )
    for key, what in VARIANTS.items():
        if document.get(key):
            raise AdapterError(
                f"{path}: it uses {what}, which is not supported", fix="leave it out (--skip-bad)"
            )
    bias = document.get("bias", "none")
    if bias not in ("none", None):
        raise AdapterError(
            f"{path}: it trains biases (bias={bias!r}), which is not supported",
            fix="leave it out (--skip-bad)",
        )
    start = document.get("init_lora_weights")
    if str(start).lower().startswith(BASE_CHANGING):
        raise AdapterError(
            f"{path}: its initialisation ({start}) changed the backbone too",
            fix="save it with PEFT's path_initial_model_for_weight_conversion, as a plain LoRA",
        )


_BY_TENSOR = (
    (r"lora_magnitude|dora_scale", "of DoRA"),
    (r"\.hada_", "of LoHa"),
    (r"\.lokr_", "of LoKr"),
    (r"\.boft_", "of BOFT"),
    (r"\.oft_", "of OFT"),
    (r"\.ia3_", "of IA3"),
    (r"\.vera_|^vera_", "of VeRA"),
    (r"\.fourierft_", "of FourierFT"),
    (r"\.lora_E\b|\.ranknum\b", "of AdaLoRA"),
    (r"\.lora_embedding_", "of a LoRA on an embedding"),
    (r"\.lora_B(?:\.\w+)?\.bias$", "the bias of a LoRA (lora_bias)"),
    (r"\.base_layer\.bias$|\.attn\.\w+\.bias$|\.mlp\.\w+\.bias$", "a bias that was trained too"),
    (r"\.lora_(?:down|up)\.|^lora_(?:unet|te\d?)_", "in the layout of kohya's scripts"),
    (r"\.lora\.(?:down|up)\.|_lora\.|\.lora_linear_layer\.", "in the layout of diffusers"),
    (r"\.alpha$", "an alpha beside the tensors, as kohya's scripts write it"),
    (r"\.lora_[AB]\.(?!default\b)\w+\.weight$", "of an adapter that was saved under another name"),
)


def told_by_tensor(name: str) -> str:
    """Return what a tensor is that no plain LoRA has, as far as its name tells."""
    found = (what for pattern, what in _BY_TENSOR if re.search(pattern, name))
    return next(found, "not part of a plain LoRA")


def unknown_fields(document: Mapping[str, Any]) -> list[str]:
    """Return fields that are set and not known here, such as those of a later PEFT."""
    known = HONOURED | WITHOUT_EFFECT.keys() | VARIANTS.keys()
    return sorted(key for key, value in document.items() if key not in known and value)


def start_notes(document: Mapping[str, Any]) -> list[str]:
    """Return a note if nobody here can tell whether an initialisation changed the base."""
    start = str(document.get("init_lora_weights")).lower()
    if start in BASE_KEEPING:
        return []
    return [
        f"its initialisation {start!r} is not known here: if it changed the backbone too, as some "
        "do, the adapter does not compute what it was tuned to"
    ]


def _reason(path: Path, error: Exception) -> str:
    if path.read_bytes()[:7] == b"version":
        return "a Git LFS pointer: git lfs pull"
    return str(error) or type(error).__name__
