"""Reading pictures: everything a folder can hold."""

from __future__ import annotations

import gc
import random
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nearfar import NearfarError
from nearfar.pairs import ImageFolder, ImageReader, PicturePairs, batch_rows, seeded, simclr_views


def grey(side: int = 20) -> np.ndarray:
    return np.tile(np.arange(side, dtype=np.uint8) * 12, (side, 1))


def test_any_mode_and_size(tmp_path: Path) -> None:
    Image.fromarray(grey()).save(tmp_path / "grey.png")
    Image.fromarray(grey()).convert("P").save(tmp_path / "palette.gif")
    Image.fromarray(np.dstack([grey(50)] * 4)).save(tmp_path / "alpha.png")
    Image.fromarray(grey().astype(np.uint16) * 257).save(tmp_path / "sixteen.png")
    Image.new("CMYK", (40, 20)).save(tmp_path / "UPPER.JPG")
    folder = ImageFolder(tmp_path, 16)
    assert folder.pixels.shape[1] == 3
    assert folder.skipped == {}
    assert folder.labels is None
    eight, sixteen = ImageReader(folder.size).read(
        [tmp_path / "grey.png", tmp_path / "sixteen.png"]
    )
    assert (eight.int() - sixteen.int()).abs().max() <= 1


def test_bad_files_are_skipped_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = tmp_path / "a" / "good.png"
    good.parent.mkdir()
    Image.fromarray(grey()).save(good)
    Image.fromarray(grey(300)).save(tmp_path / "huge.png")
    noise = np.random.default_rng(0).integers(0, 255, (60, 60, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "truncated.png")
    whole = (tmp_path / "truncated.png").read_bytes()
    (tmp_path / "truncated.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("no picture")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    filters = list(warnings.filters)
    folder = ImageFolder(tmp_path)
    assert warnings.filters == filters
    gc.collect()  # a file left open would warn here, which is an error in these tests
    assert set(folder.skipped) == {"huge.png", "truncated.png", "empty.jpg", "text.jpg"}
    assert "truncated.png" in folder.skipped["truncated.png"]
    assert folder.names == ["a/good.png"]


def test_other_formats_are_skipped_and_named(tmp_path: Path) -> None:
    for name in ("a.HEIC", "b.dng", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(NearfarError, match=r"no pictures in .* \(2 skipped, the first: a.HEIC: "):
        ImageFolder(tmp_path)
    Image.fromarray(grey()).save(tmp_path / "d.jpg")
    folder = ImageFolder(tmp_path)
    assert folder.names == ["d.jpg"]
    assert set(folder.skipped) == {"a.HEIC", "b.dng"}
    assert folder.skipped["b.dng"] == "b.dng: .dng is not read; save it as JPEG or PNG."


def test_folders_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(NearfarError, match="no pictures in this folder"):
        ImageFolder(tmp_path)
    with pytest.raises(NearfarError, match="no such folder"):
        ImageFolder(tmp_path / "nowhere")
    (tmp_path / "bad.png").touch()
    with pytest.raises(NearfarError, match="none of its 1 picture files"):
        ImageFolder(tmp_path)


def test_labels_are_first_level_folders(shapes: Path) -> None:
    folder = ImageFolder(shapes)
    assert folder.labels is not None
    assert set(folder.labels) == {"bar", "cross", "disc"}
    assert folder.size == 32


def test_copies_share_an_id(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.fromarray(grey()).save(tmp_path / name)
    Image.fromarray(grey().T).save(tmp_path / "c.png")
    assert ImageFolder(tmp_path).ids.tolist() == [0, 0, 1]


@pytest.mark.parametrize("item", [np.full((9, 9), 2.0), np.zeros((3, 3, 2), np.uint8), "none.png"])
def test_unreadable_inputs_are_named(item: object) -> None:
    with pytest.raises(NearfarError, match="cannot be read as a picture"):
        ImageReader(16).read([item])


def test_batches_and_views_are_functions_of_seed_and_step(shapes: Path) -> None:
    folder = ImageFolder(shapes)
    views = simclr_views(32, rotate=10)
    pairs = PicturePairs(folder.pixels, views, ImageReader(folder.size), folder.names)
    batch = batch_rows(len(pairs), 16, seed=1, step=9)
    assert len(set(batch.tolist())) == 16
    epoch = torch.cat([batch_rows(len(pairs), 16, 1, step) for step in range(7)])
    assert len(set(epoch.tolist())) == 112  # no item twice in an epoch
    drawn = []
    for step in (9, 9, 10):
        with seeded(1, step):
            drawn.append(pairs.draw(batch, torch.device("cpu")))
    assert torch.equal(drawn[0].query, drawn[1].query)
    assert not torch.equal(drawn[0].query, drawn[2].query)
    assert not torch.equal(drawn[0].query, drawn[0].key)
    assert drawn[0].query.shape == (16, 3, 32, 32)


def test_a_seed_holds_for_all_and_only_within_its_block() -> None:
    def draw() -> list[float]:
        return [torch.rand(()).item(), np.random.rand(), random.random()]

    with seeded(4):
        before = draw()
        with seeded(1, 2):
            first = draw()
        after = draw()
    with seeded(1, 2):
        assert draw() == first
    with seeded(4):
        assert draw() + draw() == before + after


def test_one_picture_is_no_game(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    Image.fromarray(grey()).save(folder / "only.png")
    data = ImageFolder(folder)
    with pytest.raises(NearfarError, match=r"hold 1 picture.*at least 2"):
        PicturePairs(data.pixels, simclr_views(32), ImageReader(data.size), data.names, data.ids)
