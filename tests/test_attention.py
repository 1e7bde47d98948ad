"""Attention as a game of energies: closed forms, autograd, and the models' own weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from nearfar import NearfarError, info_nce
from nearfar.anatomy.attention import (
    AttentionEnergy,
    _energy,
    _games,
    attention_energy,
    attention_info_nce,
    hopfield_energy,
    hopfield_update,
    record_energies,
)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def dense(q: Tensor, k: Tensor, scale: float, allowed: Tensor) -> Tensor:
    k = k.repeat_interleave(q.shape[-3] // k.shape[-3], -3)
    return (scale * q @ k.mT).masked_fill(~allowed, -torch.inf)


# --- the energies


@pytest.mark.parametrize("entries", [1, 40, 4 * 2**20])
@pytest.mark.parametrize("causal", [False, True])
def test_energies_are_those_of_the_weights(
    causal: bool, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_energy, "ENTRIES", entries)
    q, k = 3 * draw(2, 4, 6, 5), draw(2, 2, 7, 5, seed=1)
    mask = torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(2)) < 0.7
    mask[1, 0, 3] = False
    allowed = mask.expand(2, 4, 6, 7)
    if causal:
        allowed = allowed & torch.ones(6, 7, dtype=torch.bool).tril()
    found = attention_energy(q, k, mask=mask, causal=causal)
    scores = dense(q, k, 5**-0.5, allowed)
    empty = ~allowed.any(-1)
    weight = scores.softmax(-1).nan_to_num(0.0)
    energy = -(scores * math.sqrt(5)).masked_fill(~allowed, 0.0)
    entropy = -(weight * weight.clamp_min(1e-300).log()).sum(-1)

    def close(x: Tensor, wanted: Tensor) -> None:
        torch.testing.assert_close(x, wanted.masked_fill(empty, 0.0), rtol=0, atol=1e-12)

    assert found.temperature == pytest.approx(math.sqrt(5))
    close(found.free_energy, -math.sqrt(5) * scores.logsumexp(-1))
    close(found.energy, (weight * energy).sum(-1))
    close(found.entropy, entropy)
    close(found.effective, entropy.exp())
    close(found.highest, scores.amax(-1))
    assert torch.equal(found.keys, allowed.sum(-1))
    assert torch.equal(found.empty, empty)
    assert bool(empty.any())
    close(found.free_energy, found.energy - found.temperature * found.entropy)
    # p_j = exp((F - E_j) / T), which is the attention itself.
    again = ((found.free_energy[..., None] - energy) / found.temperature).exp()
    close_weights = again.masked_fill(~allowed, 0.0)
    torch.testing.assert_close(close_weights, weight, rtol=0, atol=1e-12)


def test_no_more_rows_at_a_time_than_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    look = _energy._look
    monkeypatch.setattr(_energy, "ENTRIES", 500)
    monkeypatch.setattr(_energy, "_look", lambda s, t: seen.append(s.numel()) or look(s, t))
    attention_energy(draw(2, 3, 40, 4), draw(2, 3, 20, 4))
    assert max(seen) <= 500
    assert sum(seen) == 2 * 3 * 40 * 20


def test_indifference_counts_the_keys() -> None:
    found = attention_energy(torch.zeros(1, 5, 3), draw(1, 5, 3).float(), causal=True)
    assert found.keys.tolist() == [[1, 2, 3, 4, 5]]
    torch.testing.assert_close(found.entropy, found.log_keys)
    torch.testing.assert_close(found.free_energy, -found.temperature * found.log_keys)


def test_floats_are_added_to_the_logits_and_the_lowest_leave_out() -> None:
    q, k, bias = draw(1, 2, 4, 3), draw(1, 2, 5, 3, seed=1), draw(1, 2, 4, 5, seed=2)
    allowed = torch.ones(1, 1, 4, 5, dtype=torch.bool)
    allowed[..., 3:] = False
    allowed[..., 1, :] = False
    for lowest in (-torch.inf, torch.finfo(torch.float64).min):
        found = attention_energy(q, k, scale=2.0, mask=bias.masked_fill(~allowed, lowest))
        scores = (2 * q @ k.mT + bias).masked_fill(~allowed, -torch.inf)
        wanted = (-scores.logsumexp(-1) / 2).masked_fill(~allowed.any(-1), 0.0)
        torch.testing.assert_close(found.free_energy, wanted, rtol=0, atol=1e-12)
        assert found.keys.tolist() == [[[3, 0, 3, 3]] * 2]


def test_half_precision_is_summed_in_float32() -> None:
    q, k = (30 * draw(1, 8, 16, seed=s).bfloat16() for s in (0, 1))
    found, wanted = attention_energy(q, k), attention_energy(q.double(), k.double())
    assert found.entropy.dtype == torch.float32
    torch.testing.assert_close(found.free_energy.double(), wanted.free_energy, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"query": torch.zeros(4, 3)}, "query has shape"),
        ({"key": torch.zeros(2, 0, 3)}, "key has shape"),
        ({"key": torch.zeros(2, 4, 5)}, "same width"),
        ({"key": torch.zeros(3, 4, 3)}, "divides"),
        ({"key": torch.zeros(2, 4, 3, dtype=torch.float64)}, "float64"),
        ({"mask": torch.ones(2, 4, 5, dtype=torch.bool)}, "broadcasts to"),
        ({"mask": torch.ones(4, 4, dtype=torch.long)}, "mask.bool()"),
        ({"scale": 0.0}, "scale=0.0"),
    ],
)
def test_bad_input_is_named(change: dict[str, Tensor], message: str) -> None:
    given = {"query": torch.zeros(2, 4, 3), "key": torch.zeros(2, 4, 3)} | change
    with pytest.raises(NearfarError, match=message.replace("(", r"\(").replace(")", r"\)")):
        attention_energy(given.pop("query"), given.pop("key"), **given)


# --- the loss


# Games one by one; all at once; three at a time, so that the last part is smaller.
PLAYS = [(0, 1), (50, 2**20), (50, 130)]


@pytest.mark.parametrize(("large", "most"), PLAYS)
@pytest.mark.parametrize("key_heads", [4, 2])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_the_loss_is_the_dense_log_softmax(
    key_heads: int,
    masked: bool,
    reduction: str,
    large: int,
    most: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_games, "LARGE", large)
    monkeypatch.setattr(_games, "MOST", most)
    inputs = [draw(2, 4, 6, 5), draw(2, key_heads, 7, 5, seed=1), draw(1, seed=2).exp()[0]]
    target = torch.randint(0, 7, (2, 1, 6), generator=torch.Generator().manual_seed(3))
    mask = None
    allowed = torch.ones(2, 1, 6, 7, dtype=torch.bool)
    if masked:
        allowed = torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(4)) < 0.5
        allowed.scatter_(-1, target[..., None], True)
        allowed[0, 0, 2] = torch.arange(7) == target[0, 0, 2]  # nobody else to look at
        mask = allowed
    target[1, 0, 4] = -100
    for x in inputs:
        x.requires_grad_()
    q, k, scale = inputs
    loss = attention_info_nce(q, k, target, scale=scale, mask=mask, reduction=reduction)  # type: ignore[arg-type]
    wide = target.expand(2, 4, 6)
    scores = (scale * q @ k.repeat_interleave(4 // key_heads, 1).mT).masked_fill(
        ~allowed, -torch.inf
    )
    wanted = functional.cross_entropy(
        scores.flatten(0, 2), wide.flatten(), reduction=reduction, ignore_index=-100
    ).view(loss.shape)
    torch.testing.assert_close(loss, wanted, rtol=1e-12, atol=1e-12)
    found = torch.autograd.grad(loss.sum(), inputs)
    for a, b in zip(found, torch.autograd.grad(wanted.sum(), inputs), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("large", "most"), [(0, 1), (50, 2**20), (50, 12)])
def test_second_derivatives_and_transforms(
    large: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_games, "LARGE", large)
    monkeypatch.setattr(_games, "MOST", most)
    q, k = draw(1, 2, 3, 3).requires_grad_(), draw(1, 1, 4, 3, seed=1).requires_grad_()
    target = torch.tensor([0, 3, -100])

    def loss(q: Tensor, k: Tensor) -> Tensor:
        return attention_info_nce(q, k, target)

    assert torch.autograd.gradgradcheck(loss, (q, k))
    plain = torch.autograd.grad(loss(q, k), q)[0]
    transformed = torch.func.grad(loss)(q.detach(), k.detach())
    torch.testing.assert_close(transformed, plain, rtol=0, atol=1e-15)


def test_the_loss_without_heads_before_them_and_by_the_usual_scale() -> None:
    q, k, target = draw(3, 5, 4), draw(3, 6, 4, seed=1), torch.tensor([0, 5, 2, -100, 1])
    logs = (q @ k.mT / 2).log_softmax(-1)
    wanted = -logs[:, torch.tensor([0, 1, 2, 4]), torch.tensor([0, 5, 2, 1])].mean()
    torch.testing.assert_close(attention_info_nce(q, k, target), wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("games", "rows"), [(3, 512), (200, 128)])
def test_the_loss_stores_no_logits(games: int, rows: int) -> None:
    """Nothing as large as they are is kept for the backward pass, and gradients are right."""
    q, k = (draw(games, rows, 4, seed=s).float().requires_grad_() for s in (0, 1))
    target = torch.arange(rows).flip(0)
    sizes: list[int] = []

    def pack(x: Tensor) -> Tensor:
        sizes.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        loss = attention_info_nce(q, k, target)
    assert 0 < sum(sizes) <= 8 * games * rows * 4 < games * rows * rows
    found = torch.autograd.grad(loss, (q, k))
    logs = (q @ k.mT / 2).log_softmax(-1)
    wanted = -logs.gather(-1, target.expand(games, rows)[..., None]).mean()
    torch.testing.assert_close(loss, wanted)
    for a, b in zip(found, torch.autograd.grad(wanted, (q, k)), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("target", "change", "message"),
    [
        ([0, 4], {}, r"target at \(0, 1\) is 4; wanted 0 to 3"),
        ([0, -1], {}, r"target at \(0, 1\) is -1"),
        ([-100, -100], {}, "-100 everywhere"),
        ([0, 1], {"mask": torch.tensor([True, False, True, True])}, "the mask hides that key"),
        ([0, 1], {"mask": torch.ones(4)}, "mask.bool()"),
        ([0.0, 1.0], {}, "target.long()"),
        ([0, 1, 2], {}, "broadcasts to"),
        ([0, 1], {"scale": -1.0}, "wanted a positive"),
        ([0, 1], {"reduction": "max"}, "reduction='max'"),
    ],
)
def test_bad_targets_are_named(target: list[float], change: dict, message: str) -> None:
    with pytest.raises(NearfarError, match=message.replace("()", r"\(\)")):
        attention_info_nce(draw(1, 2, 3), draw(1, 4, 3, seed=1), torch.tensor(target), **change)
    with pytest.raises(NearfarError, match="dimensions before the heads"):
        attention_info_nce(draw(2, 1, 2, 3), draw(3, 1, 4, 3), torch.tensor([0, 1]))


# --- retrieval


def test_attention_is_a_step_down_the_energy() -> None:
    patterns, state = draw(9, 4), draw(2, 3, 4, seed=1).requires_grad_()
    for beta in (0.3, 1.0, 8.0):
        update = hopfield_update(state, patterns, beta)
        explicit = (beta * state @ patterns.T).softmax(-1) @ patterns
        torch.testing.assert_close(update, explicit, rtol=0, atol=1e-14)
        (gradient,) = torch.autograd.grad(hopfield_energy(state, patterns, beta).sum(), state)
        torch.testing.assert_close(gradient, state - update, rtol=0, atol=1e-14)


def test_the_energy_is_the_formula_and_never_rises() -> None:
    patterns, state = 2 * draw(9, 4), 3 * draw(50, 4, seed=1)
    beta = 1.7
    lse = (beta * state @ patterns.T).logsumexp(1) / beta
    wanted = state.square().sum(1) / 2 - lse + math.log(9) / beta
    wanted = wanted + patterns.norm(dim=1).max() ** 2 / 2
    energy = hopfield_energy(state, patterns, beta)
    torch.testing.assert_close(energy, wanted, rtol=1e-13, atol=0)
    first = energy
    for _ in range(30):
        state = hopfield_update(state, patterns, beta)
        after = hopfield_energy(state, patterns, beta)
        assert bool((after <= energy + 1e-12).all())
        energy = after
    assert bool((energy < first - 0.1).any())
    assert bool((energy >= 0).all())  # what the two constants are for


def test_info_nce_pulls_the_readout_onto_the_positive_key() -> None:
    q, k, tau = draw(6, 4).requires_grad_(), draw(6, 4, seed=1), 0.7
    wanted = (hopfield_update(q.detach(), k, 1 / tau) - k) / tau
    losses = {
        "info_nce": info_nce(q, k, temperature=tau, normalize=False, reduction="sum"),
        "attention": attention_info_nce(
            q[None], k[None], torch.arange(6), scale=1 / tau, reduction="sum"
        ),
    }
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, q)
        assert (gradient - wanted).abs().max() < 2e-15 * wanted.abs().max(), name


def test_bad_memories_are_named() -> None:
    with pytest.raises(NearfarError, match="beta=0"):
        hopfield_update(torch.ones(3), torch.eye(3), 0.0)
    with pytest.raises(NearfarError, match="state has shape"):
        hopfield_energy(torch.ones(4), torch.eye(3), 1.0)
    with pytest.raises(NearfarError, match=r"patterns\.float"):
        hopfield_energy(torch.ones(3).half(), torch.eye(3).half(), 1.0)


# --- the recorder


class Heads(nn.Module):
    """Attention by torch's function, with its weights written out beside it."""

    def __init__(self, causal: bool) -> None:
        super().__init__()
        self.causal, self.lift = causal, nn.Linear(8, 24)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = (y.unflatten(-1, (2, 4)).transpose(1, 2) for y in self.lift(x).chunk(3, -1))
        scores = 0.7 * q @ k.mT
        if mask is not None:
            scores = scores.masked_fill(~mask, -torch.inf)
        if self.causal:
            scores = scores.masked_fill(torch.ones_like(scores).triu(1) > 0, -torch.inf)
        self.weights, self.log = scores.softmax(-1).detach(), scores.logsumexp(-1).detach()
        out = functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=self.causal, scale=0.7
        )
        return out.transpose(1, 2).flatten(2)


