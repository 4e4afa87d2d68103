"""What a test or a person holds of a loopback venue: how to point a process at it, read its log, and order faults."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from tests.loopback.faults import Fault
from tests.loopback.server import CONTROL, Logged

BTC = "BTC/USD"
AAPL = "AAPL"
#: How faults and the log of a loopback Discord know a message.
DISCORD_POST = "POST /api/webhooks/{id}/{token}"


class Loopback:
    """A venue at ``url``, in this process or another one. Raises ValueError for an order that the venue does not know."""

    def __init__(self, url: str) -> None:
        self.url = url

    def control(self, name: str, **params: Any) -> Any:
        """Order something of the venue, and return what it says."""
        request = urllib.request.Request(f"{self.url}{CONTROL}{name}", json.dumps(params).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None

    def log(self, path: str | None = None, *, after_id: int = 0) -> list[Logged]:
        """Return the requests so far, in the order of arrival; only those to ``path`` if it is given."""
        entries = [Logged(**raw) for raw in self.control("log", after_id=after_id)]
        return [entry for entry in entries if path in (None, entry.path)]

    def last_id(self) -> int:
        """Return the id of the latest request, for ``log(after_id=…)``."""
        entries = self.log()
        return entries[-1].id if entries else 0

    def wait_for(self, path: str, count: int = 1, timeout_s: float = 10.0) -> list[Logged]:
        """Return the requests to ``path`` once there are ``count`` of them. Raises TimeoutError."""
        found: list[Logged] = self.wait_until(lambda: self.log(path), lambda found: len(found) >= count, timeout_s)
        return found

    @staticmethod
    def wait_until(ask: Callable[[], Any], is_there: Callable[[Any], bool], timeout_s: float = 10.0) -> Any:
        """Return what ``ask`` gives once ``is_there`` likes it. Raises TimeoutError."""
        give_up_at = time.monotonic() + timeout_s
        while not is_there(found := ask()):
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"not within {timeout_s} s; the last was {found}")
            time.sleep(0.02)
        return found

    def fault(self, *faults: Fault) -> None:
        """Order faults for requests to come, in this order."""
        for fault in faults:
            self.control("fault", **fault.as_dict())

    def clear_faults(self) -> None:
        """Forget every fault that has not come yet."""
        self.control("clear_faults")


class KrakenLoopback(Loopback):
    """A loopback Kraken. Symbols may be written as ours (BTC/USD) or as Kraken's own; figures are texts."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        key = self.control("key")
        self.key, self.secret = str(key["key"]), str(key["secret"])

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at this venue."""
        return {"KRAKEN_BASE_URL": self.url, "KRAKEN_API_KEY": self.key, "KRAKEN_API_SECRET": self.secret}

    def set_price(self, bid: str, ask: str, *, symbol: str = BTC, volume: str = "1") -> None:
        """Move the market; what rests and is met now is filled. ``volume`` base units are traded on the way."""
        self.control("set_price", pair=symbol, bid=bid, ask=ask, volume=volume)

    def set_depth(self, depth: str | None, *, symbol: str = BTC) -> None:
        """Let a taker find only so much; what is left of a limit order rests, of a market order is cancelled."""
        self.control("set_depth", pair=symbol, depth=depth)

    def set_balance(self, asset: str, amount: str) -> None:
        """Set what the account has of an asset, by Kraken's name (ZUSD, XXBT, XBT.F), with no word of it in the ledger."""
        self.control("set_balance", asset=asset, amount=amount)

    def deposit(self, asset: str, amount: str) -> str:
        """Let somebody deposit; return the id of the ledger's row."""
        return str(self.control("deposit", asset=asset, amount=amount))

    def withdraw(self, asset: str, amount: str, *, fee: str = "0") -> str:
        """Let somebody withdraw; ``fee`` is taken off beside the amount. Return the id of the ledger's row."""
        return str(self.control("withdraw", asset=asset, amount=amount, fee=fee))

    def move(self, asset: str, amount: str, kind: str, subtype: str = "", *, fee: str = "0") -> str:
        """Let a balance change by any other kind of movement (staking, transfer, earn…); return the id of the row."""
        return str(self.control("move", asset=asset, amount=amount, kind=kind, subtype=subtype, fee=fee))

    def stake(self, asset: str, amount: str, into: str) -> None:
        """Move a balance to one that earns (XXBT to XBT.F), as Kraken's Earn does: two rows of the ledger."""
        self.move(asset, f"-{amount}", "transfer", "spottostaking")
        self.move(into, amount, "transfer", "stakingfromspot")

    def set_tier(self, tier: str | None, *, counter: float = 0) -> None:
        """Limit requests as Kraken limits a tier (starter, intermediate, pro), or not at all; ``counter`` stands there now."""
        self.control("set_tier", tier=tier, counter=counter)

    def counter(self) -> float:
        """Return where the key's counter of requests stands."""
        return float(self.control("counter"))

    def dead_man_left_s(self) -> float | None:
        """Return when the dead-man switch fires, in seconds from now; None while it is off."""
        left_s = self.control("dead_man")
        return None if left_s is None else float(left_s)

    def hurry_dead_man(self, left_s: float = 0) -> None:
        """Let the dead-man switch, if it is on, fire in so many seconds."""
        self.control("hurry_dead_man", left_s=left_s)

    def set_rights(self, *rights: str, ip_allowlist: tuple[str, ...] = ()) -> None:
        """Set what the key may do."""
        self.control("set_rights", rights=rights, ip_allowlist=ip_allowlist)

    def set_status(self, status: str) -> None:
        """Set the whole venue to online, maintenance, cancel_only or post_only."""
        self.control("set_status", status=status)

    def set_pair_status(self, status: str, *, symbol: str = BTC) -> None:
        """Set one symbol's status, as AssetPairs gives it."""
        self.control("set_pair_status", pair=symbol, status=status)

    def revoke_key(self) -> None:
        """Let the venue refuse the key from now on."""
        self.control("revoke_key")

    def orders(self) -> dict[str, dict[str, Any]]:
        """Return every order of the ledger by Kraken's id, in Kraken's shape, invisible ones too."""
        found: dict[str, dict[str, Any]] = self.control("orders")
        return found

    def orders_with(self, client_order_id: str) -> list[dict[str, Any]]:
        """Return the orders with one of our ids; more than one is a double submission."""
        return [order for order in self.orders().values() if order["cl_ord_id"] == client_order_id]

    def trades(self) -> dict[str, dict[str, Any]]:
        """Return every trade of the ledger by id."""
        found: dict[str, dict[str, Any]] = self.control("trades")
        return found

    def balances(self) -> dict[str, str]:
        """Return the account's totals by Kraken's name of the asset."""
        found: dict[str, str] = self.control("balances")
        return found

    def fill(self, order_id: str, volume: str, price: str | None = None) -> str:
        """Let a resting order trade so much; return the trade's id."""
        return str(self.control("fill", order_id=order_id, volume=volume, price=price))

    def place(self, side: str, volume: str, *, symbol: str = "XBTUSD", price: str | None = None, **fields: str) -> str:
        """Place an order by hand, as a person at the venue does; return its id.

        ``ordertype`` may be one that we never send (stop-loss, take-profit-limit…): then ``price`` is its trigger.
        """
        limit = {"ordertype": "market"} if price is None else {"ordertype": "limit", "price": price}
        return str(self.control("place", pair=symbol, type=side, volume=volume, **(limit | fields)))

    def show_quote(self, bid: str, ask: str, *, symbol: str = BTC) -> None:
        """Let the ticker say these prices from now on, whatever they are; the market itself does not move."""
        self.control("show_quote", pair=symbol, bid=bid, ask=ask)

    def reveal(self) -> None:
        """Let every order show up from now on that was invisible."""
        self.control("reveal")

    def unlist(self, order_id: str) -> None:
        """Leave an order out of the lists of open and closed orders; its trades and its id still lead to it."""
        self.control("unlist", order_id=order_id)

    def forget(self, order_id: str) -> None:
        """Let no question lead to an order any more, as if there was none; ``reveal`` ends it."""
        self.control("forget", order_id=order_id)

    def cancel(self, order_id: str, reason: str = "User requested") -> None:
        """Let the venue cancel an open order."""
        self.control("cancel", order_id=order_id, reason=reason)


