"""What the report of a micrograph run shows, and what a person should know of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from nearfar.experiment import Exhibit
from nearfar.model import Model
from nearfar.pairs import Inputs
from nearfar.pairs.micrographs import MicrographReader, Places, TurnedPairs, Window

_TURNING = ("ipf_x", "ipf_y", "euler")


def remarks(places: Places, pairs: TurnedPairs, channel: str | None, held: bool) -> list[str]:
    """Sentences about scale, copies, colours that turn, and what the table is about.

    Args:
        places: What training looks at.
        pairs: The same, with its ids.
        channel: The channel, if one was named.
        held: A map is held out.
    """
    out = []
    maps = [places.maps[number] for number in sorted(set(places.number.tolist()))]
    scales = {one.um_per_pixel for one in maps}
    if scales != {None}:
        known = ", ".join(f"{one.name} {one.um_per_pixel or '?'}" for one in maps[:8])
        out.append(f"Micrometres a pixel: {known}{', ...' if len(maps) > 8 else ''}.")
    copies = len(pairs) - len(set(pairs.ids.tolist()))
    if copies:
        out.append(f"{copies} of {len(pairs)} places are copies; copies are never negatives.")
    if channel is not None and channel.startswith(_TURNING):
        out.append(
            f"channel={channel}: these colours refer to the specimen's frame. When the specimen "
            "turns they change, so a turned picture is not what a microscope would give; ipf_z is."
        )
    if not held:
        out.append("The table is about places that training has seen; --hold_out MAP mends that.")
    return out


def exhibits(inputs: Inputs, model: Model) -> list[Exhibit]:
    """A grain at 12 angles, its neighbours, clusters, and cosine against angle.

    Args:
        inputs: Places to show: those of the map that was held out, where there is one.
        model: The trained one.
    """
    reader = model.reader
    assert isinstance(reader, MicrographReader)
    chosen = np.unique(np.linspace(0, len(inputs.items) - 1, 200).round().astype(int))
    windows = [inputs.items[row] for row in chosen]
    vectors = model.embed(windows)
    return [
        _curve(model, reader, windows[:100]),
        _angles(model, reader, windows),
        _neighbours(reader, windows, vectors),
        _clusters(reader, windows, vectors),
    ]


def cosine_at(
    model: Model, windows: list[Window], angles: list[float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cosines between places and themselves turned, and between different places.

    Args:
        model: The trained one, whose reader is a `MicrographReader`.
        windows: N places.
        angles: A angles from the first view to the second, in degrees.

    Returns:
        (A, N) of the same places and (A, N, N - 1) of different ones.
    """
    reader = model.reader
    assert isinstance(reader, MicrographReader)
    first = model.embed(windows)
    off = ~np.eye(len(windows), dtype=bool)
    same, other = [], []
    for angle in angles:
        turned = model.embed([reader.turned(w, w.angle + angle) for w in windows])
        cosine = turned @ first.T
        same.append(np.diag(cosine))
        other.append(cosine[off].reshape(len(windows), -1))
    return np.stack(same), np.stack(other)


def _curve(model: Model, reader: MicrographReader, windows: list[Window]) -> Exhibit:
    angles = [float(angle) for angle in range(0, 361, 15)]
    same, other = cosine_at(model, windows, angles)
    lines = {
        "same place, mean": same.mean(1),
        "same place, 5th percentile": np.percentile(same, 5, axis=1),
        "different places, mean": other.mean((1, 2)),
        "different places, 95th percentile": np.percentile(other, 95, axis=(1, 2)),
    }
    return Exhibit(
        title="Cosine against angle",
        text="The upper lines should stay near 1 at every angle, and the lower ones well below: an "
        "encoder that has collapsed keeps all four at 1.",
        curves={name: (angles, [float(value) for value in line]) for name, line in lines.items()},
        x="angle between the two views in degrees",
        y="cosine",
    )


def _angles(model: Model, reader: MicrographReader, windows: list[Window]) -> Exhibit:
    some = windows[:: max(1, len(windows) // 4)][:4]
    rows = [[reader.turned(w, w.angle + 30 * turn) for turn in range(12)] for w in some]
    cosines = []
    for row in rows:
        vectors = model.embed(row)
        cosines.append(float((vectors @ vectors.T).min()))
    return Exhibit(
        title="A place at 12 angles",
        text="Each row is one place, turned by 30 degrees from picture to picture. The lowest "
        f"cosine between two pictures of a row: {', '.join(f'{c:.3f}' for c in cosines)}.",
        pictures=_grid(reader, rows),
    )


def _neighbours(
    reader: MicrographReader, windows: list[Window], vectors: NDArray[np.float32]
) -> Exhibit:
    rows = list(range(0, len(windows), max(1, len(windows) // 6)))[:6]
    nearest = np.argsort(-(vectors[rows] @ vectors.T), axis=1)[:, :9]
    return Exhibit(
        title="Neighbours",
        text="The first picture of each row, and the eight other places that lie nearest to it.",
        pictures=_grid(reader, [[windows[column] for column in row] for row in nearest]),
    )


def _clusters(
    reader: MicrographReader, windows: list[Window], vectors: NDArray[np.float32]
) -> Exhibit:
    from sklearn.cluster import KMeans

    found = KMeans(min(6, len(windows)), n_init=5, random_state=0).fit(vectors)
    near = found.transform(vectors)
    rows = []
    for cluster in range(found.n_clusters):
        members = np.flatnonzero(found.labels_ == cluster)
        members = members[near[members, cluster].argsort()][:12]
        rows.append([windows[row] for row in members])
    return Exhibit(
        title="Clusters",
        text="k-means with six clusters: each row holds places of one, the most typical first. "
        "ARI and NMI in the table ask whether views of one place fall into one cluster.",
        pictures=_grid(reader, rows),
    )


def _grid(reader: MicrographReader, rows: list[list[Window]]) -> NDArray[np.uint8]:
    """Pictures in rows, each twice as large, with a gap between them."""
    width = max(len(row) for row in rows)
    flat = [window for row in rows for window in row]
    pictures = reader.pictures(flat).numpy().repeat(2, 1).repeat(2, 2)
    side = pictures.shape[1] + 4
    out = np.full((len(rows) * side, width * side, 3), 255, np.uint8)
    number = 0
    for top, row in enumerate(rows):
        for left in range(len(row)):
            y, x = top * side + 2, left * side + 2
            out[y : y + side - 4, x : x + side - 4] = pictures[number]
            number += 1
    return out
