"""Could a station's few snapshots choose the meta-LoRA's size? Leave-one-out over a gallery.

    python benchmarks/fit_to.py --shared ../shared            # classes for choosing
    python benchmarks/fit_to.py --shared ../shared --test     # test classes, the far set as well

For each hub the update stands at several multiples of the rule's size, 0 being the plain backbone.
In each draw P products are registered by K snapshots, and a criterion that sees only those picks
the size; it is judged on other pictures of these products. Criteria:

- *hits*: snapshots nearest to their own product, itself left out, on whole pictures;
- *likelihood*: the mean logarithm of the own product's share of `exp(10 cosine)`, likewise;
- *margin*: the mean distance to the best other product's cosine, likewise.

With one snapshot a product its nearer crop (0.7) takes the place of the one left out. Ties go to
the size nearest to the rule's. Beside them stand the rule's own size, the plain backbone, the size
that is best on average over all draws (which nobody knows), and what unlabelled frames would pick:
the *spread*, the standard deviation of the cosines of 60 frames of these products to each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from measured import circumstances
from merging_league import (
    CHOOSE,
    TEST,
    League,
    Members,
    backbone_of,
    gathered,
    merged,
    options,
    pictures,
)
from merging_methods import METHODS
from numpy.typing import NDArray

from vision_edge.export.gate.episodes import centred_cosine_scores
from vision_edge.runtime.arrays import Embeddings

SIZES = "0,0.5,1,1.5,2,3"
CRITERIA = ("hits", "likelihood", "margin", "spread")
SHOTS = (1, 2, 3, 5)
SHARPNESS = 10.0
NEARER, VIEWED = 0.7, 8
"""The crop that stands for another snapshot, and how many pictures a class have it."""
FRAMES = 60
QUERIES = 9
"""Pictures a product that judge; at least so many beyond those that may be snapshots are needed."""
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """Embeddings at one size: whole pictures (N, D), and crops of some of them, by whose row."""

    whole: Embeddings
    crops: dict[int, Embeddings]


def scores(state: State, snapshots: NDArray[np.int64]) -> list[Numbers]:
    """Return, for each snapshot left out, its cosines to all products: of (P, K) rows, K (P, P)."""
    vectors = state.whole[snapshots]
    if snapshots.shape[1] == 1:
        views = np.stack([state.crops[int(row)] for row in snapshots[:, 0]])
        return [np.asarray(centred_cosine_scores(views, vectors[:, 0]), np.float64)]
    found = []
    for left in range(snapshots.shape[1]):
        prototypes = np.delete(vectors, left, axis=1).mean(axis=1)
        found.append(np.asarray(centred_cosine_scores(vectors[:, left], prototypes), np.float64))
    return found


def criteria(
    state: State, snapshots: NDArray[np.int64], frames: NDArray[np.int64]
) -> dict[str, float]:
    """Return what each criterion says of a size; the more the better."""
    found: dict[str, list[float]] = {name: [] for name in CRITERIA[:3]}
    for table in scores(state, snapshots):
        own = table.diagonal()
        other = np.where(np.eye(len(table), dtype=bool), -np.inf, table).max(axis=1)
        sharp = np.exp(SHARPNESS * table)
        found["hits"].append(float((own > other).mean()))
        found["likelihood"].append(float(np.log(sharp.diagonal() / sharp.sum(axis=1)).mean()))
        found["margin"].append(float((own - other).mean()))
    seen = state.whole[frames]
    likeness = centred_cosine_scores(seen, seen)
    spread = float(likeness[~np.eye(len(seen), dtype=bool)].std())
    return {**{name: float(np.mean(values)) for name, values in found.items()}, "spread": spread}


def accuracy(state: State, snapshots: NDArray[np.int64], queries: NDArray[np.int64]) -> float:
    """Return the share of queries (P, Q) nearest to their product, in percent."""
    prototypes = state.whole[snapshots].mean(axis=1)
    found = centred_cosine_scores(state.whole[queries.ravel()], prototypes).argmax(axis=1)
    return 100.0 * float((found == np.repeat(np.arange(len(queries)), queries.shape[1])).mean())


def compare(
    states: Mapping[float, State], members: Members, products: int, shots: int, draws: int
) -> list[str]:
    """Return the cells of one line: what each way of choosing reaches over the draws.

    Args:
        states: By size, as a multiple of the rule's.
        members: Of each class its rows.
        products: P.
        shots: K.
        draws: How many.
    """
    sizes = np.array(list(states))
    rule = int(np.argmin(np.abs(sizes - 1.0)))
    rng = np.random.default_rng([products, shots])
    reached, said = [], []
    for _ in range(draws):
        chosen = rng.permutation(len(members))[:products]
        first = np.stack([rng.permutation(members[c][:VIEWED])[:shots] for c in chosen])
        rest = np.stack([members[c][VIEWED:][-QUERIES:] for c in chosen])
        frames = rng.permutation(rest.ravel())[:FRAMES]
        reached.append([accuracy(state, first, rest) for state in states.values()])
        said.append([list(criteria(state, first, frames).values()) for state in states.values()])
    accuracies, values = np.array(reached), np.array(said)  # (draws, sizes), (..., criteria)
    nearness = -1e-9 * np.abs(sizes - 1.0)
    means = accuracies.mean(axis=0)
    cells = [
        f"{means[0]:.1f}",
        f"{means[rule]:.1f}",
        f"{means.max():.1f} ({sizes[means.argmax()]:g})",
    ]
    for index in range(len(CRITERIA)):
        picked = (values[:, :, index] + nearness).argmax(axis=1)
        gained = accuracies[np.arange(draws), picked] - accuracies[:, rule]
        error = 1.96 * gained.std(ddof=1) / np.sqrt(draws)
        middle = np.median(sizes[picked])
        cells.append(f"{gained.mean():+.2f} ± {error:.2f} ({middle:g})")
    return cells


def main() -> None:
    """Print a line for each hub, set and number of snapshots."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--hubs", default="g32-w5 g32-w20 m64-w20 m64-w64")
    parser.add_argument("--sets", default="", help="only those whose names contain one of these")
    parser.add_argument("--sizes", default=SIZES, help="0 and 1 among them, separated by commas")
    parser.add_argument("--products", type=int, default=5)
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--test", action="store_true")
    args = parser.parse_args()
    backbone = backbone_of(args)
    wanted = args.sets.split(",")
    sources = [s for s in (TEST if args.test else CHOOSE) if any(w in s[0] for w in wanted)]
    sets = [pictures(args.shared, args.cache, s, backbone, args.each) for s in sources]
    near = [pictures(args.shared, args.cache, s, backbone, args.each, NEARER) for s in sources]
    firsts = [np.concatenate([rows[:VIEWED] for rows in data.members]) for data in sets]
    views = [
        replace(data, name=f"{data.name}-nearer", images=data.images[rows])
        for data, rows in zip(near, firsts, strict=True)
    ]
    league = League(backbone, [*sets, *views], args.cache)
    print(f"{circumstances()}, {args.products} products, {args.draws} draws")
    heads = ["plain", "rule", "best fixed size", *CRITERIA]
    print(
        f"| hub, set, snapshots | {' | '.join(heads)} |\n|{' --- |' * (1 + len(heads))}", flush=True
    )
    for hub in args.hubs.split():
        direction = merged(gathered(args.shared, hub, backbone), METHODS["subspace (ours)"])
        found = {0.0: league.plain()}
        for scale in sorted(set(map(float, args.sizes.split(","))) - {0.0}):
            kind = "test" if args.test else "choose"
            key = f"{kind}-{hub}-subspace_(ours)-{scale:g}-{args.each}"
            found[scale] = league.of(key, direction, scale)[0]
        for place, data in enumerate(sets):
            states = {
                size: State(
                    vectors[place],
                    dict(zip(firsts[place].tolist(), vectors[len(sets) + place], strict=True)),
                )
                for size, vectors in found.items()
            }
            for shots in SHOTS:
                cells = compare(states, data.members, args.products, shots, args.draws)
                print(f"| {hub}, {data.name}, {shots} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
