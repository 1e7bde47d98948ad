"""Micrographs: grains turned on the full map, on generated polycrystals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

import nearfar
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.encoders import RingNet, TurnedResNet
from nearfar.pairs import seeded
from nearfar.pairs.micrographs import (
    Atlas,
    Map,
    MicrographReader,
    TurnedPairs,
    Views,
    Window,
    disk,
    places,
    read_file,
    ring_invariants,
    ring_spectra,
    split,
)
from nearfar.probes import Retrieval
from nearfar.recipes.micrographs import micrographs

CPU = torch.device("cpu")


def turn_matrix(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) Bunge angles to (N, 3, 3) rotations from the specimen's frame to the crystal's."""
    (c1, c, c2), (s1, s, s2) = np.cos(angles.T), np.sin(angles.T)
    zero, one = np.zeros_like(c), np.ones_like(c)

    def about_z(c: NDArray[np.float64], s: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([[c, s, zero], [-s, c, zero], [zero, zero, one]]).transpose(2, 0, 1)

    tilt = np.array([[one, zero, zero], [zero, c, s], [zero, -s, c]]).transpose(2, 0, 1)
    return about_z(c2, s2) @ tilt @ about_z(c1, s1)


def pole_colours(turns: NDArray[np.float64], axis: int) -> NDArray[np.uint8]:
    """Cubic inverse pole figure colours of a specimen axis: red 001, green 101, blue 111."""
    low, middle, high = np.sort(np.abs(turns[:, :, axis]), axis=1).T
    colours = np.stack([high - middle, (middle - low) * np.sqrt(2), low * np.sqrt(3)], 1)
    return (255 * colours / colours.max(1, keepdims=True)).round().astype(np.uint8)


def polycrystal(
    seed: int, side: int = 160, grains: int = 80, turned: float = 0.0
) -> dict[str, NDArray[np.generic]]:
    """A Voronoi polycrystal with twins, quality with boundaries and scratches, and pole colours.

    Args:
        seed: Another one for each.
        side: Pixels a side.
        grains: Cells, before some of them are twinned.
        turned: The specimen is turned by this many degrees in its plane before it is coloured.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    seeds = rng.uniform(0, side, (grains, 2))
    distance = np.hypot(y[..., None] - seeds[:, 0], x[..., None] - seeds[:, 1])
    grain = distance.argmin(-1)
    for cell in range(0, grains, 4):
        way, width = rng.uniform(0, np.pi), rng.uniform(2, 5)
        across = (y - seeds[cell, 0]) * np.cos(way) + (x - seeds[cell, 1]) * np.sin(way)
        grain[(grain == cell) & (abs(across - 3) < width)] = grains + cell
    nearest = np.sort(distance, -1)
    quality = 150 + 40 * rng.uniform(-1, 1, 2 * grains)[grain] + rng.normal(0, 6, grain.shape)
    quality[nearest[..., 1] - nearest[..., 0] < 1.5] = 40
    for _ in range(6):
        way, offset = rng.uniform(0, np.pi), rng.uniform(0, side)
        quality[abs(y * np.cos(way) + x * np.sin(way) - offset) < 0.8] += 60
    angles = rng.uniform(0, 2 * np.pi, (2 * grains, 3))
    angles[:, 0] += np.deg2rad(turned)
    turns = turn_matrix(angles)
    return {
        "quality": quality.clip(0, 255).astype(np.uint8),
        "ipf_z": pole_colours(turns, 2)[grain],
        "ipf_x": pole_colours(turns, 0)[grain],
        "grain": grain.astype(np.int32),
        "step_um": np.float64(0.5),
        "grain_phase": (np.arange(2 * grains) % 2).astype(np.uint8),
        "phase_names": np.array(["ferrite", "austenite"]),
    }


@pytest.fixture(scope="session")
def maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three maps with their grains."""
    folder = tmp_path_factory.mktemp("maps")
    for number in range(3):
        np.savez(folder / f"map{number}.npz", **polycrystal(number))
    return folder


def views(angle: float = 0.0, number: int = 1, **changed: float) -> Views:
    given = {"map": 0, "y": 50.0, "x": 40.0, "half": 12.0, "grain": -1, "mirror": 1.0} | changed
    parts = {name: torch.full((number,), value) for name, value in given.items()}
    return Views(angle=torch.full((number,), angle), **parts)


# Sampling.


def test_windows_are_what_grid_sample_takes_from_the_full_map() -> None:
    torch.manual_seed(0)
    small, large = torch.rand(2, 40, 60).half(), torch.rand(2, 90, 70).half()
    atlas = Atlas([Map("small", small), Map("large", large)], 17)
    angle, y, x, half = 37.0, 55.3, 30.8, 14.2
    line = torch.linspace(-1, 1, 17)
    down, right = torch.meshgrid(line, line, indexing="ij")
    cos, sin = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    grid = torch.stack(
        [
            2 * (x + half * (cos * right - sin * down)) / 69 - 1,
            2 * (y + half * (cos * down + sin * right)) / 89 - 1,
        ],
        -1,
    )
    oracle = functional.grid_sample(large.float()[None], grid[None].float(), align_corners=True)
    got = atlas.windows(views(angle, y=y, x=x, half=half, map=1))
    torch.testing.assert_close(got, oracle * disk(17), atol=1e-4, rtol=1e-4)


def test_a_shape_is_the_share_of_its_own_label() -> None:
    labels = torch.from_numpy(polycrystal(0)["grain"])
    grain = int(labels[50, 40])
    own = (labels == grain).half()[None]
    wanted = Atlas([Map("own", own)], 32).windows(views(20.0))
    got = Atlas([Map("labels", labels[None], labels)], 32).windows(views(20.0, grain=grain))
    torch.testing.assert_close(got, wanted)
    assert 0 < got.mean() < 1


def test_every_angle_shows_real_material_and_the_same_disk() -> None:
    # On a ramp every pixel says where it was read: nothing is padded, mirrored or clamped.
    y, x = torch.meshgrid(torch.arange(100.0), torch.arange(100.0), indexing="ij")
    atlas = Atlas([Map("ramps", torch.stack([y, x]).half())], 21)
    mask = disk(21).bool()
    for angle in (0.0, 13.0, 45.0, 137.0):
        got = atlas.windows(views(angle))[0]
        radius = torch.hypot(got[0] - 50, got[1] - 40)
        line = torch.linspace(-12, 12, 21)
        torch.testing.assert_close(
            radius[mask], torch.hypot(line[:, None], line)[mask], atol=0.02, rtol=0
        )
        assert not got[:, ~mask].any()


def test_right_angles_are_exact_and_a_mirror_is_a_mirror() -> None:
    atlas = Atlas([Map("noise", torch.rand(1, 100, 100).half())], 32)
    still, quarter = atlas.windows(views(13.0)), atlas.windows(views(103.0))
    torch.testing.assert_close(quarter, still.rot90(1, (2, 3)), atol=1e-5, rtol=0)
    mirrored = atlas.windows(views(0.0, mirror=-1.0))
    torch.testing.assert_close(mirrored, atlas.windows(views(0.0)).flip(-1), atol=1e-5, rtol=0)


# Pairs.


def pairs_of(path: Path, channel: str = "quality", **settings: float) -> TurnedPairs:
    reader = MicrographReader(channel=channel, sees="pixels")
    return TurnedPairs(places(reader, str(path), inside=False), reader, size=32, **settings)


def test_both_views_are_resampled_alike(tmp_path: Path) -> None:
    # White noise loses contrast wherever it is interpolated: a sharp view would stand out.
    rng = np.random.default_rng(0)
    grain = polycrystal(0, grains=12)["grain"]
    noise = rng.integers(0, 256, grain.shape, dtype=np.uint8)
    np.savez(tmp_path / "noise.npz", image=noise, grain=grain)
    reader = MicrographReader(sees="pixels", window=31)
    pairs = TurnedPairs(places(reader, str(tmp_path), inside=False), reader, size=32, noise=0)
    with seeded(0):
        batch = pairs.draw(torch.arange(len(pairs)), CPU)
    inside = disk(32).bool()
    query, key = (float(view[:, 0, inside].std(1).mean()) for view in (batch.query, batch.key))
    assert abs(query / key - 1) < 0.05
    found = reader.find(str(tmp_path)).items
    at_rest = float(reader.read(found)[:, 0, inside].std(1).mean())
    sharp = [replace(w, angle=0.0, y=round(w.y) + 0.5, x=round(w.x) + 0.5) for w in found]
    on_the_grid = float(reader.read(sharp)[:, 0, inside].std(1).mean())
    assert abs(at_rest / query - 1) < 0.15
    assert on_the_grid > 1.25 * query


def test_views_turn_all_the_way_round_and_are_drawn_from_torch(maps: Path) -> None:
    pairs = pairs_of(maps, shift=0, noise=0, wander=0)
    row = torch.zeros(200, dtype=torch.long)
    drawn = []
    for seed in (3, 3, 4):
        with seeded(seed):
            drawn.append(pairs.draw(row, CPU))
    assert torch.equal(drawn[0].query, drawn[1].query)
    assert not torch.equal(drawn[0].query, drawn[2].query)
    # The brightest side of one grain points everywhere.
    line = torch.linspace(-1, 1, 32)
    picture = drawn[0].query[:, 0] - drawn[0].query[:, 0].mean((1, 2), keepdim=True) * disk(32)
    way = torch.atan2((picture * line[:, None]).sum((1, 2)), (picture * line).sum((1, 2)))
    counts = torch.histc(way, 4, -np.pi, np.pi)
    assert counts.min() > 25


def test_mirrors_and_scales_only_when_asked(maps: Path) -> None:
    def spread(**settings: float) -> tuple[float, float]:
        pairs = pairs_of(maps, channel="shape", shift=0, noise=0, wander=0, **settings)
        with seeded(0):
            views = pairs.draw(torch.full((64,), 5), CPU).query
        invariants = ring_invariants(views)
        return float(invariants.std(0).norm() / invariants.mean(0).norm()), float(
            views.mean((1, 2, 3)).std() / views.mean()
        )

    plain, plain_area = spread()
    mirrored, _ = spread(mirror=True)
    _, scaled_area = spread(scale=0.3)
    assert mirrored > 1.3 * plain
    assert scaled_area > 4 * plain_area


def test_crops_of_one_grain_and_copies_are_never_negatives(tmp_path: Path) -> None:
    content = polycrystal(0)
    for name in ("a", "b"):
        np.savez(tmp_path / f"{name}.npz", **content)
    np.savez(tmp_path / "c.npz", **polycrystal(1))
    pairs = pairs_of(tmp_path)
    names = pairs.names(torch.arange(len(pairs)))
    ids = dict(zip(names, pairs.ids.tolist(), strict=True))
    grains = [name.partition(":")[2] for name in names if name.startswith("a")]
    assert all(ids[f"a.npz:{grain}"] == ids[f"b.npz:{grain}"] for grain in grains)
    assert len({ids[f"a.npz:{grain}"] for grain in grains}) == len(grains)
    assert not {ids[n] for n in names if n[0] == "c"} & {ids[n] for n in names if n[0] == "a"}
    row = names.index(f"a.npz:{grains[0]}")
    batch = pairs.draw(torch.tensor([row, row]), CPU)
    assert batch.ids[0] == batch.ids[1]  # two places of one grain, drawn in one batch
    assert not torch.equal(batch.query[0], batch.query[1])


def test_tiles_of_copied_micrographs_share_ids(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (130, 200), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "one.png")
    Image.fromarray(picture).save(tmp_path / "copy.png")
    Image.fromarray(picture[::-1].copy()).save(tmp_path / "other.png")
    Image.fromarray(picture).save(tmp_path / "one_mask.png")
    pairs = pairs_of(tmp_path, channel="image")
    names = pairs.names(torch.arange(len(pairs)))
    assert len(names) == 3 * 6
    ids = dict(zip(names, pairs.ids.tolist(), strict=True))
    assert ids["one.png@32,96"] == ids["copy.png@32,96"]
    assert len(set(ids.values())) == 12
    assert list(MicrographReader().find(str(tmp_path)).skipped) == ["one_mask.png"]


def test_windows_that_wandered_to_one_spot_are_no_negatives(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64 * 6), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "row.png")
    pairs = pairs_of(tmp_path, channel="image")
    assert len(pairs) == 6
    rows = torch.arange(6)
    at = torch.tensor([(32.0, x, 32.0) for x in (32, 80, 85, 96, 260, 350)])
    ids = pairs._ids(rows, at).tolist()
    # 80, 85 and 96 hang together; 32 is more than a quarter of a side away.
    assert ids == [0, 1, 1, 1, 4, 5]
    larger = at.clone()
    larger[2, 2] = 60
    # A window that is much larger shows something else; 80 and 96 alone are far enough apart.
    assert pairs._ids(rows, larger).tolist() == [0, 1, 2, 3, 4, 5]


