"""Pixels: videos as they come, flow, views that correspond, what is no negative, and a training."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

import nearfar
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.encoders import DenseConv, DenseHuggingFace, choose_dense_encoder
from nearfar.model import Model, describe, rebuild
from nearfar.pairs import Reader, seeded
from nearfar.pairs.pixels import (
    Footage,
    Frame,
    Grid,
    PixelPairs,
    PixelReader,
    Spot,
    Store,
    Video,
    VideoClip,
    Window,
    chain,
    consistent,
    correspond,
    draw_tracks,
    find_videos,
    flow_between,
    recolour,
    sample,
    write_tracks,
)
from nearfar.probes import Propagation, Tracker, contour, region

CPU = torch.device("cpu")
SHAPE = (64, 80)


def texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Smooth random colours with detail."""
    out = np.zeros((height, width, 3), np.float32)
    for cell, strength in ((16, 60), (6, 40), (3, 20)):
        coarse = rng.normal(0, strength, (height // cell + 2, width // cell + 2, 3))
        out += cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return (out + 128).clip(0, 255)


def film(seed: int, frames: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A disc that moves over a ground that moves: frames, masks, and the disc's steps (x, y)."""
    rng = np.random.default_rng(seed)
    ground, disc = texture(rng, 160, 160), texture(rng, 160, 160)
    slow, fast = (rng.uniform(-r, r, 2).astype(np.float32) for r in (1, 2))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]].astype(np.float32)
    out, masks = [], []
    for time in map(np.float32, range(frames)):
        under = cv2.remap(
            ground, x + 40 - slow[0] * time, y + 40 - slow[1] * time, cv2.INTER_LINEAR
        )
        over = cv2.remap(disc, x + 40 - fast[0] * time, y + 40 - fast[1] * time, cv2.INTER_LINEAR)
        mask = np.hypot(x - 40 - fast[0] * time, y - 32 - fast[1] * time) < 14
        out.append(np.where(mask[..., None], over, under).astype(np.uint8))
        masks.append(mask)
    return np.stack(out), np.stack(masks), fast


def write_film(root: Path, name: str, seed: int, frames: int = 10) -> np.ndarray:
    pictures, masks, fast = film(seed, frames)
    for kind, every in (("frames", pictures), ("masks", masks.astype(np.uint8) * 255)):
        folder = root / kind / name
        folder.mkdir(parents=True)
        for number, picture in enumerate(every):
            shown = picture[..., ::-1] if picture.ndim == 3 else picture
            assert cv2.imwrite(str(folder / f"{number:05}.png"), shown)
    return fast


def write_video(path: Path, pictures: np.ndarray) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "5"})
        stream.width, stream.height = pictures.shape[2], pictures.shape[1]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def store_of(*seeds: int, root: Path, most: int = 64) -> Store:
    for seed in seeds:
        write_film(root, f"film{seed}", seed)
    return Store(find_videos(root / "frames")[0], most)


def test_a_video_file_reads_like_its_frames(tmp_path: Path) -> None:
    pictures, _, _ = film(0)
    video = Video(write_video(tmp_path / "a.mp4", pictures))
    assert (len(video), video.shape, video.rate) == (10, SHAPE, 10)
    for number in (7, 2, 3, 9, 0):
        off = video.at(number).astype(float) - pictures[number]
        assert np.abs(off).mean() < 10
    with pytest.raises(NearfarError, match="has 10 frames, none at 10"):
        video.at(10)
    small = Video(tmp_path / "a.mp4", size=32)
    assert (small.shape, small.whole) == ((32, 40), SHAPE)


