"""Options of `vision-edge build`: each says which settings it fills, and for which method."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from vision_edge.cli.declarations import Group, Mode, Option, absent, chosen
from vision_edge.runtime.images.reading import AS_IT_SAYS, Reading
from vision_edge.toolkit.cli.options import adapter_weights, pruning

_PANEL = "Recycle"


class Method(str, Enum):
    """How the meta-LoRA is made."""

    average = "average"
    recycle = "recycle"


class Preset(str, Enum):
    """How much work recycle does."""

    gpu = "gpu"
    cpu = "cpu"


RECYCLE = chosen("method", "recycle")
INVERTS = absent("pool", "a build that inverts (no --pool)")
LEARNS = Mode(
    "a build that meta-learns (--meta-steps above 0)",
    lambda values: values["meta_steps"] != 0,
    "leave --meta-steps out",
)
REAL_PICTURES = Mode(
    "pictures (--init or --test)", lambda values: bool(values["init"] or values["test"])
)
NAMED_PRIOR = Mode("--prior NAME of a timm network", lambda values: _is_name(values["prior"]))


def _is_name(prior: str | None) -> bool:
    return prior not in (None, "none") and not str(prior).endswith(".safetensors")


AVERAGE = Group(
    "vision_edge.toolkit.averaging.average:AverageSettings",
    Option("rank", "--rank", int, "Most rank-one terms of each projection; default: 96.", min=1),
    Option(
        "scale",
        "--scale",
        float,
        "Multiple of the size that turns embeddings as far as the rule says: 1 (the default) is "
        "the rule's, 0.7 milder, 1.3 about as far as it goes.",
    ),
    Option(
        "weights_of",
        "--weights-of",
        list[str],
        "Weight of the adapters whose names match, such as 'grocery-*=2'; 0 leaves them out; may "
        "be given again.",
        metavar="PATTERN=WEIGHT",
        parse=adapter_weights,
    ),
)
INVERSION = Group(
    "vision_edge.toolkit.inversion.settings:InversionSettings",
    Option("per_class", "--per-class", int, "Images a class.", min=1),
    Option("iterations", "--iterations", int, "Iterations of inversion.", min=1),
    Option(
        "pruning",
        "--prune",
        str,
        "Blocks that drop patches in inversion: 6:0.75 or 3:0.3,6:0.3.",
        parse=pruning,
    ),
    only=(RECYCLE, INVERTS),
    panel=_PANEL,
)
META = Group(
    "vision_edge.toolkit.meta.settings:MetaSettings",
    Option(
        "sparsity",
        "--sparsity",
        float,
        "Share of the patches that meta-learning leaves out.",
        only=(LEARNS,),
    ),
    Option("steps", "--meta-steps", int, "Steps of meta-learning.", min=0),
    Option("lr", "--meta-lr", float, "Its highest learning rate.", only=(LEARNS,)),
    Option(
        "accumulate",
        "--accumulate",
        int,
        "Parts a step is split into, to need less memory.",
        min=1,
        only=(LEARNS,),
    ),
    only=(RECYCLE,),
    panel=_PANEL,
)
PIPELINE = Group(
    "vision_edge.toolkit.recycle.settings:RecycleSettings",
    Option(
        "start",
        "--start",
        str,
        "Where meta-learning starts: subspace, average or random; default: the first.",
    ),
    Option(
        "batch",
        "--batch",
        int,
        "Images inverted together; default: by the device.",
        min=1,
        only=(INVERTS,),
    ),
    only=(RECYCLE,),
    panel=_PANEL,
)


@dataclass(frozen=True)
class Work:
    """What a recycling works with, as named on the command line.

    Attributes:
        preset: Amount of work; by default, by the device.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        seed: Decides everything random.
        work: Folder for what is finished; by default beside the meta-LoRA.
        prior: timm network or safetensors file, `none`, or None for the embedded one.
        prior_weights: Safetensors file with the weights of a named prior.
        init: Unlabelled images that inversion starts from; noise by default.
        pool: A pool made earlier, instead of inversion.
        compiled: Whether to compile the models; by default on a GPU where the work is long.
        reading: What the files of `init` do not say of their pixels.
    """

    preset: Preset | None = None
    device: str = "auto"
    seed: int = 0
    work: Path | None = None
    prior: str | None = None
    prior_weights: Path | None = None
    init: Path | None = None
    pool: Path | None = None
    compiled: bool | None = None
    reading: Reading = AS_IT_SAYS


WORK = Group(
    Work,
    Option("preset", "--preset", Preset, "Amount of work; default: by the device."),
    Option("device", "--device", str, "auto, cpu, cuda or cuda:N."),
    Option("seed", "--seed", int, "Decides everything random.", min=0),
    Option(
        "work", "--work", Path, "Folder for what is finished, to resume from; default: OUT.work."
    ),
    Option(
        "prior",
        "--prior",
        str,
        "timm network or safetensors file; default: embedded; 'none': none.",
        only=(INVERTS,),
    ),
    Option(
        "prior_weights",
        "--prior-weights",
        Path,
        "Safetensors file with the weights of --prior.",
        only=(INVERTS, NAMED_PRIOR),
    ),
    Option(
        "init",
        "--init",
        Path,
        "Unlabelled images that inversion starts from; default: noise.",
        only=(INVERTS,),
    ),
    Option("pool", "--pool", Path, "A synthetic pool made earlier, instead of inversion."),
    Option(
        "compiled",
        "--compile/--no-compile",
        bool,
        "Compile the models; default: for long work on a GPU.",
    ),
    only=(RECYCLE,),
    panel=_PANEL,
)