# Features.


def test_rings_do_not_turn_and_only_the_invariants_see_a_mirror(maps: Path) -> None:
    reader = MicrographReader(channel="shape")
    window = reader.find(str(maps)).items[4]
    turned = reader.read([reader.turned(window, angle) for angle in (13.0, 60.0, 200.0)])
    mirror = turned.flip(-1)

    def change(a: torch.Tensor, b: torch.Tensor) -> float:
        return float((a - b).norm() / a.norm())

    assert change(turned[0], turned[1]) > 0.4
    for invariant in (ring_spectra, ring_invariants):
        same = invariant(turned)
        assert max(change(same[0], same[1]), change(same[0], same[2])) < 0.12
    assert change(ring_spectra(turned), ring_spectra(mirror)) < 0.01
    handed, other_hand = (ring_invariants(view)[:, -24 * 15 :] for view in (turned, mirror))
    assert change(handed, -other_hand) < 0.01
    assert change(handed[0], handed[1]) < 0.3 * change(handed[0], other_hand[0])


@pytest.mark.parametrize("encoder", [RingNet(24), TurnedResNet()])
def test_turns_are_averaged(encoder: torch.nn.Module) -> None:
    shape = (24,) if isinstance(encoder, RingNet) else (1, 32, 32)
    x = torch.rand(3, 8, *shape)
    encoder.eval()
    single = torch.stack([functional.normalize(encoder(x[:, turn]), dim=1) for turn in range(8)])
    torch.testing.assert_close(encoder(x), single.mean(0), atol=1e-5, rtol=1e-4)


