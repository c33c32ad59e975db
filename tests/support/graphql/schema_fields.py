"""The fields of the schema, and documents that query them wherever they are nested."""

import re
from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLList,
    GraphQLNamedType,
    GraphQLObjectType,
    build_schema,
    get_named_type,
    get_nullable_type,
    is_leaf_type,
    is_required_argument,
)

from graph.schema import schema

SCHEMA = build_schema(schema.as_str())
ID_ARGUMENT = re.compile("(.+?)Ids?")
_PATH_VARIABLE = "path_"


def iterate_fields() -> Iterator[tuple[str, GraphQLField]]:
    """Yield every field of every object type with its name, `Parent.field`."""
    for parent in SCHEMA.type_map.values():
        if isinstance(parent, GraphQLObjectType) and not parent.name.startswith("__"):
            for name, field in parent.fields.items():
                yield f"{parent.name}.{name}", field


def find_field(name: str) -> GraphQLField:
    """Return the field named `Parent.field`."""
    parent, _, key = name.partition(".")
    return get_fields(parent)[key]


def get_fields(type_name: str) -> dict[str, GraphQLField]:
    """Return the fields of an object type."""
    object_type = SCHEMA.type_map[type_name]
    assert isinstance(object_type, GraphQLObjectType)
    fields: dict[str, GraphQLField] = object_type.fields
    return fields


def get_result_type(field: GraphQLField) -> GraphQLNamedType:
    """Return the field's type without lists and nullability."""
    result_type: GraphQLNamedType = get_named_type(field.type)
    return result_type


def list_connections() -> list[str]:
    """Return the names of all fields that return a connection."""
    return [name for name, field in iterate_fields() if get_result_type(field).name.endswith("Connection")]


def list_types_with_id() -> list[str]:
    """Return the names of the object types with a global ID; user errors only quote the ID of another object."""
    user_error_type = SCHEMA.type_map["UserError"]
    return [
        type_.name
        for type_ in SCHEMA.type_map.values()
        if isinstance(type_, GraphQLObjectType) and "id" in type_.fields and user_error_type not in type_.interfaces
    ]


def list_id_arguments() -> dict[str, str]:
    """Return the types of objects by the names of the arguments and input fields that hold their IDs.

    `reviewId` and `reviewIds` hold the IDs of a `Review`; plain `id` and `ids` those of any type.
    """
    arguments = {
        **{name: argument.type for _, field in iterate_fields() for name, argument in field.args.items()},
        **{
            name: field.type
            for type_ in SCHEMA.type_map.values()
            if isinstance(type_, GraphQLInputObjectType)
            for name, field in type_.fields.items()
        },
    }
    return {
        name: match[1][0].upper() + match[1][1:]
        for name, type_ in arguments.items()
        if get_named_type(type_).name == "ID" and (match := ID_ARGUMENT.fullmatch(name))
    }


def to_snake_case(name: str) -> str:
    """Return a type's name in the spelling of tables."""
    return re.sub("(?<!^)(?=[A-Z])", "_", name).lower()


@cache
def find_path(type_name: str) -> tuple[str, ...]:
    """Return the shortest path of fields from the root to one object of this type.

    Only the first field may need arguments.

    Raises:
        LookupError: No such path exists.
    """
    assert SCHEMA.query_type is not None
    assert SCHEMA.mutation_type is not None
    if type_name in (SCHEMA.query_type.name, SCHEMA.mutation_type.name):
        return ()
    paths, visited = deque[tuple[str, tuple[str, ...]]]([(SCHEMA.query_type.name, ())]), {SCHEMA.query_type.name}
    while paths:
        parent, path = paths.popleft()
        for name, field in get_fields(parent).items():
            result_type = get_result_type(field)
            if isinstance(get_nullable_type(field.type), GraphQLList) or not isinstance(result_type, GraphQLObjectType):
                continue
            if path and any(map(is_required_argument, field.args.values())):
                continue
            if result_type.name == type_name:
                return (*path, name)
            if result_type.name not in visited:
                visited.add(result_type.name)
                paths.append((result_type.name, (*path, name)))
    raise LookupError(f"No path leads from the root to one {type_name}.")


def build_document(name: str, selection_set: str | None = None, arguments: Iterable[str] | None = None) -> str:
    """Build an operation on the field `Parent.field`.

    These arguments of the field, by default all, are variables of the same names; `build_path_variables` returns the
    variables of the path to the field.
    """
    parent, _, key = name.partition(".")
    field, path = find_field(name), find_path(parent)
    names = list(field.args if arguments is None else arguments)
    definitions = [f"${argument}: {field.args[argument].type}" for argument in names]
    argument_list = [f"{argument}: ${argument}" for argument in names]
    if selection_set is None:
        selection_set = "" if is_leaf_type(get_result_type(field)) else "{ __typename }"
    document = f"{key}{_parenthesize(argument_list)} {selection_set}"
    for depth, step in reversed(list(enumerate(path))):
        path_arguments = [] if depth else _list_path_arguments(path)
        argument_list = [f"{argument}: ${_PATH_VARIABLE}{argument}" for argument, _ in path_arguments]
        definitions += [f"${_PATH_VARIABLE}{argument}: {type_}" for argument, type_ in path_arguments]
        document = f"{step}{_parenthesize(argument_list)} {{ {document} }}"
    operation = "mutation" if parent == "Mutation" else "query"
    return f"{operation} {_parenthesize(definitions)} {{ {document} }}"


def build_selection(field: GraphQLField, depth: int = 2, without: Container[str] = ()) -> str:
    """Build a selection set of all fields without arguments, and of those below them down to this depth.

    `without` names fields, `Parent.field`, to leave out.
    """
    type_name, selections = get_result_type(field).name, []
    for name, child in get_fields(type_name).items():
        if child.args or f"{type_name}.{name}" in without:
            continue
        if is_leaf_type(get_result_type(child)):
            selections.append(name)
        elif depth > 1 and isinstance(get_result_type(child), GraphQLObjectType):
            selections.append(f"{name} {build_selection(child, depth - 1, without)}")
    return f"{{ {' '.join(selections)} }}"


def build_path_variables(type_name: str, lookups: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables of `build_document` for the path to this type.

    `lookups` holds, for each type that the root looks up, the argument that finds an object.

    Raises:
        KeyError: A lookup is missing.
    """
    path = find_path(type_name)
    arguments = _list_path_arguments(path)
    if not arguments:
        return {}
    looked_up_type = get_result_type(find_field(f"Query.{path[0]}")).name
    return {f"{_PATH_VARIABLE}{argument}": lookups[looked_up_type] for argument, _ in arguments}


def get_at_path(data: Any, name: str) -> Any:
    """Return the value of the field `Parent.field` in a document's data, or the null of one of its parents."""
    parent, _, key = name.partition(".")
    for step in (*find_path(parent), key):
        if data is None:
            return None
        data = data[step]
    return data


def _list_path_arguments(path: tuple[str, ...]) -> list[tuple[str, Any]]:
    if not path:
        return []
    arguments = find_field(f"Query.{path[0]}").args.items()
    return [(argument, definition.type) for argument, definition in arguments if is_required_argument(definition)]


def _parenthesize(parts: list[str]) -> str:
    return f"({', '.join(parts)})" if parts else ""
