"""A recipe's own sections of the report, kept in the run folder."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nearfar.experiment import Exhibit, Experiment
from nearfar.files import reading, replace_text
from nearfar.report._figures import INK, empty
from nearfar.report._snapshot import WRITE_AGAIN
from nearfar.train import Run


def keep_exhibits(experiment: Experiment, run: Run) -> None:
    """Write ``exhibits.json``: the recipe's remarks and sections, drawn and ready.

    Args:
        experiment: After training.
        run: Where it goes.
    """
    sections = [_section(exhibit) for exhibit in experiment.exhibits(experiment.model)]
    kept = {"remarks": list(experiment.remarks), "sections": sections}
    replace_text(run.folder / "exhibits.json", json.dumps(kept) + "\n")


def exhibits(run: Run) -> dict[str, Any]:
    """What `keep_exhibits` wrote; nothing where there is no such file."""
    path = run.folder / "exhibits.json"
    if not path.is_file():
        return {"remarks": [], "sections": []}
    with reading(path, WRITE_AGAIN):
        kept: dict[str, Any] = json.loads(path.read_text())
    return kept


def png(picture: NDArray[np.uint8]) -> str:
    """(H, W, 3) as a data address, for a page that opens offline."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _wav(sound: bytes) -> str:
    return "data:audio/wav;base64," + base64.b64encode(sound).decode()


def _section(exhibit: Exhibit) -> dict[str, Any]:
    figure = None
    if exhibit.curves:
        drawing = empty(exhibit.x, exhibit.y)
        inks = ("blue", "orange", "green", "grey")
        for number, (name, (x, y)) in enumerate(exhibit.curves.items()):
            line = {"color": INK[inks[number % 4]], "dash": "dot" if number >= 4 else "solid"}
            drawing.add_scatter(x=list(x), y=list(y), name=name, mode="lines+markers", line=line)
        figure = json.loads(drawing.to_json())
    return {
        "title": exhibit.title,
        "text": exhibit.text,
        "figure": figure,
        "picture": None if exhibit.pictures is None else png(exhibit.pictures),
        "sounds": [(_wav(sound), png(picture)) for sound, picture in exhibit.sounds],
    }