def agree(found: AttentionEnergy, weights: Tensor) -> None:
    """With a model's own attention weights, (batch, heads, queries, keys)."""
    top = (found.highest + found.free_energy / found.temperature).exp()
    torch.testing.assert_close(top, weights.amax(-1), rtol=0, atol=1e-6)
    entropy = torch.special.entr(weights).sum(-1)
    torch.testing.assert_close(found.entropy, entropy, rtol=0, atol=2e-6)


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_torchs_attention_is_seen(causal: bool, grad: bool) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Heads(causal), nn.Linear(8, 8), Heads(causal))
    x = torch.randn(3, 6, 8)
    with torch.set_grad_enabled(grad):
        before = model(x)
        with record_energies(model) as found:
            after = model(x)
            Heads(False)(x)  # no part of the model
    assert torch.equal(before, after)
    assert {name: len(calls) for name, calls in found.items()} == {"0": 1, "2": 1}
    for name in ("0", "2"):
        layer, energy = model[int(name)], found[name][0]
        agree(energy, layer.weights)
        log = -energy.free_energy / energy.temperature
        torch.testing.assert_close(log, layer.log, rtol=0, atol=1e-6)
        assert energy.temperature == pytest.approx(1 / 0.7)
    if grad:
        after.sum().backward()
    with torch.inference_mode(), record_energies(model) as again:
        model(x)
    agree(again["0"][0], model[0].weights)


