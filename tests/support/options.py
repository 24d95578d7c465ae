"""What the test of all options needs: each command's modes, its work, and values to try."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

from vision_edge.runtime.images.camera_meter import Meters
from vision_edge.runtime.pipeline.camera_check import CameraReport
from vision_edge.runtime.provenance.record_check import RecordsFound


class Reached(Exception):
    """The work would begin now."""


STOP = {"side_effect": Reached}
CLI, KIT = "vision_edge.cli", "vision_edge.toolkit"


def gives(value: Any) -> dict[str, Any]:
    """Return how a recorder answers with a value."""
    return {"return_value": value}


# --- values --------------------------------------------------------------------------------------

FORMS: dict[Any, str] = {int: "3", float: "0.3", str: "some", Path: "b.png"}
"""A value of each type that is no option's default."""
_RECYCLED = ("recycle", "pool", "no prior", "named prior", "no steps", "recycle, test")
VALUES: dict[Any, str | list[str]] = {
    "rotate": "90", "flip": "vertical", "roi": "0,0,8,8", "backend": "opencv", "bits": "12",
    "background": "#000000", "precision_hint": "tf32", "provider": "openvino", "consensus": "votes",
    "report": "leave", "trigger": "command", "also": "1", "max_age_ms": "300", "interval": "9",
    "max_frames": "1", "prune": "1:0.5", "mean": "0.1,0.2,0.3", "std": "0.2,0.2,0.3",
    "interpolation": "bicubic", "device": "cpu", "start": "random", "method": "recycle",
    "prior": "resnet18", "batch": "3", "meta_lr": "0.001", "config": "other.toml", "way": "3",
    "frame": "640x480", "min_batch": "1", "opt_batch": "3", "max_batch": "4", "target": "triton",
    "compute_capability": "8.9", "on_conflict": "merge", "role": "engineer", "port": "9000",
    "host": "localhost", "url": "http://other:1", "seconds": "3", "against": "torch", "seed": "4",
    "plot": "chart.svg", "min_cosine": "0.5", "against_": "torch", "json_file": "out.json",
    "out": "elsewhere", "split": "val", "episodes": "9", "preset": "gpu",
    "sha256": 64 * "a", "activation": "quick_gelu", "weights_of": "grocery-*=2",
    "precision": "fp16", "views": "3", "burst": "4", "passes": "5",
    "trust": "pictures", "purposes": "records", "zip_to": "new.zip", "store": "pictures",
    "locate": "presence", "detector_score": "0.4", "detector_values": "0-255",
    "detector_colour": "bgr",
    ("run", "presence", "locate"): "detector", ("run", "detector", "locate"): "whole",
    ("run", "located", "locate"): "whole",
    ("run", "three views", "views"): "1",
    ("run", "empty"): "b.png", ("camera", "empty"): "b.png",
    ("register", "source"): "1", ("demo", "source"): "0",
    ("bench", "provider"): "cpu", ("bench", "batch"): "2", ("bench", "torch", "against"): "x",
    ("compile", "native", "target"): "tensorrt-rtx", ("compile", "target"): "tensorrt",
    ("compile", "min_batch"): ["2", "--opt-batch", "2"],
    **{("build", mode, "method"): "average" for mode in _RECYCLED},
    ("export", "triton", "target"): "onnx", ("export", "fp16", "precision"): "fp32",
    ("update", "https", "url"): "https://other:1", ("run", "interval", "trigger"): "motion",
    ("run", "command, of pictures", "trigger"): "motion",
}  # fmt: skip
"""Values by option, by command and option, or by command, mode and option."""

# --- modes ---------------------------------------------------------------------------------------

