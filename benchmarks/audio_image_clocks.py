"""Clocks alone, without any training: what event trains find, and how often they are fooled."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from audio_image_streams import BEGIN, Errors

from nearfar.pairs.audio_image import estimate_clock, parse, unrelated, zone_of

REACH = 4000.0


def trains(
    errors: Errors, rng: np.random.Generator, when: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Stamps of a recorder with these errors, and of a camera whose clock is right."""
    caught = rng.random((2, len(when))) < errors.both
    heard = when[caught[0]]
    heard = heard + errors.offset + 1e-6 * errors.drift * (heard - when.mean())
    heard = heard + errors.jitter * rng.normal(size=len(heard))
    return BEGIN + np.round(heard), BEGIN + np.round(when[caught[1]])


def _found(errors: Errors, heard: np.ndarray, seen: np.ndarray, middle: float) -> dict[str, Any]:
    began = time.process_time()
    clock = estimate_clock(heard, seen, reach=REACH)
    # The estimate is of another moment than the true offset: carried to the middle of the events.
    ahead = clock.offset + clock.drift * (BEGIN + middle - clock.since)
    return {
        "true_offset": errors.offset,
        "offset": ahead,
        "offset_error": ahead - errors.offset,
        "standard_error": clock.offset_error,
        "true_drift_ppm": errors.drift,
        "drift_ppm": 1e6 * clock.drift,
        "drift_standard_error_ppm": 1e6 * clock.drift_error,
        "true_jitter": errors.jitter,
        "jitter": clock.jitter,
        "z": clock.z,
        "found": clock.found,
        "cpu_seconds": time.process_time() - began,
    }


def offsets(cases: Mapping[str, Errors], seeds: Sequence[int]) -> dict[str, Any]:
    """Estimated beside true clocks: 3,000 events, all or some of them caught by each device."""
    out = {}
    for name, errors in cases.items():
        for both in (1.0, 0.5, 0.3):
            each = []
            for seed in seeds:
                rng = np.random.default_rng(1000 + seed)
                when = np.cumsum(rng.exponential(60, 3000))
                case = replace(errors, both=both)
                each.append(_found(case, *trains(case, rng, when), float(when.mean())))
            out[f"{name}, each device catches {both:.0%}"] = each
    return out


def false_alarms(rounds: int = 100) -> dict[str, Any]:
    """z where there is nothing to find: independent streams, and related ones made unrelated.

    The bursty streams come in groups of 1 to 5 events 5 seconds apart, more by day than by night.
    """
    out: dict[str, list[float]] = defaultdict(list)
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        heard, seen = trains(Errors(), rng, np.cumsum(rng.exponential(60, 1000)))
        fooled = unrelated(seen, float(rng.uniform(8000, np.ptp(seen) - 8000)), rng)
        out["one event train, the camera's shuffled"].append(estimate_clock(heard, fooled).z)
        pair = [BEGIN + np.cumsum(rng.exponential(60, 1000)) for _ in range(2)]
        out["two independent trains"].append(estimate_clock(*pair).z)
        pair = [_bursts(rng) for _ in range(2)]
        out["two independent bursty trains with the same days"].append(estimate_clock(*pair).z)
    return {
        name: {
            "streams": len(z),
            "mean_z": float(np.mean(z)),
            "deviation_of_z": float(np.std(z)),
            "largest_z": float(np.max(z)),
            "share_above_2": float(np.mean(np.array(z) > 2)),
            "share_taken_for_found": float(np.mean(np.array(z) >= 4)),
        }
        for name, z in out.items()
    }


def _bursts(rng: np.random.Generator, days: int = 5) -> np.ndarray:
    begins = rng.uniform(0, 86400 * days, 1500)
    day = 0.5 + 0.5 * np.sin(2 * np.pi * begins / 86400)
    begins = begins[rng.random(len(begins)) < day]
    return BEGIN + np.sort(
        np.concatenate([begin + 5.0 * np.arange(rng.integers(1, 6)) for begin in begins])
    )


def camtrap(folder: Path, seeds: Sequence[int] = range(10)) -> dict[str, Any]:
    """Real camera-trap stamps (Camtrap DP); the recorder is simulated from the same events.

    One recorder event for each visit: pictures less than a minute apart are one.
    """
    stamps: dict[str, list[float]] = defaultdict(list)
    with (folder / "camtrap_dp" / "media.csv").open() as lines:
        for row in csv.DictReader(lines):
            stamp = parse(row["timestamp"], zone_of("UTC"))
            assert stamp is not None
            stamps[row["deploymentID"]].append(stamp)
    out = {}
    for name, listed in stamps.items():
        seen = np.sort(np.array(listed))
        visits = seen[np.concatenate([[True], np.diff(seen) > 60])]
        for offset, jitter in ((0, 0), (600, 5), (3600, 5), (3600, 30)):
            each = []
            for seed in seeds:
                rng = np.random.default_rng(seed)
                heard = np.round(visits + offset + jitter * rng.normal(size=len(visits)))
                clock = estimate_clock(heard, seen, reach=REACH)
                each.append((clock.found, clock.offset - offset, clock.z))
            hits = [error for found, error, _ in each if found]
            out[f"{name}, offset {offset} s, jitter {jitter} s"] = {
                "pictures": len(seen),
                "visits": len(visits),
                "days": float(np.ptp(seen) / 86400),
                "found": len(hits) / len(each),
                "largest_error_where_found": float(np.abs(hits).max()) if hits else None,
                "mean_z": float(np.mean([z for *_, z in each])),
            }
    return out
