"""TIFF, the microscope's own format: pages, 16 bits, and how large a pixel is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nearfar.errors import NearfarError
from nearfar.pairs.micrographs._map import Map, to_pixels

_UM_IN = {"m": 1e6, "cm": 1e4, "mm": 1e3, "um": 1.0, "µm": 1.0, "micron": 1.0, "nm": 1e-3}


def read_tiff(file: Path) -> list[Map]:
    """Every page of a TIFF as one map.

    Raises:
        NearfarError: It is no TIFF, or a page is no image; the page is named.
    """
    try:
        from tifffile import TiffFile, TiffFileError
    except ImportError as error:
        raise NearfarError(
            f"{file} is a TIFF, which tifffile reads: pip install 'nearfar[micrographs]'."
        ) from error
    maps = []
    try:
        with TiffFile(file) as tiff:
            scale, several = _um_per_pixel(tiff), len(tiff.pages) > 1
            for number, page in enumerate(tiff.pages):
                name = f"{file.name}#{number + 1}" if several else file.name
                array = page.asarray()
                # Some writers put the three colours first, as three planes.
                if array.ndim == 3 and array.shape[0] in (3, 4) and array.shape[2] > 4:
                    array = array.transpose(1, 2, 0)
                maps.append(Map(name, to_pixels(array), None, scale))
    except (TiffFileError, IndexError, TypeError) as error:
        raise NearfarError(f"{file} cannot be read as a TIFF: {error}") from error
    return maps


def _um_per_pixel(tiff: Any) -> float | None:
    """What microscopes and ImageJ write; a bare "dots per inch" is a printer's and says nothing."""
    fei, zeiss = tiff.fei_metadata, tiff.sem_metadata
    if fei and "Scan" in fei and "PixelWidth" in fei["Scan"]:
        return float(fei["Scan"]["PixelWidth"]) * 1e6
    if zeiss and "ap_pixel_size" in zeiss:
        _, value, unit = zeiss["ap_pixel_size"]
        return float(value) * _UM_IN[unit] if unit in _UM_IN else None
    unit = (tiff.imagej_metadata or {}).get("unit", "")
    resolution = tiff.pages[0].tags.get("XResolution")
    unit = unit.replace("\\u00B5", "µ")
    if unit in _UM_IN and resolution is not None and resolution.value[0]:
        pixels, units = resolution.value
        return float(units / pixels * _UM_IN[unit])
    return None
