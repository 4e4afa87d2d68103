"""A script that trades on paper over the API: TOKEN=… python docs/example_client.py http://127.0.0.1:8000

It makes a bot, buys a little, sells it again and prints what that came to. Each order carries a key of its own: however often a
request is sent again, because an answer got lost, there is one order.
"""

import os
import sys
import time
import uuid
from typing import Any

import requests

TRIES, TIMEOUT_S = 5, 30


class Console:
    """One console. Raises RuntimeError with the console's own words for what it refuses."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.session = url.rstrip("/"), requests.Session()
        self.session.headers["Authorization"] = f"Bearer {token}"

    def call(self, method: str, path: str, key: str = "", **body: Any) -> Any:
        """Ask for one thing and return the answer. With a key it is safe to ask again; without, only what reads is."""
        for attempt in range(1, TRIES + 1):
            try:
                headers = {"Idempotency-Key": key} if key else {}
                answer = self.session.request(
                    method, f"{self.url}/api{path}", json=body or None, headers=headers, timeout=TIMEOUT_S
                )
            except requests.ConnectionError:
                if attempt == TRIES or not (key or method == "GET"):
                    raise
                time.sleep(attempt)
                continue
            if answer.status_code != requests.codes.too_many_requests:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        if answer.ok:
            return answer.json()
        error = answer.json()
        raise RuntimeError(f"{error['message']} {'; '.join(one['message'] for one in error['reasons'])}".strip())


def main(url: str) -> None:
    """Trade a little on paper."""
    console, run = Console(url, os.environ["TOKEN"]), uuid.uuid4().hex[:8]
    bot = {"venue": "replay", "symbol": "BTC-PERP", "strategy": "smart_dca", "capital_usd": "250"}
    made = console.call("POST", "/bots", key=f"bot-{run}", name=f"example {run}", **bot)
    order = {"bot_id": made["id"], "type": "market", "quantity": "0.002"}
    for side in ("buy", "sell"):
        placed = console.call("POST", "/orders", key=f"{side}-{run}", side=side, reduce_only=side == "sell", **order)
        print(f"{side}: {placed['status']}, {placed['filled_quantity']} at {placed['average_price']}")
    print("P&L:", console.call("GET", f"/bots/{made['id']}")["pnl"])


if __name__ == "__main__":
    main(sys.argv[1])
