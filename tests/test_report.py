"""The page: whole, offline, and drawn by a real browser where there is one."""

from __future__ import annotations

import base64
import io
import math
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nearfar import NearfarError
from nearfar.experiment import Exhibit
from nearfar.report import Snapshot, _anatomy, keep_exhibits, write_report
from nearfar.report._game import look, neighbours
from nearfar.report._words import judgement
from nearfar.train import Run

IDS = ["fig-loss", "fig-similarity", "fig-geometry", "fig-information", "fig-temperature"]
IDS += ["fig-forces", "fig-map", "fig-crowd", "fig-weighing", "fig-sharpness", "fig-lengths"]
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")


def snapshot(items: int = 12, pictures: bool = True, name: str = "a.png") -> Snapshot:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(3, items, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return Snapshot(
        names=np.array([name] * items),
        labels=np.array(["x", "y"] * (items // 2)),
        vectors=vectors[0],
        pictures=np.zeros((items, 8, 8, 3), np.uint8) if pictures else np.zeros(0, np.uint8),
        query=vectors[1],
        key=vectors[2],
        crowd=~np.eye(items, dtype=bool),
        temperature=np.float32(0.2),
        in_batch=np.bool_(True),
        commands=np.array(["nearfar embed"]),
    )


def page(folder: Path, shot: Snapshot, experiment: Any = None) -> str:
    run = Run(folder)
    run.begin({"recipe": "images"}, fresh=True)
    if experiment is not None:
        keep_exhibits(experiment, run)
    run.metrics.write_text(
        '{"step": 1, "info_nce": 2.0, "chance": 2.4, "top1": 0.1, "mutual_information": 0.4}\n'
    )
    np.savez(run.folder / "snapshot.npz", **vars(shot))
    write_report(run)
    return run.report.read_text()


def test_a_crowd_that_is_not_in_the_batch_gets_no_advice_about_it() -> None:
    shot = snapshot()
    rival = replace(shot, in_batch=np.bool_(False))
    assert any("The partner is not found" in line for line in look(shot, []).advice)
    assert not any("partner" in line for line in look(rival, []).advice)


def test_the_page_is_whole_and_offline(trained: Path) -> None:
    text = (trained / "report.html").read_text()
    for name in [*IDS, "neighbours", "hardest", "scores", "settings"]:
        assert f'id="{name}"' in text
    own = text[: text.index("<script>")] + text[text.index("</head>") :]
    assert not re.search(r"""(src|href)=["']?https?:|@import|url\((?!data:)""", own)


def test_names_cannot_break_out(tmp_path: Path) -> None:
    text = page(tmp_path / "run", snapshot(name="</script><b onload=alert(1)>.png"))
    assert "<b onload" not in text


def test_an_older_snapshot_says_how_to_mend_it(tmp_path: Path) -> None:
    page(tmp_path / "run", snapshot())
    kept = {name: value for name, value in vars(snapshot()).items() if name != "crowd"}
    np.savez(tmp_path / "run" / "snapshot.npz", **kept)
    with pytest.raises(NearfarError, match=r"of an older nearfar, lacks crowd. Give its"):
        write_report(Run(tmp_path / "run"))


@pytest.mark.parametrize("pictures", [True, False])
def test_tiny_samples(tmp_path: Path, pictures: bool) -> None:
    assert 'id="fig-map"' in page(tmp_path / "run", snapshot(2, pictures))


def test_a_recipe_shows_its_own_sections(tmp_path: Path) -> None:
    sections = [
        Exhibit(
            title="Turned",
            text="How to <read> it.",
            x="angle",
            y="cosine",
            curves={"mean": ([0, 90], [1, 0.5])},
        ),
        Exhibit(title="Grains", text="A picture.", pictures=np.full((2, 3, 3), 7, np.uint8)),
    ]
    experiment = SimpleNamespace(
        model=None, remarks=["Neighbours differ & how."], exhibits=lambda model: sections
    )
    text = page(tmp_path / "run", snapshot(), experiment)
    assert "<li>Neighbours differ &amp; how.</li>" in text
    assert "How to &lt;read&gt; it." in text
    assert 'id="fig-own-0"' in text
    assert '"fig-own-0": {' in text
    assert 'id="fig-own-1"' not in text
    found = re.search(r'<img alt="Grains" src="data:image/png;base64,([^"]+)"', text)
    assert found
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(found[1]))))
    assert picture.shape == (2, 3, 3)
    assert (picture == 7).all()