def test_turning_the_specimen_keeps_ipf_z_and_not_ipf_x(tmp_path: Path) -> None:
    still, turned = polycrystal(0), polycrystal(0, turned=50.0)
    assert np.array_equal(still["ipf_z"], turned["ipf_z"])
    # A specimen turned by 50 degrees is seen on a grid that is turned back by as much.
    found = {}
    for channel in ("ipf_z", "ipf_x"):
        reader = MicrographReader(3, channel)
        np.savez(tmp_path / "still.npz", **still)
        np.savez(tmp_path / "turned.npz", **turned)
        gallery = reader.find(str(tmp_path / "still.npz")).items
        asked = [replace(w, file=str(tmp_path / "turned.npz"), angle=13.0 - 50.0) for w in gallery]
        probe = Retrieval(
            gallery=gallery, targets=range(len(gallery)), queries=asked, right_angles=gallery
        )
        features = {"ring-FFT": reader.baselines()["ring-FFT"]}
        found[channel] = probe.score(features).rows["ring-FFT"]["top1"]
    assert found["ipf_z"] > 0.95
    assert found["ipf_x"] < 0.6


# Judging.


# k-means says so where there are fewer points than clusters.
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_retrieval_knows_a_good_a_collapsed_and_a_constant_feature() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(30, 16)).astype(np.float32)
    probe = Retrieval(
        gallery=[("g", row) for row in range(30)],
        targets=range(20),
        queries=[("q", row) for row in range(20)],
        right_angles=[("r", row) for row in range(20)],
    )

    def good(items: object) -> NDArray[np.float32]:
        return np.stack([truth[row] for _, row in items])

    def collapsed(items: object) -> NDArray[np.float32]:
        noise = rng.normal(size=(len(items), 16)) * 1e-3
        return (1 + noise).astype(np.float32)

    def constant(items: object) -> NDArray[np.float32]:
        return np.repeat(truth[:1], len(items), 0)

    scores = probe.score({"good": good, "collapsed": collapsed, "constant": constant})
    assert scores.rows["good"]["top1"] == scores.rows["good"]["ari"] == 1
    assert scores.rows["good"]["auroc"] == 1
    # Its cosines are all 1, and nothing is found.
    assert scores.rows["collapsed"]["top1"] < 0.2
    for share in ("top1", "top5", "right_angles"):
        assert scores.rows["constant"][share] == 0
    assert abs(scores.rows["collapsed"]["gap"]) < 0.01
    assert abs(scores.rows["collapsed"]["auroc"] - 0.5) < 0.15
    with pytest.raises(NearfarError, match="two or more to tell apart"):
        Retrieval(gallery=[1], targets=[], queries=[], right_angles=[]).score({})


