"""Turn a specimen, not its picture: IPF-Z colours stay what they are, IPF-X colours do not.

    nearfar train micrographs MAPS --channel ipf_z --hold_out in100 --out runs/z
    nearfar train micrographs MAPS --channel ipf_x --hold_out in100 --out runs/x
    python benchmarks/micrographs_ipf.py runs/z runs/x --map MAPS/in100.npz

Needs orix. The map has arrays `grain` and `euler_deg100` (Bunge angles, hundredths of a degree) of
one cubic phase. Each grain is sought twice among all: its picture turned, which is what training
shows, and the picture that the microscope would give of the specimen turned, colours and all.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import nearfar
from nearfar.files import replace_text
from nearfar.pairs.micrographs import MicrographReader
from nearfar.probes._retrieval import hits, standardised

DIRECTIONS = {"ipf_z": (0, 0, 1), "ipf_x": (1, 0, 0)}


def coloured(
    euler: NDArray[np.float64], direction: tuple[int, int, int], turned: float
) -> NDArray[np.uint8]:
    """(H, W, 3) colours of a specimen that was turned in its plane, from x towards y."""
    from orix.plot import IPFColorKeyTSL
    from orix.quaternion import Orientation
    from orix.quaternion.symmetry import Oh
    from orix.vector import Vector3d

    angles = np.deg2rad(euler.reshape(-1, 3) + np.array([turned, 0, 0]))
    key = IPFColorKeyTSL(Oh, Vector3d(direction))
    colours = key.orientation2color(Orientation.from_euler(angles, symmetry=Oh))
    return (255 * colours.reshape(euler.shape)).round().astype(np.uint8)


def judge(run: Path, path: Path, angles: list[float]) -> dict[str, float | str]:
    """R@1 of the turned picture and of the turned specimen, mean over the angles."""
    model = nearfar.load(run)
    reader = model.reader
    assert isinstance(reader, MicrographReader)
    channel = str(reader.channel)
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files}
    windows = list(reader.find(str(path)).items)
    rest = model.embed(windows)
    gallery, same = standardised(rest, rest), np.eye(len(windows), dtype=bool)
    found: dict[str, list[float]] = {"picture": [], "specimen": []}
    cosines: dict[str, list[float]] = {"picture": [], "specimen": []}
    with tempfile.TemporaryDirectory() as folder:
        for angle in angles:
            file = Path(folder) / f"{angle:.0f}.npz"
            colours = coloured(arrays["euler_deg100"] / 100, DIRECTIONS[channel], angle)
            colours[arrays["phase"] == 0] = 0
            np.savez(file, **{channel: colours}, grain=arrays["grain"])
            # A grid turned one way shows the specimen turned the other way.
            turned = [reader.turned(window, window.angle - angle) for window in windows]
            asked = {"picture": turned, "specimen": [replace(w, file=str(file)) for w in turned]}
            for name, items in asked.items():
                vectors = model.embed(items)
                found[name].append(hits(standardised(vectors, rest) @ gallery.T, same, 1))
                cosines[name].append(float((vectors * rest).sum(1).mean()))
    return {
        "channel": channel,
        **{f"R@1 {name} turned": float(np.mean(values)) for name, values in found.items()},
        **{f"cosine {name} turned": float(np.mean(values)) for name, values in cosines.items()},
    }


def run() -> None:
    """Judge every run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--map", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/micrographs_ipf.json"))
    words = parser.parse_args()
    torch.set_num_threads(1)
    angles = [float(angle) for angle in range(20, 360, 30)]
    results = [judge(each, words.map, angles) for each in words.runs]
    for result in results:
        print(result, flush=True)
    replace_text(words.out, json.dumps({"angles": angles, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    run()