class AlpacaAccount(Loopback):
    """One account of a loopback Alpaca: the live one, or the paper one. Figures are texts.

    ``is_live`` says which; ``key`` and ``secret`` open this account and the market data, not the other account.
    """

    def __init__(self, url: str, *, is_live: bool) -> None:
        super().__init__(url)
        self.is_live = is_live
        key = self.control("key")
        self.key, self.secret = str(key["key"]), str(key["secret"])

    def orders(self) -> dict[str, dict[str, Any]]:
        """Return every order of the ledger by Alpaca's id, in Alpaca's shape, invisible ones too."""
        found: dict[str, dict[str, Any]] = self.control("orders")
        return found

    def orders_with(self, client_order_id: str) -> list[dict[str, Any]]:
        """Return the orders with one of our ids; more than one is a double submission."""
        return [order for order in self.orders().values() if order["client_order_id"] == client_order_id]

    def trades(self) -> dict[str, dict[str, Any]]:
        """Return every execution of the ledger by id, as the activities show it."""
        found: dict[str, dict[str, Any]] = self.control("trades")
        return found

    def cash(self) -> str:
        """Return the account's cash."""
        return str(self.control("cash"))

    def positions(self) -> dict[str, str]:
        """Return how many shares are held, by symbol; below zero they were sold short."""
        found: dict[str, str] = self.control("positions")
        return found

    def place(self, side: str, qty: str, *, symbol: str = AAPL, price: str | None = None) -> str:
        """Place an order by hand, as a person at the venue does; return its id."""
        limit = {"type": "market"} if price is None else {"type": "limit", "limit_price": price}
        order = {"symbol": symbol, "side": side, "qty": qty, "time_in_force": "day", **limit}
        return str(self.control("place", body=json.dumps(order)))

    def fill(self, order_id: str, qty: str, price: str | None = None) -> str:
        """Let an order trade so much, a cancelled one too; return the execution's id."""
        return str(self.control("fill", order_id=order_id, qty=qty, price=price))

    def cancel(self, order_id: str) -> None:
        """Let the venue cancel an open order."""
        self.control("cancel", order_id=order_id)

    def end(self, order_id: str, status: str) -> None:
        """Put an order into any status: expired, rejected, suspended, or one that nobody knows."""
        self.control("end", order_id=order_id, status=status)

    def unlist(self, order_id: str) -> None:
        """Leave an order out of the lists; its ids still lead to it."""
        self.control("unlist", order_id=order_id)

    def forget(self, order_id: str) -> None:
        """Let no question lead to an order any more, as if there was none."""
        self.control("forget", order_id=order_id)

    def recall(self, order_id: str) -> None:
        """Let an order that was forgotten be there again."""
        self.control("recall", order_id=order_id)

    def set_position(self, symbol: str, qty: str) -> None:
        """Set what is held of a share, as a transfer of shares does; no cash moves."""
        self.control("set_position", symbol=symbol, qty=qty)

    def activity(self, kind: str, net_amount: str, *, symbol: str | None = None) -> str:
        """Book what is no trade: CSD (deposit), CSW (withdrawal, a negative amount), DIV, FEE, INT; return its id."""
        return str(self.control("activity", type=kind, net_amount=net_amount, symbol=symbol))

    def change_shares(
        self, kind: str, qty: str, *, symbol: str = AAPL, net_amount: str = "0", listed: bool = True
    ) -> str:
        """Let the company change its shares by ``qty``, as in a split; unless ``listed`` no activity tells of it."""
        given = {"type": kind, "symbol": symbol, "qty": qty, "net_amount": net_amount, "listed": listed}
        return str(self.control("change_shares", **given))

    def set_account(self, **changes: Any) -> None:
        """Let the account's answer say so (status, trading_blocked, ...); None leaves a field out."""
        self.control("set_account", **changes)

    def set_submit_status(self, status: str | None) -> None:
        """Let the answers to submissions carry this status; None: the venue's own again."""
        self.control("set_submit_status", status=status)

    def set_cancel_s(self, seconds: float) -> None:
        """Let a cancel take so long; until then an order is pending_cancel and may still fill."""
        self.control("set_cancel_s", seconds=seconds)

    def set_activity_lag_s(self, seconds: float) -> None:
        """Let executions appear among the activities so much later than in their order."""
        self.control("set_activity_lag_s", seconds=seconds)

    def set_cash_step(self, step: str | None) -> None:
        """Let the money of each trade be rounded up to this, as the real venue rounds to cents; None: it is exact."""
        self.control("set_cash_step", step=step)

    def set_rate_limit(self, per_minute: int | None) -> None:
        """Let the account answer 429 after so many requests in a minute; None: never."""
        self.control("set_rate_limit", per_minute=per_minute)

    def revoke_keys(self) -> None:
        """Let the venue refuse this account's key from now on, for market data too."""
        self.control("revoke_keys")


