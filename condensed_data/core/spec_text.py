"""Specifications from text, as the command line and benchmarks take them."""

from __future__ import annotations

import ast
import inspect
from typing import Any

from condensed_data.core.names import unknown_name
from condensed_data.core.spec import Spec, registered_parts


def parse_value(text: str) -> Any:
    """The value of a field from text: a literal, a part such as `ConvNet(width=64)`, or the text itself.

    Words in a tuple or a part need no quotes: `SiameseAugment(ops=(color, crop))`.

    Raises:
        ValueError: for a call of anything but a registered part, or with unknown fields.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        return text
    return _value(node, text.strip(), text)


def parse_call(text: str) -> tuple[str, dict[str, Any]]:
    """Name and arguments from text such as `bdm(base=dm, k=10)`, or a name alone.

    Raises:
        ValueError: for any other text, and for positional arguments.
    """
    try:
        node = ast.parse(text.strip(), mode="eval").body
    except SyntaxError:
        node = None
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.args:
        return node.func.id, _keywords(node, text.strip())
    if "(" in text:
        raise ValueError(f"Cannot parse {text!r}. Write NAME or NAME(FIELD=VALUE, ...).")
    return text.strip(), {}


def _keywords(node: ast.Call, source: str) -> dict[str, Any]:
    return {str(keyword.arg): _value(keyword.value, source) for keyword in node.keywords}


def _value(node: ast.expr, source: str, text: str | None = None) -> Any:
    """The value of a node of `source`; its source text if it is neither a part nor a literal."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _part(node.func.id, [_value(item, source) for item in node.args], _keywords(node, source))
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_value(item, source) for item in node.elts)
    if isinstance(node, ast.Name) and node.id in registered_parts():
        return _part(node.id, [], {})
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        return ast.get_source_segment(source, node) if text is None else text


def _part(name: str, arguments: list[Any], keywords: dict[str, Any]) -> Spec:
    known = registered_parts()
    if name not in known:
        raise ValueError(unknown_name("part", name, sorted(known)))
    try:
        return known[name](*arguments, **keywords)
    except TypeError as error:
        fields = ", ".join(inspect.signature(known[name]).parameters)
        raise ValueError(f"{name} cannot be built: {error}. Its fields: {fields or 'none'}.") from error
