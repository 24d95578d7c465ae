"""Hubs of every kind, built as `build` does: does one end below the plain backbone unsaid?

    python benchmarks/hub_kinds.py --shared ../shared            # classes for choosing
    python benchmarks/hub_kinds.py --shared ../shared --test     # test classes

Each kind is made of the shared hubs: parts, mixtures, copies, zeros, noise, other ranks. Beside
each stands its gain over the plain backbone on each set, with the 95 % interval of the difference
on the same episodes, and whether the report warns. A kind is *silent harm* where it is below plain
by more than the accuracy's own interval on some set (what `--test` warns of) and nothing warned.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from measured import circumstances
from merging_league import CHOOSE, TEST, League, backbone_of, gain, options, pictures

from vision_edge.export.gate.episodes import EpisodeSettings, accuracy_over
from vision_edge.export.model.merge import LowRank
from vision_edge.toolkit.adapters.adapter import Adapter, write_adapter
from vision_edge.toolkit.adapters.hub import read_hub
from vision_edge.toolkit.adapters.projections import joined, projections
from vision_edge.toolkit.averaging.average import average_hub
from vision_edge.toolkit.backbones.backbone import Backbone

Change = Callable[[LowRank, int], LowRank]
"""Makes another update of one projection; the number tells adapters apart."""


def same(update: LowRank, _: int) -> LowRank:
    """Leave it as it is."""
    return update


def rank_one(update: LowRank, _: int) -> LowRank:
    """Cut to the largest singular direction."""
    U, S, Vh = torch.linalg.svd(update.product(), full_matrices=False)
    return LowRank(Vh[:1], U[:, :1] * S[:1])


def zero(update: LowRank, _: int) -> LowRank:
    """Change nothing, as an adapter that was never tuned."""
    return LowRank(update.A, torch.zeros_like(update.B))


def noise(update: LowRank, seed: int) -> LowRank:
    """Random factors of the same norm."""
    draw = torch.Generator().manual_seed(seed)
    A = torch.randn(update.A.shape, generator=draw)
    B = torch.randn(update.B.shape, generator=draw)
    random = LowRank(A, B)
    return LowRank(A, B * math.sqrt(update.squared_norm() / random.squared_norm()))


class Maker:
    """Makes hubs below a folder, of adapters of shared hubs."""

    def __init__(self, shared: Path, work: Path, backbone: Backbone) -> None:
        self._shared, self._work, self._backbone = shared, work, backbone

    def hub(self, name: str, *parts: tuple[str, int, Change]) -> Path:
        """Return a hub of the first so many adapters of each shared hub, each changed."""
        folder = self._work / name.replace(" ", "_")
        shutil.rmtree(folder, ignore_errors=True)
        for place, (source, count, change) in enumerate(parts):
            for index, adapter in enumerate(self._adapters(source, count)):
                self._write(folder / f"{source}-{place}-{index:02d}", adapter, change, index)
        return folder

    def of_many(self, name: str, source: str, together: int) -> Path:
        """Return a hub whose adapters are sums of so many, and so of a higher rank."""
        folder = self._work / name.replace(" ", "_")
        shutil.rmtree(folder, ignore_errors=True)
        adapters = list(self._adapters(source, 24))
        for index, adapter in enumerate(adapters):
            chosen = [adapters[(index + step) % len(adapters)] for step in range(together)]
            updates = {}
            for module in adapter.updates:
                parts = [other.updates[module] for other in chosen]
                A = torch.cat([part.A for part in parts])
                updates[module] = LowRank(A, torch.cat([part.B for part in parts], dim=1))
            self._put(folder / f"sum-{index:02d}", updates, adapter)
        return folder

    def _adapters(self, source: str, count: int) -> Iterator[Adapter]:
        hub = read_hub(self._shared / "hubs" / source, self._backbone, trust_base=True)
        for index, adapter in enumerate(hub):
            if index < count:
                yield adapter

    def _write(self, folder: Path, adapter: Adapter, change: Change, seed: int) -> None:
        parts: dict[str, dict[str, LowRank]] = {}
        for place, (name, update) in enumerate(projections(adapter.updates)):
            module, _, part = name.partition(":")
            parts.setdefault(module, {})[part] = change(update, 1000 * seed + place)
        self._put(folder, {module: joined(found) for module, found in parts.items()}, adapter)

    def _put(self, folder: Path, updates: dict[str, LowRank], adapter: Adapter) -> None:
        folder.mkdir(parents=True)
        info = {"classes": list(adapter.classes), "method": "tune"}
        write_adapter(folder, updates, self._backbone, head=adapter.head, info=info)


def kinds(maker: Maker) -> Iterator[tuple[str, Path]]:
    """Yield each kind's name and hub."""
    for source in ("g32-w5", "g32-w20", "m64-w20", "m64-w64"):
        yield f"{source}, 24", maker.hub(source, (source, 24, same))
    for source, count in (("g32-w5", 1), ("g32-w5", 2), ("g32-w5", 3), ("g32-w20", 1)):
        yield f"{source}, {count}", maker.hub(f"{source}-{count}", (source, count, same))
    for source, count in (("m64-w20", 1), ("m64-w64", 1), ("m64-w64", 3)):
        yield f"{source}, {count}", maker.hub(f"{source}-{count}", (source, count, same))
    for one, other in ((12, 12), (2, 22)):
        parts = (("g32-w20", one, same), ("m64-w20", other, same))
        yield f"{one} g32-w20 + {other} m64-w20", maker.hub(f"mixed-{one}", *parts)
    mixed = (("g32-w5", 12, same), ("m64-w64", 12, same))
    yield "12 g32-w5 + 12 m64-w64", maker.hub("mixed-widths", *mixed)
    copies = (("g32-w20", 6, same), ("g32-w20", 1, same), ("g32-w20", 1, same))
    yield "6 g32-w20, one of them three times", maker.hub("copies", *copies)
    yield "6 g32-w20 + 6 zeros", maker.hub("zeros", ("g32-w20", 6, same), ("m64-w20", 6, zero))
    yield "24 g32-w20 cut to rank 1", maker.hub("rank-1", ("g32-w20", 24, rank_one))
    yield "24 sums of 16 m64-w20, rank 64", maker.of_many("rank-64", "m64-w20", 16)
    yield "24 of noise", maker.hub("noise-24", ("g32-w20", 24, noise))
    yield "1 of noise", maker.hub("noise-1", ("g32-w20", 1, noise))
    some = (("g32-w20", 6, same), ("m64-w20", 18, noise))
    yield "6 g32-w20 + 18 of noise", maker.hub("some-noise", *some)