_G = ["--gallery", "G"]
_RUN = ["B", "0", *_G]
_RECYCLE = ["HUB", "--out", "OUT", "--method", "recycle"]
MODES: dict[str, dict[str, list[str]]] = {
    "run": {
        "pictures": ["B", "pictures", *_G],
        "video": ["B", "clip.mp4", *_G],
        "USB camera": _RUN,
        "stream": ["B", "rtsp://camera/1", *_G],
        "USB camera and stream": [*_RUN, "--also", "rtsp://camera/1"],
        "motion": [*_RUN, "--trigger", "motion"],
        "interval": [*_RUN, "--trigger", "interval"],
        "presence": [*_RUN, "--trigger", "presence", "--empty", "a.png"],
        "located": [*_RUN, "--locate", "presence", "--empty", "a.png"],
        "detector": [*_RUN, "--locate", "detector", "--detector", "a.png"],
        "command, of pictures": ["B", "pictures", *_G, "--trigger", "command"],
        "closed set": [*_RUN, "--closed-set"],
        "three views": [*_RUN, "--views", "3"],
        "threshold": [*_RUN, "--threshold", "0.5"],
        "expected": [*_RUN, "--expect", "bolt"],
        "rows": [*_RUN, "--jsonl", "rows"],
        "trusted": [*_RUN, "--trust", "."],
        "cpu": [*_RUN, "--provider", "cpu"],
        "cuda": [*_RUN, "--provider", "cuda"],
        "engine": [*_RUN, "--provider", "engine"],
        "triton": [*_RUN, "--provider", "triton://host:1/model"],
    },
    "register": {
        "files": ["B", "bolt", "a.png", *_G],
        "folder, cut out": ["B", "bolt", "pictures", *_G, "--empty", "a.png"],
        "USB camera": ["B", "bolt", *_G, "--source", "0"],
        "stream": ["B", "bolt", *_G, "--source", "rtsp://camera/1"],
        "video": ["B", "bolt", *_G, "--source", "clip.mp4"],
        "detector": ["B", "bolt", "a.png", *_G, "--detector", "a.png"],
        "burst": ["B", "bolt", *_G, "--source", "0", "--burst", "2"],
        "catalogue": ["B", "bolt", "a.png", *_G, "--catalogue"],
        "negative": ["B", "bolt", "a.png", *_G, "--negative"],
        "trusted": ["B", "bolt", "a.png", *_G, "--trust", "."],
        "nothing at all": ["B", "*", "a.png", *_G, "--negative"],
        "cpu": ["B", "bolt", "a.png", *_G, "--provider", "cpu"],
    },
    "camera": {
        "pictures": ["pictures"],
        "video": ["clip.mp4"],
        "USB camera": ["0"],
        "stream": ["rtsp://camera/1"],
    },
    "serve": {
        "flags": ["B", "0", *_G],
        "file": ["--config", "station.toml"],
        "file and flags": ["B", "--config", "station.toml"],
    },
    "gallery list": {"only": _G},
    "gallery show": {"all": [*_G, "--out", "O"], "one": ["bolt", *_G, "--out", "O"]},
    "gallery check": {"only": ["B", *_G], "trusted": ["B", *_G, "--trust", "."]},
    "gallery cohort": {"only": _G},
    "validate": {
        "only": ["B", "pictures", *_G],
        "trusted": ["B", "pictures", *_G, "--trust", "."],
    },
    "gallery drop": {"only": ["1", *_G]},
    "gallery remove": {"only": ["bolt", *_G]},
    "gallery rename": {"only": ["bolt", "nut", *_G]},
    "gallery history": {"only": _G},
    "gallery rollback": {"only": ["1", *_G]},
    "gallery reembed": {"only": ["B", *_G], "trusted": ["B", *_G, "--trust", "."]},
    "gallery export": {
        "only": [*_G, "--out", "O"],
        "signed": [*_G, "--out", "O", "--sign", "a.png"],
    },
    "gallery import": {
        "as it is": ["A", *_G],
        "anew": ["A", *_G, "--bundle", "B"],
        "trusted": ["A", *_G, "--trust", "."],
    },
    "keys new": {"plain": ["N"], "encrypted": ["N", "--encrypt"]},
    "keys show": {"only": ["K.pub"]},
    "keys trust": {
        "public": ["K.pub", "--store", "S"],
        "endorsed": ["K.json", "--store", "S"],
    },
    "keys endorse": {"only": ["K.pub", "--key", "K", "--out", "O.json"]},
    "keys revoke": {"only": ["K", "--store", "S"]},
    "keys list": {"only": ["--store", "S"]},
    "records verify": {"file": ["a.png", "--trust", "S"], "folder": ["pictures", "--trust", "S"]},
    "sign": {"folder": ["pictures", "--key", "K"], "archive": ["a.png", "--key", "K"]},
    "verify": {"folder": ["pictures", "--trust", "S"], "archive": ["a.png", "--trust", "S"]},
    "compile": {
        "native": ["B", "--target", "tensorrt"],
        "rtx here": ["B", "--target", "tensorrt-rtx"],
        "elsewhere": ["B", "--compute-capability", "8.6"],
    },
    "update": {
        "take": ["B"],
        "undo": ["--undo"],
        "https": ["B", "--station", "https://h:1"],
    },
    "user add": {"only": ["anna", "--file", "U"]},
    "user remove": {"only": ["anna", "--file", "U"]},
    "user list": {"only": ["--file", "U"]},
    "user token": {"only": ["plc", "--file", "U"]},
    "demo": {"rendered": [], "camera": ["--source", "1"]},
    "bench": {"alone": [], "torch": ["--against", "torch"]},
    "doctor": {"machine": [], "bundle": ["B"]},
    "assets": {"only": []},
    "tune": {"only": ["D", "--out", "OUT"]},
    "build": {
        "average": ["HUB", "--out", "OUT"],
        "recycle": _RECYCLE,
        "pool": [*_RECYCLE, "--pool", "P"],
        "no prior": [*_RECYCLE, "--prior", "none"],
        "named prior": [*_RECYCLE, "--prior", "resnet34"],
        "no steps": [*_RECYCLE, "--meta-steps", "0"],
        "recycle, test": [*_RECYCLE, "--test", "D"],
        "average, test": ["HUB", "--out", "OUT", "--test", "D"],
    },
    "evaluate": {
        "backbone": ["D"],
        "bundle": ["D", "--bundle", "B"],
        "both": ["D", "--bundle", "B", "--adapter", "A"],
    },
    "export": {
        "onnx": ["--out", "OUT"],
        "adapter": ["--out", "OUT", "--adapter", "A"],
        "pictures": ["--out", "OUT", "--images", "I", "--gate-data", "D"],
        "fp16": ["--out", "OUT", "--precision", "fp16"],
        "int8": ["--out", "OUT", "--precision", "int8", "--calibrate", "C"],
        "tensorrt": ["--out", "OUT", "--target", "tensorrt"],
        "tensorrt-rtx": ["--out", "OUT", "--target", "tensorrt-rtx"],
        "triton": ["--out", "OUT", "--target", "triton"],
        "npu": ["--out", "OUT", "--target", "npu"],
        "half weights": ["--out", "OUT", "--half-weights"],
        "signed": ["--out", "OUT", "--sign", "a.png"],
    },
}
"""By command, what selects each way in which it works."""