# Files.


def test_tiff_pages_bits_and_micrometres(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 64 * 80).reshape(64, 80)
    stack = np.stack([(ramp * 4095), (ramp[::-1] * 4095)]).astype(np.uint16)
    tifffile.imwrite(
        tmp_path / "stack.tif", stack, imagej=True, resolution=(4.0, 4.0), metadata={"unit": "um"}
    )
    pages = read_file(tmp_path / "stack.tif")
    assert [page.name for page in pages] == ["stack.tif#1", "stack.tif#2"]
    assert [page.um_per_pixel for page in pages] == [0.25, 0.25]
    # Twelve bits in sixteen fill the range; nothing is clipped to 255.
    assert pages[0].pixels.max() == 1
    assert len(pages[0].pixels.unique()) > 1000
    assert (
        torch.corrcoef(
            torch.stack(
                [pages[0].pixels.float().flatten(), torch.from_numpy(ramp).float().flatten()]
            )
        )[0, 1]
        > 0.999
    )
    tifffile.imwrite(tmp_path / "dpi.tif", (ramp * 255).astype(np.uint8), resolution=(300, 300))
    assert read_file(tmp_path / "dpi.tif")[0].um_per_pixel is None
    Image.fromarray((ramp * 255).astype(np.uint8)).save(tmp_path / "grey.png")
    colour = np.stack([(ramp * 255)] * 3, -1).astype(np.uint8)
    Image.fromarray(colour).save(tmp_path / "equal.jpg", quality=95)
    colour[..., 0] = 0
    Image.fromarray(colour).save(tmp_path / "colour.png")
    shapes = {
        name: read_file(tmp_path / name)[0].pixels.shape[0]
        for name in ("grey.png", "equal.jpg", "colour.png", "dpi.tif")
    }
    assert shapes == {"grey.png": 1, "equal.jpg": 1, "colour.png": 3, "dpi.tif": 1}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["ang", "ctf", "h5"])
