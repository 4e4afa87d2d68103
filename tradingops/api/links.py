"""What of one answer leads to the next request: links in the schema, for people and for tools that follow them."""

from typing import Any

#: What a bot's or an order's answer leads to: by the endpoint's address after /api, which parameter takes which field.
BOT = {"bot_id": "$response.body#/id"}
ORDER = {"client_order_id": "$response.body#/client_order_id"}
#: What a bot's answer leads to besides: an order of it.
ORDER_BODY = {"bot_id": "$response.body#/id", "side": "buy", "type": "market", "quantity": "0.015"}
LEADS_TO: dict[tuple[str, str], tuple[dict[str, str], tuple[tuple[str, str], ...]]] = {
    ("post", "/bots"): (
        BOT,
        (
            ("get", "/bots/{bot_id}"),
            ("patch", "/bots/{bot_id}"),
            ("post", "/bots/{bot_id}/start"),
            ("post", "/bots/{bot_id}/pause"),
            ("post", "/bots/{bot_id}/stop"),
            ("post", "/bots/{bot_id}/close-position"),
            ("post", "/bots/{bot_id}/dry-run"),
            ("delete", "/bots/{bot_id}"),
        ),
    ),
    ("post", "/orders"): (
        ORDER,
        (("get", "/orders/{client_order_id}"), ("post", "/orders/{client_order_id}/cancel")),
    ),
    ("post", "/bots/{bot_id}/close-position"): (
        ORDER,
        (("get", "/orders/{client_order_id}"), ("post", "/orders/{client_order_id}/cancel")),
    ),
}


def add_links(schema: dict[str, Any], prefix: str = "/api") -> None:
    """Add to a schema what each answer leads to. Raises KeyError for an endpoint that is gone: then this page is old."""
    paths = schema["paths"]
    for (method, path), (parameters, targets) in LEADS_TO.items():
        responses = paths[prefix + path][method]["responses"]
        done = next(responses[status] for status in responses if str(status).startswith("2"))
        done["links"] = {
            paths[prefix + other_path][other_method]["operationId"]: {
                "operationId": paths[prefix + other_path][other_method]["operationId"],
                "parameters": parameters,
            }
            for other_method, other_path in targets
        }
    order = paths[f"{prefix}/orders"]["post"]["operationId"]
    made = paths[f"{prefix}/bots"]["post"]["responses"]
    done = next(made[status] for status in made if str(status).startswith("2"))
    done["links"][order] = {"operationId": order, "requestBody": ORDER_BODY}
