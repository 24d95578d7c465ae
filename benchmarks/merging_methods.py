"""Ways of merging LoRAs, each written from its paper: what one projection's adapters become.

Each takes the low-rank updates of one projection and returns a matrix, float32 (out, in). Only
its direction is meant: the league sizes all alike. Where a paper leaves a number open, the one of
its own experiments is the default.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.averaging.subspace import ProjectionSum

Products = list[LowRank]
Method = Callable[[Products], Tensor]
TINY = 1e-12


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
    """Return the matrix of orthonormal columns (or rows) nearest to another (Procrustes).

    Of directions that are there twice, one is kept, shared by both.
    """
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    k = _rank(S)
    found: Tensor = U[:, :k] @ Vh[:k]
    return found


def flat(matrix: Tensor) -> Tensor:
    """Return a matrix with each singular value that is not zero at their mean."""
    U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
    k = _rank(S)
    found: Tensor = U[:, :k] @ Vh[:k] * S[:k].mean()
    return found


def iso_c(products: Products) -> Tensor:
    """Iso-C (Marczak et al., ICML 2025, "No Task Left Behind", section 4.1): a flat spectrum."""
    return flat(dense(products).sum(0))


def iso_cts(products: Products, common: float = 0.8) -> Tensor:
    """Iso-CTS (the same paper, section 4.2): common directions, then each task's own, all flat.

    Together they are as many as the sum has. Where that leaves no room for one of each task, it
    is Iso-C.
    """
    D = dense(products)
    U, S, Vh = torch.linalg.svd(D.sum(0), full_matrices=False)
    rank = _rank(S)
    own = max(1, int((1 - common) * rank) // len(D))
    k = rank - own * len(D)
    if k < 1:
        return iso_c(products)
    u, s, vh = torch.linalg.svd(D - U[:, :k] @ (U[:, :k].T @ D), full_matrices=False)
    left = torch.cat([U[:, :k], *u[:, :, :own]], dim=1)
    right = torch.cat([Vh[:k], *vh[:, :own]])
    return _polar(left) @ _polar(right) * torch.cat([S[:k], *s[:, :own]]).mean()


def tsv(products: Products) -> Tensor:
    """TSV-M (Gargiulo et al., CVPR 2025, section 4.3): tasks' singular vectors, made orthogonal."""
    D = dense(products)
    most = min(D.shape[1:])
    k = max(1, min(most // len(D), max(product.rank for product in products)))
    U, S, Vh = torch.linalg.svd(D, full_matrices=False)
    top = S[:, :k].flatten().argsort(descending=True)[:most]
    top = top[S[:, :k].flatten()[top] > TINY]
    left = torch.cat([*U[:, :, :k]], dim=1)[:, top]
    found: Tensor = _polar(left) * S[:, :k].flatten()[top] @ _polar(torch.cat([*Vh[:, :k]])[top])
    return found


def ties(updates: Tensor, keep: float = 0.2) -> Tensor:
    """TIES (Yadav et al., NeurIPS 2023, section 3): trim, elect signs, mean of who agrees.

    Args:
        updates: (n, ...).
        keep: Share of each update's values that are kept, the largest.
    """
    rows = updates.flatten(1)
    count = rows.shape[1]
    least = rows.abs().kthvalue(count - max(1, int(keep * count)) + 1, dim=1).values
    trimmed = torch.where(rows.abs() >= least[:, None], rows, torch.zeros_like(rows))
    agree = (trimmed.sign() == trimmed.sum(0).sign()) & (trimmed != 0)
    return ((trimmed * agree).sum(0) / agree.sum(0).clamp_min(1)).view(updates.shape[1:])


def ties_of_products(products: Products) -> Tensor:
    """TIES on the products."""
    return ties(dense(products))


def knots(products: Products, keep: float = 0.2) -> Tensor:
    """KnOTS-TIES (Stoica et al., ICLR 2025, section 4): TIES in the tasks' common left space."""
    D = dense(products)
    count, out, width = D.shape
    side_by_side = D.permute(1, 0, 2).reshape(out, count * width)
    U, S, Vh = torch.linalg.svd(side_by_side, full_matrices=False)
    k = _rank(S)
    right = Vh[:k].reshape(k, count, width).permute(1, 0, 2).contiguous()
    found: Tensor = U[:, :k] * S[:k] @ ties(right, keep)
    return found


def cores(products: Products) -> tuple[Tensor, Tensor, Tensor]:
    """Core Space (Panariello et al., NeurIPS 2025, section 3): common bases, and each task's core.

    Returns:
        (out, k), (n, k, l) and (l, in), whose products are the updates.
    """
    left = torch.linalg.svd(torch.cat([p.B for p in products], dim=1), full_matrices=False)[0]
    right = torch.linalg.svd(torch.cat([p.A for p in products]), full_matrices=False)[2]
    middle = torch.stack([(left.T @ p.B) @ (p.A @ right.T) for p in products])
    return left, middle, right


def core_iso(products: Products) -> Tensor:
    """Iso-C in Core Space: the same update, for the bases are orthonormal."""
    left, middle, right = cores(products)
    return left @ flat(middle.sum(0)) @ right


def core_ties(products: Products, keep: float = 0.2) -> Tensor:
    """TIES in Core Space; its coordinates follow from how products are factored, as published."""
    left, middle, right = cores(products)
    return left @ ties(middle, keep) @ right


def compress_then_merge(
    products: Products, rank: int = 16, blend: float = 0.25, keep: float = 0.25
) -> Tensor:
    """Compress then Merge (He et al., ICML 2026): TIES in one subspace of few directions.

    The bases U, V are those that keep most of all updates, sum |U^T D_i V|^2 (Tucker, by
    alternating eigenvectors), each update's norm drawn to the mean norm.

    Args:
        products: The updates.
        rank: Columns of U and V, and so the most rank of what comes out.
        blend: 1 leaves the norms as they are for finding U and V, 0 makes them equal.
        keep: Of TIES.
    """
    left, middle, right = cores(products)
    norms = middle.flatten(1).norm(dim=1)[:, None, None].clamp_min(TINY)
    level = middle / norms * (blend * norms + (1 - blend) * norms.mean())
    U, V = _tucker(level, min(rank, *middle.shape[1:]))
    merged = ties(U.T @ middle @ V, keep)
    return left @ U @ merged @ V.T @ right


def _tucker(stack: Tensor, rank: int, most: int = 100) -> tuple[Tensor, Tensor]:
    """Return orthonormal U (k, rank), V (l, rank) that keep most of a stack (n, k, l)."""
    V = torch.linalg.eigh((stack.mT @ stack).sum(0))[1][:, -rank:]
    kept, U = -1.0, V
    for _ in range(most):
        half = stack @ V
        values, vectors = torch.linalg.eigh((half @ half.mT).sum(0))
        U, now = vectors[:, -rank:], float(values[-rank:].sum())
        half = stack.mT @ U
        V = torch.linalg.eigh((half @ half.mT).sum(0))[1][:, -rank:]
        if now <= kept * (1 + 1e-6):
            break
        kept = now
    return U, V


def own_covariance(products: Products, ridge: float = 0.02) -> Tensor:
    """RegMean's solution (Jin et al., ICLR 2023, equation 2), inputs' covariance taken as D^T D.

    That is the closed form of what WUDI-Merging (Cheng et al., ICML 2025) descends to:
    `sum |(W - D_i) D_i^T|^2 / |D_i|^2`.
    """
    D = dense(products)
    gram = D.mT @ D
    gram = gram / gram.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp_min(TINY)
    width = D.shape[2]
    total = gram.sum(0) + ridge * len(D) / width * torch.eye(width)
    found: Tensor = torch.linalg.solve(total, (D @ gram).sum(0).T).T
    return found


def ace(products: Products, noise: float = 1e-2, part: float = 0.3, apart: float = 0.3) -> Tensor:
    """ACE-Merging (Xu et al., CVPR 2026): covariances from the updates' rows, and a common prior.

    Where the updates differ much in size (the variance of the logarithms of their traces over
    their mean squared is above `apart`), covariances are taken at trace 1, and the largest
    directions of what the solution leaves are added with a flat spectrum.

    Args:
        products: The updates.
        noise: What is added to each covariance's diagonal.
        part: Share of the directions that are refined.
        apart: See above.
    """
    D = dense(products)
    logs = D.square().sum((1, 2)).clamp_min(TINY).log()
    differ = bool(len(D) > 1 and logs.var() / logs.mean().square().clamp_min(TINY) > apart)
    D = D - D.mean(1, keepdim=True)
    own = D.mT @ D
    trace = own.diagonal(dim1=1, dim2=2).sum(1)[:, None, None].clamp_min(TINY)
    eye = torch.eye(D.shape[2])
    own, added = (own / trace, noise / trace * eye) if differ else (own, noise * eye)
    seen = own + added
    prior = own.sum(0).mean(0, keepdim=True) / (float(trace.mean()) if differ else 1.0)
    found: Tensor = torch.linalg.solve((seen.sum(0) + prior).T, (D @ seen).sum(0).T).T
    if differ:
        U, S, Vh = torch.linalg.svd(found + (D @ (own - seen.mean(0))).sum(0), full_matrices=False)
        k = max(1, int(part * len(S)))
        found = found + S[:k].mean() * U[:, :k] @ Vh[:k]
    return found


METHODS: dict[str, Method] = {
    "subspace (ours)": subspace,
    "mean of products": mean_of_products,
    "LoRAs Avg": loras_avg,
    "TIES": ties_of_products,
    "KnOTS-TIES": knots,
    "TSV-M": tsv,
    "Iso-C": iso_c,
    "Iso-CTS": iso_cts,
    "Core Space (TIES)": core_ties,
    "Core Space (Iso-C)": core_iso,
    "Compress then Merge": compress_then_merge,
    "own covariance": own_covariance,
    "ACE": ace,
}
