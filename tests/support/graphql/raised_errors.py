"""Finds the user errors that a function can raise, from its source and the source of the functions it uses.

Every function, method and class that the source names counts as called, and every user error as raised. Annotations count,
too: the result may contain too many errors, never too few.
"""

import ast
import functools
import inspect
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any, Self, TypeAlias

from domain.errors import UserError

Errors: TypeAlias = frozenset[type[UserError]]
Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
NO_ERRORS: Errors = frozenset()
UNKNOWN = object()
"""The target of a parameter or local variable."""


class RaisedErrors:
    """Finds user errors through the functions of some packages; others, such as `persistence`, raise none."""

    def __init__(self, *packages: str) -> None:
        """Search these packages, whose modules must be imported already."""
        self._packages = packages
        self._errors_by_function: dict[FunctionType, Errors] = {}
        self._methods: defaultdict[str, list[FunctionType]] = defaultdict(list)
        for module in [module for name, module in sys.modules.items() if name.split(".")[0] in packages]:
            for cls in filter(inspect.isclass, vars(module).values()):
                if cls.__module__ == module.__name__:
                    for name, member in vars(cls).items():
                        self._methods[name] += self._list_functions(member)

    def find(self, function: Any) -> Errors:
        """Return the user errors that a call of the function can raise."""
        start = self._list_functions(function)
        complete = set(self._errors_by_function)
        self._errors_by_function |= {part: NO_ERRORS for part in start if part not in complete}
        is_changed = True
        while is_changed:  # functions that use each other take several rounds
            before = dict(self._errors_by_function)
            for incomplete in before.keys() - complete:
                body = _FunctionBody.of(incomplete)
                self._errors_by_function[incomplete] = self._union(body, body.nodes)
            is_changed = before != self._errors_by_function
        return NO_ERRORS.union(*(self._errors_by_function[part] for part in start))

    def _union(self, body: "_FunctionBody", nodes: Iterable[ast.AST]) -> Errors:
        return NO_ERRORS.union(*(self._visit(body, node) for node in nodes))

    def _visit(self, body: "_FunctionBody", node: ast.AST) -> Errors:
        if isinstance(node, ast.Try):
            return self._visit_try(body, node)
        errors = self._union(body, ast.iter_child_nodes(node))
        if isinstance(node, (ast.Name, ast.Attribute)):
            target = body.resolve(node)
            if inspect.isclass(target) and issubclass(target, UserError):
                return errors | {target}
            if target is UNKNOWN and isinstance(node, ast.Attribute):
                functions = self._methods[node.attr]
            else:
                functions = self._list_functions(target)
            for function in functions:
                errors |= self._errors_by_function.setdefault(function, NO_ERRORS)
        return errors

    def _visit_try(self, body: "_FunctionBody", node: ast.Try) -> Errors:
        uncaught = self._union(body, node.body)
        errors = self._union(body, [*node.orelse, *node.finalbody])
        for handler in node.handlers:
            caught_errors = {error for error in uncaught if issubclass(error, body.resolve_exceptions(handler.type))}
            uncaught -= caught_errors
            errors |= self._union(body, handler.body) | (caught_errors if _reraises(handler) else NO_ERRORS)
        return errors | uncaught

    def _list_functions(self, target: Any) -> list[FunctionType]:
        """Return the functions of the packages that a call or use of the target can run."""
        if isinstance(target, property):
            target = target.fget
        elif isinstance(target, functools.cached_property):
            target = target.func
        elif isinstance(target, (staticmethod, classmethod, MethodType)):
            target = target.__func__
        if isinstance(target, (dict, list, tuple)):
            members = target.values() if isinstance(target, dict) else target
            return [function for member in members if callable(member) for function in self._list_functions(member)]
        if inspect.isclass(target):
            methods = inspect.getmembers(target, inspect.isfunction)
            return [
                function
                for name, method in methods
                if name.startswith("__")
                for function in self._list_functions(method)
            ]
        functions = []
        while isinstance(target, FunctionType):
            is_in_packages = (target.__module__ or "").split(".")[0] in self._packages
            if is_in_packages and Path(target.__code__.co_filename).exists():  # dataclasses generate functions
                functions.append(target)
            target = getattr(target, "__wrapped__", None)
        return functions


class _FunctionBody:
    """The source of a function, and the targets of the names in it."""

    def __init__(self, function: FunctionType) -> None:
        definitions = _parse(function.__code__.co_filename)[function.__code__.co_firstlineno]
        self.nodes = [child for node in definitions for child in _list_body(node)]
        self._location = f"{function.__module__}.{function.__qualname__}"
        self._globals = function.__globals__
        self._local_names = {
            node.arg if isinstance(node, ast.arg) else node.id
            for definition in definitions
            for node in ast.walk(definition)
            if isinstance(node, ast.arg) or (isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store))
        }

    @classmethod
    @functools.cache
    def of(cls, function: FunctionType) -> Self:
        """Return the body of the function, read once."""
        return cls(function)

    def resolve(self, node: ast.AST) -> Any:
        """Return the target of a name or attribute at run time."""
        if isinstance(node, ast.Name) and node.id not in self._local_names:
            return self._globals.get(node.id, getattr(sys.modules["builtins"], node.id, UNKNOWN))
        if isinstance(node, ast.Attribute):
            owner = self.resolve(node.value)
            if isinstance(owner, ModuleType) or inspect.isclass(owner):
                return getattr(owner, node.attr, UNKNOWN)
        return UNKNOWN

    def resolve_exceptions(self, node: ast.expr | None) -> tuple[type[BaseException], ...]:
        """Return the exceptions that an `except` clause names."""
        if node is None:
            return (BaseException,)
        exceptions = [self.resolve(part) for part in (node.elts if isinstance(node, ast.Tuple) else [node])]
        assert UNKNOWN not in exceptions, f"{self._location} catches an exception that is not named by its class"
        return tuple(exceptions)


@functools.cache
def _parse(path: str) -> dict[int, list[Definition]]:
    """Return the functions in a file, by their first line, which is that of the first decorator."""
    definitions: defaultdict[int, list[Definition]] = defaultdict(list)
    for node in ast.walk(ast.parse(Path(path).read_text())):
        if isinstance(node, Definition):
            decorators = [] if isinstance(node, ast.Lambda) else node.decorator_list
            definitions[min(part.lineno for part in [node, *decorators])].append(node)
    return definitions


def _list_body(node: Definition) -> list[ast.AST]:
    return [node.body] if isinstance(node, ast.Lambda) else list(node.body)


def _reraises(handler: ast.ExceptHandler) -> bool:
    raises = [node for node in ast.walk(handler) if isinstance(node, ast.Raise)]
    return any(node.exc is None or (isinstance(node.exc, ast.Name) and node.exc.id == handler.name) for node in raises)