def test_ebsd_colours_and_grains_are_those_of_the_orientations(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("orix")
    from orix import io
    from orix.crystal_map import CrystalMap, PhaseList
    from orix.quaternion import Rotation

    rng = np.random.default_rng(0)
    cells = np.kron(np.arange(6).reshape(2, 3), np.ones((12, 12), int))
    y, x = np.mgrid[: cells.shape[0], : cells.shape[1]]
    angles = rng.uniform(0, np.pi, (6, 3))[cells.ravel()]
    scan = CrystalMap(
        rotations=Rotation.from_euler(angles),
        phase_id=np.zeros(cells.size, int),
        x=x.ravel() * 0.5,
        y=y.ravel() * 0.5,
        phase_list=PhaseList(names=["ni"], point_groups=["m-3m"], ids=[0]),
        prop={"iq": rng.uniform(0, 1, cells.size)},
        scan_unit="um",
    )
    file = tmp_path / f"scan.{kind}"
    if kind == "ctf":
        points = np.stack([np.ones(cells.size), scan.x, scan.y, *np.rad2deg(angles).T, scan.iq])
        file.write_text(CTF.format(*reversed(cells.shape)) + ctf_rows(points.T))
    else:
        io.save(file, scan, **({"image_quality_prop": "iq"} if kind == "ang" else {}))
    quality, colour = (read_file(file, name)[0] for name in (None, "ipf_z"))
    assert quality.um_per_pixel == 0.5
    assert quality.pixels.shape == (1, *cells.shape)
    assert quality.grains is not None
    same = quality.grains.flatten()[:, None] == quality.grains.flatten()
    assert np.array_equal(same.numpy(), cells.ravel()[:, None] == cells.ravel())
    assert len(colour.pixels.flatten(1).unique(dim=1).T) == 6
    with pytest.raises(NearfarError, match="wanted one of ipf_z"):
        read_file(file, "nothing")


# As Oxford Instruments' AZtec writes it: cubic phases have Laue group 11.
CTF = """Channel Text File
Prj\tscan
Author\t[Unknown]
JobMode\tGrid
XCells\t{}
YCells\t{}
XStep\t0.5
YStep\t0.5
AcqE1\t0
AcqE2\t0
AcqE3\t0
Euler angles refer to Sample Coordinate system (CS0)!\tMag\t500\tCoverage\t100\tDevice\t0\tKV\t20
Phases\t1
3.524;3.524;3.524\t90;90;90\tni\t11\t225\t\t\tSome reference
Phase\tX\tY\tBands\tError\tEuler1\tEuler2\tEuler3\tMAD\tBC\tBS
"""


def ctf_rows(points: NDArray[np.float64]) -> str:
    """Lines of (phase, x, y, three Euler angles in degrees, quality)."""
    line = "{:.0f}\t{:.4f}\t{:.4f}\t10\t0\t{:.4f}\t{:.4f}\t{:.4f}\t0.5\t{:.0f}\t100\n"
    return "".join(line.format(*row[:6], 255 * row[6]) for row in points)


@pytest.mark.parametrize("kind", ["npy", "png", "tif"])
def test_a_label_image_lies_beside_its_picture(tmp_path: Path, kind: str) -> None:
    content = polycrystal(0)
    Image.fromarray(content["quality"]).save(tmp_path / "etched.png")
    # As segmentation tools write them: 0 is no grain.
    labels = (content["grain"] + 1).astype(np.uint16)
    labels[:3] = 0
    beside = tmp_path / f"etched_grains.{kind}"
    if kind == "npy":
        np.save(beside, labels)
    else:
        tifffile.imwrite(beside, labels) if kind == "tif" else Image.fromarray(labels).save(beside)
    found = MicrographReader().find(str(tmp_path))
    assert found.skipped == {}
    (tmp_path / "npz").mkdir()
    grain = np.where(labels == 0, -1, labels.astype(np.int32))
    np.savez(tmp_path / "npz" / "same.npz", image=content["quality"], grain=grain)
    known = MicrographReader().find(str(tmp_path / "npz")).items
    (tmp_path / "npz" / "same.npz").unlink()
    assert len(known) > 20
    assert [replace(w, file="") for w in found.items] == [replace(w, file="") for w in known]
    shape = MicrographReader(channel="shape")
    assert 0 < float(shape.read(shape.find(str(tmp_path)).items).mean()) < 0.7
    np.save(tmp_path / "etched_grains.npy", labels[:50])
    with pytest.raises(NearfarError, match=r"etched_grains.npy.*wanted whole numbers"):
        MicrographReader().find(str(tmp_path))


def test_bad_files_are_skipped_and_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "good.npz", **polycrystal(0))
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "good.npz").read_bytes()[:5000])
    np.savez(tmp_path / "labels.npz", image=np.zeros((40, 40)), grain=np.zeros((30, 30), int))
    np.savez(tmp_path / "nan.npz", image=np.full((40, 40), np.nan))
    np.savez(tmp_path / "pickle.npz", image=np.array([[None] * 20] * 20, dtype=object))
    Image.new("L", (8, 8)).save(tmp_path / "tiny.png")
    (tmp_path / "scan.ang").write_text("# no orix here")
    found = MicrographReader().find(str(tmp_path))
    assert set(found.skipped) == {
        "empty.tif", "text.png", "cut.npz", "labels.npz", "nan.npz", "pickle.npz", "tiny.png",
        "scan.ang",
    }  # fmt: skip
    assert all(name in reason for name, reason in found.skipped.items())
    assert {w.file for w in found.items} == {str(tmp_path / "good.npz")}