def test_damaged_videos_and_frames_are_skipped_and_named(tmp_path: Path) -> None:
    pictures, _, _ = film(0, 30)
    whole = write_video(tmp_path / "a.mkv", pictures).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "none.mp4").write_bytes(b"no video")
    write_film(tmp_path, "good", 1)
    (tmp_path / "frames" / "good" / "00003.png").write_bytes(b"no picture")
    cv2.imwrite(str(tmp_path / "frames" / "good" / "00099.png"), np.zeros((9, 9, 3), np.uint8))
    found = PixelReader().find(str(tmp_path))
    names = [name for name in found.names if name.startswith("frames/good/")]
    assert len(names) == 9
    assert "none.mp4 cannot be read as a video" in found.skipped[str(tmp_path / "none.mp4")]
    good = tmp_path / "frames" / "good"
    assert "cannot be read as a picture" in found.skipped[str(good / "00003.png")]
    assert "the first frame (64, 80)" in found.skipped[str(good / "00099.png")]
    assert 0 < len([name for name in found.names if name.startswith("cut/")]) < 30
    with pytest.raises(NearfarError, match="no such video"):
        find_videos(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(NearfarError, match="no video"):
        find_videos(tmp_path / "empty")


def test_videos_are_found_once(tmp_path: Path) -> None:
    """Links are followed; one that leads back ends there, one to nowhere is named."""
    away = tmp_path / "away"
    root = tmp_path / "footage"
    for folder in (root / "clip", root / "Masks", away):
        folder.mkdir(parents=True)
        for number in range(2):
            cv2.imwrite(str(folder / f"{number}.png"), np.zeros((8, 8, 3), np.uint8))
    (root / "clip" / "again").symlink_to(root)
    (root / "other").symlink_to(away)
    (root / "gone.mp4").symlink_to(tmp_path / "nowhere.mp4")
    videos, skipped = find_videos(root)
    assert [video.name for video in videos] == ["clip", "other"]
    assert list(skipped) == ["gone.mp4"]


@pytest.mark.parametrize("method", ["dis", "farneback"])
def test_flow_finds_a_known_motion_and_sees_what_is_hidden(method: str) -> None:
    pictures, masks, fast = film(3)
    there = flow_between(pictures[0], pictures[1], method)  # type: ignore[arg-type]
    inside = cv2.erode(masks[0].astype(np.uint8), np.ones((9, 9))) > 0
    assert np.abs(there[inside] - fast).mean() < 0.5
    back = flow_between(pictures[1], pictures[0], method)  # type: ignore[arg-type]
    y, x = np.nonzero(inside)
    points = np.stack([x, y], 1).astype(np.float32)
    moved = chain([there], points)
    assert consistent(points, moved, chain([back], moved), SHAPE).mean() > 0.9
    far = points + 500
    assert not consistent(points, far, points, SHAPE).any()
    assert not consistent(points, points, points + 3, SHAPE).any()
    with pytest.raises(NearfarError, match="wanted dis or farneback"):
        flow_between(pictures[0], pictures[1], "lk")  # type: ignore[arg-type]


def test_chains_go_both_ways(tmp_path: Path) -> None:
    store = store_of(3, root=tmp_path)
    (stretch,) = store.stretches
    _, _, fast = film(3)
    points = np.array([[40, 32], [38, 30], [43, 34]], np.float32)
    later = correspond(stretch, 0, 4, points, "dis")
    assert np.abs(later.there - points - 4 * fast).max() < 1
    earlier = correspond(stretch, 4, 0, later.there, "dis")
    assert np.abs(earlier.there - points).max() < 1
    assert later.good.all()
    same = correspond(stretch, 2, 2, points, "dis")
    assert (same.there == points).all()


def test_a_view_shows_what_it_says() -> None:
    picture = texture(np.random.default_rng(0), 96, 96).astype(np.uint8)
    rng = np.random.default_rng(1)
    for mirror in (False, True):
        view = Window.draw(
            rng, np.array([48, 48], np.float32), 40, rotate=30, scale=0.2, mirror=mirror, hide=0
        )
        seen = rng.uniform(4, 35, (200, 2)).astype(np.float32)
        places = view.to_frame(seen)
        assert np.abs(view.to_view(places) - seen).max() < 1e-3
        inside = ((places > 2) & (places < 93)).all(1)
        off = sample(view.cut(picture), seen) - sample(picture, places)
        assert np.abs(off[inside]).mean() < 4
        assert (np.linalg.det(view.turn) < 0) == mirror


def test_recolouring_keeps_the_range_and_can_do_nothing() -> None:
    views = torch.rand(8, 3, 6, 6)
    assert torch.allclose(recolour(views, 0.0), views, atol=1e-5)
    changed = recolour(views, 0.8)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert (changed - views).abs().mean() > 0.05


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("rows", [40, 320])
def test_partners_show_the_same_matter(tmp_path: Path, gap: int, rows: int) -> None:
    pairs = PixelPairs(store_of(3, 4, root=tmp_path), side=40, pixels=32, gap=gap, colour=0)
    assert len(pairs) == 2 * 10 * 64
    with seeded(0):
        batch = pairs.draw(torch.arange(rows), CPU)
    colours = []
    for look in (batch.query, batch.key):
        ((pictures, owner, places),) = list(look)
        assert len(owner) == len(places) == rows
        assert len(pictures) == (40 if rows == 40 else 10)
        values = [
            sample(pictures[one].permute(1, 2, 0).numpy(), place[None].numpy())[0]
            for one, place in zip(owner.tolist(), places, strict=True)
        ]
        colours.append(np.array(values))
    off = np.abs(colours[0] - colours[1]).mean()
    strangers = np.abs(colours[0] - np.roll(colours[1], 1, 0)).mean()
    assert off < 0.25 * strangers


def test_what_is_hidden_is_nobodys_partner(tmp_path: Path) -> None:
    pairs = PixelPairs(store_of(3, 4, root=tmp_path), side=48, pixels=32, colour=0, hide=1)
    with seeded(0):
        batch = pairs.draw(torch.arange(320), CPU)
    for look in (batch.query, batch.key):
        ((pictures, owner, places),) = list(look)
        hidden = 0
        for one, picture in enumerate(pictures):
            # What the next picture shows too, at the same place, is what it was hidden by.
            copied = (picture == pictures[one - 1]).all(0).numpy()
            inside = places[owner == one].round().long().numpy()
            hidden += copied.mean() > 0.1
            assert not copied[inside[:, 1], inside[:, 0]].all()
        assert hidden >= 3
    with pytest.raises(NearfarError, match="hide=2: wanted a chance"):
        PixelPairs(pairs.store, hide=2)


def test_who_stands_in_the_crowd(tmp_path: Path) -> None:
    pairs = PixelPairs(store_of(3, 4, root=tmp_path), side=40, pixels=32, near=6)
    half = 10 * 64
    rows = torch.cat([torch.arange(0, half, 2), torch.arange(half, 2 * half, 2)])
    with seeded(0):
        batch = pairs.draw(rows[torch.randperm(len(rows))], CPU)
    assert batch.mask is not None
    ((_, owner, places),) = list(batch.query)
    same = owner[:, None] == owner
    assert not batch.mask.diagonal().any()
    assert torch.equal(batch.mask, batch.mask.T)
    assert (batch.mask & same).any()
    assert (batch.mask & ~same).any()
    # A window shows scaled places, at most e^0.25 apart from the frame's.
    close = torch.cdist(places, places) < 6 * 0.7
    assert not (batch.mask & same & close).any()
    video = [pairs.place(row)[0].video for row in rows.tolist()]
    assert set(video) == {0, 1}
    # Of windows of other videos all places stand there, of the same video's none.
    for one in owner.unique():
        for other in owner.unique():
            if one != other:
                part = batch.mask[owner == one][:, owner == other]
                assert part.all() or not part.any()
    with seeded(0):
        again = pairs.draw(rows[torch.randperm(len(rows))], CPU)
    assert torch.equal(again.mask, batch.mask)  # type: ignore[arg-type]


def test_a_ring_makes_neighbours(tmp_path: Path) -> None:
    store = store_of(3, root=tmp_path)
    nearest = []
    for ring in (0.0, 9.0):
        pairs = PixelPairs(store, side=48, pixels=8, gap=0, ring=ring, scale=0, rotate=0)
        with seeded(1):
            batch = pairs.draw(torch.arange(320), CPU)
        ((_, owner, places),) = list(batch.query)
        apart = torch.cdist(places, places) + 1e3 * (owner[:, None] != owner)
        nearest.append(((apart > 6) & (apart < 9)).float().sum(1).mean())
    assert nearest[1] > 1.2 * nearest[0]
    with pytest.raises(NearfarError, match="ring of 0 or wider than near"):
        PixelPairs(store, ring=3)


def test_checks_leave_out_what_has_no_texture(tmp_path: Path) -> None:
    folder = tmp_path / "frames" / "flat"
    folder.mkdir(parents=True)
    for number in range(6):
        picture = film(0)[0][number]
        picture[:, :40] = 90
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    pairs = PixelPairs(Store(find_videos(tmp_path)[0], 64), side=32)
    share = pairs.masked(6, 400)
    assert 0.3 < share["textured"] < 0.6
    assert share["masked"] >= share["textured"]
    with seeded(0):
        batch = pairs.draw(torch.arange(0, 384, 2), CPU)
    names = pairs.names(torch.tensor([0, 65]))
    assert names[0].startswith("frames/flat/00000 at ")
    assert names[1].startswith("frames/flat/00001 at ")
    assert len(batch.ids) == 192


def test_long_videos_give_stretches(tmp_path: Path) -> None:
    pictures = np.stack([np.full((16, 16, 3), number, np.uint8) for number in range(100)])
    folder = tmp_path / "long"
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:03}.png"), picture)
    store = Store([Video(folder)], 64)
    assert [(one.first, len(one.frames)) for one in store.stretches] == [(0, 32), (68, 32)]
    assert store.stretches[1].frames[3, 0, 0, 0] == 71
    assert len(Store([Video(folder)], 500)) == 100
    one = tmp_path / "one"
    one.mkdir()
    cv2.imwrite(str(one / "a.png"), pictures[0])
    with pytest.raises(NearfarError, match="None of the 1 videos has two frames"):
        Store([Video(one)], 64)


