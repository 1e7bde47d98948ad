"""Transforms, the compiler, autocast: the same losses and gradients, or an error that helps."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from forms import FORMS, MORE, rows
from torch import Tensor
from torch.autograd import forward_ad

from nearfar import InfoNCE, NearfarError, SigLipLoss, Temperature, info_nce

EVERY = FORMS | MORE
T = torch.tensor(0.4, dtype=torch.float64)
Q, K = rows(6), rows(6, seed=1)
# torch's compiler takes no sparse tensors as it is; its transforms do not batch them.
SPARSE = {"sparse weights", "weights, in"}


@pytest.fixture(autouse=True)
def compilers() -> Iterator[None]:
    """Every test compiles anew."""
    yield
    torch._dynamo.reset()


def plain(form: Callable[..., Tensor], *leaves: Tensor) -> tuple[Tensor, ...]:
    leaves = tuple(x.clone().requires_grad_() for x in leaves)
    loss = form(*leaves)
    return loss.detach(), *torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("name", EVERY)
def test_functional_gradients(name: str) -> None:
    found = torch.func.grad_and_value(EVERY[name], argnums=(0, 1, 2))(Q, K, T)
    torch.testing.assert_close((found[1], *found[0]), plain(EVERY[name], Q, K, T))


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch itself
@pytest.mark.parametrize("name", sorted(EVERY.keys() - SPARSE))
def test_forward_mode(name: str) -> None:
    along = rows(6, seed=2)
    with forward_ad.dual_level():
        loss = EVERY[name](forward_ad.make_dual(Q, along), K, T)
        slope = forward_ad.unpack_dual(loss).tangent
    wanted = (plain(EVERY[name], Q, K, T)[1] * along).sum()
    torch.testing.assert_close(slope, wanted)


@pytest.mark.parametrize("name", EVERY)
def test_batches_of_batches(name: str) -> None:
    def each(q: Tensor, t: Tensor) -> Tensor:
        return EVERY[name](q, K, t)

    queries, temperatures = torch.stack([Q, K]), torch.stack([T, 2 * T])
    wanted = torch.stack([each(q, t) for q, t in zip(queries, temperatures, strict=True)])
    torch.testing.assert_close(torch.func.vmap(each)(queries, temperatures), wanted)


@pytest.mark.parametrize("backend", ["auto", "tiled"])
@pytest.mark.parametrize("name", sorted(EVERY.keys() - SPARSE))
def test_several_gradients_at_once(name: str, backend: str) -> None:
    """As for a Jacobian of several objectives."""
    q, k = Q.clone().requires_grad_(), K.clone().requires_grad_()
    loss = EVERY[name](q, k, T, backend=backend)
    once = torch.autograd.grad(loss, (q, k), retain_graph=True)
    factors = torch.tensor([1.0, -2.0], dtype=torch.float64)
    wanted = tuple(torch.stack([x, -2 * x]) for x in once)

    def grads(factor: Tensor, batched: bool = False) -> tuple[Tensor, ...]:
        return torch.autograd.grad(
            loss, (q, k), factor, retain_graph=True, is_grads_batched=batched
        )

    torch.testing.assert_close(torch.vmap(grads)(factors), wanted)
    torch.testing.assert_close(grads(factors, batched=True), wanted)


@pytest.mark.parametrize("name", sorted(EVERY.keys() - SPARSE))
def test_the_compiler(name: str) -> None:
    compiled = torch.compile(EVERY[name], backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(plain(compiled, Q, K, T), plain(EVERY[name], Q, K, T))


def test_the_compiler_with_learned_scales() -> None:
    grads = []
    for compiled in (False, True):
        temperature, loss = Temperature(0.3, learnable=True), None
        loss = InfoNCE(temperature)
        call = torch.compile(loss, backend="aot_eager", fullgraph=True) if compiled else loss
        call(Q.float(), K.float()).backward()
        grads.append(temperature.log.grad)
    torch.testing.assert_close(grads[0], grads[1])

    def sigmoid(q: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        return SigLipLoss()(q, K, scale.exp(), bias)

    compiled_sigmoid = torch.compile(sigmoid, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(plain(compiled_sigmoid, Q, T, -T), plain(sigmoid, Q, T, -T))
    several = torch.func.vmap(lambda bias: sigmoid(Q, T, bias))(torch.stack([T, -T]))
    torch.testing.assert_close(several, torch.stack([sigmoid(Q, T, T), sigmoid(Q, T, -T)]))


def test_a_backend_that_cannot_says_so() -> None:
    tiled = lambda q: info_nce(q, K, backend="tiled")  # noqa: E731
    for transform in (torch.func.grad(tiled), torch.compile(tiled, backend="aot_eager")):
        with pytest.raises(NearfarError, match=r"'tiled' cannot be used here.*'dense'"):
            transform(Q)


@pytest.mark.parametrize("name", EVERY)
def test_autocast_reaches_no_logit(name: str) -> None:
    inputs = (Q.float(), K.float(), T.float())
    wanted = plain(EVERY[name], *inputs)
    leaves = tuple(x.clone().requires_grad_() for x in inputs)
    with torch.autocast("cpu", torch.bfloat16):
        loss = EVERY[name](*leaves)
    found = (loss.detach(), *torch.autograd.grad(loss, leaves))
    torch.testing.assert_close(found, wanted, rtol=0, atol=0)


@pytest.mark.parametrize("name", EVERY)
def test_without_a_graph(name: str) -> None:
    with torch.no_grad():
        value = EVERY[name](Q, K, T)
    with torch.inference_mode():
        torch.testing.assert_close(EVERY[name](Q, K, T), value, rtol=0, atol=0)
    torch.testing.assert_close(plain(EVERY[name], Q, K, T)[0], value, rtol=0, atol=0)
    columns = Q.T.contiguous().T, K[:1].expand_as(K) + 0 * K
    torch.testing.assert_close(EVERY[name](*columns, T), EVERY[name](Q, columns[1], T))
