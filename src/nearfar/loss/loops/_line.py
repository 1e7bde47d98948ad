# mypy: ignore-errors
"""Sixteen numbers at once: a type of numba's, and its arithmetic.

What a compiler makes of a loop over numbers uses half of a processor's widest vectors, and leaves
them between two loops. A number that meets a line is taken sixteen times.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

# Numbers in a line.
LINE = 16


class Line(types.Type):
    """Of float32 or float64."""

    def __init__(self, of):
        self.of = of
        super().__init__(f"Line({of})")


@register_model(Line)
class _Model(models.PrimitiveModel):
    def __init__(self, manager, line):
        super().__init__(manager, line, several(manager.lookup(line.of).get_value_type()))


def several(of):
    """LLVM's type of sixteen."""
    return ir.VectorType(of, LINE)


INT = ir.IntType(32)
INTS, FLOATS, DOUBLES = (several(of) for of in (INT, ir.FloatType(), ir.DoubleType()))


def ints(number):
    """LLVM's constant: the same, sixteen times."""
    return ir.Constant(INTS, [number] * LINE)


def _spread(builder, value):
    if isinstance(value.type, ir.VectorType):
        return value
    nothing = ir.Constant(several(value.type), ir.Undefined)
    first = builder.insert_element(nothing, value, INT(0))
    return builder.shuffle_vector(first, nothing, ints(0))


def _arithmetic(instruction, *operators):
    @intrinsic
    def act(context, a, b):
        def generate(context, builder, signature, values):
            return getattr(builder, instruction)(*(_spread(builder, x) for x in values))

        return (a if isinstance(a, Line) else b)(a, b), generate

    def of_lines(a, b):
        if isinstance(a, Line) or isinstance(b, Line):
            return lambda a, b: act(a, b)
        return None

    for each in operators:
        overload(each)(of_lines)


_arithmetic("fadd", operator.add, operator.iadd)
_arithmetic("fsub", operator.sub)
_arithmetic("fmul", operator.mul, operator.imul)
_arithmetic("fdiv", operator.truediv)


def _of_floats(name):
    @intrinsic
    def act(context, line):
        def generate(context, builder, signature, values):
            kind = ir.FunctionType(FLOATS, [FLOATS])
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            return builder.call(function, values)

        return line(line), generate

    return act


nearest = _of_floats(f"llvm.rint.v{LINE}f32")
size = _of_floats(f"llvm.fabs.v{LINE}f32")


@intrinsic
def spread(context, number):
    """A number, sixteen times."""

    def generate(context, builder, signature, values):
        return _spread(builder, *values)

    return Line(number)(number), generate


@intrinsic
def power(context, whole):
    """Two to the power of whole numbers from -126 to 127; of others, any numbers."""

    def generate(context, builder, signature, values):
        exponent = builder.add(builder.fptosi(*values, INTS), ints(127))
        return builder.bitcast(builder.shl(exponent, ints(23)), FLOATS)

    return whole(whole), generate


@intrinsic
def below(context, line, bound, then, otherwise):
    """``then`` where a line is below the bound; ``otherwise`` where it is not, or is NaN."""

    def generate(context, builder, signature, values):
        line, bound, then, otherwise = (_spread(builder, x) for x in values)
        return builder.select(builder.fcmp_ordered("<", line, bound), then, otherwise)

    return line(line, bound, then, otherwise), generate


@intrinsic
def double(context, line):
    """As float64."""

    def generate(context, builder, signature, values):
        return builder.fpext(*values, DOUBLES)

    return Line(types.float64)(line), generate


def _folded(builder, line, left, meet):
    """The halves of a line meet, and theirs, until so many numbers are left."""
    count = LINE
    while count > left:
        count //= 2
        ends = ir.VectorType(INT, count)
        low, high = (
            builder.shuffle_vector(line, line, ir.Constant(ends, list(range(k, k + count))))
            for k in (0, count)
        )
        line = meet(low, high)
    return [builder.extract_element(line, INT(k)) for k in range(left)]


@intrinsic
def total(context, line):
    """The sum of all."""

    def generate(context, builder, signature, values):
        return _folded(builder, *values, 1, builder.fadd)[0]

    return line.of(line), generate


@intrinsic
def largest(context, line):
    """The largest of all."""

    def generate(context, builder, signature, values):
        def meet(a, b):
            return builder.select(builder.fcmp_ordered("<", a, b), b, a)

        return _folded(builder, *values, 1, meet)[0]

    return line.of(line), generate


@intrinsic
def products(context, line):
    """The products of eight numbers and of the other eight."""

    def generate(context, builder, signature, values):
        both = _folded(builder, *values, 2, builder.fmul)
        return context.make_tuple(builder, signature.return_type, both)

    return types.UniTuple(line.of, 2)(line), generate