def test_it_is_the_kernels_own_logsumexp() -> None:
    q, k = (draw(2, 3, 9, 4, seed=s).float() for s in (0, 1))
    _, log = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, k, is_causal=True)
    found = attention_energy(q, k, causal=True)
    torch.testing.assert_close(-found.free_energy / found.temperature, log, rtol=0, atol=1e-6)


def test_masks_and_rows_that_see_nobody() -> None:
    torch.manual_seed(0)
    model, x = Heads(False), torch.randn(2, 5, 8)
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    mask[0, ..., 3:] = False
    mask[1, :, 2] = False
    with record_energies(model) as found:
        model(x, mask)
    (energy,) = found[""]
    assert energy.keys[0, 0].tolist() == [3] * 5
    assert energy.empty.nonzero()[:, 0::2].tolist() == [[1, 2], [1, 2]]
    values = torch.stack([energy.free_energy, energy.energy, energy.entropy, energy.highest])
    assert bool(values.isfinite().all())
    seen = model.weights.nan_to_num(0.0)
    torch.testing.assert_close(energy.entropy, torch.special.entr(seen).sum(-1), rtol=0, atol=2e-6)


def test_torchs_own_transformer_off_its_fast_path() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x, padded = torch.randn(3, 6, 8), torch.zeros(3, 6, dtype=torch.bool)
    padded[0, 4:] = True
    with torch.no_grad():
        before = model(x, src_key_padding_mask=padded)
        with record_energies(model) as found:
            after = model(x, src_key_padding_mask=padded)
        _, weights = model.layers[0].self_attn(
            x, x, x, key_padding_mask=padded, average_attn_weights=False
        )
    assert torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    assert list(found) == ["layers.0.self_attn", "layers.1.self_attn"]
    agree(found["layers.0.self_attn"][0], weights)
    assert found["layers.0.self_attn"][0].keys[:, 0, 0].tolist() == [4, 6, 6]


