"""What the API tells of how good a station is: the check, validation, and another rate's effect."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vision_edge.station.http.api.models import Answer, Asked

Rate = Annotated[float, Field(ge=1e-6, le=0.5, examples=[0.02])]


class RateAsked(Asked):
    """The share of strangers that may pass for a product from now on."""

    false_accept_rate: Rate


class SaidCounts(Answer):
    """Of how many of the station's own pictures each would be said."""

    named: int = Field(description="Rightly named.", examples=[31])
    wrong: int = Field(description="Named as another product.", examples=[0])
    stranger: int = Field(
        description="Taken for a product, though a person said that they are none.", examples=[1]
    )
    review: int = Field(examples=[6])
    unknown: int = Field(examples=[2])


SaidWord = Literal["named", "wrong", "stranger", "review", "unknown"]


class Flip(Answer):
    """A picture of which something else would be said."""

    snapshot: int = Field(examples=[17])
    product: str | None = Field(description="Null: it is no product.", examples=["bolt M8"])
    nearest: str = Field(examples=["bolt M8"])
    reviewed: bool = Field(description="Whether a person decided on it in the review.")
    now: SaidWord
    then: SaidWord


class RateEffect(Answer):
    """What another share of strangers would change, on the station's own pictures.

    Each was left out and judged by the others: registered snapshots of products that have several,
    and what a person said is no product.
    """

    pictures: int = Field(examples=[40])
    reviewed: int = Field(description="Of those, decided on in the review.", examples=[12])
    now: SaidCounts
    then: SaidCounts
    flips: list[Flip] = Field(description="The first hundred, the reviewed first.")
    more_flips: int = Field(description="Those that are not listed.", examples=[0])


class CheckedSnapshot(Answer):
    """A snapshot that looks wrong."""

    snapshot: int = Field(examples=[17])
    product: str = Field(examples=["bolt M8"])
    nearest: str = Field(examples=["bolt M6"])
    score: float | None = Field(description="Likeness to its product's others.", examples=[0.31])
    other: float | None = Field(description="Likeness to the nearest other.", examples=[0.77])


class TakenFor(Answer):
    """Snapshots of one product that would be taken for another."""

    product: str = Field(examples=["bolt M8"])
    taken_for: str = Field(examples=["bolt M6"])
    snapshots: int = Field(examples=[2])


class CheckAnswer(Answer):
    """What the registered snapshots say of the gallery, each left out once."""

    version: int = Field(examples=[13])
    false_accept_rate: float = Field(examples=[0.05])
    products: int = Field(examples=[3])
    snapshots: int = Field(examples=[9])
    looked_at: int = Field(description="Of very many an even choice.", examples=[9])
    named: float | None = Field(
        description="Foretold share of parts that will be named; null if no product has two.",
        examples=[0.83],
    )
    by_product: dict[str, float] = Field(examples=[{"bolt M8": 0.67}])
    one_snapshot: list[str] = Field(description="Of which nothing can be told.", examples=[[]])
    taken_for: list[TakenFor]
    mislabelled: list[CheckedSnapshot] = Field(description="Look like another product.")
    odd: list[CheckedSnapshot] = Field(description="Unlike the others of their product.")


class AnswerCount(Answer):
    """How many pictures that show one thing were called another."""

    shows: str | None = Field(description="Null: a stranger.", examples=["bolt M8"])
    said: str | None = Field(description="Null: unknown.", examples=["bolt M8"])
    pictures: int = Field(examples=[12])


class RateShares(Answer):
    """What comes of a rate; null where there are no such pictures."""

    rate: float = Field(examples=[0.05])
    named: float | None = Field(examples=[0.9])
    wrong: float | None = Field(examples=[0.02])
    review: float | None = Field(examples=[0.06])
    strangers: float | None = Field(examples=[None])


class TriedPicture(Answer):
    """What was said of one labelled picture."""

    name: str = Field(examples=["snapshot 17"])
    shows: str | None = Field(examples=["bolt M8"])
    said: str | None = Field(examples=["bolt M8"])
    nearest: str = Field(examples=["bolt M8"])
    rate: float | None = Field(examples=[0.002])


class ValidationAnswer(Answer):
    """Labelled pictures, judged by the products as they are now."""

    version: int = Field(examples=[13])
    false_accept_rate: float = Field(examples=[0.05])
    pictures: int = Field(description="Of products.", examples=[20])
    strangers: int = Field(examples=[0])
    notes: list[str] = Field(description="What a person should know of it.", examples=[[]])
    shares: RateShares
    answers: list[AnswerCount] = Field(description="The confusion matrix, without its zeros.")
    rates: list[RateShares] = Field(description="What would come of other rates.")
    tried: list[TriedPicture] = Field(description="The first thousand pictures.")
