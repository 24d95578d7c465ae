"""Merging methods side by side: the same hub, the same rule of size, the same episodes.

Each method gives every projection a direction, as its paper says; `--scale` times the toolkit's
rule (`averaging.size`) then sizes the whole, so that what is compared is the direction. A table of
accuracies, the plain backbone first, is printed as Markdown.

    python benchmarks/merging_league.py HUB --weights W --backbone NAME --data grocery.zip \
        --split train --classes Anjou,Avocado,Zucchini,Cabbage,Carrots

Choose on train and val classes that the hub never saw; test once.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vision_edge.export.model.embedder import TorchEmbedder
from vision_edge.export.model.merge import LowRank, merge
from vision_edge.toolkit.adapters.hub import read_hub
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.averaging.size import Size, sized
from vision_edge.toolkit.averaging.subspace import ProjectionSum
from vision_edge.toolkit.backbones.backbone import Backbone, BackboneOptions, load_backbone
from vision_edge.toolkit.data.dataset import Dataset, open_dataset
from vision_edge.toolkit.evaluation.episodes import EpisodeSettings
from vision_edge.toolkit.evaluation.evaluate import evaluate, to_document

Products = list[LowRank]
Method = Callable[[Products], Tensor]


def dense(products: Products) -> Tensor:
    """Return the products, float32 (n, out, in)."""
    return torch.stack([product.product() for product in products])


def mean_of_products(products: Products) -> Tensor:
    """Task arithmetic (Ilharco et al., ICLR 2023, section 2): the sum of the updates."""
    return dense(products).mean(0)


def loras_avg(products: Products) -> Tensor:
    """The factors averaged apart (LoRA Recycle, Hu et al., CVPR 2025, section 5.1, "LoRAs Avg")."""
    A = torch.stack([product.A for product in products]).mean(0)
    return torch.stack([product.B for product in products]).mean(0) @ A


def subspace(products: Products, ridge: float = 0.5, rank: int = 96) -> Tensor:
    """Ours: each adapter has a say where it could see (`averaging.subspace`)."""
    total = ProjectionSum.empty(products[0].shape, sees=True)
    for product in products:
        total.add(product, 1.0)
    return total.cut(rank, ridge)[0].product()


def _rank(values: Tensor) -> int:
    return int((values / values[0] > 1e-4).sum())


def _polar(matrix: Tensor) -> Tensor:
    """Return the orthogonal matrix nearest to another (Procrustes)."""
    U, _, Vh = torch.linalg.svd(matrix, full_matrices=False)
    found: Tensor = U @ Vh
    return found


def iso_c(products: Products) -> Tensor:
    """Iso-C (Marczak et al., ICML 2025, "No Task Left Behind", section 4.1): a flat spectrum."""
    U, S, Vh = torch.linalg.svd(dense(products).sum(0), full_matrices=False)
    k = _rank(S)
    found: Tensor = U[:, :k] @ Vh[:k] * S[:k].mean()
    return found


def iso_cts(products: Products, common: float = 0.8) -> Tensor:
    """Iso-CTS (the same paper, section 4.2): common directions, then each task's own, all flat."""
    D = dense(products)
    U, S, Vh = torch.linalg.svd(D.sum(0), full_matrices=False)
    k = max(1, int(common * _rank(S)))
    own = max(1, (_rank(S) - k) // len(D))
    u, s, vh = torch.linalg.svd(D - U[:, :k] @ (U[:, :k].T @ D), full_matrices=False)
    most = min(D.shape[1:])
    left = torch.cat([U[:, :k], *u[:, :, :own]], dim=1)[:, :most]
    right = torch.cat([Vh[:k], *vh[:, :own]])[:most]
    return _polar(left) @ _polar(right) * torch.cat([S[:k], *s[:, :own]]).mean()


def tsv(products: Products) -> Tensor:
    """TSV-M (Gargiulo et al., CVPR 2025, section 4.3): tasks' singular vectors, made orthogonal."""
    D = dense(products)
    most = min(D.shape[1:])
    k = max(1, min(most // len(D), products[0].rank))
    U, S, Vh = torch.linalg.svd(D, full_matrices=False)
    top = S[:, :k].flatten().argsort(descending=True)[:most]
    left = torch.cat([*U[:, :, :k]], dim=1)[:, top]
    found: Tensor = _polar(left) * S[:, :k].flatten()[top] @ _polar(torch.cat([*Vh[:, :k]])[top])
    return found


def ties(updates: Tensor, keep: float = 0.2) -> Tensor:
    """TIES (Yadav et al., NeurIPS 2023, section 3): trim, elect signs, mean of who agrees."""
    flat = updates.flatten(1)
    least = flat.abs().kthvalue(flat.shape[1] - int(keep * flat.shape[1]) + 1, dim=1).values
    trimmed = torch.where(flat.abs() >= least[:, None], flat, torch.zeros_like(flat))
    agree = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)
    return ((trimmed * agree).sum(0) / agree.sum(0).clamp_min(1)).view(updates.shape[1:])


def ties_of_products(products: Products) -> Tensor:
    """TIES on the products."""
    return ties(dense(products))


def knots(products: Products) -> Tensor:
    """KnOTS-TIES (Stoica et al., ICLR 2025, section 4): TIES in the tasks' common left space."""
    D = dense(products)
    count, out, width = D.shape
    side_by_side = D.permute(1, 0, 2).reshape(out, count * width)
    U, S, Vh = torch.linalg.svd(side_by_side, full_matrices=False)
    k = _rank(S)
    right = Vh[:k].reshape(k, count, width).permute(1, 0, 2).contiguous()
    found: Tensor = U[:, :k] * S[:k] @ ties(right)
    return found


def core_space(products: Products) -> Tensor:
    """Core Space (Panariello et al., 2025, section 3) with Iso-C: small cores in common bases."""
    left = torch.linalg.svd(torch.cat([p.B for p in products], dim=1), full_matrices=False)[0]
    right = torch.linalg.svd(torch.cat([p.A for p in products]), full_matrices=False)[2]
    core = sum(((left.T @ p.B) @ (p.A @ right.T) for p in products), torch.zeros(()))
    U, S, Vh = torch.linalg.svd(core, full_matrices=False)
    found: Tensor = left @ (U @ Vh * S.mean()) @ right
    return found


def own_covariance(products: Products, ridge: float = 0.02) -> Tensor:
    """RegMean (Jin et al., ICLR 2023, equation 2), inputs' covariance taken as D^T D."""
    D = dense(products)
    gram = D.mT @ D
    gram = gram / gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp_min(1e-20)
    width = D.shape[2]
    total = gram.sum(0) + ridge * len(D) / width * torch.eye(width)
    found: Tensor = torch.linalg.solve(total, (D @ gram).sum(0).T).T
    return found


METHODS: dict[str, Method] = {
    "LoRAs Avg (paper)": loras_avg,
    "mean of products": mean_of_products,
    "TIES": ties_of_products,
    "KnOTS-TIES": knots,
    "TSV-M": tsv,
    "Iso-C": iso_c,
    "Iso-CTS": iso_cts,
    "Core Space + Iso-C": core_space,
    "own covariance": own_covariance,
    "subspace (ours)": subspace,
}


def merged(hub: Path, backbone: Backbone, method: Method, scale: float) -> tuple[Backbone, Size]:
    """Merge a hub by a method, and return the backbone with it at the rule's size times `scale`."""
    gathered: dict[str, Products] = {}
    for adapter in read_hub(hub, backbone, trust_base=True):
        for name, update in projections(adapter.updates):
            gathered.setdefault(name, []).append(update)
    parts: dict[str, dict[str, LowRank]] = {}
    for name, products in gathered.items():
        module, _, part = name.partition(":")
        matrix = method(products)
        parts.setdefault(module, {})[part] = LowRank(torch.eye(matrix.shape[1]), matrix)
    updates, size = sized({m: joined(p) for m, p in parts.items()}, backbone, scale)
    model = copy.deepcopy(backbone.model)
    merge(model, updates)
    return Backbone(backbone.name, model, backbone.spec), size


def chosen_classes(data: Dataset, names: list[str]) -> Dataset:
    """Return a data set of some classes alone."""
    if not names:
        return data
    missing = sorted(set(names) - set(data.classes))
    if missing:
        raise SystemExit(f"{data.name} has no class {missing[0]!r}")
    wanted = [data.classes.index(name) for name in sorted(names)]
    rows = np.flatnonzero(np.isin(data.labels, wanted))
    labels = np.searchsorted(np.array(wanted), data.labels[rows])
    files = tuple(data.files[row] for row in rows)
    return replace(data, files=files, labels=labels, classes=tuple(sorted(names)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("hub", type=Path)
    parser.add_argument("--backbone")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split")
    parser.add_argument("--classes", default="", help="only these, separated by commas")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--methods", default=",".join(METHODS))
    options = parser.parse_args()
    backbone = load_backbone(BackboneOptions(name=options.backbone, weights=options.weights))
    data = open_dataset(options.data, options.split, default="val")
    data = chosen_classes(data, [name for name in options.classes.split(",") if name])
    embedders, sizes = [backbone.embedder("plain")], {}
    for name in options.methods.split(","):
        changed, sizes[name] = merged(options.hub, backbone, METHODS[name], options.scale)
        embedders.append(TorchEmbedder(changed.model, changed.spec, name))
    settings = EpisodeSettings(episodes=options.episodes)
    table = to_document(data, settings, evaluate(data, embedders, settings))
    print(f"\n{table['data']}, {table['way']}-way {table['shot']}-shot, {options.hub.name}\n")
    print("| method | share of the weights | accuracy |\n| --- | --- | --- |")
    for result in table["results"]:
        size = sizes.get(result["name"])
        share = f"{100 * size.share:.1f} %" if size else "-"
        print(f"| {result['name']} | {share} | {result['accuracy']:.1f} ± {result['ci95']:.1f} |")


if __name__ == "__main__":
    main()