def test_bad_questions_name_the_mend(maps: Path, tmp_path: Path) -> None:
    with pytest.raises(NearfarError, match="no such file or folder"):
        micrographs(str(tmp_path / "nowhere"))
    with pytest.raises(NearfarError, match="no micrographs in this folder"):
        micrographs(str(tmp_path))
    with pytest.raises(NearfarError, match=r"quality.*Did you mean 'quality'"):
        micrographs(str(maps), channel="qualty")
    with pytest.raises(NearfarError, match=r"Lower --smallest"):
        micrographs(str(maps), smallest=100000)
    with pytest.raises(NearfarError, match=r"hold_out='map7'.*map0.npz"):
        micrographs(str(maps), hold_out="map7")
    with pytest.raises(NearfarError, match="size=4"):
        micrographs(str(maps), size=4)
    with pytest.raises(NearfarError, match="many grains"):
        MicrographReader().read([maps / "map0.npz"])
    Image.new("L", (64, 64)).save(tmp_path / "plain.png")
    with pytest.raises(NearfarError, match="has one image"):
        read_file(tmp_path / "plain.png", "quality")
    with pytest.raises(NearfarError, match="1 of them different"):
        micrographs(str(tmp_path))


def test_names_labels_and_what_is_inside(maps: Path) -> None:
    reader = MicrographReader()
    found = reader.find(str(maps))
    assert found.labels is not None
    assert set(found.labels) == {"ferrite", "austenite"}
    grains = polycrystal(0)["grain"]
    edge = set(np.concatenate([grains[0], grains[-1], grains[:, 0], grains[:, -1]]).tolist())
    first = [w for w in found.items if w.file.endswith("map0.npz")]
    assert not {w.grain for w in first} & edge
    for w in first:
        pixels = int((grains == w.grain).sum())
        assert pixels >= 60
        assert abs(w.half - 0.75 * np.sqrt(pixels)) < 1e-6
    everything = places(reader, str(maps), inside=False)
    assert len(everything.inputs.items) > len(found.items)
    assert reader.one(found.names[3], found) == found.items[3]
    with pytest.raises(NearfarError, match="neither a picture nor"):
        reader.one("map0.npz:9999", found)
    rest, held = split(everything, "map1")
    assert held is not None
    assert {name.partition(":")[0] for name in held.inputs.names} == {"map1.npz"}
    assert len(rest.inputs.items) + len(held.inputs.items) == len(everything.inputs.items)


