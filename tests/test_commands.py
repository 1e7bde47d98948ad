"""Every command, as a person types it."""

from __future__ import annotations

import json
import os
import queue
import re
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from PIL import Image

import nearfar
from conftest import fill
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.encoders import (
    Encoder,
    HuggingFaceSound,
    KmerBag,
    ResNet,
    choose_dense_encoder,
    choose_image_encoder,
)
from nearfar.model import Model, describe, rebuild
from nearfar.pairs.dna import ReadReader
from nearfar.recipes.images import images

Capture = pytest.CaptureFixture[str]


def test_the_run_folder_holds_everything(trained: Path) -> None:
    files = {str(file.relative_to(trained)) for file in trained.rglob("*")}
    assert {
        "config.yaml",
        "metrics.jsonl",
        "report.html",
        "scores.json",
        "checkpoints/last.ckpt",
        "checkpoints/untrained.safetensors",
        "model/config.json",
        "model/model.safetensors",
    } <= files
    assert list(trained.glob("events.out.tfevents.*"))
    assert yaml.safe_load((trained / "config.yaml").read_text())["recipe"] == "images"
    config = json.loads((trained / "model" / "config.json").read_text())
    assert config["recipe"] == "images"
    assert config["head"] is None
    last = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 80
    assert last["chance"] == pytest.approx(np.log(32))
    assert last["info_nce"] < last["chance"]


def test_training_beats_the_untrained_encoder(trained: Path) -> None:
    rows = json.loads((trained / "scores.json").read_text())["rows"]
    assert rows["learned"]["knn"] > rows["untrained"]["knn"] + 0.1


def test_load_and_embed(trained: Path, shapes: Path) -> None:
    model = nearfar.load(trained)
    paths = sorted(shapes.rglob("*.png"))[:5]
    vectors = model.embed(paths)
    assert vectors.shape == (5, model.dim)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    arrays = [np.asarray(Image.open(path)) for path in paths]
    np.testing.assert_allclose(model.embed(arrays), vectors, atol=1e-5)
    assert model.embed([]).shape == (0, model.dim)
    with pytest.raises(NearfarError, match="is one path; wanted a list"):
        model.embed(str(paths[0]))


@pytest.mark.parametrize("ending", ["parquet", "npz", "safetensors"])
def test_embed_writes_vectors_with_names(
    trained: Path, shapes: Path, tmp_path: Path, ending: str, capsys: Capture
) -> None:
    out = tmp_path / "run [2024]" / f"[v].{ending}"
    assert main(["embed", str(trained), str(shapes), "--out", str(out), "--json"]) == 0
    spoken = capsys.readouterr()
    said = json.loads(spoken.out)
    assert f"vectors of {said['dim']} numbers in {out}, " in spoken.err
    if ending == "parquet":
        table = pq.read_table(out)
        names, vectors = table["name"].to_pylist(), np.array(table["vector"].to_pylist())
    elif ending == "npz":
        with np.load(out, allow_pickle=False) as arrays:
            names, vectors = arrays["names"].tolist(), arrays["vectors"]
    else:
        from safetensors import safe_open

        with safe_open(out, "np") as file:
            names, vectors = json.loads(file.metadata()["names"]), file.get_tensor("vectors")
    assert vectors.shape == (120, said["dim"])
    assert names[0] == "bar/000.jpg"
    first = nearfar.load(trained).embed([shapes / "bar" / "000.jpg"])[0]
    np.testing.assert_allclose(vectors[0], first, atol=1e-5)


