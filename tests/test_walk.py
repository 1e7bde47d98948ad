"""Folders as people have them: linked, closed, going round in circles, with names of any bytes."""

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image

from nearfar import NearfarError
from nearfar.pairs import ImageReader, Inputs, find_images
from nearfar.pairs.audio_image import SenseReader
from nearfar.pairs.audio_image._find import files_below
from nearfar.pairs.dna import ReadReader, find_read_files
from nearfar.pairs.micrographs import MicrographReader
from nearfar.pairs.micrographs._files import find_files
from nearfar.pairs.pixels import PixelReader
from nearfar.pairs.translation import Bitext, read_corpora

Found = tuple[list[str], dict[str, str]]


def stems(found: tuple[list[Path], dict[str, str]]) -> Found:
    return [file.stem for file in found[0]], found[1]


def corpora(root: Path) -> Found:
    found = read_corpora(str(root))
    skipped = {name: why for corpus in found for name, why in corpus.skipped.items()}
    return [corpus.name.removesuffix(".tsv") for corpus in found], skipped


FINDERS: dict[str, Callable[[Path], Found]] = {
    "png": lambda root: stems(find_images(root)),
    "fa": lambda root: stems(find_read_files(root)),
    "tsv": corpora,
    "npz": lambda root: stems(find_files(root)),
    "wav": lambda root: stems(files_below(root, frozenset([".wav"]), "audio", "sounds")),
}


@pytest.fixture(params=FINDERS)
def ending(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def fill(folder: Path, ending: str) -> Path:
    folder.mkdir(parents=True)
    (folder / f"{folder.name}.{ending}").write_text("one\teins\n")
    return folder


def test_linked_folders_are_entered_once(tmp_path: Path, ending: str) -> None:
    root = fill(tmp_path / "root", ending)
    fill(root / "near", ending)
    fill(tmp_path / "far" / "away", ending)
    (root / "a_link").symlink_to(tmp_path / "far", target_is_directory=True)
    (root / "b_link").symlink_to(tmp_path / "far" / "away", target_is_directory=True)
    (root / "again").symlink_to(root / "near", target_is_directory=True)
    (root / "near" / "round").symlink_to(tmp_path, target_is_directory=True)
    names, skipped = FINDERS[ending](root)
    assert names == ["away", "near", "root"]
    assert skipped == {}


def test_what_cannot_be_entered_is_named(
    tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = fill(tmp_path / "closed", ending)
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    look = os.scandir

    def refuse(path: Any) -> Any:
        if Path(path) == closed:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path)

    # As root, who may run these tests, enters everything.
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(NearfarError, match=r"\(2 skipped, the first: .*"):
        FINDERS[ending](tmp_path)
    fill(tmp_path / "open", ending)
    names, skipped = FINDERS[ending](tmp_path)
    assert names == ["open"]
    assert skipped == {
        "closed": f"{closed} cannot be read: Permission denied",
        "dead": f"{tmp_path / 'dead'} cannot be read: No such file or directory",
    }


def test_files_keep_their_order(tmp_path: Path) -> None:
    for name in ("b", "a", "b/c", "b-c", "B", "a/.hidden"):
        fill(tmp_path / name, "png")
    files, _ = find_images(tmp_path)
    assert files == sorted(file for file in tmp_path.rglob("*") if file.suffix == ".png")


READERS: dict[str, Callable[[str], Inputs]] = {
    "png": ImageReader().find,
    "fa": ReadReader().find,
    "npz": MicrographReader().find,
    "wav": SenseReader(rate=8000, seconds=0.25).find,
    "flo": PixelReader().find,
    "parquet": lambda path: Inputs(*bitext(path)),
}


def bitext(path: str) -> tuple[list[str], list[str], None, dict[str, str]]:
    found, skipped = Bitext.read(path)
    return found.texts, found.texts, None, skipped


def good(ending: str) -> bytes:
    """A small file of a kind."""
    file, random = io.BytesIO(), np.random.default_rng(0)
    if ending == "png":
        Image.fromarray(random.integers(0, 255, (32, 32, 3), np.uint8)).save(file, "PNG")
    elif ending == "npz":
        np.savez(file, image=random.random((80, 80)))
    elif ending == "wav":
        soundfile.write(file, random.normal(size=800), 8000, format="WAV")
    elif ending == "parquet":
        pq.write_table(pa.table({"en": ["one"], "de": ["eins"]}), file)
    elif ending == "fa":
        file.write(b">read\nACGT\n")
    return file.getvalue()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are Unicode")
@pytest.mark.parametrize("ending", READERS)
def test_names_of_any_bytes_are_printable(tmp_path: Path, ending: str) -> None:
    odd = os.fsdecode(b"\xe9")
    folder = tmp_path / f"caf{odd}"
    folder.mkdir()
    files = {f"good{odd}.{ending}": good(ending), f"bad{odd}.{ending}": b"bad"}
    if ending == "flo":
        files |= {f"{number}{odd}.png": good("png") for number in range(2)}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    found = READERS[ending](str(tmp_path))
    assert len(found.names)
    assert len(found.skipped)
    said = "\n".join([*found.names, *found.skipped, *found.skipped.values()])
    assert said.encode().decode() == said
    assert r"bad\xe9" in said
