"""`vision-edge validate`: a gallery on labelled pictures, before production."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vision_edge.cli.app import command_app
from vision_edge.cli.declarations import Given, Group, Option
from vision_edge.cli.grouped_command import command
from vision_edge.cli.options import BACKGROUND, BITS, BundlePath, GalleryPath, Provider, far
from vision_edge.cli.provenance_options import TRUSTING, Trusting, tell
from vision_edge.runtime.bundles.bundle import load_bundle
from vision_edge.runtime.errors import DataError, ImageError
from vision_edge.runtime.gallery.gallery import Gallery
from vision_edge.runtime.gallery.labels import one_form
from vision_edge.runtime.images.coding import read_image
from vision_edge.runtime.images.picture_files import PictureFiles, pictures_below
from vision_edge.runtime.images.reading import Reading
from vision_edge.runtime.inference.embedder import embed_frame
from vision_edge.runtime.inference.session import Session, open_session
from vision_edge.runtime.pipeline.gallery_classifier import classifier_for
from vision_edge.runtime.recognition.prototypes import PrototypeClassifier
from vision_edge.runtime.recognition.validation import (
    EXPLORED,
    Limits,
    Tried,
    Validation,
    validation_document,
)
from vision_edge.runtime.system.files import atomic_file

app = command_app("Try a gallery on labelled pictures: named, confused, reviewed, let in.")
LIMITS = Group(
    Limits,
    Option(
        "min_named",
        "--min-named",
        float,
        "Fail if a smaller share is named rightly.",
        min=0,
        max=1,
    ),
    Option("max_wrong", "--max-wrong", float, "Fail if more are named as another.", min=0, max=1),
    Option(
        "max_strangers", "--max-strangers", float, "Fail if more strangers get in.", min=0, max=1
    ),
)


@command(app)
def validate(
    bundle: BundlePath,
    pictures: Annotated[
        Path,
        typer.Argument(
            metavar="PICTURES",
            help="A folder with one folder a product, named as it is registered; pictures in "
            "any other folder are strangers.",
        ),
    ],
    gallery: GalleryPath,
    acceptance: Annotated[Given[Any], Group(classifier_for, far())],
    limits: Annotated[Limits, LIMITS],
    reading: Annotated[Reading, Group(Reading, BITS, BACKGROUND)],
    trusting: Annotated[Trusting, TRUSTING],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the figures here.")
    ] = None,
    page: Annotated[Path | None, typer.Option("--page", help="Write them as a page here.")] = None,
    provider: Provider = "auto",
) -> None:
    """Judge labelled pictures; the status is 1 if a limit is missed or a picture unreadable."""
    loaded = load_bundle(bundle, trusting.provenance(gallery, held=1))
    session = open_session(loaded, provider)
    tell(loaded.signed)
    with Gallery(gallery, session.bundle.manifest.identity) as opened, opened.reading():
        classifier = classifier_for(opened, session, **acceptance.values)
    bad: list[str] = []
    found = _found(pictures)
    _refuse_products_further_down(found, pictures, classifier.labels)
    tried = list(_judged(found, pictures, session, classifier, reading, bad))
    if not tried:
        raise DataError(
            f"{pictures}: no readable picture in its folders",
            fix="put pictures in PICTURES/PRODUCT",
        )
    done = Validation(tuple(tried), classifier.false_accept_rate)
    failures = done.failures(limits)
    told = {
        **validation_document(done, failures, bad),
        "passed_over": found.passed_over.document(),
    }
    typer.echo("\n".join(lines(done, failures, classifier.labels)))
    if json_file is not None:
        with atomic_file(json_file) as temporary:
            text = json.dumps(told, ensure_ascii=False, indent=2) + "\n"
            temporary.write_text(text, encoding="utf-8")
    if page is not None:
        _write_page(page, done, failures)
    if failures or bad:
        raise typer.Exit(1)


def _found(pictures: Path) -> PictureFiles:
    """Find the pictures in folders of products, and say what is passed over."""
    if not pictures.is_dir():
        raise DataError(f"{pictures}: is no folder", fix="give a folder with one folder a product")
    found = pictures_below(pictures)
    for file in found.files:
        if "/" not in file:
            found.passed_over.add("picture in no product's folder", file)
    for line in found.lines():
        typer.echo(f"note: {pictures}: {line}", err=True)
    return found


def _refuse_products_further_down(found: PictureFiles, root: Path, labels: Sequence[str]) -> None:
    """Refuse products' folders inside another: their pictures would count as strangers.

    Raises:
        DataError: If a folder with a product's name lies in one that is no product's.
    """
    for file in found.files:
        folders = file.split("/")[:-1]
        names = [one_form(folder) for folder in folders]
        products = [number for number, name in enumerate(names) if name in labels]
        if products and products[0] > 0:
            above = "/".join(folders[: products[0]])
            raise DataError(
                f"{root}: the folder of {names[products[0]]!r} lies inside {above!r}, which is no "
                "product, so its pictures would count as strangers",
                fix=f"have the products' folders side by side in PICTURES, or give {root / above}",
            )


def _judged(
    found: PictureFiles,
    root: Path,
    session: Session,
    classifier: PrototypeClassifier,
    reading: Reading,
    bad: list[str],
) -> Iterator[Tried]:
    """Judge the pictures in folders; say which cannot be read, and which folders show strangers."""
    strange: set[str] = set()
    for file in found.files:
        folder = one_form(file.split("/")[0])
        if "/" not in file:
            continue
        if folder not in classifier.labels and folder not in strange:
            strange.add(folder)
            typer.echo(
                f"note: {folder!r} is not registered: its pictures count as strangers", err=True
            )
        try:
            (decision,) = classifier.classify(
                embed_frame(session, read_image(root / file, reading))
            )
        except ImageError as error:
            bad.append(str(error))
            typer.secho(f"skipped: {error}", err=True, fg=typer.colors.YELLOW)
            continue
        yield Tried(file, folder if folder in classifier.labels else None, decision)


def lines(done: Validation, failures: list[str], labels: tuple[str, ...]) -> list[str]:
    """Return the validation in words, a line each."""
    shares = done.shares
    told = [f"{len(done.products)} picture(s) of products, {len(done.strangers)} of strangers"]
    for what, value in (
        ("named rightly", shares.named),
        ("named as another product", shares.wrong),
        ("for review", shares.review),
        ("strangers taken for a product", shares.strangers),
    ):
        told.append(f"  {'no such pictures' if value is None else f'{100 * value:5.1f} %'}  {what}")
    for truth, row in done.confusion().items():
        for said, count in sorted(row.items(), key=lambda pair: -pair[1]):
            if said and said != truth:
                told.append(f"  {truth or 'a stranger'} taken for {said}: {count}")
    shown = {one.truth for one in done.products}
    if missing := [label for label in labels if label not in shown]:
        told.append("no pictures of " + ", ".join(map(repr, missing[:10])))
    told += [f"missed: {failure}" for failure in failures]
    return told


def _write_page(page: Path, done: Validation, failures: list[str]) -> None:
    from vision_edge.runtime.reports.pages import write_page

    confusion = done.confusion()
    answers = sorted({said for row in confusion.values() for said in row}, key=lambda x: (not x, x))
    rows = [
        [truth or "strangers", *(row.get(said, 0) for said in answers)]
        for truth, row in sorted(confusion.items(), key=lambda pair: (not pair[0], pair[0]))
    ]
    write_page(
        page,
        Path(__file__).parent / "templates" / "validation.html",
        title="Validation",
        made="vision-edge validate",
        shares=done.shares,
        explored=[done.at(rate) for rate in EXPLORED],
        answers=[said or "unknown" for said in answers],
        rows=rows,
        failures=failures,
        pictures=len(done.products),
        strangers=len(done.strangers),
    )
