"""Graphs: readers, views, positives, and a training that beats its untrained encoder."""

from __future__ import annotations

import json
import pickle
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

import nearfar
from nearfar import NearfarError
from nearfar.cli import main
from nearfar.pairs import seeded
from nearfar.pairs.graphs import (
    Graph,
    GraphPairs,
    GraphReader,
    Nodes,
    Positives,
    drop_edges,
    homophily,
    mask_features,
    normalised,
    read_graph,
)
from nearfar.report import Snapshot
from nearfar.train import Run

CLASSES, EACH, WORDS = 3, 60, 90


def blocks(same: float = 0.05, other: float = 0.012, seed: int = 1) -> dict[str, np.ndarray]:
    """Classes as blocks of a random graph; every node has a few of its class's words."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(CLASSES), EACH)
    chance = np.where(y[:, None] == y[None], same, other)
    linked = np.triu(rng.random(chance.shape) < chance, 1)
    x = (rng.random((len(y), WORDS)) < 0.04).astype(np.float32)
    for node, label in enumerate(y):
        x[node, rng.choice(WORDS // CLASSES, 2) + label * WORDS // CLASSES] = 1
    order = rng.permutation(len(y))
    part = {name: np.isin(np.arange(len(y)), rows) for name, rows in parts(order).items()}
    return {
        "edge_index": np.stack(np.nonzero(linked)),
        "x": x,
        "y": y,
        **{f"{name}_mask": mask for name, mask in part.items()},
    }


def parts(order: np.ndarray) -> dict[str, np.ndarray]:
    return {"train": order[:15], "val": order[15:60], "test": order[60:]}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("graph") / "blocks.npz"
    np.savez(path, **blocks())
    return path


@pytest.fixture(scope="module")
def graph(file: Path) -> Graph:
    return read_graph(file)


@pytest.fixture(scope="module")
def run(file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("graphs") / "run"
    flags = ["--steps", "60", "--width", "32", "--hops", "2"]
    assert main(["train", "graphs", str(file), "--out", str(out), *flags]) == 0
    return out


def path_graph(nodes: int = 5) -> Graph:
    row = torch.arange(nodes - 1)
    edges = torch.stack([row, row + 1])
    return Graph(names=[f"n{i}" for i in range(nodes)], x=torch.eye(nodes), edges=edges)


# Readers


def test_doubled_links_and_self_loops_count_once(tmp_path: Path) -> None:
    links = np.array([[0, 1, 1, 2, 2, 0], [1, 0, 1, 1, 1, 1]])
    np.savez(tmp_path / "g.npz", edge_index=links, x=np.eye(4))
    graph = read_graph(tmp_path / "g.npz")
    assert graph.edges.tolist() == [[0, 1], [1, 2]]
    weights = Positives(graph).among(torch.arange(4), torch.arange(4)).to_dense()
    third = 1 / 3
    wanted = [[0.5, 0.5, 0, 0], [third, third, third, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 1]]
    torch.testing.assert_close(weights, torch.tensor(wanted))


def test_shchur_arrays_are_the_same_graph(tmp_path: Path, graph: Graph) -> None:
    from scipy.sparse import csr_matrix

    held = blocks()
    ones = np.ones(held["edge_index"].shape[1])
    adjacency = csr_matrix((ones, tuple(held["edge_index"])), (len(held["y"]),) * 2)
    x = csr_matrix(held["x"])
    np.savez(
        tmp_path / "g.npz",
        labels=held["y"],
        **{
            f"{name}_{part}": getattr(matrix, part)
            for name, matrix in (("adj", adjacency), ("attr", x))
            for part in ("data", "indices", "indptr", "shape")
        },
    )
    other = read_graph(tmp_path / "g.npz")
    assert other.fingerprint == graph.fingerprint
    assert other.labels == graph.labels
    assert other.split is None


@pytest.mark.parametrize("plain", [True, False])
def test_a_saved_pyg_graph(tmp_path: Path, graph: Graph, plain: bool) -> None:
    from nearfar.pairs.graphs._geometric import geometric

    with geometric():
        from torch_geometric.data import Data

    held = {name: torch.from_numpy(array) for name, array in blocks().items()}
    data = Data(**held)
    torch.save(data.to_dict() if plain else data, tmp_path / "g.pt")
    other = read_graph(tmp_path / "g.pt")
    assert other.fingerprint == graph.fingerprint
    assert other.split is not None
    assert len(other.split["train"]) == 15


class Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path, ("trap",))


def test_no_code_is_unpickled(tmp_path: Path) -> None:
    torch.save({"x": Trap()}, tmp_path / "g.pt")
    with pytest.raises(NearfarError, match="cannot be read safely"):
        read_graph(tmp_path / "g.pt")
    np.savez(tmp_path / "g.npz", edge_index=np.array([[0], [1]]), x=np.array([Trap()] * 3))
    with pytest.raises(NearfarError, match="cannot be read as a graph"):
        read_graph(tmp_path / "g.npz")
    planetoid_files(tmp_path)
    (tmp_path / "ind.toy.graph").write_bytes(pickle.dumps(Trap(), protocol=2))
    with pytest.raises(NearfarError, match="asks for pathlib"):
        read_graph(tmp_path)


def planetoid_files(folder: Path) -> None:
    """Six nodes; 2 learn, node 4 is missing from the test index, as 15 are in CiteSeer."""
    from scipy.sparse import csr_matrix

    one_hot = np.eye(2, dtype=np.int32)
    held = {
        "x": csr_matrix(np.eye(4, 8, dtype=np.float32)[:2]),
        "allx": csr_matrix(np.eye(4, 8, dtype=np.float32)),
        "tx": csr_matrix(np.eye(8, dtype=np.float32)[[7]]),
        "y": one_hot,
        "ally": one_hot[[0, 1, 0, 1]],
        "ty": one_hot[[1]],
        "graph": defaultdict(list, {0: [1, 1, 0], 1: [0], 2: [3], 3: [2], 4: [], 5: [0]}),
    }
    for name, value in held.items():
        # The published files name SciPy's class where it lay then.
        raw = pickle.dumps(value, protocol=2).replace(b"scipy.sparse._csr", b"scipy.sparse.csr")
        raw = raw.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
        (folder / f"ind.toy.{name}").write_bytes(raw)
    (folder / "ind.toy.test.index").write_text("5\n")


def test_planetoid_files(tmp_path: Path) -> None:
    planetoid_files(tmp_path)
    graph = read_graph(tmp_path)
    assert graph.edges.tolist() == [[0, 0, 2], [1, 5, 3]]
    assert graph.labels == ["0", "1", "0", "1", "", "1"]
    assert graph.x.to_dense()[4].sum() == 0
    assert graph.x.to_dense()[5].argmax() == 7
    assert graph.split is not None
    assert {name: rows.tolist() for name, rows in graph.split.items()} == {
        "train": [0, 1],
        "val": [2, 3],
        "test": [5],
    }
    (tmp_path / "ind.toy.ty").unlink()
    with pytest.raises(NearfarError, match=r"ind\.toy\.ty is missing"):
        read_graph(tmp_path / "ind.toy")


def test_tables_keep_the_ids_and_name_what_is_odd(tmp_path: Path) -> None:
    (tmp_path / "nodes.csv").write_text(
        "id,label,a,b\nann,x,1,0\nbob,y,0.5,2\ncid,x,,1\nann,x,9,9\n"
    )
    (tmp_path / "edges.csv").write_text("source,target\nbob,ann\nann,bob\ncid,dan\n")
    graph = read_graph(tmp_path)
    assert graph.names == ["ann", "bob", "cid"]
    assert graph.labels == ["x", "y", "x"]
    assert graph.edges.tolist() == [[0], [1]]
    assert graph.x.tolist() == [[1, 0], [0.5, 2], [0, 0]]
    assert set(graph.skipped) == {"ann (row 3)", "link cid - dan", "cid"}
    (tmp_path / "nodes.csv").write_text("id,a\nann,old\nbob,new\n")
    with pytest.raises(NearfarError, match="column 'a' holds words"):
        read_graph(tmp_path)


@pytest.mark.parametrize("ending", [".tsv", ".parquet"])
def test_every_kind_of_table_is_the_same_graph(tmp_path: Path, ending: str) -> None:
    from pyarrow import csv, parquet

    (tmp_path / "csv").mkdir()
    (tmp_path / "csv" / "nodes.csv").write_text("id,label,a,b\n7,x,1,0\n8,y,0.5,2\n9,x,0,1\n")
    (tmp_path / "csv" / "edges.csv").write_text("source,target\n8,7\n")
    (tmp_path / "other").mkdir()
    for name in ("nodes", "edges"):
        table = csv.read_csv(tmp_path / "csv" / f"{name}.csv")
        file = tmp_path / "other" / f"{name}{ending}"
        if ending == ".parquet":
            parquet.write_table(table, file)
        else:
            csv.write_csv(table, file, csv.WriteOptions(delimiter="\t"))
    one, other = read_graph(tmp_path / "csv"), read_graph(tmp_path / "other")
    assert one.names == other.names == ["7", "8", "9"]
    assert one.labels == other.labels
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.edges, other.edges)


def test_what_is_no_graph(tmp_path: Path) -> None:
    for wanted in ("there is nothing there", "no graph in this folder"):
        with pytest.raises(NearfarError, match=wanted):
            read_graph(tmp_path / "none.npz" if "nothing" in wanted else tmp_path)
    np.savez(tmp_path / "g.npz", x=np.eye(4))
    with pytest.raises(NearfarError, match="holds no links"):
        read_graph(tmp_path / "g.npz")
    np.savez(tmp_path / "g.npz", x=np.eye(4), edge_index=np.array([[0, 7], [1, 1]]))
    assert list(read_graph(tmp_path / "g.npz").skipped) == ["link 7 - 1"]


# Views and positives


def test_both_directions_of_a_link_go_together() -> None:
    graph = path_graph(200)
    with seeded(0):
        adjacency = normalised(drop_edges(graph.edges, 0.5), 200).to_dense()
    assert torch.equal(adjacency, adjacency.T)
    links = int((adjacency.triu(1) > 0).sum())
    assert 70 < links < 130
    assert (adjacency.diagonal() > 0).all()


def test_every_node_loses_features_of_its_own() -> None:
    x = torch.rand(30, 40) + 0.1
    with seeded(0):
        dense = mask_features(x, 0.3)
    with seeded(0):
        sparse = mask_features(x.to_sparse_csr(), 0.3).to_dense()
    torch.testing.assert_close(dense, sparse)
    assert torch.equal(dense[dense > 0], x[dense > 0])
    gone = (dense == 0).float()
    assert 0.25 < gone.mean() < 0.35
    assert not torch.equal(gone[0], gone[1])


def test_degree_weights_favour_neighbours_that_few_have() -> None:
    star = Graph(
        names=list("abcd"), x=torch.eye(4), edges=torch.tensor([[0, 0, 0, 1], [1, 2, 3, 2]])
    )
    equal, degree = (
        Positives(star, "neighbours", how).among(torch.arange(4), torch.arange(4)).to_dense()
        for how in ("equal", "degree")
    )
    assert equal[1, 0] == equal[1, 2]
    assert degree[1, 0] < degree[1, 2]
    torch.testing.assert_close(degree.sum(1), torch.ones(4))
    alone = Positives(star, "self").among(torch.arange(4), torch.arange(4)).to_dense()
    assert torch.equal(alone, torch.eye(4))


def test_a_part_of_the_graph_has_the_same_positives(graph: Graph) -> None:
    positives, rows = Positives(graph), torch.tensor([3, 50, 7, 100])
    full = positives.among(torch.arange(len(graph)), torch.arange(len(graph))).to_dense()
    with seeded(0):
        drawn = torch.stack([positives.sample(rows) for _ in range(3000)])
    share = torch.stack([torch.bincount(d, minlength=len(graph)) for d in drawn.T]) / 3000
    torch.testing.assert_close(share.float(), full[rows], atol=0.04, rtol=0)
    keys = torch.tensor([50, 3, 50, 8])
    torch.testing.assert_close(positives.among(rows, keys).to_dense(), full[rows][:, keys])


def test_a_part_is_encoded_as_in_the_whole(graph: Graph) -> None:
    from nearfar.encoders import GCN

    reader = GraphReader(WORDS)
    pairs = GraphPairs(
        graph,
        reader.scaled(graph),
        Positives(graph, "self"),
        edge_drop=0.0,
        feature_mask=0.0,
        hops=2,
        fanout=1000,
    )
    encoder, rows = GCN(WORDS, 16, 1, 1), torch.tensor([9, 4, 120])
    part = encoder(pairs.draw(rows, torch.device("cpu")).query)
    whole = encoder(pairs.draw(torch.randperm(len(graph)), torch.device("cpu")).query)
    everyone = encoder(reader.read(Nodes(graph)))
    torch.testing.assert_close(part, everyone[rows])
    assert whole.shape == everyone.shape
    torch.testing.assert_close(whole.sum(0), everyone.sum(0))


@pytest.mark.parametrize("rows", [12, 6])
def test_neighbours_are_no_strangers(rows: int) -> None:
    graph = path_graph(12)
    pairs = GraphPairs(graph, graph.x, Positives(graph), edge_drop=0, feature_mask=0, hops=1)
    with seeded(0):
        batch = pairs.draw(torch.randperm(12)[:rows], torch.device("cpu"))
    assert batch.weight is not None
    strangers = batch.strangers(5)
    assert strangers is not None
    assert torch.equal(strangers, batch.weight.to_dense()[:5] == 0)
    masked = replace(batch, mask=torch.eye(rows, dtype=torch.bool)).strangers(5)
    assert masked is not None
    assert not masked.any()


def test_the_pictures_of_a_run_know_its_positives(file: Path, run: Path) -> None:
    from nearfar.recipes.graphs import graphs

    shot, pairs = Snapshot.load(Run(run)), graphs(str(file)).pairs
    rows = torch.tensor([int(name) for name in shot.names])
    weight = pairs.positives.among(rows, rows).to_dense()  # type: ignore[attr-defined]
    assert shot.crowd.shape == weight.shape
    assert ((weight > 0).sum(1) > 1).any()
    assert np.array_equal(shot.crowd, weight.numpy() == 0)
    # Fewer negatives than all others: the chance level of the training is of the same game.
    chance = Run(run).lines()[0]["chance"]
    assert chance == pytest.approx(np.log(shot.crowd.sum(1) + 1).mean(), rel=1e-4)


def test_whom_all_are_linked_to_plays_against_all(tmp_path: Path) -> None:
    star = np.stack([np.zeros(9, np.int64), np.arange(1, 10)])
    np.savez(tmp_path / "g.npz", x=np.eye(10, dtype=np.float32), edge_index=star)
    words = ["train", "graphs", str(tmp_path / "g.npz"), "--out", str(tmp_path / "run")]
    assert main([*words, "--steps", "2", "--width", "8"]) == 0
    shot = Snapshot.load(Run(tmp_path / "run"))
    assert sorted(shot.crowd.sum(1).tolist()) == [8] * 9 + [9]


def test_the_intra_view_loss_is_the_sum_it_says() -> None:
    from nearfar.loss import Temperature
    from nearfar.recipes.graphs import _objective, within

    graph = path_graph(6)
    order = torch.randperm(6)
    weight = Positives(graph).among(order, order)
    q, k = torch.randn(2, 6, 8, dtype=torch.float64)
    got = _objective(Temperature(0.5), True)(q, k, ids=order, weight=weight)
    z = functional.normalize(torch.cat([q, k]), dim=1)
    s = (z @ z.T / 0.5).masked_fill(torch.eye(12, dtype=torch.bool), -torch.inf)
    w = within(weight).to_dense().double()
    assert (w.diagonal() == 0).all()
    w = w / w.sum(1, keepdim=True)
    wanted = (s.logsumexp(1) - torch.where(w > 0, w * s, 0.0).sum(1)).mean()
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=1e-6)


def test_homophily_against_chance(graph: Graph) -> None:
    found = homophily(graph)
    assert found is not None
    same, chance = found
    assert same > chance + 0.2
    assert chance == pytest.approx(1 / 3, abs=0.05)
    assert homophily(path_graph()) is None


# Training


def test_training_beats_the_untrained_encoder(run: Path) -> None:
    scores = json.loads((run / "scores.json").read_text())
    rows = {name: row["accuracy"] for name, row in scores["rows"].items()}
    assert {"learned", "untrained", "raw features", "A^2 X"} <= rows.keys()
    assert rows["learned"] > rows["untrained"] + 0.05
    assert "120 test nodes" in scores["title"]
    assert "Linked nodes" in (run / "report.html").read_text()


def test_names_stay_with_their_vectors(run: Path, file: Path, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    out = tmp_path / "v.parquet"
    assert main(["embed", str(run), str(file), "--out", str(out)]) == 0
    table = pq.read_table(out)
    model = nearfar.load(run)
    items = model.reader.find(str(file)).items
    assert table["name"].to_pylist() == [str(row) for row in range(len(items))]
    picked = [items[5], items[100], items[0]]
    vectors = np.array(table["vector"].to_pylist())[[5, 100, 0]]
    np.testing.assert_allclose(model.embed(picked), vectors, atol=1e-5)


def test_search_by_the_name_of_a_node(
    run: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(run), "17", "--k", "3", "--json"]) == 0
    nearest = json.loads(capsys.readouterr().out)["nearest"]
    assert nearest[0]["name"] == "17"
    assert main(["search", str(run), "seventeen"]) != 0
    assert "no node of this name" in capsys.readouterr().err


def test_small_batches_train_too(file: Path, tmp_path: Path) -> None:
    flags = ["--steps", "80", "--width", "32", "--hops", "2", "--batch_size", "60"]
    assert main(["train", "graphs", str(file), "--out", str(tmp_path / "run"), *flags]) == 0
    rows = json.loads((tmp_path / "run" / "scores.json").read_text())["rows"]
    assert rows["learned"]["accuracy"] > rows["untrained"]["accuracy"] + 0.05


def test_views_follow_from_the_seed_alone(graph: Graph) -> None:
    x = GraphReader(WORDS).scaled(graph)
    pairs = GraphPairs(graph, x, Positives(graph), edge_drop=0.4, feature_mask=0.4, hops=2)
    for rows in (torch.arange(len(graph)), torch.tensor([5, 2, 90])):
        batches = []
        for _ in range(2):
            with seeded(7, 3):
                batches.append(pairs.draw(rows, torch.device("cpu")))
        one, other = batches
        assert torch.equal(one.query.adjacency.to_dense(), other.query.adjacency.to_dense())
        assert torch.equal(one.key.x.to_dense(), other.key.x.to_dense())
        assert not torch.equal(one.query.x.to_dense(), one.key.x.to_dense())


@pytest.mark.parametrize("rows", [180, 60])
def test_the_other_forms_learn(file: Path, rows: int) -> None:
    from nearfar.recipes.graphs import graphs

    made = graphs(
        str(file), form="in", weighting="degree", intra_view=True, layers=2, hops=1, width=8
    )
    model, optimizer = made.model, torch.optim.Adam(made.model.parameters(), 0.01)
    losses = []
    for step in range(20):
        with seeded(0, step):
            batch = made.pairs.draw(torch.randperm(180)[:rows], torch.device("cpu"))
        loss = made.objective(model(batch.query), model(batch.key), **batch.relation)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < np.mean(losses[:5])


def test_links_between_unlike_nodes_are_remarked(tmp_path: Path) -> None:
    from nearfar.recipes.graphs import graphs

    np.savez(tmp_path / "g.npz", **blocks(same=0.01, other=0.06))
    said = " ".join(graphs(str(tmp_path / "g.npz")).remarks)
    assert "Most neighbours are of another class" in said
    assert "by chance it would be 33%" in said
    assert "Compare --positives self and --hops 0" in said
    said = " ".join(graphs(str(tmp_path / "g.npz"), positives="self", hops=0).remarks)
    assert "Compare" not in said


def test_bad_settings(file: Path, run: Path, tmp_path: Path) -> None:
    from nearfar.recipes.graphs import graphs

    with pytest.raises(NearfarError, match=r"edge_drop=1.0: wanted 0 <= edge_drop < 1"):
        graphs(str(file), edge_drop=1.0)
    model = nearfar.load(run)
    with pytest.raises(NearfarError, match="the model was made for 90"):
        model.embed(Nodes(path_graph()))
    with pytest.raises(NearfarError, match="nodes of one graph"):
        model.embed(["a.jpg"])
    found = model.reader.find(str(file))
    with pytest.raises(NearfarError, match="leave --test out"):
        model.reader.probe(found, found)