def test_the_encoder_sees_no_position() -> None:
    torch.manual_seed(0)
    encoder = DenseConv(16, 24, [1, 2]).eval()
    cells = encoder.map(torch.full((1, 3, 64, 64), 0.3))
    assert (cells - cells[..., :1, :1]).abs().max() < 1e-4
    picture = torch.rand(1, 3, 96, 96)
    place = torch.tensor([[48.0, 48.0]])
    owner = torch.zeros(1, dtype=torch.long)
    whole = encoder([(picture, owner, place)])
    window = encoder([(picture[..., 16:80, 16:80], owner, place - 16)])
    assert torch.allclose(whole, window, atol=1e-4)


def test_inputs_of_every_kind_keep_their_order(tmp_path: Path) -> None:
    write_film(tmp_path, "a", 0)
    (clip,) = Footage.find(str(tmp_path), 240).clips
    reader = PixelReader()
    model = Model(reader, DenseConv(8, 8, [1]))
    spots = [Spot(Frame(clip, number), 20.0 + number, 30.0) for number in (0, 0, 3, 0)]
    picture = clip.at(2)
    mixed = [*spots[:2], Frame(clip, 2), spots[2], picture, spots[3]]
    vectors = model.embed(mixed)
    assert vectors.shape == (6, 8)
    assert np.allclose(vectors[2], vectors[4], atol=1e-5)
    assert np.allclose(vectors[0], vectors[1], atol=1e-5)
    assert np.allclose(vectors[0], vectors[5], atol=1e-5)
    grid = clip.grid(0, 4)
    assert (grid.shape, len(grid)) == ((16, 20), 320)
    every = model.embed(grid)
    assert np.allclose(every[7 * 20 + 5], model.embed([Spot(Frame(clip, 0), 20, 28)])[0], atol=1e-4)
    assert isinstance(grid[3:5], Grid)
    with pytest.raises(NearfarError, match=r"wanted \(H, W, 3\) uint8"):
        model.embed([np.zeros((4, 4))])
    again = rebuild(describe(model.encoder), DenseConv)
    assert again.settings == model.encoder.settings
    assert rebuild(describe(reader), Reader).settings == {"size": 240, "flow": "dis"}  # type: ignore[type-abstract]


