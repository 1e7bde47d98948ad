"""Sounds and pictures: times, clocks, partners, towers, retrieval, and a training."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image

import nearfar
from conftest import SHAPES, picture
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.encoders import Encoder, LogMel, ResNet, SoundConv, TwoTowers
from nearfar.model import Model, describe, rebuild
from nearfar.pairs import seeded
from nearfar.pairs.audio_image import (
    Clip,
    Clock,
    Clocks,
    Moments,
    Opinion,
    Partners,
    SenseReader,
    Stream,
    TimePairs,
    Times,
    align,
    believed,
    estimate_clock,
    events,
    exif_stamp,
    lowest_rate,
    near,
    parse,
    read_clip,
    streams,
    unrelated,
    zone_of,
)
from nearfar.probes import CrossModal, SharedDirections, shortcuts

CPU = torch.device("cpu")
RATE, BEGIN = 4000, datetime(2024, 6, 30, 5, tzinfo=UTC).timestamp()


def call(kind: str, rng: np.random.Generator, seconds: float = 1.0) -> np.ndarray:
    """(S,) a falling tone, a low tone or clicks, in noise."""
    t = np.arange(int(RATE * seconds)) / RATE
    pitch = rng.uniform(0.9, 1.1)
    wave = {
        "disc": np.sin(2 * np.pi * pitch * (1500 * t - 400 * t**2)),
        "bar": np.sin(2 * np.pi * pitch * 200 * t),
        "cross": rng.normal(size=len(t)) * (np.sin(2 * np.pi * 8 * pitch * t) > 0.7),
    }[kind]
    return rng.uniform(0.1, 0.5) * wave + 0.01 * rng.normal(size=len(t))


def trains(
    count: int, rng: np.random.Generator, gap: float = 30.0, **errors: float
) -> tuple[np.ndarray, np.ndarray]:
    """A recorder's and a camera's stamps of the same events."""
    when = np.cumsum(rng.exponential(gap, count))
    ahead = errors.get("offset", 0.0) + errors.get("drift", 0.0) * (when - when[-1] / 2)
    noise = errors.get("jitter", 0.0) * rng.normal(size=count)
    return BEGIN + when + ahead + noise, BEGIN + when


def moments(stamps: np.ndarray, labels: list[str], device: str = "one") -> Moments:
    names = [f"{device}{row}" for row in range(len(stamps))]
    return Moments(names, [Clip(n) for n in names], stamps, [device] * len(names),
                   [""] * len(names), labels, {})  # fmt: skip


def made(count: int = 120, seed: int = 0, **errors: float) -> tuple[Stream, Stream]:
    """Streams in memory: what is heard and seen at an event is of one kind."""
    rng = np.random.default_rng(seed)
    heard, seen = trains(count, rng, **errors)
    kinds = [SHAPES[number] for number in rng.integers(3, size=count)]
    waves = np.stack([call(kind, rng) for kind in kinds]) * 2**15
    pixels = np.stack([picture(kind, rng, 16) for kind in kinds]).transpose(0, 3, 1, 2)
    return (
        Stream(moments(heard, kinds), torch.from_numpy(waves.astype(np.int16))),
        Stream(moments(seen, kinds), torch.from_numpy(pixels.copy())),
    )


def write(folder: Path, count: int, offset: float = 0.0, seed: int = 0) -> tuple[Path, Path]:
    """The same as files whose names say when."""
    heard, seen = made(count, seed, offset=offset)
    for kind in SHAPES:
        (folder / "audio" / kind).mkdir(parents=True)
        (folder / "images" / kind).mkdir(parents=True)
    for side, stream in (("audio", heard), ("images", seen)):
        for row, (stamp, kind) in enumerate(
            zip(stream.moments.stamps, stream.moments.labels, strict=True)
        ):
            name = datetime.fromtimestamp(round(stamp), UTC).strftime(f"{row}_%Y%m%d_%H%M%S")
            file = folder / side / kind / name
            if side == "audio":
                soundfile.write(file.with_suffix(".wav"), stream.data[row].numpy(), RATE)
            else:
                pixels = stream.data[row].permute(1, 2, 0).numpy()
                Image.fromarray(pixels).save(file.with_suffix(".png"))
    return folder / "audio", folder / "images"


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("AM12_20240630_053000", "2024-06-30T05:30:00+00:00"),
        ("StationA__2009-04-23__00-07-00(1)", "2009-04-23T00:07:00+00:00"),
        ("2021-03-27T21:38:18+01:00", "2021-03-27T20:38:18+00:00"),
        ("2021-03-27T21:38:18.250Z", "2021-03-27T21:38:18.250000+00:00"),
        ("rec 2021-03-27 21:38:18", "2021-03-27T21:38:18+00:00"),
        ("20210531082538-RCNX0031", "2021-05-31T08:25:38+00:00"),
        ("5CB0A4F0", "2019-04-12T14:47:12+00:00"),
        ("2021-13-27T21:38:18", None),
        ("IMG_0042", None),
        ("1234567890123456789", None),
    ],
)
def test_stamps(text: str, when: str | None) -> None:
    found = parse(text, UTC)
    assert found == (None if when is None else datetime.fromisoformat(when).timestamp())


def test_zones_and_summer_time() -> None:
    brussels = zone_of("Europe/Brussels")
    assert parse("20240331_033000", brussels) == parse("20240331_013000", UTC)
    assert parse("20240101_120000", brussels) == parse("20240101_110000", UTC)
    # The hour that comes twice: the first of the two.
    assert parse("20241027_023000", brussels) == parse("20241027_003000", UTC)
    assert parse("20240701_120000", zone_of("-03:30")) == parse("20240701_153000", UTC)
    with pytest.raises(NearfarError, match=r"audio_zone='Mars/North'.*Europe/Brussels"):
        zone_of("Mars/North", "audio_zone")


def test_own_patterns() -> None:
    assert parse("rec_300624-0530", UTC, "%d%m%y-%H%M") == parse("20240630_053000", UTC)
    assert parse("20240630_053000", UTC, "%d.%m.%Y") is None
    for wrong in ("20%q", "plain"):
        with pytest.raises(NearfarError, match="wanted the letters of strptime"):
            parse("x", UTC, wrong)


def test_exif(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0132] = "2030:01:01 00:00:00"
    inner = exif.get_ifd(0x8769)
    inner[0x9003], inner[0x9291], inner[0x9011] = "2024:06:30 05:30:00", "25", "+02:00"
    Image.new("RGB", (8, 8)).save(file, exif=exif)
    assert exif_stamp(file, UTC) == parse("20240630_033000", UTC) + 0.25  # type: ignore[operator]
    Image.new("RGB", (8, 8)).save(file)
    assert exif_stamp(file, UTC) is None
    file.write_bytes(b"no picture")
    assert exif_stamp(file, UTC) is None


def test_tables(tmp_path: Path) -> None:
    plain = tmp_path / "plain.csv"
    plain.write_text("file;time;device\nsub/a.wav;2024-06-30 05:30:00;r1\nb.wav;1719725400.5;\n")
    times = Times(plain, UTC)
    assert times.of(Path("/data/sub/a.wav")) is not None
    assert times.of(Path("/data/other/a.wav")) is None
    entry = times.of(Path("x/b.wav"))
    assert entry is not None
    assert (entry.stamp, entry.device) == (1719725400.5, "")
    camtrap = tmp_path / "dp"
    camtrap.mkdir()
    (camtrap / "media.csv").write_text(
        "mediaID,deploymentID,timestamp,filePath,fileName\n"
        "m1,d1,2021-03-27T21:38:18+01:00,https://a/b/file,IMG1.JPG\n"
    )
    (camtrap / "deployments.csv").write_text("deploymentID,locationID\nd1,pond\n")
    (camtrap / "observations.csv").write_text("mediaID,scientificName\nm1,Anas\n,Lutra\n")
    entry = Times(camtrap, UTC).of(Path("media/IMG1.JPG"))
    assert entry is not None
    assert (entry.device, entry.site, entry.label) == ("d1", "pond", "Anas")
    assert entry.stamp == parse("20210327_203818", UTC)
    plain.write_text("file,when\na,b\n")
    with pytest.raises(NearfarError, match="no column 'time'"):
        Times(plain, UTC)
    plain.write_text("file,time\na,yesterday\n")
    with pytest.raises(NearfarError, match="line 2: 'yesterday' is no time"):
        Times(plain, UTC)
    with pytest.raises(NearfarError, match="there is no such table"):
        Times(tmp_path / "none.csv", UTC)


def test_long_recordings_are_cut_at_their_events(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wave = 0.005 * rng.normal(size=RATE * 60)
    for second in (10.0, 30.5, 31.0, 58.5):
        begin = int(RATE * second)
        wave[begin : begin + RATE // 2] += call("disc", rng, 0.5)
    file = tmp_path / "20240630_050000.wav"
    soundfile.write(file, wave, RATE)
    found = events(file, 4.0)
    assert np.abs(np.array([loud for _, loud in found]) - [10.25, 31.0, 58.75]).max() < 0.8
    assert all(0 <= start <= loud <= start + 4.0 and start <= 56 for start, loud in found)
    reader = SenseReader(RATE, 4.0, 16)
    assert [name.rpartition("@")[2] for name in reader.find(str(tmp_path)).names] == [
        f"{start:.1f}" for start, _ in found
    ]
    part = read_clip(Clip(str(file), found[0][0]), RATE, 4.0)
    np.testing.assert_allclose(part, read_clip(f"{file}@{found[0][0]}", RATE, 4.0))
    soundfile.write(file, 0.005 * rng.normal(size=RATE * 60), RATE)
    with pytest.raises(NearfarError, match="nothing in it stands out"):
        reader.find(str(tmp_path))


def test_short_sounds_are_repeated_and_rates_agree(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for rate in (4000, 44_100):
        soundfile.write(tmp_path / f"{rate}.wav", 0.1 * rng.normal(size=(rate, 2)), rate)
    assert lowest_rate(str(tmp_path)) == 4000
    wave = read_clip(str(tmp_path / "4000.wav"), 4000, 3.0)
    assert len(wave) == 12_000
    np.testing.assert_allclose(wave[:4000], wave[4000:8000])
    assert len(read_clip(str(tmp_path / "44100.wav"), 4000, 3.0)) == 12_000


def test_bands_are_mel_bands_and_forget_loudness() -> None:
    from librosa.filters import mel

    wave = torch.randn(2, 8000)
    bands = LogMel(8000)
    seen = bands(wave)
    assert seen.shape == (2, 1, 40, 32)
    torch.testing.assert_close(bands(100 * wave), seen, atol=1e-4, rtol=1e-4)
    padded = np.pad(wave[0].numpy().astype(np.float64), 256)
    frames = np.stack([padded[256 * n : 256 * n + 512] for n in range(32)])
    power = np.abs(np.fft.rfft(frames * np.hanning(513)[:512])) ** 2
    power = mel(sr=8000, n_fft=512, n_mels=40, fmin=50.0) @ power.T
    expected = np.log(np.maximum(power / power.max(), 1e-8))
    expected = (expected - expected.mean()) / expected.std(ddof=1)
    np.testing.assert_allclose(seen[0, 0], expected, atol=1e-3)


def test_near() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.uniform(0, 100, 40), rng.uniform(0, 100, 30)
    i, j = near(first, second, 7.0)
    expected = np.abs(first[:, None] - second) <= 7
    seen = np.zeros_like(expected)
    seen[i, j] = True
    np.testing.assert_array_equal(seen, expected)
    assert len(i) == expected.sum()


@pytest.mark.parametrize(
    "errors",
    [
        {},
        {"offset": 600.0, "jitter": 10.0},
        {"offset": -1100.0, "drift": 2e-4, "jitter": 10.0},
        {"offset": 900.0, "jitter": 25.0},
    ],
)
def test_clocks_are_found(errors: dict[str, float]) -> None:
    heard, seen = trains(1000, np.random.default_rng(1), **errors)
    clock = estimate_clock(heard, seen, reach=1500)
    assert clock.found
    middle = BEGIN + np.ptp(seen) / 2
    ahead = clock.offset + clock.drift * (middle - clock.since)
    assert ahead == pytest.approx(errors.get("offset", 0.0), abs=5)
    assert abs(clock.drift - errors.get("drift", 0.0)) < 4 * clock.drift_error + 2e-5
    assert clock.jitter == pytest.approx(errors.get("jitter", 0.0), abs=8)
    assert np.abs(clock.right(heard) - seen).mean() < 5 + errors.get("jitter", 0.0)
    assert "s, drift" in str(clock)


def test_no_clock_is_found_where_there_is_none() -> None:
    found = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        heard, seen = trains(500, rng)
        found.append(estimate_clock(heard, unrelated(seen, 3000.0, rng), reach=1000).z)
    assert max(found) < 4
    assert abs(np.mean(found)) < 1.5
    far, seen = trains(500, np.random.default_rng(0), offset=5000.0)
    lost = estimate_clock(far, seen, reach=1000)
    assert not lost.found
    assert lost.offset == 0
    assert "no clock found" in str(lost)
    assert not estimate_clock(far[:10], seen[:10]).found


def test_unrelated_streams_keep_their_gaps() -> None:
    stamps = np.cumsum(np.random.default_rng(0).exponential(30, 200))
    other = unrelated(stamps, 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(np.sort(np.diff(other)), np.sort(np.diff(stamps)))
    assert np.abs(other - stamps).max() > 60
    assert (np.diff(other) > 0).all()


def test_scores_find_a_clock_that_trains_do_not_show() -> None:
    """Both devices fire at every full minute, so only what they show can tell."""
    rng = np.random.default_rng(0)
    minutes = BEGIN + 60.0 * np.arange(1200)
    kind = rng.integers(4, size=1200)
    vectors = np.eye(4, dtype=np.float32)[kind] + rng.normal(0, 0.5, (1200, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    heard, seen = minutes + 480.0, minutes
    assert not estimate_clock(heard, seen, reach=1500).found
    clock = estimate_clock(heard, seen, reach=1500, fit=Opinion(vectors, vectors, 0.2))
    assert clock.found
    assert clock.offset == pytest.approx(480, abs=10)
    shuffled = Opinion(vectors, vectors[rng.permutation(1200)], 0.2)
    assert not estimate_clock(heard, seen, reach=1500, fit=shuffled).found


def test_several_devices_and_sites() -> None:
    rng = np.random.default_rng(0)
    parts, seen = [], []
    for site, offset in (("pond", 300.0), ("wood", -200.0)):
        heard, pictures = trains(600, rng, offset=offset, jitter=3.0)
        late = rng.random(600) < 0.4
        parts.append((heard, site, f"rec-{site}"))
        seen.append((pictures[~late], site, f"cam-{site}"))
        seen.append((pictures[late] + 100.0, site, f"late-{site}"))

    def joined(every: list[tuple[np.ndarray, str, str]]) -> Moments:
        stamps = np.concatenate([stamps for stamps, _, _ in every])
        count = len(stamps)
        devices = [device for times, _, device in every for _ in times]
        sites = [site for times, site, _ in every for _ in times]
        return Moments([str(n) for n in range(count)], [Clip("")] * count, stamps, devices, sites,
                       [""] * count, {})  # fmt: skip

    clocks = align(joined(parts), joined(seen), reach=1000, drift=2e-4)
    assert clocks.sounds["rec-pond"].offset == pytest.approx(300, abs=3)
    assert clocks.sounds["rec-wood"].offset == pytest.approx(-200, abs=3)
    assert clocks.pictures["late-wood"].offset == pytest.approx(100, abs=3)
    assert set(clocks.reference) == {"cam-pond", "cam-wood"}
    assert not clocks.lost()
    assert len(clocks.lines()) == 4
    trusting = believed(joined(parts), joined(seen), 10.0)
    assert not trusting.lost()
    assert "as they are" in trusting.lines()[0]


def test_partners_by_time_and_by_the_model() -> None:
    sounds, pictures = np.array([0.0, 100.0, 500.0]), np.array([3.0, -20.0, 98.0, 120.0])
    windows, jitters = np.full(3, 30.0), np.full(3, 10.0)

    def partners(relation: str) -> Partners:
        return Partners(sounds, pictures, windows, jitters, relation)  # type: ignore[arg-type]

    assert partners("window").prior.tolist() == [0.5] * 4
    assert partners("window").lonely.tolist() == [False, False, True]
    nearest = partners("nearest")
    assert {(i, j) for i, j, p in zip(nearest.sound, nearest.picture, nearest.prior, strict=True)
            if p} == {(0, 0), (1, 2)}  # fmt: skip
    soft = partners("soft")
    bell = np.exp(-(np.array([3.0, 20.0]) ** 2) / 200)
    first = {j: p for i, j, p in zip(soft.sound, soft.picture, soft.prior, strict=True) if i == 0}
    assert first[0] == pytest.approx(bell[0] / bell.sum())
    mil = partners("mil")
    mil.consult(np.where(np.isin(mil.picture, [1, 3]), 20.0, 0.0))
    assert mil.likely[np.isin(mil.picture, [1, 3])].min() > 0.99
    with seeded(0):
        drawn = soft.draw(np.zeros(2000, int))
    assert (drawn == 0).mean() == pytest.approx(first[0], abs=0.03)
    assert set(drawn) == {0, 1}


def test_a_picture_that_two_sounds_want_goes_to_the_one_without_another() -> None:
    one = Partners(
        np.array([0.0, 4.0]), np.array([1.0, -3.0]), np.full(2, 5.0), np.full(2, 5.0), "mil"
    )
    before = one.likely[(one.sound == 0) & (one.picture == 0)][0]
    one.consult(np.zeros(len(one.sound)))
    after = one.likely[(one.sound == 0) & (one.picture == 0)][0]
    assert after < before - 0.1


@pytest.mark.parametrize("relation", ["nearest", "window", "soft", "mil"])
def test_pairs(relation: str) -> None:
    heard, seen = made(80)
    reader = SenseReader(RATE, 1.0, 16)
    clocks = believed(heard.moments, seen.moments, 10.0)
    pairs = TimePairs(
        heard, seen, lambda x: x, reader, clocks, relation=relation, window=45.0  # type: ignore[arg-type]
    )  # fmt: skip
    with seeded(0):
        batch = pairs.draw(torch.arange(80), CPU)
    with seeded(0):
        again = pairs.draw(torch.arange(80), CPU)
    assert torch.equal(batch.query, again.query)
    assert torch.equal(batch.key, again.key)
    assert batch.query.shape == (80, RATE // 2)
    assert batch.key.shape == (80, 3, 16, 16)
    assert batch.mask is not None
    assert not batch.mask.diagonal().any()
    lag = torch.from_numpy(np.abs(heard.moments.stamps[:, None] - seen.moments.stamps))
    if relation == "nearest":
        assert batch.weight is None
        assert torch.equal(batch.mask, lag > 45)
    else:
        assert batch.weight is not None
        assert (batch.weight.diagonal() > 0).all()
        assert not (batch.weight > 0)[batch.mask].any()
    loss = nearfar.InfoNCE(0.1, symmetric=True, form="in" if relation == "mil" else "out")
    assert loss(torch.randn(80, 4), torch.randn(80, 4), **batch.relation).isfinite()


def test_clips_without_a_picture_are_replaced() -> None:
    heard, seen = made(60)
    stamps = heard.moments.stamps + np.where(np.arange(60) < 20, 1e6, 0.0)
    far = Stream(moments(stamps, heard.moments.labels), heard.data)
    clocks = believed(heard.moments, seen.moments, 10.0)
    pairs = TimePairs(far, seen, lambda x: x, SenseReader(RATE, 1.0, 16), clocks, window=40.0)
    assert pairs.partners.lonely.sum() == 20
    for rows in (torch.arange(60), torch.arange(20)):
        with seeded(0):
            assert (pairs.draw(rows, CPU).ids >= 20).all()
    with pytest.raises(NearfarError, match=r"no picture lies within 40 s"):
        TimePairs(
            Stream(moments(heard.moments.stamps + 1e6, heard.moments.labels), heard.data),
            seen, lambda x: x, SenseReader(RATE, 1.0, 16), clocks, window=40.0,
        )  # fmt: skip
    with pytest.raises(NearfarError, match="is no negative"):
        TimePairs(heard, seen, lambda x: x, SenseReader(RATE, 1.0, 16), clocks, window=1e5)


def test_what_pairs_learn_goes_into_the_checkpoint() -> None:
    heard, seen = made(300, offset=200.0)
    lost = Clocks({"one": Clock(by="trains")}, {"one": Clock(jitter=0.0)}, ("one",))
    reader = SenseReader(RATE, 1.0, 16)

    def new() -> TimePairs:
        return TimePairs(heard, seen, lambda x: x, reader, lost, reach=900.0, blind=300.0)

    kinds = {kind: number for number, kind in enumerate(SHAPES)}
    vectors = np.eye(3, dtype=np.float32)[[kinds[kind] for kind in heard.moments.labels]]
    pairs = new()
    assert pairs.widest == 300.0
    pairs.revise(lambda inputs: vectors, 30, 100)
    clock = pairs.clocks.sounds["one"]
    assert clock.found
    assert clock.by == "scores"
    assert clock.offset == pytest.approx(200, abs=5)
    assert pairs.widest < 100
    other = new()
    other.load_state_dict(pairs.state_dict())
    np.testing.assert_array_equal(other.partners.likely, pairs.partners.likely)
    assert other.clocks.sounds["one"] == clock


def test_towers() -> None:
    towers = TwoTowers.of(SoundConv(RATE, (8, 16)), ResNet((8, 16)), 12).eval()
    again = rebuild(describe(towers), Encoder)
    again.load_state_dict(towers.state_dict())
    model = Model(SenseReader(RATE, 1.0, 16), again.eval())  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    inputs = [call("disc", rng), picture("bar", rng), call("bar", rng), picture("disc", rng)]
    mixed = model.embed(inputs)
    alone = [model.embed([item])[0] for item in inputs]
    np.testing.assert_allclose(mixed, np.stack(alone), atol=1e-5)
    assert model.reader.pictures(inputs).shape == (4, 16, 16, 3)  # type: ignore[union-attr]
    with pytest.raises(NearfarError, match="wanted one of"):
        TwoTowers({"kind": "Nobody"}, {"kind": "ResNet"})


def test_hugging_face_on_waveforms(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.Wav2Vec2Config(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(10, 8), conv_kernel=(10, 8), num_feat_extract_layers=2,
        num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2,
    )  # fmt: skip
    transformers.Wav2Vec2Model(config).save_pretrained(tmp_path)
    from nearfar.encoders import HuggingFaceSound

    encoder = HuggingFaceSound.load(str(tmp_path), weights=True).eval()
    wave = torch.randn(2, RATE)
    with torch.no_grad():
        vectors = encoder(wave)
        torch.testing.assert_close(encoder(5 * wave), vectors, atol=1e-4, rtol=1e-3)
    assert vectors.shape == (2, 16)
    masked, draws = encoder.train(), []
    for step in (7, 7, 8):
        with seeded(0, step):
            draws.append(masked(torch.randn(2, RATE)))
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    with pytest.raises(NearfarError, match="audio_encoder"):
        HuggingFaceSound.load(str(tmp_path / "none"), weights=False)


def test_crossmodal_scores() -> None:
    rng = np.random.default_rng(0)
    labels = [SHAPES[number] for number in rng.integers(3, size=60)]
    kinds = np.array([SHAPES.index(label) for label in labels])
    good = np.eye(3, dtype=np.float32)[kinds]
    probe = CrossModal(
        sounds=range(60), pictures=range(60), sound_labels=labels, picture_labels=labels,
        near=lambda: np.eye(60, dtype=bool),
    )  # fmt: skip
    scores = probe.score(
        {
            "learned": lambda rows: good[list(rows)],
            "untrained": lambda rows: rng.normal(size=(60, 3)).astype(np.float32),
        }
    )
    perfect, chance = scores.rows["learned"], scores.rows["untrained"]
    for key in ("map", "map_back", "r1", "r5_back", "which"):
        assert perfect[key] == pytest.approx(1)
    assert max(chance[key] for key in ("map", "map_back", "r1", "which")) < 0.7
    assert 0.25 < chance["map"] < 0.5
    assert scores.measures.keys() <= perfect.keys()


def test_shared_directions_find_what_two_sides_have_in_common() -> None:
    rng = np.random.default_rng(0)
    common = rng.normal(size=(400, 2))
    sides = [
        np.hstack([common @ rng.normal(size=(2, 5)), rng.normal(size=(400, 10))]) for _ in "ab"
    ]
    inputs = [("a", x) for x in sides[0]], [("b", x) for x in sides[1]]
    shared = SharedDirections(
        lambda some: np.array([x for _, x in some], np.float32), inputs[0][:300], inputs[1][:300],
        lambda item: item[0] == "a", dim=2,
    )  # fmt: skip
    a, b = shared(inputs[0][300:]), shared(inputs[1][300:])
    hits = (np.linalg.norm(a[:, None] - b, axis=2).argmin(1) == np.arange(100)).mean()
    assert hits > 0.9


def test_shortcuts() -> None:
    rng = np.random.default_rng(0)
    labels = ["cat", "dog"] * 40
    told = shortcuts(
        {"rate": np.tile([8000.0, 16_000.0], 40), "noise": rng.normal(size=80)}, labels
    )
    assert told is not None
    assert told.accuracy["rate"] == 1
    assert told.accuracy["noise"] < 0.75
    assert "need not listen" in told.verdict
    assert shortcuts({"rate": np.zeros(4)}, ["a", "b", "a", "b"]) is None
    quiet = shortcuts({"noise": rng.normal(size=80)}, labels)
    assert quiet is not None
    assert "no more" in quiet.verdict


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A finished run on files whose recorder is 200 seconds ahead, with some damaged ones."""
    folder = tmp_path_factory.mktemp("audio_image")
    audio, images = write(folder, 300, offset=200.0)
    (audio / "disc" / "20240630_060000.wav").write_bytes(b"RIFF and no more")
    (images / "bar" / "20240630_060000.png").write_bytes(b"no picture")
    (images / "bar" / "untimed.png").write_bytes(b"no picture")
    out = folder / "run"
    words = ["--audio", str(audio), "--images", str(images), "--size", "16", "--seconds", "1"]
    words += ["--steps", "60", "--batch_size", "32", "--lr", "4e-3", "--crop", "0.8"]
    assert main(["train", "audio_image", *words, "--out", str(out)]) == 0
    return out, audio, images