def test_search_finds_the_picture_itself(trained: Path, shapes: Path, capsys: Capture) -> None:
    query = shapes / "disc" / "003.png"
    assert main(["search", str(trained), str(query), "--k", "3", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["nearest"]
    assert hits[0] == {"name": "disc/003.png", "similarity": 1.0}
    assert len(hits) == 3
    assert main(["search", str(trained), str(query), "--gallery", str(shapes)]) == 0
    assert "1.000  disc/003.png" in capsys.readouterr().out


def test_evaluate(trained: Path, shapes: Path, capsys: Capture) -> None:
    flags = ["evaluate", str(trained), str(shapes)]
    # Flags may stand before the run, and between it and the data.
    assert main(["evaluate", "--json", str(trained), "--test", str(shapes), str(shapes)]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert set(scores["rows"]) == {"learned", "untrained", "raw input"}
    assert scores["title"] == "120 held-out items, 3 classes"
    assert set(scores["rows"]["learned"]) == set(scores["measures"])
    assert main(flags) == 0
    said = capsys.readouterr().out
    assert "untrained" in said
    assert "24 held-out items, 3 classes" in said
    assert main(["evaluate", str(trained), str(shapes / "bar")]) == 1
    assert "has no labels to test with" in capsys.readouterr().err
    assert main(["evaluate", str(trained), "--test", str(shapes)]) == 1
    assert "without a path to learn from" in capsys.readouterr().err
    assert main(["evaluate", str(trained), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again == json.loads((trained / "scores.json").read_text())


def test_a_stray_file_that_drops_all_labels_is_named(
    trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    data = fill(tmp_path, 5)
    Image.new("RGB", (32, 32)).save(data / "top.jpg")
    experiment = images(str(data))
    assert experiment.labels is None
    assert "3 sub-folders, but 1 file(s) beside them (top.jpg)" in experiment.remarks[0]
    assert main(["evaluate", str(trained), str(data)]) == 1
    assert experiment.remarks[0] in capsys.readouterr().err


@pytest.mark.skipif(sys.platform != "linux", reason="other systems' names are Unicode")
def test_names_of_any_bytes(tmp_path: Path, capsys: Capture) -> None:
    data, run = fill(tmp_path / os.fsdecode(b"\xe9"), 2), str(tmp_path / "run")
    (data / "bar" / "000.jpg").rename(data / "bar" / os.fsdecode(b"\xe9.jpg"))
    (data / os.fsdecode(b"bad\xe9.jpg")).touch()
    flags = ["--steps", "1", "--batch_size", "4", "--out", run]
    assert main(["train", "images", str(data), *flags]) == 0
    assert r"bad\xe9.jpg" in (tmp_path / "run" / "skipped.txt").read_text()
    out = tmp_path / "v.parquet"
    assert main(["embed", run, str(data), "--out", str(out)]) == 0
    assert pq.read_table(out)["name"][1].as_py() == r"bar/\xe9.jpg"
    assert r"bad\xe9.jpg cannot be read" in capsys.readouterr().out


def test_all_that_is_skipped_is_named_somewhere(
    trained: Path, tmp_path: Path, capsys: Capture
) -> None:
    data, run = fill(tmp_path / "data", 2), tmp_path / "run"
    for number in range(7):
        (data / "bar" / f"bad{number}.png").touch()
    words = ["train", "images", str(data), "--out", str(run), "--batch_size", "4", "--steps", "1"]
    assert main(words) == 0
    assert f"... and 2 more: {run / 'skipped.txt'}" in capsys.readouterr().out
    assert (run / "skipped.txt").read_text().count("bad") == 2 * 7
    out = str(tmp_path / "v.npz")
    for words in (
        ["embed", str(trained), str(data), "--out", out, "--json"],
        ["search", str(trained), str(data / "bar" / "000.jpg"), "--gallery", str(data), "--json"],
    ):
        assert main(words) == 0
        said = capsys.readouterr()
        assert "cannot be read as a picture" in json.loads(said.out)["skipped"]["bar/bad6.png"]
        assert "bad6.png cannot be read" in said.err
        assert "more" not in said.err


def test_data_that_were_named_from_elsewhere(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"path": "../pics"}))
    monkeypatch.chdir(tmp_path)
    for command, mend in (
        (["search", str(run), "q.jpg"], "or name what to search: --gallery."),
        (["evaluate", str(run)], "or name labelled data: PATH."),
        (["audit", str(run)], "where the run was trained."),
    ):
        assert main(command) == 1
        said = capsys.readouterr().err
        assert f"seen from {str(tmp_path)!r}, do not lead to what it learned from: path=" in said
        assert "'../pics': there is no such folder" in said
        assert mend in said


def test_what_to_type_next_is_what_runs(shapes: Path, tmp_path: Path) -> None:
    from nearfar.cli._show import next_steps
    from nearfar.train import Run

    for file in (shapes / "disc").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for folder, judged in ((shapes, ["nearfar evaluate run"]), (tmp_path, [])):
        commands = next_steps(Run("run"), images(str(folder)), str(folder))
        assert [line for line in commands if "evaluate" in line] == judged


def test_report_is_written_again_without_the_data(trained: Path) -> None:
    (trained / "report.html").unlink()
    assert main(["report", str(trained)]) == 0
    assert (trained / "report.html").stat().st_size > 1_000_000


def test_finished_runs_do_nothing_twice(trained: Path, shapes: Path) -> None:
    before = (trained / "model" / "model.safetensors").read_bytes()
    settings = trained / "config.yaml"
    assert main(["train", "images", "--config", str(settings)]) == 0
    assert (trained / "model" / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "imagse", "."], "Did you mean 'images'?"),
        (["train", "images", ".", "--temprature", "1"], "Did you mean '--temperature'?"),
        (["train", "images", "nowhere"], "there is no such folder"),
        (
            ["train", "images", ".", "--temperature", "warm"],
            "temperature='warm': wanted a number, such as --temperature 0.2.",
        ),
        (
            ["train", "images", ".", "--batch-size", "many"],
            "batch_size='many': wanted a whole number, such as --batch-size 1000.",
        ),
        (["train", "images", ".", "--fresh=maybe"], "fresh='maybe': wanted true or false."),
        (
            ["train", "images", ".", "--precision", "bf16mixed"],
            "precision='bf16mixed': wanted one of auto, 32-true, bf16-mixed, 16-mixed. Did you "
            "mean 'bf16-mixed'?",
        ),
        (["embed", "nowhere", "."], "holds no model"),
        (["report", "nowhere"], "is not a run folder"),
        (["embed", "nowhere", ".", "--out", "x.csv"], "wanted a file that ends in .parquet"),
        (["train", "mine.py"], "there is no such file"),
        (["track", "clip.mp4", "--run", "nowhere"], "required: points"),
        (["track", "clip.mp4", "--run=nowhere", "--points=4,4"], "holds no model"),
        (["track", "--run", "nowhere", "clip.mp4", "--points", "4,4", "5,5"], "holds no model"),
    ],
)
def test_mistakes_are_explained(words: list[str], said: str, capsys: Capture) -> None:
    try:
        status = main(words)
    except SystemExit as stop:
        status = int(str(stop.code))
    assert status in (1, 2)
    assert said in capsys.readouterr().err


def test_a_batch_larger_than_the_data(shapes: Path, tmp_path: Path, capsys: Capture) -> None:
    out = str(tmp_path / "run")
    assert main(["train", "images", str(shapes), "--out", out, "--batch_size", "500"]) == 1
    assert "batch_size=500 is larger than the data, which hold 120 items" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_help_is_the_docstring(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["train", "images", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "Smallest share of the area that a random crop keeps" in said
    assert "Optimiser steps" in said
    with pytest.raises(SystemExit):
        main(["track", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert "nearfar track --points POINTS [POINTS ...] --run RUN" in said
    with pytest.raises(SystemExit):
        main(["sweep", "images", "--help"])
    said = capsys.readouterr().out
    assert "--schedules" in said.partition("Learn from a folder of pictures.")[0]
    assert "--temperature TEMPERATURE" not in said
    assert main([]) == 0
    assert "nearfar demo" in capsys.readouterr().out


def test_a_recipe_of_ones_own(tmp_path: Path, capsys: Capture) -> None:
    import nearfar.recipes as recipes

    source = (Path(recipes.__file__).parent / "digits.py").read_text()
    mine = tmp_path / "mine.py"
    fewer = source.replace("load_digits(", "load_digits(n_class=2, ")
    mine.write_text(fewer.replace("def digits(", "def mine("))
    # What is said of a run says its name, whatever that is elsewhere.
    run = tmp_path / "[bold]:x:[" / "y]"
    flags = ["--out", str(run), "--steps", "2", "--batch_size", "8", "--json"]
    assert main(["train", str(mine), *flags]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["metrics"]["step"] == 2
    assert f"model      {run}/model\nreport     {run}/report.html\n" in said.err
    # The run remembers which file it was, so that its experiment can be made again.
    assert main(["audit", str(run), "--devices", "4"]) == 0
    assert main(["train", "--help"]) == 0
    assert main(["train", str(mine), "--config", str(run / "config.yaml")]) == 0


RECIPE = '''"""Pictures, and an encoder that nearfar does not have."""
import torch
from torch import nn
from nearfar.encoders import Encoder
from nearfar.experiment import Experiment
from nearfar.loss import NTXentLoss, Temperature
from nearfar.model import Model
from nearfar.pairs import ImageFolder, ImageReader, PicturePairs, simclr_views


class Flat(Encoder):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.settings, self.dim = {"dim": dim}, dim
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, dim))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


def NAME(path: str) -> Experiment:
    """Learn.

    Args:
        path: A folder.
    """
    folder, reader, tau = ImageFolder(path, 16), ImageReader(16), Temperature(0.2)
    return Experiment(
        model=Model(reader, Flat(4)),
        pairs=PicturePairs(folder.pixels, simclr_views(16), reader, folder.names),
        objective=NTXentLoss(tau), temperature=tau, inputs=folder.files,
    )
'''


@pytest.mark.parametrize(
    ("name", "module"), [("queue", "nearfar_recipe_queue"), ("of_old", "of_old")]
)
def test_an_encoder_of_ones_own_is_found_again(
    shapes: Path, tmp_path: Path, capsys: Capture, name: str, module: str
) -> None:
    file, out = tmp_path / f"{name}.py", str(tmp_path / "run")
    file.write_text(RECIPE.replace("NAME", name))
    flags = ["--out", out, "--steps", "2", "--batch_size", "8"]
    assert main(["train", str(file), str(shapes), *flags]) == 0
    assert sys.modules["queue"] is queue
    config = tmp_path / "run" / "model" / "config.json"
    config.write_text(config.read_text().replace(f"nearfar_recipe_{name}:", f"{module}:"))
    del sys.modules[f"nearfar_recipe_{name}"]  # as in another process
    words = ["embed", out, str(shapes), "--out", str(tmp_path / "vectors.npz")]
    assert main(words) == 0
    capsys.readouterr()
    file.rename(tmp_path / "elsewhere.py")
    del sys.modules[f"nearfar_recipe_{name}"]
    assert main(words) == 1
    said = capsys.readouterr().err
    assert (f"{str(file)!r}, and there is no such file" in said) == (name != module)
    assert ("which cannot be imported" in said) == (name == module)
    config.write_text(config.read_text().replace(str(file), "elsewhere.py"))
    assert main(words) == 1


@pytest.mark.parametrize("weights", [True, False])
def test_hugging_face_models_from_a_folder(
    shapes: Path, tmp_path: Path, weights: bool, capsys: Capture
) -> None:
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path / "hub")
    out = tmp_path / "run"
    flags = ["--encoder", str(tmp_path / "hub"), "--steps", "2", "--batch_size", "8"]
    flags += ["--embedding", "head", "--weights", str(weights).lower(), "--out", str(out)]
    assert main(["train", "images", str(shapes), *flags]) == 0
    model = nearfar.load(out)
    assert model.embed(sorted(shapes.rglob("*.png"))[:3]).shape == (3, 128)
    assert main(["train", "images", str(shapes), "--encoder", "./none", "--out", "x"]) == 1
    assert "encoder='./none' could not be loaded" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("bert", "a bert model takes no pictures"),
        ("mobilenet_v2", "a mobilenet_v2 model does not say how wide its output is"),
    ],
)
def test_hugging_face_models_that_are_no_encoders(kind: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": kind}))
    with pytest.raises(NearfarError, match=said):
        choose_image_encoder(str(tmp_path), weights=False)


def test_a_run_of_other_data_is_no_encoder_of_pictures(
    shapes: Path, tmp_path: Path, capsys: Capture
) -> None:
    Model(ReadReader(), KmerBag(3, 8, 8)).save(tmp_path / "dna" / "model")
    flags = ["--encoder", str(tmp_path / "dna"), "--out", str(tmp_path / "run")]
    assert main(["train", "images", str(shapes), *flags]) == 1
    said = capsys.readouterr().err
    assert "dna' is a run that reads by ReadReader; wanted one that reads pictures" in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("choose", "name", "said"),
    [
        (choose_image_encoder, "resnet18", "no such encoder. Did you mean 'resnet'?"),
        (choose_image_encoder, "runs/photo", "without that. Did you mean 'runs/photos'?"),
        (choose_image_encoder, "runs/nope", "the recipe images takes a run folder, too."),
        (choose_dense_encoder, "convs", "Wanted: 'conv', the name of a vision model"),
        (partial(HuggingFaceSound.load, weights=True), "runs/nope", "'runs' is a folder here"),
    ],
)
def test_mistyped_encoders_ask_no_network(
    choose: Callable[[str], Encoder],
    name: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from transformers import AutoConfig

    def refuse(name: str) -> None:
        raise AssertionError(f"the network is asked for {name!r}")

    monkeypatch.setattr(AutoConfig, "from_pretrained", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "photos").mkdir(parents=True)
    with pytest.raises(NearfarError, match=re.escape(said)):
        choose(name)
    with pytest.raises(AssertionError, match="the network is asked for 'owner/model'"):
        choose("owner/model")


@pytest.mark.parametrize("place", ["", "model"])
def test_the_encoder_of_a_run_trains_on(trained: Path, shapes: Path, place: str) -> None:
    network = images(str(shapes), encoder=str(trained / place)).model.encoder
    before = nearfar.load(trained).encoder.state_dict()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_nothing_but_parts_is_rebuilt() -> None:
    encoder = ResNet([8, 16])
    again = rebuild(describe(encoder), Encoder)
    assert isinstance(again, ResNet)
    assert again(torch.zeros(1, 3, 32, 32)).shape == (1, 16)
    with pytest.raises(NearfarError, match="is not a Encoder"):
        rebuild({"class": "os:system", "settings": {"command": "true"}}, Encoder)
    with pytest.raises(NearfarError, match="cannot be imported"):
        rebuild({"class": "no.such:Thing", "settings": {}}, Encoder)


def test_optimisers(shapes: Path, tmp_path: Path) -> None:
    for name in ("sgd", "lars"):
        flags = ["--steps", "3", "--batch_size", "8", "--optimizer", name, "--clip", "1"]
        out = tmp_path / name
        assert main(["train", "images", str(shapes), "--out", str(out), *flags]) == 0
        assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