def main() -> None:
    """Print a line a kind."""
    parser = options(__doc__.splitlines()[0])
    parser.add_argument("--test", action="store_true", help="test classes, not those for choosing")
    parser.add_argument("--episodes", type=int, default=600)
    parser.add_argument("--only", default="", help="kinds whose names contain one of these")
    args = parser.parse_args()
    backbone = backbone_of(args)
    sources = TEST if args.test else CHOOSE
    sets = [pictures(args.shared, args.cache, s, backbone, args.each) for s in sources]
    league = League(backbone, sets, args.cache)
    print(f"{circumstances()}, {args.episodes} episodes, {args.each} pictures a class", flush=True)
    print(f"| hub | turn | share | {' | '.join(s.name for s in sets)} | warned | silent harm |")
    print(f"|{' --- |' * (5 + len(sets))}", flush=True)
    plain = league.plain()
    for name, hub in kinds(Maker(args.shared, args.cache / "hubs", backbone)):
        if not any(part in name for part in args.only.split(",")):
            continue
        result = average_hub(hub, backbone, trust_base=True)
        key = f"kind-{'test' if args.test else 'choose'}-{hub.name}-{args.each}"
        found = league.embedded(key, result.updates)
        gains = [
            gain(one, other, data.members, args.episodes)
            for one, other, data in zip(found, plain, sets, strict=True)
        ]
        size, warned = result.report["size"], result.report["warnings"]
        settings = EpisodeSettings(episodes=args.episodes)
        limits = [
            accuracy_over(vectors, data.members, settings).ci95
            for vectors, data in zip(plain, sets, strict=True)
        ]
        harm = any(g.mean < -limit for g, limit in zip(gains, limits, strict=True))
        cells = " | ".join(f"{g.mean:+.1f} ± {g.ci95:.1f}" for g in gains)
        said = "yes" if warned else "-"
        silent = "**YES**" if harm and not warned else "no"
        share = f"{100 * size['share']:.1f} %"
        print(
            f"| {name} | {size['turn']:.3f} | {share} | {cells} | {said} | {silent} |", flush=True
        )


if __name__ == "__main__":
    main()
