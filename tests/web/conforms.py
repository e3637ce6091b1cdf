"""Reads `{"document": …, "answers": [{"method", "path", "status", "content_type", "body"}, …]}` from standard input, where
`path` is one of the document's paths, and writes what of the answers is not as the OpenAPI document says: a list of texts."""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

HERE = "urn:document"


def main():
    asked = json.load(sys.stdin)
    document = asked["document"]
    registry = Registry().with_resource(HERE, Resource(contents=document, specification=DRAFT202012))
    json.dump([fault for answer in asked["answers"] for fault in faults(document, registry, answer)], sys.stdout)


def faults(document, registry, answer):
    what = f"{answer['method']} {answer['path']}: {answer['status']}"
    pointer = ["paths", answer["path"], answer["method"].lower(), "responses", str(answer["status"])]
    response, pointer = follow(document, pointer)
    if response is None:
        return [f"{what} is not documented"]
    content = response.get("content", {})
    if not content:
        return [f"{what} has a body: {answer['body']!r}"] if answer["body"] else []
    if answer["content_type"] not in content:
        return [f"{what} is {answer['content_type']}"]
    if not answer["content_type"].endswith("json"):
        return []
    path = [*pointer, "content", answer["content_type"], "schema"]
    reference = HERE + "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in path)
    validator = Draft202012Validator(
        {"$ref": reference}, registry=registry, format_checker=FormatChecker()
    )
    body = json.loads(answer["body"])
    return [f"{what}: {error.json_path}: {error.message[:300]}" for error in validator.iter_errors(body)]


def follow(document, pointer):
    """What stands there, and where it stands in truth."""
    found = document
    for part in pointer:
        found = found.get(part)
        if found is None:
            return None, pointer
    if "$ref" in found:
        return follow(document, found["$ref"].removeprefix("#/").split("/"))
    return found, pointer


main()