# --- work ----------------------------------------------------------------------------------------


def _verdicts(*_: Any, statistics: Any, **__: Any) -> Any:
    for _ in range(2):
        statistics.frames += 1
        yield MagicMock(), MagicMock()


_OPENED = {
    "version": 1,
    "state.return_value": {"bolt": [1], "nut": [2]},
    "model.fingerprint": "fingerprint",
    "events.return_value": [],
}
_GALLERY = {f"return_value.__enter__.return_value.{name}": value for name, value in _OPENED.items()}

_SESSION = {f"{CLI}.{{}}.load_bundle": {}, f"{CLI}.{{}}.open_session": {}}
_BACKBONE = SimpleNamespace(model=SimpleNamespace(blocks=[0, 0]), name="tiny", spec=None, notes=())
_LOADED = {f"{KIT}.backbones.backbone.load_backbone": gives(_BACKBONE)}
_GALLERIES = {
    f"{CLI}.gallery.Gallery": _GALLERY,
    f"{CLI}.gallery.GalleryReader": _GALLERY,
}
_ARCHIVES = "vision_edge.runtime.gallery"
_ANNA = SimpleNamespace(user=SimpleNamespace(role="operator"))
_USERS = {
    f"{CLI}.user.read_accounts": {"side_effect": lambda _: {"anna": _ANNA}},
    f"{CLI}.user.write_accounts": {},
    f"{CLI}.user.hashed": gives("hash"),
    f"{CLI}.user._password": gives("secret"),
    "secrets.token_urlsafe": gives("token"),
}
_PAIR = MagicMock(**{"public.keyid": "id", "keyid": "id", "public.to_pem.return_value": "pem"})
_TRUSTED = MagicMock(
    **{
        "model_dump.return_value": {},
        "never.return_value": "",
        "not_now.return_value": "",
        "keyid": "id",
    }
)
_SIGNED = MagicMock(**{"artifact.model_dump.return_value": {}, "key.keyid": "id", "notes": ()})
_SIGNED.key.name, _SIGNED.statement.files, _SIGNED.statement.subject = "n", {}, ()
_RECORDS = RecordsFound(Path("r.jsonl"), sealed=MagicMock(), key=MagicMock(keyid="id"))
_RECORDS.sealed.model_dump.return_value = {}
_KEYS = {
    f"{CLI}.keys.PrivateKey": {"new.return_value": _PAIR},
    f"{CLI}.keys.PublicKey": {},
    f"{CLI}.keys.TrustStore": {
        "return_value.keys.return_value": [_TRUSTED],
        **{
            f"return_value.{name}.return_value": _TRUSTED
            for name in ("trust", "revoke", "take_endorsed")
        },
    },
    f"{CLI}.keys.private_key": gives(_PAIR),
    f"{CLI}.keys.endorsed": {"return_value.to_bytes.return_value": b"{}"},
    f"{CLI}.keys.passphrase": gives(b"secret"),
    f"{CLI}.keys.write_new": {},
    f"{CLI}.keys._bytes": gives(b"{}"),
    f"{CLI}.keys.Envelope": {},
}
_DOCUMENT = {
    "failed": [], "results": [1], "date": "2026-01-01T00", "data": "D",
    "machine": {"cpu_cores": 2, "architecture": "x"},
}  # fmt: skip
_RUN_WORK = (
    "_introduce", "CurrentClassifier", "open_sources", "PacedSource", "ViewedSource",
    "taken", "Sinks", "summarise", "write_counts", "collecting",
)  # fmt: skip
_SINKS = ("JsonlSink", "RotatingJsonlSink", "CsvSink", "annotated_sink", "ReviewSink")
_REGISTER = (
    "read_picture", "snapshot_from", "refuse", "open_source", "take_frame",
    "_viewed", "_refuse_lookalikes", "take_burst", "worth_keeping",
    "read_catalogue_picture", "Gallery", "taken",
)  # fmt: skip
_CAMERA_REPORT = CameraReport(
    640, 480, 2, 10.0, Meters(0.4, 200.0, 20.0, 0.0, 0.0), 0.4, None, False, 0.0, None, None, ()
)
WORK: dict[str, dict[str, dict[str, Any]]] = {
    "run": {
        **{name.format("run"): answer for name, answer in _SESSION.items()},
        **{f"{CLI}.run.{name}": {} for name in _RUN_WORK},
        **{f"{CLI}.run_sinks.{name}": {} for name in _SINKS},
        f"{CLI}.run._line": gives("line"),
        f"{CLI}.locating.presence_of": {},
        f"{CLI}.locating.Detector": {},
        f"{CLI}.run.verdicts": {"side_effect": _verdicts},
        f"{CLI}.run.part_verdicts": {"side_effect": _verdicts},
        f"{CLI}.run.located_verdicts": {"side_effect": _verdicts},
    },
    "register": {
        **{name.format("register"): answer for name, answer in _SESSION.items()},
        **{f"{CLI}.register.{name}": {} for name in _REGISTER},
        f"{CLI}.locating.presence_of": {},
        f"{CLI}.locating.Detector": {},
        f"{CLI}.register.images_in": gives(([Path("a.png")], MagicMock())),
        "typer.prompt": {},
    },
    "camera": {
        f"{CLI}.camera.presence_of": {},
        f"{CLI}.camera.open_source": {},
        f"{CLI}.camera.ViewedSource": {},
        f"{CLI}.camera._measured": gives(_CAMERA_REPORT),
    },
    "serve": {"vision_edge.station.server.run_server": {}},
    "gallery import": {
        f"{_ARCHIVES}.archive_import.import_archive": {},
        f"{CLI}.gallery._reembedding": {},
        f"{CLI}.gallery.taken": {},
    },
    "gallery export": {
        **_GALLERIES,
        f"{_ARCHIVES}.archive.write_archive": {},
        f"{CLI}.gallery.private_key": {},
        f"{CLI}.gallery.said": gives("said"),
        "vision_edge.runtime.provenance.signing.sign_file": {},
        "vision_edge.runtime.system.files.sha256_file": {},
    },
    **{f"keys {name}": _KEYS for name in ("new", "show", "trust", "endorse", "revoke", "list")},
    "sign": {
        f"{CLI}.sign.private_key": {},
        f"{CLI}.sign.sign_file": gives(_SIGNED.artifact),
        f"{CLI}.sign.sign_folder": gives(_SIGNED.artifact),
        f"{CLI}.sign._pack": {},
        f"{CLI}.sign.said": gives("said"),
        "vision_edge.runtime.bundles.bundle.load_bundle": {
            "return_value.manifest.name": "tiny",
        },
        f"{_ARCHIVES}.archive.open_archive": {},
    },
    "records verify": {
        f"{CLI}.records.TrustStore": {},
        f"{CLI}.records.check_records": gives(_RECORDS),
        f"{CLI}.records.check_folder": gives([_RECORDS]),
    },
    "verify": {
        f"{CLI}.verify.TrustStore": {},
        f"{CLI}.verify._checked": gives(_SIGNED),
        f"{CLI}.verify.told": gives("told"),
    },
    "compile": {
        f"{CLI}.compile.load_bundle": {},
        f"{CLI}.compile._gpu": gives(SimpleNamespace(compute_capability="8.9")),
        "vision_edge.runtime.inference.tensorrt.compiling.compile_bundle": gives(
            SimpleNamespace(
                new=True,
                refused={},
                record=SimpleNamespace(bytes=1, key=SimpleNamespace(name="key")),
            )
        ),
        f"{CLI}.compile._check": {},
    },
    "update": {
        f"{CLI}.update._Station": {
            "return_value.call.return_value": {"state": "accepted", "text": "t", "error": None}
        }
    },
    "demo": {
        "vision_edge.demo.camera_demo.run_camera_demo": gives({}),
        "vision_edge.demo.rendered_demo.run_demo": gives({}),
        f"{CLI}.demo._report": gives("report"),
    },
    "bench": {
        f"{CLI}.bench._known": gives([{"label": "tiny", "path": Path("B")}]),
        f"{CLI}.bench._measured": gives(_DOCUMENT),
        "vision_edge.bench.report.show": {},
        "vision_edge.bench.chart.chart": {},
    },
    "doctor": {
        f"{CLI}.doctor.examine": gives([]),
        "vision_edge.doctor.inputs.check_bundle": gives(([], None)),
        "vision_edge.doctor.inputs.check_gallery": gives([]),
    },
    "tune": {
        **_LOADED,
        f"{KIT}.data.dataset.open_dataset": {},
        f"{KIT}.cli.tune.chosen_device": {},
        f"{KIT}.tuning.tune.tune_hub": gives([]),
    },
    "build": {
        **_LOADED,
        f"{KIT}.cli.build_recycle.load_prior": {},
        f"{KIT}.cli.build_recycle.sample_of": {},
        f"{KIT}.cli.build_recycle.existing_pool": {},
        f"{KIT}.data.dataset.open_dataset": {},
        f"{KIT}.cli.build_recycle.chosen_device": gives("cpu"),
        f"{KIT}.recycle.building.build_average": STOP,
        f"{KIT}.cli.build_recycle.build_recycled": STOP,
    },
    "evaluate": {
        f"{KIT}.cli.evaluate.{name}": {}
        for name in ("open_dataset", "open_session", "load_bundle", "_with_adapters")
    },
    "export": {
        **_LOADED,
        f"{KIT}.exporting.export_backbone": {},
        f"{KIT}.export_images.calibration_images": gives(SimpleNamespace(images=[0] * 20)),
        f"{KIT}.export_images.told_images": gives([]),
        f"{KIT}.export_images.gate_data": {},
        f"{KIT}.cli.export.check_target": {},
        f"{KIT}.cli.export.write_target": {},
        f"{KIT}.cli.export._summary": gives("summary"),
        f"{KIT}.cli.export.private_key": {},
        f"{CLI}.sign.sign_bundle": {},
        f"{KIT}.cli.export.signed_as": gives("signed"),
        f"{KIT}.cli.export._evaluation": {},
    },
}
"""By command, the functions that do its work, and what they give back."""
WORK["evaluate"].update(
    {
        f"{KIT}.cli.evaluate.run_evaluation": {},
        f"{KIT}.cli.evaluate.to_document": gives(_DOCUMENT),
        f"{KIT}.cli.evaluate._table": gives("table"),
        f"{KIT}.cli.evaluate.chart": {},
        f"{KIT}.cli.evaluate.chosen_device": gives("cpu"),
    }
)
WORK.update({f"user {name}": _USERS for name in ("add", "remove", "list", "token")})
WORK.update(
    {
        f"gallery {name}": _GALLERIES
        for name in ("list", "show", "drop", "remove", "rename", "history", "rollback")
    }
)
WORK["gallery check"] = {
    f"{CLI}.gallery.tell": {},
    f"{CLI}.gallery.Gallery": _GALLERY,
    "vision_edge.runtime.bundles.bundle.load_bundle": {},
    f"{CLI}.gallery.checked_gallery": {"return_value.snapshots": ()},
    "vision_edge.runtime.recognition.gallery_check.check_document": gives({}),
    f"{CLI}.gallery_check.lines": gives(["line"]),
}
WORK["gallery cohort"] = {
    **_GALLERIES,
    f"{CLI}.gallery_cohort.document": gives({}),
    f"{CLI}.gallery_cohort.lines": gives(["line"]),
}
WORK["validate"] = {
    f"{CLI}.validate.tell": {},
    f"{CLI}.validate.load_bundle": {},
    f"{CLI}.validate.open_session": {},
    f"{CLI}.validate.Gallery": _GALLERY,
    f"{CLI}.validate.classifier_for": {},
    f"{CLI}.validate._found": gives(
        SimpleNamespace(files=[], passed_over=SimpleNamespace(document=dict))
    ),
    f"{CLI}.validate._judged": gives(["tried"]),
    f"{CLI}.validate.Validation": {"return_value.failures.return_value": []},
    f"{CLI}.validate.validation_document": gives({}),
    f"{CLI}.validate.lines": gives(["line"]),
    f"{CLI}.validate._write_page": {},
}
WORK["gallery reembed"] = {**_GALLERIES, f"{CLI}.gallery._reembedding": {}}
WORK["gallery show"] = {
    **_GALLERIES,
    f"{CLI}.gallery._write_snapshots": {},
    f"{CLI}.gallery._write_sheets": {},
}
