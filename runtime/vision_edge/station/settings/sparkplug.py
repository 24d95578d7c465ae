"""Settings of the section `[sparkplug]`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from vision_edge.station.settings.connections import BrokerSettings


def sparkplug_id(name: str) -> str:
    """Return a group's, node's, device's or host's id, if it may be a level of a topic.

    Raises:
        ValueError: If it holds `/`, `+`, `#` or a control sign (Sparkplug 3.0, section 4.1).
    """
    wrong = sorted({sign for sign in name if sign in "/+#" or not sign.isprintable()})
    if wrong:
        raise ValueError(f"a Sparkplug id must not hold {' '.join(map(repr, wrong))}")
    return name


def _group(name: str) -> str:
    if name == "STATE":
        raise ValueError('no group may be called "STATE": hosts publish there')
    return name


SparkplugId = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(sparkplug_id)]


class SparkplugSettings(BrokerSettings):
    """The section `[sparkplug]`: besides a broker's keys, as `BrokerSettings` has them, these.

    Attributes:
        group_id: The group of edge nodes that the station belongs to.
        node_id: The station's name as an edge node, unique in its group; the station's name where
            none is given.
        primary_host: Id of the host application without which nothing is told: verdicts wait on
            disk while it is offline. None: they are published whoever listens.
        host_wait_s: Seconds that the station waits on a new connection for a primary host to come
            back whose `STATE` is one that it has seen before: a broker that was killed keeps it.
        aliases: Metrics in data go by number, as births say; False: by name.
        triggers: Take the command to judge a part now.
        expect: Take which product a source should show; off, since it changes what verdicts say.
        resets: Take commands to count parts anew; whoever may publish there may then reset.
    """

    section: ClassVar[str] = "sparkplug"

    group_id: Annotated[SparkplugId, AfterValidator(_group)] = "vision-edge"
    node_id: SparkplugId | None = None
    primary_host: SparkplugId | None = None
    host_wait_s: float = Field(30.0, ge=0, le=3600, allow_inf_nan=False)
    aliases: bool = True
    triggers: bool = True
    expect: bool = False
    resets: bool = False
