"""EBSD maps by orix: inverse pole figure colours, and grains from the misorientation."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from nearfar.errors import NearfarError
from nearfar.pairs.micrographs._map import Map, to_pixels

_DIRECTIONS = {"ipf_x": (1, 0, 0), "ipf_y": (0, 1, 0), "ipf_z": (0, 0, 1)}
# What vendors call the quality of a pattern: band contrast, image quality, band slope.
_QUALITY = ("bc", "iq", "BC", "IQ", "ImageQuality", "bs", "band_contrast")
_UM_IN = {"um": 1.0, "µm": 1.0, "nm": 1e-3, "mm": 1e3}
# Neighbours that are turned against each other by less than this are one grain.
_BOUNDARY_DEGREES = 5.0


def read_ebsd(file: Path, channel: str | None) -> list[Map]:
    """One map of an .ang, .ctf or HDF5 file, with its grains.

    Args:
        file: What `orix.io.load` reads.
        channel: ``quality`` (by default), ``ipf_z``, ``ipf_x``, ``ipf_y`` or ``shape``. IPF-Z is
            the only colour that an in-plane rotation of the specimen leaves as it is.

    Raises:
        ImportError: orix is not installed.
        NearfarError: orix cannot read the file, or it has no such channel.
    """
    try:
        from orix import io
    except ImportError as error:
        raise ImportError(
            "EBSD files are read by orix: pip install 'nearfar[ebsd]', or hand over an .npz "
            "with the arrays 'image' and 'grain'."
        ) from error
    try:
        with warnings.catch_warnings():
            # Its remarks on files (names it makes up, empty tables) are none of the user's errors.
            warnings.simplefilter("ignore")
            scan = io.load(str(file))
            grains = _grains(scan)
    except Exception as error:  # its parsers raise whatever a broken file leads them to
        raise NearfarError(f"{file} cannot be read by orix: {error}") from error
    if channel == "shape":
        pixels = torch.from_numpy(grains)[None]
    elif channel in _DIRECTIONS:
        pixels = to_pixels(_colours(scan, _DIRECTIONS[channel]))
    else:
        pixels = to_pixels(_quality(scan, channel))
    unit = _UM_IN.get(scan.scan_unit)
    kinds: dict[int, str] = {}
    if sum(number >= 0 for number in scan.phases.ids) > 1:
        phase = _picture(scan, scan.phase_id)
        first = {number: row for row, number in reversed(list(enumerate(grains.ravel())))}
        kinds = {
            int(grain): scan.phases[int(phase.ravel()[row])].name
            for grain, row in first.items()
            if grain >= 0
        }
    um = float(scan.dx) * unit if unit else None
    return [Map(file.name, pixels, torch.from_numpy(grains), um, kinds)]


def _picture(scan: Any, values: NDArray[np.generic], fill: float = 0) -> NDArray[np.generic]:
    """Values of the points to (H, W, ...); ``fill`` where there is no point."""
    picture: NDArray[np.generic] = scan.get_map_data(values, fill_value=fill)
    return picture


def _quality(scan: Any, channel: str | None) -> NDArray[np.float32]:
    wanted = _QUALITY if channel in (None, "quality", "image") else (channel,)
    name = next((name for name in wanted if name in scan.prop), None)
    if name is None:
        raise NearfarError(
            f"channel={channel!r}: wanted one of ipf_z, ipf_x, ipf_y, shape, "
            f"{', '.join(sorted(scan.prop))}."
        )
    return _picture(scan, np.asarray(scan.prop[name], np.float32)).astype(np.float32)


def _colours(scan: Any, direction: tuple[int, int, int]) -> NDArray[np.uint8]:
    from orix.plot import IPFColorKeyTSL
    from orix.vector import Vector3d

    colours = np.zeros((scan.size, 3))
    for number in scan.phases.ids:
        rows = scan.phase_id == number
        if number >= 0 and rows.any():
            key = IPFColorKeyTSL(scan.phases[number].point_group, Vector3d(direction))
            colours[rows] = key.orientation2color(scan[rows].orientations)
    picture = _picture(scan, colours)
    return (picture.astype(np.float64) * 255).round().astype(np.uint8)


def _grains(scan: Any) -> NDArray[np.int32]:
    """(H, W) connected regions of one phase without a boundary inside; -1 where not indexed."""
    from orix.quaternion import Orientation
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    phase = _picture(scan, scan.phase_id, -1).astype(np.int64)
    point = _picture(scan, np.arange(scan.size), -1).astype(np.int64)
    number = np.arange(phase.size).reshape(phase.shape)
    joined = []
    for a, b in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        for kind in np.unique(phase[phase >= 0]):
            same = (phase[a] == kind) & (phase[b] == kind)
            one, other = (
                Orientation(
                    scan.rotations.data[point[side][same]], scan.phases[int(kind)].point_group
                )
                for side in (a, b)
            )
            near = np.rad2deg(one.angle_with(other)) < _BOUNDARY_DEGREES
            joined.append(np.stack([number[a][same][near], number[b][same][near]]))
    rows, columns = np.concatenate(joined, 1) if joined else np.zeros((2, 0), np.int64)
    links = coo_array((np.ones(len(rows)), (rows, columns)), shape=(phase.size, phase.size))
    grains = connected_components(links, directed=False)[1].reshape(phase.shape)
    return np.where(phase < 0, -1, grains).astype(np.int32)
