"""What a station is attached to: the plant's wires, and the line that shares its gallery."""

from __future__ import annotations

from vision_edge.station.core.station import Station
from vision_edge.station.core.wire import Wire
from vision_edge.station.fleet.host import line_wire
from vision_edge.station.wires import About, make_wires


def wires_of(station: Station) -> list[Wire]:
    """Return the wires that a station's settings ask for, not started.

    Raises:
        VisionEdgeError: If a wire lacks what it needs: a package, a file, a broker.
    """
    settings = station.settings
    names = [source.name for source in settings.sources]
    line = line_wire(station)
    commanded = [source.name for source in settings.sources if source.trigger == "command"]
    about = About(
        commanded,
        station.codes,
        products=lambda: _products(station),
        configuration=lambda: station.session.bundle.manifest.identity.fingerprint,
    )
    wires = make_wires(settings, station.name, settings.state_dir, names, about)
    return wires if line is None else [*wires, line]


def _products(station: Station) -> tuple[str, ...]:
    classifier = station.products.model.classifier
    return () if classifier is None else tuple(classifier.labels)