def test_multihead_attention_off_its_fast_path() -> None:
    torch.manual_seed(0)
    model, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.randn(3, 6, 8)
    with torch.no_grad():
        before, weights = model(x, x, x, average_attn_weights=False)
        with record_energies(model) as found:
            after, _ = model(x, x, x, need_weights=False)
    torch.testing.assert_close(before, after, rtol=0, atol=1e-6)
    agree(found[""][0], weights)


def test_seeing_nothing_is_said_and_everything_is_put_back() -> None:
    torch.manual_seed(0)
    dropped = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5, batch_first=True)
    with pytest.raises(NearfarError, match="saw no attention"), record_energies(dropped):
        dropped(torch.randn(2, 3, 8))
    with pytest.raises(ZeroDivisionError), record_energies(dropped):
        raise ZeroDivisionError
    assert torch.backends.mha.get_fastpath_enabled()
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in dropped.modules())

    class Fails(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise ZeroDivisionError

    model = nn.ModuleList([Heads(False), Fails()])
    with record_energies(model) as found:
        for _ in range(2):
            with pytest.raises(ZeroDivisionError):
                model[1](torch.zeros(1))
            model[0](torch.randn(2, 3, 8))
            Heads(False)(torch.randn(2, 3, 8))  # no part of the model, nor of what has failed
    assert {name: len(calls) for name, calls in found.items()} == {"0": 2}


def language_model(kind: str, implementation: str) -> nn.Module:
    """A small random one; nothing is downloaded."""
    transformers = pytest.importorskip("transformers")
    small = {"vocab_size": 50, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 40}
    torch.manual_seed(0)
    if kind == "bert":
        config = transformers.BertConfig(num_attention_heads=4, **small)
        model = transformers.BertModel(config)
    elif kind == "llama":
        config = transformers.LlamaConfig(num_attention_heads=4, num_key_value_heads=2, **small)
        model = transformers.LlamaModel(config)
    else:
        config = transformers.T5Config(
            vocab_size=50, d_model=32, d_kv=8, d_ff=40, num_layers=2, num_heads=4
        )
        model = transformers.T5EncoderModel(config)
    model.set_attn_implementation(implementation)
    return model.eval()


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
@pytest.mark.parametrize("kind", ["bert", "llama", "t5"])
@pytest.mark.parametrize("padded", [False, True])
def test_hugging_face_models_are_seen(kind: str, implementation: str, padded: bool) -> None:
    model = language_model(kind, implementation)
    words = torch.randint(0, 50, (2, 7), generator=torch.Generator().manual_seed(0))
    mask = torch.ones(2, 7, dtype=torch.long)
    if padded:
        mask[0, 5:] = 0
    given = {"input_ids": words, "attention_mask": mask}
    with torch.no_grad():
        before = model(**given).last_hidden_state
        # Inside another module, as an encoder of ours has it.
        with record_energies(nn.ModuleDict({"body": model})) as found:
            after = model(**given).last_hidden_state
        assert model.config._attn_implementation == implementation
        assert torch.equal(before, after)
        model.set_attn_implementation("eager")
        weights = model(**given, output_attentions=True).attentions
    assert len(found) == len(weights) == 2
    assert all(name.startswith("body.") for name in found)
    for calls, attention in zip(found.values(), weights, strict=True):
        (energy,) = calls
        agree(energy, attention)
        assert torch.equal(energy.keys, (attention > 0).sum(-1))


def test_hugging_face_weights_one_by_one() -> None:
    model = language_model("bert", "eager")
    layer = model.encoder.layer[0].attention.self
    seen: dict[str, Tensor] = {}
    for name in ("query", "key"):
        getattr(layer, name).register_forward_hook(
            lambda m, a, out, name=name: seen.update({name: out.unflatten(-1, (4, 8)).mT})
        )
    words = torch.arange(14).view(2, 7)
    with torch.no_grad(), record_energies(model) as found:
        weights = model(words, output_attentions=True).attentions[0]
    q, k = (x.mT.transpose(1, 2) for x in (seen["query"], seen["key"]))
    (energy,) = found["encoder.layer.0.attention.self"]
    free = energy.free_energy[..., None]
    again = ((free + q @ k.mT) / energy.temperature).exp()
    torch.testing.assert_close(again, weights, rtol=0, atol=1e-6)


def test_hugging_face_models_learn_as_before() -> None:
    """Dropout, gradients, and weights that are the model's own."""
    grads = []
    for watch in (False, True):
        model = language_model("bert", "sdpa").train()
        torch.manual_seed(1)
        if watch:
            with record_energies(model) as found:
                out = model(torch.arange(14).view(2, 7)).last_hidden_state
            assert len(found) == 2
        else:
            out = model(torch.arange(14).view(2, 7)).last_hidden_state
        out.square().sum().backward()
        grads.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*grads, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def test_other_ways_to_attend_are_refused() -> None:
    transformers = pytest.importorskip("transformers")
    transformers.AttentionInterface.register(
        "other_way", lambda *args, **words: (args[1].transpose(1, 2), None)
    )
    model = language_model("bert", "sdpa")
    model.set_attn_implementation("other_way")
    with pytest.raises(NearfarError, match="attends by 'other_way'"), record_energies(model):
        pass
    assert model.config._attn_implementation == "other_way"
    config = transformers.Gemma2Config(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=1,
        intermediate_size=40,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        attn_implementation="eager",
    )
    capped = transformers.Gemma2Model(config).eval()
    with pytest.raises(NearfarError, match="'softcap'"), record_energies(capped):
        capped(torch.arange(5)[None])
    assert capped.config._attn_implementation == "eager"