class AlpacaLoopback:
    """A loopback Alpaca: ``live`` and ``paper`` accounts, ``data`` host, over one market. It is open round the clock at first.

    Requests are known to faults and logs by method and path, such as ``POST /v2/orders``, ``GET /v2/orders/{id}`` and
    ``GET /v2/orders:by_client_order_id``; each host has faults and a log of its own.
    """

    def __init__(self, live_url: str, paper_url: str, data_url: str) -> None:
        self.live = AlpacaAccount(live_url, is_live=True)
        self.paper = AlpacaAccount(paper_url, is_live=False)
        self.data = Loopback(data_url)

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at this venue."""
        return {
            "ALPACA_BASE_URL_LIVE": self.live.url,
            "ALPACA_BASE_URL_PAPER": self.paper.url,
            "ALPACA_DATA_URL": self.data.url,
            "ALPACA_API_KEY_LIVE": self.live.key,
            "ALPACA_API_SECRET_LIVE": self.live.secret,
            "ALPACA_API_KEY_PAPER": self.paper.key,
            "ALPACA_API_SECRET_PAPER": self.paper.secret,
        }

    def set_price(self, bid: str, ask: str, *, symbol: str = AAPL, volume: str = "100") -> None:
        """Move the market, also to a zero or crossed one; what rests and is met now is filled, in both accounts."""
        self.data.control("set_price", symbol=symbol, bid=bid, ask=ask, volume=volume)

    def set_depth(self, depth: str | None, *, symbol: str = AAPL) -> None:
        """Let a taker find only so much; what is left of an order rests."""
        self.data.control("set_depth", symbol=symbol, depth=depth)

    def freeze_quote(self, age_s: float | None = 0.0, *, symbol: str = AAPL) -> None:
        """Let the quote stay as it was ``age_s`` ago; None lets it be new at every question."""
        self.data.control("freeze_quote", symbol=symbol, age_s=age_s)

    def set_open(self, is_open: bool | None) -> None:
        """Open the market, or close it, which lets the day's orders expire; None leaves it to the schedule."""
        self.data.control("set_open", is_open=is_open)

    def set_round_the_clock(self, value: bool) -> None:
        """Trade every minute of every day, or in the exchange's weekday sessions (no holidays)."""
        self.data.control("set_round_the_clock", value=value)

    def set_clock_skew(self, skew_s: float) -> None:
        """Set the venue's clock apart from the machine's."""
        self.data.control("set_clock_skew", skew_s=skew_s)

    def set_asset(self, symbol: str, **changes: Any) -> None:
        """Change what the venue lists of a share: fractionable, tradable, shortable, status."""
        self.data.control("set_asset", symbol=symbol, **changes)


class DiscordLoopback(Loopback):
    """One webhook of a loopback Discord."""

    @property
    def webhook_url(self) -> str:
        """Return the webhook's whole URL, for DISCORD_WEBHOOK_URL."""
        return f"{self.url}{self.control('url_path')}"

    def environ(self) -> dict[str, str]:
        """Return the variables that point a process at this webhook."""
        return {"DISCORD_WEBHOOK_URL": self.webhook_url}

    def messages(self) -> list[dict[str, Any]]:
        """Return what was said, in order."""
        found: list[dict[str, Any]] = self.control("messages")
        return found

    def set_limit(self, messages: int | None, window_s: float = 2.0) -> None:
        """Let Discord answer 429 after so many messages in so many seconds; None: never."""
        self.control("set_limit", messages=messages, window_s=window_s)