def test_arrays_are_seen_whole_and_pictures_at_their_magnification(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 160), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "large.png")
    reader = MicrographReader(window=40)
    whole, tile, large = reader.read([picture, picture[30:70, 60:100], tmp_path / "large.png"])
    torch.testing.assert_close(tile, large)
    assert not torch.equal(whole, tile)
    several = MicrographReader(turns=8).read([picture])
    assert several.shape == (1, 8, 1, 32, 32)
    torch.testing.assert_close(several[0, 2], several[0, 0].rot90(1, (1, 2)), atol=1e-4, rtol=0)
    labels = (np.hypot(*np.mgrid[-20:20, -20:20]) < 12).astype(np.int64)
    shape = MicrographReader(channel="shape").read([labels])[0, 0]
    assert abs(float(shape.mean()) - np.pi * 0.3**2) < 0.03


def test_grey_and_colour_in_one_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 128), np.uint8)).save(tmp_path / "grey.png")
    assert micrographs(str(tmp_path)).model.reader.settings["channels"] == 1
    Image.fromarray(rng.integers(0, 256, (64, 128, 3), np.uint8)).save(tmp_path / "hue.png")
    experiment = micrographs(str(tmp_path), encoder="resnet")
    batch = experiment.pairs.draw(torch.arange(4), CPU)
    assert batch.query.shape == (4, 3, 32, 32)
    assert batch.query[:2].std(1).mean() < 0.1
    assert batch.query[2:].std(1).mean() > 0.1
    assert experiment.model.reader.read(experiment.inputs).shape == (4, 3, 32, 32)