def test_a_hugging_face_backbone_gives_a_map(tmp_path: Path) -> None:
    vit = {
        "model_type": "vit", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "image_size": 32, "patch_size": 8,
    }  # fmt: skip
    encoder = DenseHuggingFace(vit, 8, side=32)
    assert (encoder.stride, encoder.offset) == (8, 3.5)
    assert encoder.map(torch.rand(2, 3, 40, 50)).shape == (2, 8, 5, 7)
    resnet = {
        "model_type": "resnet",
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
    }
    DenseHuggingFace(resnet, 8).backbone.model.save_pretrained(tmp_path)
    loaded = choose_dense_encoder(str(tmp_path), dim=8)
    assert loaded.stride == 8
    place = torch.tensor([[3.5, 3.5]])
    assert loaded([(torch.rand(1, 3, 64, 64), torch.tensor([0]), place)]).shape == (1, 8)
    with pytest.raises(NearfarError, match="could not be loaded"):
        choose_dense_encoder(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("kind", "model", "stride", "offset"),
    [
        ("resnet", {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}, 8, 0),
        ("convnext", {"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}, 8, 3.5),
        ("dinov2", {"hidden_size": 12, "num_hidden_layers": 1, "patch_size": 14}, 14, 6.5),
    ],
)
def test_cells_of_a_backbone_lie_where_it_looks(
    kind: str, model: dict[str, object], stride: int, offset: float
) -> None:
    with seeded(0):
        encoder = DenseHuggingFace({"model_type": kind, **model}, 8)
    assert (encoder.stride, encoder.offset) == (stride, offset)


def test_region_and_contour() -> None:
    truth = np.zeros((40, 40), np.int64)
    truth[10:30, 10:30] = 1
    moved = np.roll(truth, 10, 1)
    assert region(truth, truth) == contour(truth, truth) == 1
    assert region(moved, truth) == pytest.approx(1 / 3)
    assert contour(np.zeros_like(truth), truth) == 0
    assert 0 < contour(moved, truth) < 1
    near = np.roll(truth, 1, 0)
    assert contour(near, truth) == 1  # The tolerance is 0.008 of the diagonal, rounded up: 1 pixel.
    two = truth.copy()
    two[10:20, 10:30] = 2
    assert region(truth, two) == pytest.approx((0.5 + 0) / 2)


def test_good_features_carry_masks_and_find_points(tmp_path: Path) -> None:
    fast = write_film(tmp_path, "a", 3)
    (clip,) = Footage.find(str(tmp_path), 240).clips
    first = clip.mask(0)
    assert first is not None
    assert set(np.unique(first)) == {0, 1}
    raw = PixelReader().baselines()["raw patches"]
    found = Propagation(step=4, radius=4).masks(raw, clip, first)
    truth = clip.mask(9)
    assert truth is not None
    assert region(found[9], truth) > max(0.6, region(first, truth) + 0.1)
    queries = np.array([[0, 40, 32], [0, 36, 28], [2, 42, 34]], np.float32)
    queries[2, 1:] += 2 * fast
    truth_places = queries[:, 1:] + (9 - queries[:, :1]) * fast
    flow = partial(flow_between, method="dis")
    tracker = Tracker(step=2, radius=8, prior=1)
    patches = PixelReader().baselines()["normalised cross-correlation"]
    for kind in ((patches, None), (None, flow), (patches, flow)):
        track = tracker.follow(clip, queries, *kind)
        assert np.abs(track.points[:, 9] - truth_places).max() < 3
        assert np.isnan(track.points[2, :2]).all()
        assert track.visible[:, 9].all()
        # Each point is followed by itself.
        alone = tracker.follow(clip, queries[1:2], *kind)
        assert np.allclose(alone.points[0], track.points[1], atol=1e-4)


def test_annotations_are_read(tmp_path: Path) -> None:
    write_film(tmp_path, "dog", 0)
    joints = [[0, 0]] * 37
    joints[8] = [540, 960]  # (row, column) of 1080 x 1920.
    seen = [place == 8 for place in range(37)]
    entries = [
        {"image_path": f"x/dog/{number:05}.jpg", "visibility": seen, "joints": joints}
        for number in (0, 5)
    ]
    (tmp_path / "dog.json").write_text(json.dumps(entries))
    (tmp_path / "odd.json").write_text("[1]")
    footage = Footage.find(str(tmp_path), 240)
    (clip,) = footage.clips
    tracks = clip.tracks
    assert tracks is not None
    assert tracks.shape == (1, 10, 2)
    assert np.allclose(tracks[0, 5], [40, 32], atol=1e-3)
    assert np.isnan(tracks[0, 1]).all()
    assert "holds no point tracks" in footage.skipped[str(tmp_path / "odd.json")]
    (tmp_path / "dog.json").unlink()
    points = np.full((2, 10, 2), np.nan, np.float32)
    points[:, 3:] = np.random.default_rng(0).uniform(0, 60, (2, 7, 2))
    visible = ~np.isnan(points[..., 0])
    visible[1, 6] = False
    write_tracks(tmp_path / "dog.csv", points, visible)
    tracks = Footage.find(str(tmp_path), 240).clips[0].tracks
    assert tracks is not None
    points[1, 6] = np.nan
    assert np.allclose(tracks, points, atol=0.01, equal_nan=True)


@pytest.mark.parametrize(
    "stem", ["{:05}", "frame_{}", "{:03}0"], ids=["from 1", "with words", "every tenth"]
)
def test_masks_and_joints_are_of_the_frame_that_bears_their_name(tmp_path: Path, stem: str) -> None:
    stems = [stem.format(number) for number in range(1, 7)]
    seen, entries = [place == 8 for place in range(37)], []
    for kind in ("frames", "masks"):
        (tmp_path / kind / "dog").mkdir(parents=True)
    for number, name in enumerate(stems):
        mask = np.zeros(SHAPE, np.uint8)
        mask[:, 10 * number : 10 * number + 5] = 255
        cv2.imwrite(str(tmp_path / "frames" / "dog" / f"{name}.png"), film(0, 1)[0][0])
        cv2.imwrite(str(tmp_path / "masks" / "dog" / f"{name}.png"), mask)
        joints = [[0, 5 * number]] * 37
        path = f"extra_videos/dog/rgb/{name}.png"
        entries.append({"image_path": path, "visibility": seen, "joints": joints})
    (tmp_path / "frames" / "dog" / f"{stems[2]}.png").write_bytes(b"no picture")
    (tmp_path / "dog.json").write_text(json.dumps(entries))
    footage = Footage.find(str(tmp_path), 240)
    (clip,) = footage.clips
    kept = [0, 1, 3, 4, 5]
    masks = [clip.mask(number) for number in range(len(clip))]
    assert [int(np.flatnonzero(m.any(0))[0]) // 10 for m in masks if m is not None] == kept
    assert clip.tracks is not None
    assert clip.tracks[0, :, 0].tolist() == [5 * number for number in kept]
    assert f"no readable frame {stems[2]}" in footage.skipped[f"frames/dog/{stems[2]}"]
    assert len(footage.probe("dis").masked) == len(footage.probe("dis").tracked) == 1


def test_known_flows_are_read(tmp_path: Path) -> None:
    pictures, _, _ = film(0)
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / f"scene{number}.png"), np.roll(pictures[0], 4 * number, 1))
    flow = np.zeros((*SHAPE, 2), np.float32)
    flow[..., 0] = 4
    raw = b"PIEH" + np.array(SHAPE[::-1], np.int32).tobytes() + flow.tobytes()
    (tmp_path / "scene_1to2.flo").write_bytes(raw)
    kitti = np.full((*SHAPE, 3), 2**15, np.uint16)
    kitti[..., 2] += 4 * 64
    kitti[:30, :, 0] = 0
    kitti[30:, :, 0] = 1
    cv2.imwrite(str(tmp_path / "scene_flow_gt.png"), kitti)
    reader = PixelReader()
    found = reader.find(str(tmp_path))
    probe = reader.probe(found)
    assert probe is not None
    scores = probe.score(reader.baselines())
    assert scores.rows["normalised cross-correlation"]["within_3"] > 0.6
    assert scores.rows["chained flow"]["epe"] < 0.5
    assert "known places" in scores.title
    (tmp_path / "scene_1to2.flo").write_bytes(b"bad")
    assert "PIEH" in str(reader.find(str(tmp_path)).skipped)


def test_hold_out(tmp_path: Path) -> None:
    for seed, name in enumerate("abc"):
        write_film(tmp_path, name, seed)
    footage = Footage.find(str(tmp_path), 240)
    training, held = footage.split("a, c")
    assert held is not None
    assert [film.name for film in training.films] == ["frames/b"]
    assert [film.name for film in held.films] == ["frames/a", "frames/c"]
    assert footage.split(None) == (footage, None)
    with pytest.raises(NearfarError, match="fits none of the 3 videos"):
        footage.split("d")
    with pytest.raises(NearfarError, match="leaves none"):
        footage.split("*")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run on four films, a fifth held out."""
    root = tmp_path_factory.mktemp("films")
    for seed in range(5):
        write_film(root, f"film{seed}", seed)
    words = ["--hold-out", "film0", "--steps", "30", "--batch-size", "320", "--window", "48"]
    words += ["--width", "32", "--dim", "32", "--out", str(root / "run"), "--lr", "0.004"]
    # Strong changes of colour, so that 30 steps are enough to see what they do.
    words += ["--colour", "0.4"]
    assert main(["train", "pixels", str(root), *words]) == 0
    return root / "run"


def test_every_opponent_is_in_the_table(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    assert set(scores["rows"]) == {
        "learned", "untrained", "raw patches", "normalised cross-correlation", "raw RGB",
        "chained flow", "static",
    }  # fmt: skip
    assert all(0 <= row["jf"] <= 1 for row in scores["rows"].values())
    assert "temperature 0.07" in scores["note"]
    kept = json.loads((run / "exhibits.json").read_text())
    titles = [section["title"] for section in kept["sections"]]
    assert titles == ["Nearest pixels", "Features as colours", "Followed points"]
    assert any("are masked" in remark for remark in kept["remarks"])


def test_no_shortcut_by_position_or_colour(run: Path) -> None:
    model = nearfar.load(run)
    encoder = model.encoder
    assert isinstance(encoder, DenseConv)
    with torch.no_grad():
        cells = encoder.map(torch.full((1, 3, *SHAPE), 0.4))
    assert (cells - cells.mean((2, 3), keepdim=True)).abs().max() < 1e-3 * cells.abs().max()
    untrained = nearfar.load(run, weights=run / "checkpoints" / "untrained.safetensors")
    picture = film(0)[0][0]
    dark = (picture * 0.5).astype(np.uint8)
    points = np.random.default_rng(0).uniform(8, 56, (100, 2)).astype(np.float32)
    features = {"learned": model.embed, "untrained": untrained.embed, **model.reader.baselines()}
    share = {}
    for name, embed in features.items():
        similar = embed(Grid(picture, points)) @ embed(Grid(dark, points)).T
        share[name] = float((similar.argmax(1) == np.arange(100)).mean())
    assert share["raw RGB"] < 0.2
    assert share["learned"] > max(share["raw RGB"], share["untrained"]) + 0.15


def test_the_commands_work(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = run.parent
    out = tmp_path / "v.parquet"
    assert main(["embed", str(run), str(root / "frames" / "film1"), "--out", str(out)]) == 0
    assert pq.read_table(out).num_rows == 10
    query = ["frames/film0/00003", "--gallery", str(root), "--json"]
    capsys.readouterr()
    assert main(["search", str(run), *query]) == 0
    nearest = json.loads(capsys.readouterr().out)["nearest"]
    assert nearest[0]["name"] == "frames/film0/00003"
    pictures, _, fast = film(0)
    video = write_video(tmp_path / "clip.mp4", pictures)
    csv = tmp_path / "t.csv"
    words = ["track", str(video), "--points", "40,32", "36,30", "--run", str(run)]
    assert main([*words, "--out", str(csv), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"] == 10
    last = [line.split(",") for line in csv.read_text().splitlines() if ",9," in line]
    assert len(last) == 2
    assert np.hypot(*(np.array(last[0][2:4], float) - [40, 32] - 9 * fast)) < 4
    assert len(Video(tmp_path / "t.mp4")) == 10
    for bad, message in (
        (["--points", "4000,3"], "wanted places in it"),
        (["--points", "4"], "wanted x,y in pixels"),
        (["--points", "4,4", "--start", "10"], "has 10 frames"),
        (["--points", "4,4", "--out", "a.txt"], "ends in .csv"),
    ):
        assert main(["track", str(video), *bad, "--run", str(run)]) == 1
        assert message in capsys.readouterr().err


def test_without_annotations_frames_are_found_in_their_own_warps(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(tmp_path / "clip.mp4", film(7)[0])
    capsys.readouterr()
    assert main(["evaluate", str(run), str(tmp_path), "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)
    rows = scores["rows"]
    assert rows["learned"]["within_5"] > rows["untrained"]["within_5"] + 0.05
    assert "warps of themselves" in scores["note"]


def test_overlays_have_the_videos_length(tmp_path: Path) -> None:
    clip = VideoClip(Video(write_video(tmp_path / "a.mp4", film(0)[0])))
    points = np.full((1, 10, 2), 20, np.float32)
    points[0, :2] = np.nan
    draw_tracks(tmp_path / "b.mp4", clip, points, np.ones((1, 10), bool))
    drawn = Video(tmp_path / "b.mp4")
    assert len(drawn) == 10
    assert np.abs(drawn.at(5)[20, 20].astype(int) - [255, 0, 0]).mean() < 60
    assert np.abs(drawn.at(0)[20, 20].astype(int) - clip.at(0)[20, 20]).mean() < 40
