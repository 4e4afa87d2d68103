"""The page's HTML: plain, without scripts, readable on a phone."""

from collections.abc import Iterable
from html import escape

from tests.loopback.rehearsal import books
from tests.loopback.rehearsal.acts import PERCENTS
from tests.loopback.rehearsal.books import TITLES, OrderRow
from tests.loopback.rehearsal.drift import Drift
from tests.loopback.rehearsal.exercises import EXERCISES, VENUES, Exercise, going_on
from tests.loopback.rehearsal.venues import Venues

FOLLOW_S = 3
MESSAGES_SHOWN = 10
STYLE = """
:root { color-scheme: light dark; --line: #8886; --soft: #8882; --amber: #b45309; }
* { box-sizing: border-box; }
body { font: 16px/1.45 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 0 1rem 4rem; }
header { border-bottom: 4px solid var(--amber); margin-bottom: 1rem; padding: .5rem 0; }
h1 { font-size: 1.3rem; margin: .3rem 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
nav a { margin-right: .8rem; white-space: nowrap; }
form { display: inline-block; margin: .15rem .2rem .15rem 0; }
button, input, select { font: inherit; padding: .35rem .6rem; min-height: 2.4rem; border: 1px solid var(--line);
  border-radius: .4rem; }
button { cursor: pointer; background: var(--soft); } input { width: 7.5rem; }
.told { background: #16a34a22; border: 1px solid #16a34a; padding: .6rem .8rem; border-radius: .4rem; }
.bad { background: #dc262622; border-color: #dc2626; }
.wide { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
td, th { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; } small { opacity: .75; }
.card { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; margin: .6rem 0; }
.card p { margin: .2rem 0 .4rem; }
"""


def render(
    venues: Venues, drift: Drift, console_url: str, *, told: str = "", is_bad: bool = False, follow: bool
) -> str:
    """Return the whole page; ``told`` is what the last button did."""
    parts = [
        _head(console_url, told, is_bad=is_bad, follow=follow),
        _going_on(venues),
        _prices(venues, drift),
        _exercises(),
        *(_account(venues, drift, name) for name in VENUES),
        _messages(venues),
        _requests(venues),
        "</body></html>",
    ]
    return "\n".join(parts)


def _head(console_url: str, told: str, *, is_bad: bool, follow: bool) -> str:
    reload = f'<meta http-equiv="refresh" content="{FOLLOW_S}">' if follow else ""
    link = '<a href="/">stop following</a>' if follow else f'<a href="/?follow=1">follow (every {FOLLOW_S} s)</a>'
    note = f'<p class="told{" bad" if is_bad else ""}" role="status">{escape(told)}</p>' if told else ""
    return f"""<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Rehearsal: the venues</title>
<meta name="viewport" content="width=device-width, initial-scale=1">{reload}<style>{STYLE}</style></head><body>
<header><h1>Rehearsal: the venues</h1>
<p>No real money and no real venue. Here you play the market, the exchanges and the network;
<a href="{escape(console_url)}">the console</a> has to cope.</p>
<nav><a href="#prices">Prices</a><a href="#faults">What goes wrong</a><a href="#kraken">Kraken</a>
<a href="#alpaca-live">Alpaca live</a><a href="#alpaca-paper">Alpaca paper</a><a href="#discord">Discord</a>
<a href="#requests">Requests</a>{link}</nav>
{_button("clear", "Clear everything that goes wrong")}</header>{note}"""


def _going_on(venues: Venues) -> str:
    lines = going_on(venues)
    if not lines:
        return "<p>Nothing is going wrong.</p>"
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<div class="told bad"><strong>Going wrong, or waiting to</strong><ul>{items}</ul></div>'


def _button(act: str, label: str, **hidden: str) -> str:
    fields = "".join(f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in hidden.items())
    return f'<form method="post" action="/{act}">{fields}<button>{escape(label)}</button></form>'


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; cells are HTML."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join("<tr>" + "".join(f'<td class="n">{cell}</td>' for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _prices(venues: Venues, drift: Drift) -> str:
    rows = []
    for name, one in drift.symbols.items():
        bid, ask = drift.prices(name)
        moves = "".join(_button("price", f"{percent} %", symbol=name, percent=percent) for percent in PERCENTS)
        to = (
            f'<form method="post" action="/price"><input type="hidden" name="symbol" value="{escape(name)}">'
            f'<input name="price" inputmode="decimal" aria-label="{escape(name)} price" placeholder="price">'
            "<button>put</button></form>"
        )
        still = " <small>stands still</small>" if one.is_still else ""
        rows.append([escape(name), f"{bid} / {ask}{still}", moves, to])
    depth = (
        '<form method="post" action="/depth"><label>Each order finds only '
        '<input name="depth" inputmode="decimal" placeholder="all it wants"> in the book </label>'
        "<button>set</button></form>"
    )
    hours = venues.account("alpaca-live").market.hours
    state = "open" if hours.is_open(hours.now()) else "closed"
    listed = _table(("", "bid / ask", "move", "put at"), rows)
    return f'<h2 id="prices">Prices</h2>{listed}{depth}<p>The stock market is {state}.</p>'


