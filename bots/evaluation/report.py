"""The checks as a page of Markdown, with what they come to on top, whatever that is."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from bots.evaluation.check import SeriesCheck
from bots.evaluation.regimes import HORIZON, SHUFFLES, RegimeCheck
from bots.evaluation.scores import SURE_Z, Followed, ScoreCheck
from bots.evaluation.trades import CAPITAL_USD, SCORE_MIN, Takings, TradeCheck
from bots.intelligence.regime import REGIMES
from bots.intelligence.values import VERSION

Row = Sequence[object]
HOW = f"""\
Written by `manage.py evaluate_intelligence`, formulas of version {VERSION}, from the recorded candles that ship with the console.
These are few markets, and the Bitcoin candles of a minute, five and fifteen minutes are the same month: nobody should
expect other markets or other years to do the same. A bar's score and regime use that bar and older ones only. Returns are
from close to close, before all costs. The errors are standard errors that count only windows which don't overlap, and a
difference is called *sure* from {SURE_Z:.0f} of them on, which chance alone brings about in one of twenty comparisons."""


def report(checks: Sequence[SeriesCheck]) -> str:
    """Return the whole report."""
    parts = ["# What the intelligence layer is worth", summary(checks), HOW]
    parts += ["## Did higher scores do better?", _score_table(checks)]
    parts += ["## Were the bars that it holds back worse?", _held_back_table(checks)]
    parts += ["## Do regimes last, and what followed them?", _regime_intro(), _change_table(checks)]
    parts += ["## Turnover and P&L against always-on", _trade_intro(), _trade_table(checks)]
    parts += [_details(one) for one in checks]
    return "\n\n".join(parts) + "\n"


def summary(checks: Sequence[SeriesCheck]) -> str:
    """Return in a few sentences what the figures say."""
    return " ".join((_scores_said(checks), _regimes_said(checks), _trades_said(checks)))


def _scores_said(checks: Sequence[SeriesCheck]) -> str:
    found = [one.rank_z for check in checks for one in check.scores]
    better, worse = sum(z >= SURE_Z for z in found), sum(z <= -SURE_Z for z in found)
    counted = (
        f"of {len(found)} comparisons of score and what followed, higher scores were surely followed by more in {better}, "
        f"surely by less in {worse}, and nothing can be said in {len(found) - better - worse} (chance alone gives about "
        f"{len(found) / 20:.0f} that seem sure)."
    )
    if better > worse and better > len(found) / 2:
        return f"**In these recordings a higher score was mostly followed by a higher return**: {counted}"
    return (
        f"**In these recordings the score did not foretell returns, and must not be traded on as if it did**: {counted}"
    )


def _regimes_said(checks: Sequence[SeriesCheck]) -> str:
    calmer = sum(one.regimes.changes_a_hundred < one.regimes.changes_a_hundred_shuffled for one in checks)
    return f"Regimes change less often than in the same bars shuffled on {calmer} of {len(checks)} series."


def _trades_said(checks: Sequence[SeriesCheck]) -> str:
    cases = [one for check in checks for one in check.trades]
    if not cases:
        return ""
    better = sum(one.layer.pnl_usd > one.always.pnl_usd for one in cases)
    worse = sum(one.layer.pnl_usd < one.always.pnl_usd for one in cases)
    saved = _percent_less([one.always.turnover_usd for one in cases], [one.layer.turnover_usd for one in cases])
    gain = sum((one.layer.pnl_usd - one.always.pnl_usd for one in cases), Decimal(0))
    return (
        f"It took away {saved} of the turnover; P&L was better in {better} and worse in {worse} of {len(cases)} replays, by "
        f"{gain:+.2f} USD in sum on {CAPITAL_USD:f} USD of capital each. It is meant as a brake for bad data and wild "
        "markets, not as a source of gain."
    )


def _percent_less(before: Sequence[Decimal], after: Sequence[Decimal]) -> str:
    whole = sum(before, Decimal(0))
    return f"{(whole - sum(after, Decimal(0))) / whole * 100:.1f} %" if whole else "nothing"


def _score_table(checks: Sequence[SeriesCheck]) -> str:
    rows = [
        (_name(check), one.horizon, _bps(one.deciles[0].followed), _bps(one.deciles[-1].followed), _bps(one.everything),
         f"{one.rank_correlation:+.3f}", _sure(one.rank_z), _sure(one.gap_z))
        for check in checks for one in check.scores if one.deciles
    ]  # fmt: skip
    head = (
        "series", "bars ahead", "lowest tenth, bps", "highest tenth, bps", "all bars, bps", "rank correlation", "sure?",
        "highest against lowest",
    )  # fmt: skip
    return _table(head, rows)


def _held_back_table(checks: Sequence[SeriesCheck]) -> str:
    rows = [
        (_name(check), f"{check.allowed_share:.1%}", one.held_back.bars, _bps(one.allowed), _bps(one.held_back),
         f"{one.allowed.size_bps:.1f}", f"{one.held_back.size_bps:.1f}")
        for check in checks for one in check.scores if one.horizon == HORIZON
    ]  # fmt: skip
    head = (
        "series", "bars that let entries through", "bars held back", f"allowed: {HORIZON} bars on, bps", "held back, bps",
        "size of move: allowed", "held back",
    )  # fmt: skip
    return _table(head, rows)


def _regime_intro() -> str:
    return (
        f"Beside each figure is the same of the market with its bars shuffled (the mean of {SHUFFLES} shuffles): the same "
        "moves, in which no trend and no calm can last but by chance. What lasts there as well is only the inertia of the "
        "formulas."
    )


def _change_table(checks: Sequence[SeriesCheck]) -> str:
    rows = [
        (_name(one), f"{one.regimes.changes_a_hundred:.2f}", f"{one.regimes.changes_a_hundred_shuffled:.2f}")
        for one in checks
    ]
    return _table(("series", "changes in 100 bars", "shuffled"), rows)


def _trade_intro() -> str:
    return (
        f"Each strategy with its defaults and {CAPITAL_USD:f} USD; *least score* is a bot that enters from {SCORE_MIN} on. "
        "Turnover and P&L in USD, P&L net of fees, spread and slippage."
    )


def _trade_table(checks: Sequence[SeriesCheck]) -> str:
    rows = [
        (_name(check), one.strategy, *_money(one, "turnover_usd"), *_money(one, "pnl_usd"), one.layer.held_back)
        for check in checks for one in check.trades
    ]  # fmt: skip
    head = (
        "series", "strategy", "turnover always-on", "layer", "least score", "P&L always-on", "layer", "least score",
        "entries held back",
    )  # fmt: skip
    return _table(head, rows)


def _money(one: TradeCheck, name: str) -> tuple[str, ...]:
    takings: tuple[Takings, ...] = (one.always, one.layer, one.picky)
    return tuple(f"{getattr(figures, name):,.2f}" for figures in takings)


def _details(check: SeriesCheck) -> str:
    regimes = [
        (one.regime.value, f"{one.share:.1%}", f"{one.length:.1f}", f"{one.length_shuffled:.1f}",
         "yes" if one.is_sure else "no", _bps(one.followed), f"{one.followed.size_bps:.1f}")
        for one in check.regimes.lasting
    ]  # fmt: skip
    head = (
        "regime", "share of bars", "lasts, bars", "shuffled", "longer than in every shuffle", f"{HORIZON} bars on, bps",
        "size of move, bps",
    )  # fmt: skip
    parts = [f"## {_name(check)}, {check.bars:,} bars", _table(head, regimes), _matrix(check.regimes)]
    return "\n\n".join([*parts, *(_decile_table(one) for one in check.scores)])


def _matrix(check: RegimeCheck) -> str:
    names = [one.value for one in REGIMES]
    rows = [(name, *(f"{share:.2%}" for share in row)) for name, row in zip(names, check.matrix.tolist(), strict=True)]
    return "What the next bar was, after each regime:\n\n" + _table(("regime", *names), rows)


def _decile_table(check: ScoreCheck) -> str:
    rows = [
        (f"{one.score_from} to {one.score_to}", one.followed.bars, f"{one.followed.mean_bps:+.1f}",
         f"{one.followed.error_bps:.1f}")
        for one in check.deciles
    ]  # fmt: skip
    return f"{check.horizon} bars on, by score:\n\n" + _table(("score", "bars", "mean, bps", "standard error"), rows)


def _name(check: SeriesCheck) -> str:
    return f"{check.symbol} {check.timeframe}"


def _bps(found: Followed) -> str:
    return f"{found.mean_bps:+.1f} ± {found.error_bps:.1f}" if found.bars else "–"


def _sure(z: float) -> str:
    if abs(z) < SURE_Z:
        return f"no ({z:+.1f})"
    return f"yes, {'better' if z > 0 else 'worse'} ({z:+.1f})"


def _table(head: Sequence[str], rows: Iterable[Row]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(str(cell) for cell in row)} |" for row in rows)])
