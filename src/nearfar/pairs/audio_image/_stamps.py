"""When something was recorded: from a file's name, a picture's EXIF, or words in a table."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nearfar.errors import NearfarError

_DATE = r"(?P<year>(?:19|20)\d\d)[-_.]?(?P<month>[01]\d)[-_.]?(?P<day>[0-3]\d)"
_TIME = r"(?P<hour>[0-2]\d)[-_.:h]?(?P<minute>[0-5]\d)[-_.:m]?(?P<second>[0-5]\d)"
_REST = r"(?P<part>[.,]\d{1,6}(?!\d))?\s?(?P<zone>Z(?![A-Za-z])|[+-][01]\d:?[0-5]\d(?!\d))?"
# AudioMoth, Song Meter, SoundTrap, camtrapR, ISO 8601: a date, something between, a time.
_STAMP = re.compile(rf"(?<!\d){_DATE}[T_\- ]{{0,2}}{_TIME}(?!\d){_REST}")
# AudioMoth's first firmware: seconds since 1970 in hexadecimal.
_HEX = re.compile(r"[0-9A-F]{8}")
_EXIF_TIME, _EXIF_ORIGINAL, _EXIF_PART, _EXIF_ZONE, _EXIF_IFD = (
    0x0132,
    0x9003,
    0x9291,
    0x9011,
    0x8769,
)


def zone_of(name: str, argument: str = "zone") -> tzinfo:
    """A time zone by its name or its distance from UTC.

    Args:
        name: ``Europe/Brussels`` (with its summer time), ``UTC``, or ``+01:00``.
        argument: What the user calls it.

    Raises:
        NearfarError: There is no such zone.

    Example:
        >>> zone_of("+01:30").utcoffset(None)
        datetime.timedelta(seconds=5400)
    """
    match = re.fullmatch(r"([+-])(\d\d):?(\d\d)", name)
    if match:
        minutes = 60 * int(match[2]) + int(match[3])
        return timezone(timedelta(minutes=minutes if match[1] == "+" else -minutes))
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise NearfarError(
            f"{argument}={name!r} is no time zone. Wanted UTC, a distance from it such as +01:00 "
            "(which has no summer time), or a place such as Europe/Brussels (which has; that needs "
            "the system's time zones or the package tzdata)."
        ) from error


def parse(text: str, zone: tzinfo, pattern: str | None = None) -> float | None:
    """Seconds since 1970 of the first date with a time in a text; None where there is none.

    Args:
        text: A file's name without its ending, or a cell of a table.
        zone: Of stamps that name no zone; the earlier hour where clocks go back.
        pattern: How a stamp is written, in the letters of ``strptime`` (``%d%m%y-%H%M%S``); then
            nothing else is tried.

    Example:
        >>> parse("AM01_20240630_053000", UTC) == parse("2024-06-30T07:30:00+02:00", UTC)
        True
        >>> parse("StationA__2009-04-23__00-07-00(1)", UTC)
        1240445220.0
    """
    if pattern is not None:
        return _by_pattern(text, zone, pattern)
    for match in _STAMP.finditer(text):
        try:
            moment = datetime(*(int(match[unit]) for unit in _UNITS))  # type: ignore[arg-type]
        except ValueError:
            continue
        own = match["zone"]
        moment += timedelta(seconds=float((match["part"] or "0").replace(",", ".")))
        if own:
            return moment.replace(tzinfo=UTC if own == "Z" else zone_of(own)).timestamp()
        return moment.replace(tzinfo=zone).timestamp()
    if _HEX.fullmatch(text):
        seconds = int(text, 16)
        # From 2004 to 2038.
        return float(seconds) if 0x40000000 <= seconds < 0x80000000 else None
    return None


_UNITS = ("year", "month", "day", "hour", "minute", "second")
_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d\d", "m": r"\d\d", "d": r"\d\d", "H": r"\d\d", "M": r"\d\d",
    "S": r"\d\d", "f": r"\d{1,6}", "j": r"\d{3}", "z": r"(?:Z|[+-]\d\d:?\d\d)",
    "b": r"[A-Za-z]{3}", "p": r"[AaPp][Mm]", "I": r"\d\d",
}  # fmt: skip


def _by_pattern(text: str, zone: tzinfo, pattern: str) -> float | None:
    parts = re.split(r"%(.)", pattern)
    unknown = [letter for letter in parts[1::2] if letter not in _DIRECTIVES]
    if unknown or len(parts) < 3:
        raise NearfarError(
            f"pattern={pattern!r} {f'has %{unknown[0]}' if unknown else 'has no % in it'}; wanted "
            f"the letters of strptime: {', '.join('%' + letter for letter in _DIRECTIVES)}."
        )
    wanted = "".join(
        _DIRECTIVES[part] if place % 2 else re.escape(part) for place, part in enumerate(parts)
    )
    found = re.search(wanted, text)
    if not found:
        return None
    try:
        moment = datetime.strptime(found[0], pattern)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp()


def exif_stamp(path: Path, zone: tzinfo) -> float | None:
    """Seconds since 1970 of a picture's DateTimeOriginal; None where it has none.

    Parts of a second and the zone are read where the camera wrote them.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            exif = picture.getexif()
            inner = exif.get_ifd(_EXIF_IFD)
    except (OSError, ValueError, SyntaxError):
        return None
    text = inner.get(_EXIF_ORIGINAL) or exif.get(_EXIF_TIME)
    if not isinstance(text, str):
        return None
    part, own = (
        str(inner.get(_EXIF_PART, "")).strip("\0 "),
        str(inner.get(_EXIF_ZONE, "")).strip("\0 "),
    )
    whole = text.strip("\0 ").replace(":", "-", 2) + (f".{part[:6]}" if part.isdigit() else "")
    return parse(whole + own, zone)