def test_training(run: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    out, audio, images = run
    scores = json.loads((out / "scores.json").read_text())
    rows = scores["rows"]
    assert set(rows) == {"learned", "untrained", "levels", "CCA"}
    for key in ("map", "map_back"):
        assert rows["learned"][key] > max(rows["untrained"][key], rows["levels"][key]) + 0.1
    assert "clock of recorder" in scores["note"]
    assert "+200" in scores["note"] or "+199" in scores["note"]
    page = (out / "report.html").read_text()
    assert page.count("<audio controls") == 10
    assert "Clocks" in page
    skipped = (out / "skipped.txt").read_text()
    assert skipped.count("\n") == 3
    assert "no time in a table" in skipped
    clip = next((audio / "disc").glob("1*.wav"))
    assert main(["search", str(out), str(clip), "--gallery", str(images), "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["nearest"]
    assert len(hits) == 10
    assert all(hit["name"].endswith(".png") for hit in hits)
    vectors = out / "v.npz"
    assert main(["embed", str(out), str(audio.parent), "--out", str(vectors)]) == 0
    with np.load(vectors) as arrays:
        assert arrays["vectors"].shape[1] == 128
        assert len(arrays["names"]) == 600
    capsys.readouterr()
    assert main(["evaluate", str(out), "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["rows"]["learned"]["map"] == pytest.approx(rows["learned"]["map"], abs=1e-4)
    assert main(["evaluate", str(out), str(audio), "--test", str(images), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"]["learned"]["map"] > 0.5
    assert main(["audit", str(out), "--devices", "4", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["shortcuts"]["items"] > 100


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--folders", "breed"], "wanted what the folders around a file mean"),
        (["--audio_zone", "Moon"], "audio_zone='Moon' is no time zone"),
        (["--times", "none.csv"], "there is no such table"),
        (["--pattern", "%d.%m.%Y"], "No file of the recorder has a time"),
        (["--hold_out", "0.95"], "wanted a share of the record"),
        (["--seconds", "0.1"], "wanted a clip of 0.25 to 60 seconds"),
        (["--audio_encoder", "/no/such/folder"], "audio_encoder"),
    ],
)
def test_bad_words(
    run: tuple[Path, Path, Path],
    tmp_path: Path,
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, audio, images = run
    command = ["train", "audio_image", "--audio", str(audio), "--images", str(images)]
    assert main([*command, "--out", str(tmp_path / "run"), *words]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_streams_name_what_is_missing(tmp_path: Path) -> None:
    reader = SenseReader(RATE, 1.0, 16)
    with pytest.raises(NearfarError, match=r"audio=.*there is no such folder"):
        streams(str(tmp_path / "none"), str(tmp_path), None, reader)