# The whole.


def test_training_finds_grains_of_a_map_that_it_never_saw(maps: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["--channel", "quality", "--hold_out", "map2", "--steps", "50"]
    assert main(["train", "micrographs", str(maps), "--out", str(run), *words]) == 0
    rows = json.loads((run / "scores.json").read_text())["rows"]
    assert set(rows) == {
        "learned", "untrained", "raw pixels", "rotation-averaged pixels", "ring-FFT"
    }  # fmt: skip
    assert rows["learned"]["top1"] > rows["untrained"]["top1"] + 0.1
    assert rows["learned"]["top1"] > rows["ring-FFT"]["top1"] + 0.05
    assert rows["learned"]["gap"] > rows["untrained"]["gap"] + 0.1
    assert rows["raw pixels"]["top1"] < 0.5
    page = (run / "report.html").read_text()
    for words_on_page in ("Cosine against angle", "A place at 12 angles", "Neighbours", "Clusters"):
        assert words_on_page in page
    assert "Micrometres a pixel: map0.npz 0.5" in page
    model = nearfar.load(run)
    found = model.reader.find(str(maps))
    window = found.items[0]
    assert isinstance(window, Window)
    same = model.embed([window, replace(window, angle=200.0)])
    assert same.shape == (2, 64)
    assert float(same[0] @ same[1]) > 0.95
    assert main(["evaluate", str(run), str(maps / "map2.npz")]) == 0


def test_a_plain_network_learns_to_turn_and_gains_from_turns(maps: Path) -> None:
    experiment = micrographs(str(maps / "map0.npz"), encoder="resnet", turns=8)
    assert experiment.probe is not None
    untrained = experiment.probe.score({"untrained": experiment.model.embed}).rows["untrained"]
    optimizer = torch.optim.AdamW(experiment.model.parameters(), 1.5e-3)
    experiment.model.train()
    for step in range(12):
        with seeded(0, step):
            batch = experiment.pairs.draw(torch.arange(48), CPU)
            query, key = experiment.model(batch.query), experiment.model(batch.key)
            loss = experiment.objective(query, key, ids=batch.ids)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    experiment.model.eval()
    eight = experiment.probe.score({"learned": experiment.model.embed}).rows["learned"]
    assert eight["gap"] > untrained["gap"]
    experiment.model.reader = MicrographReader(**{**experiment.model.reader.settings, "turns": 1})
    one = experiment.probe.score({"learned": experiment.model.embed}).rows["learned"]
    assert eight["top1"] > one["top1"]


def test_what_a_person_is_told(maps: Path) -> None:
    told = "\n".join(micrographs(str(maps), channel="ipf_x").remarks)
    assert "specimen's frame" in told
    assert "--hold_out" in told
    assert not any("frame" in line for line in micrographs(str(maps), channel="ipf_z").remarks)