def test_rows_of_one_id_are_no_strangers() -> None:
    ids = np.arange(12) // 2
    shot = replace(snapshot(), crowd=ids[:, None] != ids)
    shot.key[1] = shot.query[0]
    seen = look(shot, [])
    assert len(seen.negative) == 12 * 10
    assert seen.negative.max() < 0.999
    assert not {(hard.query, hard.key) for hard in seen.hardest} & {(0, 1), (1, 0)}
    (loss, *_) = _anatomy.crowd(seen).data
    assert max(loss.x) == 10
    assert loss.y[-1] == pytest.approx(seen.margin.exact)


def test_the_effective_margin_is_its_formula() -> None:
    shot = snapshot()
    seen = look(shot, [])
    s = shot.query @ shot.key.T
    levels = [
        0.2 * math.log(sum(math.exp(s[i, j] / 0.2) for j in range(12) if i != j) / 11)
        for i in range(12)
    ]
    beta = sum(levels) / 12
    assert seen.margin.level == pytest.approx(beta, abs=1e-6)
    assert seen.margin.effective == pytest.approx(beta + 0.2 * math.log(11), abs=1e-6)
    assert seen.margin.alpha == pytest.approx(float(np.diag(s).mean()), abs=1e-6)
    assert all(hard.query != hard.key for hard in seen.hardest)
    shares = [hard.share for hard in seen.hardest]
    assert shares == sorted(shares, reverse=True)
    hard, p = seen.hardest[0], np.exp(s / 0.2)
    assert hard.share == pytest.approx(p[hard.query, hard.key] / p[hard.query].sum(), rel=1e-5)


def test_neighbours_are_nearest() -> None:
    shot = snapshot()
    query, first, *_ = neighbours(shot)[0]
    assert query.row == 0
    similarity = shot.vectors @ shot.vectors[0]
    assert first.similarity == pytest.approx(np.sort(similarity)[-2], abs=1e-6)


def test_the_judgement_is_honest() -> None:
    def rows(learned: float) -> dict[str, Any]:
        def row(value: float) -> dict[str, float]:
            return {"knn": value, "linear": value}

        measures = {"knn": "kNN", "linear": "linear probe"}
        every = {"learned": row(learned), "untrained": row(0.3), "raw input": row(0.5)}
        return {"measures": measures, "rows": every}

    assert judgement(rows(0.6))[1]
    perfect = rows(1.0)
    perfect["rows"]["raw input"]["knn"] = 1.0
    assert judgement(perfect)[1]
    said, good = judgement(rows(0.4))
    assert not good
    assert "not beat raw input (kNN 0.500 against 0.400, linear probe 0.500 against 0.4" in said
    assert "untrained (" not in said
    assert "Nothing was labelled" in judgement(None)[0]


@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
def test_a_browser_draws_every_figure(trained: Path, tmp_path: Path) -> None:
    quiet = "--disable-background-networking --disable-component-update --disable-sync"
    flags = f"--headless --no-sandbox --disable-gpu --no-first-run {quiet}".split()
    done = subprocess.run(
        [
            str(BROWSER),
            *flags,
            f"--user-data-dir={tmp_path}",
            "--virtual-time-budget=10000",
            "--dump-dom",
            (trained / "report.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    for name in IDS:
        place = done.stdout.index(f'<div id="{name}"')
        assert 'class="main-svg"' in done.stdout[place : place + 3000], name
    assert "Uncaught" not in done.stderr
