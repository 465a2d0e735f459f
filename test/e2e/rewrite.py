# SPDX-License-Identifier: Apache-2.0
"""A write without a change of every object that an API server has: what a migration does."""

CONFLICT, NOT_FOUND = 409, 404


def groups(api):
    """The paths under which resources are served."""
    for version in api.must("GET", "/api")["versions"]:
        yield f"/api/{version}"
    for group in api.must("GET", "/apis")["groups"]:
        yield f"/apis/{group['preferredVersion']['groupVersion']}"


def resources(api):
    """(path of the group, description) of all resources that can be listed and replaced."""
    for path in groups(api):
        for resource in api.must("GET", path)["resources"]:
            if "/" not in resource["name"] and {"list", "update"} <= set(resource["verbs"]):
                yield path, resource


def replace(api, collection, item):
    """The object may be changed or deleted by others meanwhile: whoever does that writes it."""
    status, answer = api.call("PUT", f"{collection}/{item['metadata']['name']}", item)
    if status not in (200, CONFLICT, NOT_FOUND):
        raise RuntimeError(f"PUT {collection}: HTTP {status}: {answer.decode(errors='replace')}")


def rewrite_everything(api):
    """Returns how many objects were written."""
    count = 0
    for path, resource in resources(api):
        listed = api.must("GET", f"{path}/{resource['name']}")
        for item in listed.get("items") or []:
            # A list's items don't say what they are.
            item.setdefault("kind", resource["kind"])
            item.setdefault("apiVersion", listed["apiVersion"])
            namespace = item["metadata"].get("namespace")
            within = f"/namespaces/{namespace}" if resource["namespaced"] else ""
            replace(api, f"{path}{within}/{resource['name']}", item)
            count += 1
    return count
