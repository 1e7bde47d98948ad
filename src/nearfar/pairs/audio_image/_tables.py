"""Times, devices, places and labels from tables: plain CSV and Camtrap DP."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path

from nearfar.errors import NearfarError
from nearfar.pairs.audio_image._stamps import parse


@dataclass(frozen=True)
class Entry:
    """What a table says of a file; empty where it says nothing.

    Attributes:
        stamp: Seconds since 1970, by the device's own clock.
        device: Whose clock.
        site: Where; only what is at one site can be a pair.
        label: For evaluation only.
    """

    stamp: float
    device: str = ""
    site: str = ""
    label: str = ""


class Times:
    """Every stamp that tables hold, by the name of the file.

    Args:
        path: A CSV with the columns ``file`` and ``time``, and any of ``device``, ``site`` and
            ``label``; a Camtrap DP folder (media.csv, deployments.csv, observations.csv); or a
            folder of such CSVs. None for no table.
        zone: Of stamps that name none.

    Raises:
        NearfarError: There is no such table, it lacks a column, or a stamp cannot be read.
    """

    def __init__(self, path: str | Path | None, zone: tzinfo) -> None:
        self._zone = zone
        self._by_name: dict[str, Entry] = {}
        if path is None:
            return
        root = Path(path)
        files = sorted(root.glob("*.csv")) if root.is_dir() else [root]
        if not files or not files[0].is_file():
            raise NearfarError(
                f"times={str(path)!r}: there is no such table. Wanted a CSV with the columns file "
                "and time, a folder of them, or a Camtrap DP folder with its media.csv."
            )
        camtrap = root / "media.csv" if root.is_dir() else root
        if camtrap.name == "media.csv" and camtrap.is_file():
            self._camtrap(camtrap)
        else:
            for file in files:
                self._plain(file)

    def __len__(self) -> int:
        return len(self._by_name)

    def of(self, file: Path) -> Entry | None:
        """The entry of a file: by the longest end of its path that a table knows."""
        for length in range(len(file.parts), 0, -1):
            entry = self._by_name.get("/".join(file.parts[-length:]))
            if entry is not None:
                return entry
        return None

    def _plain(self, file: Path) -> None:
        for number, row in _rows(file, ("file", "time")):
            stamp = self._stamp(row["time"], file, number)
            others = {key: row.get(key) or "" for key in ("device", "site", "label")}
            self._by_name[row["file"].replace("\\", "/").lstrip("./")] = Entry(stamp, **others)

    def _camtrap(self, media: Path) -> None:
        """Camtrap DP 1.0: https://camtrap-dp.tdwg.org/data."""
        deployments, observations = (
            media.parent / "deployments.csv",
            media.parent / "observations.csv",
        )
        sites: dict[str, str] = {}
        species: dict[str, str] = {}
        if deployments.is_file():
            for _, row in _rows(deployments, ("deploymentID",)):
                sites[row["deploymentID"]] = row.get("locationID") or ""
        if observations.is_file():
            for _, row in _rows(observations, ("mediaID",)):
                if row["mediaID"] and row.get("scientificName"):
                    species.setdefault(row["mediaID"], row["scientificName"])
        for number, row in _rows(media, ("mediaID", "deploymentID", "timestamp", "filePath")):
            device = row["deploymentID"]
            entry = Entry(
                self._stamp(row["timestamp"], media, number),
                device,
                sites.get(device, ""),
                species.get(row["mediaID"], ""),
            )
            for name in (row.get("fileName"), row["filePath"]):
                if name:
                    self._by_name[name.replace("\\", "/").lstrip("./")] = entry

    def _stamp(self, text: str, file: Path, number: int) -> float:
        stamp = parse(text.strip(), self._zone)
        if stamp is None:
            try:
                return float(text)
            except ValueError:
                raise NearfarError(
                    f"times: {file.name}, line {number}: {text!r} is no time. Wanted one such as "
                    "2024-06-30T05:30:00+02:00 or 2024-06-30 05:30:00.25, or seconds since 1970."
                ) from None
        return stamp


def _rows(file: Path, needed: tuple[str, ...]) -> Iterator[tuple[int, dict[str, str]]]:
    with file.open(newline="", encoding="utf-8-sig") as lines:
        sample = lines.readline()
        lines.seek(0)
        delimiter = max(",;\t", key=sample.count)
        table = csv.DictReader(lines, delimiter=delimiter)
        missing = [name for name in needed if name not in (table.fieldnames or ())]
        if missing:
            raise NearfarError(
                f"times: {file.name} has no column {missing[0]!r}, only "
                f"{', '.join(table.fieldnames or ()) or 'nothing'}. Wanted {', '.join(needed)}."
            )
        for row in table:
            yield table.line_num, {key: value or "" for key, value in row.items() if key}