def _exercises() -> str:
    return '<h2 id="faults">What goes wrong</h2>' + "".join(_exercise(one) for one in EXERCISES)


def _exercise(one: Exercise) -> str:
    buttons = "".join(_button("strike", TITLES[venue], exercise=one.id, venue=venue) for venue in one.venues)
    return f'<div class="card"><strong>{escape(one.title)}</strong><p>{escape(one.says)}</p>{buttons}</div>'


def _account(venues: Venues, drift: Drift, name: str) -> str:
    held = "".join(f"<li>{escape(asset)}: {escape(amount)}</li>" for asset, amount in books.balances(venues, name))
    rows = [_order_row(name, one) for one in books.orders(venues, name)]
    head = ("order", "what", "filled", "status", "at the venue")
    listed = _table(head, rows) if rows else "<p>No order yet.</p>"
    return (
        f'<h2 id="{name}">{TITLES[name]}</h2><ul>{held}</ul>{_by_hand(name, drift)}{_money(name)}'
        f"<h3>Orders, open ones first</h3>{listed}"
    )


def _order_row(venue: str, one: OrderRow) -> list[str]:
    acts = ""
    if one.is_open:
        acts = (
            _button("fill", "fill half", venue=venue, order=one.id, part="half")
            + _button("fill", "fill", venue=venue, order=one.id, part="all")
            + _button("cancel", "cancel", venue=venue, order=one.id)
        )
    what = f"{one.side} {one.quantity} {one.symbol} at {one.price}"
    return [escape(one.client_order_id), escape(what), escape(one.filled), escape(one.status), acts]


def _by_hand(venue: str, drift: Drift) -> str:
    kind = "kraken" if venue == "kraken" else "alpaca"
    names = "".join(f"<option>{escape(one.name)}</option>" for one in drift.symbols.values() if one.venue == kind)
    return (
        f'<form method="post" action="/place"><input type="hidden" name="venue" value="{venue}">'
        '<select name="side" aria-label="side"><option>buy</option><option>sell</option></select> '
        f'<input name="quantity" inputmode="decimal" placeholder="quantity" aria-label="quantity"> '
        f'<select name="symbol" aria-label="symbol">{names}</select> '
        '<input name="price" inputmode="decimal" placeholder="market" aria-label="limit price"> '
        "<button>trade by hand</button></form>"
    )


def _money(venue: str) -> str:
    return (
        f'<form method="post" action="/money"><input type="hidden" name="venue" value="{venue}">'
        '<input name="amount" inputmode="decimal" placeholder="USD" aria-label="USD, minus to withdraw"> '
        "<button>deposit (minus: withdraw)</button></form>"
    )


def _messages(venues: Venues) -> str:
    said = venues.discord_venue().messages[-MESSAGES_SHOWN:]
    texts = [one["content"] or str([embed.get("title", "") for embed in one["embeds"]]) for one in reversed(said)]
    items = "".join(f"<li>{escape(text)}</li>" for text in texts) or "<li>Nothing was said yet.</li>"
    return f'<h2 id="discord">Discord</h2><ul>{items}</ul>{_button("discord", "clear")}'


def _requests(venues: Venues) -> str:
    parts = ['<h2 id="requests">Requests</h2>']
    for name in (*VENUES, "discord"):
        rows = [
            [
                f"{one.age_s:.0f} s ago",
                escape(one.name),
                escape(one.client_order_id),
                escape(one.outcome + (f" · fault: {one.fault}" if one.fault else "")),
            ]
            for one in books.requests(venues, name)
        ]
        listed = _table(("when", "what", "order", "outcome"), rows) if rows else "<p>None yet.</p>"
        parts.append(
            f"<details{' open' if name == 'kraken' else ''}><summary>{TITLES[name]}</summary>{listed}</details>"
        )
    return "".join(parts)
