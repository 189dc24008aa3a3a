"""The small changes that are made to a module: what a slip of the hand would do.

A comparison moves its bound, a condition turns round, a number is one off, an argument gets lost, a
statement is not there. Texts, annotations and decorators stay as they are.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_PASSED_OVER = ("annotation", "returns", "decorator_list", "bases")
_ORDERS = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_OPPOSITES = {ast.Eq: ast.NotEq, ast.Is: ast.IsNot, ast.In: ast.NotIn, ast.And: ast.Or} | {
    ast.NotEq: ast.Eq, ast.IsNot: ast.Is, ast.NotIn: ast.In, ast.Or: ast.And
}  # fmt: skip
_ARITHMETIC = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult} | {
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult
}  # fmt: skip
_OTHER: dict[type[ast.AST], Any] = _ORDERS | _OPPOSITES | _ARITHMETIC


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """`holder[key]` becomes `new`; `function` is empty for what is executed on import."""

    line: int
    around: range  # the lines of its function: tracing of single ones misses some after an await
    function: str
    text: str
    holder: Any
    key: Any
    new: ast.AST


def changes(
    node: ast.AST, inside: str = "", function: str = "", around: range = range(0)
) -> Iterator[Change]:
    """Every change that can be made below a node, in the order of the code."""
    if isinstance(node, ast.ClassDef) and not function:
        inside = f"{inside}{node.name}."
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        around = around or range(node.lineno, node.end_lineno + 1)
        function = function or f"{inside}{node.name}"
    for field, value in ast.iter_fields(node):
        holder, keys = (
            (value, range(len(value))) if isinstance(value, list) else (vars(node), [field])
        )
        is_list = field == "elts" and all(isinstance(part, ast.Constant) for part in value)
        within = "" if field in ("defaults", "kw_defaults") else function
        for key in keys:
            child = holder[key]
            if not isinstance(child, ast.AST) or field in _PASSED_OVER:
                continue
            for new in (
                *_conditions(child, field),
                *_expressions(child, is_listed=is_list),
                *_statements(child),
            ):
                was = ast.unparse(child).partition("\n")[0]
                becomes = "nothing" if isinstance(new, ast.Pass) else ast.unparse(new)
                yield Change(
                    line=child.lineno,
                    around=around,
                    function=within,
                    text=f"{function or inside}: {was} => {becomes}".replace("\n   ", ""),
                    holder=holder,
                    key=key,
                    new=ast.fix_missing_locations(ast.copy_location(new, child)),
                )
            yield from changes(child, inside, within, around)


def _conditions(node: ast.AST, field: str) -> Iterator[ast.AST]:
    """A condition turned round, where no change of its operator does that."""
    match node:
        case ast.UnaryOp(op=ast.Not()) | ast.comprehension() | ast.Name(id="TYPE_CHECKING"):
            pass
        case ast.Compare(ops=[op]) if type(op) in _OPPOSITES:
            pass
        case _ if field in ("test", "ifs"):
            yield ast.UnaryOp(ast.Not(), node)


def _expressions(node: ast.AST, *, is_listed: bool) -> Iterator[ast.AST]:
    match node:
        case ast.Compare(ops=[op]):
            yield ast.Compare(node.left, [_OTHER[type(op)]()], node.comparators)
        case ast.BoolOp():
            yield ast.BoolOp(_OTHER[type(node.op)](), node.values)
        case ast.BinOp() if type(node.op) in _OTHER:
            yield ast.BinOp(node.left, _OTHER[type(node.op)](), node.right)
        case ast.UnaryOp(op=ast.Not()):
            yield node.operand
        case ast.Constant(value=bool()):
            yield ast.Constant(not node.value)
        case ast.Constant(value=int() | float()):
            yield from (ast.Constant(node.value + 1), ast.Constant(node.value - 1))
        case ast.keyword(arg=str(), value=value) if not isinstance(value, ast.Constant):
            yield ast.keyword(node.arg, ast.Constant(None))
        case ast.Constant(value=str()) if is_listed and node.value:
            yield ast.Constant("")


def _statements(node: ast.AST) -> Iterator[ast.AST]:
    match node:
        case ast.Return(value=ast.expr()) if ast.unparse(node.value) not in ("None", "False"):
            yield ast.Return(ast.Constant(None))
        case ast.ExceptHandler() if not isinstance(node.body[-1], ast.Raise):
            yield ast.ExceptHandler(node.type, node.name, [ast.Raise()])
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]) | ast.AugAssign():
            yield ast.Pass()
        case ast.Expr(value=ast.Call() | ast.Await()) | ast.Raise() | ast.Continue() | ast.Break():
            yield ast.Pass()
