"""The books against a slow model: every unit of cost is followed lot by lot, in exact fractions."""

from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bots.books import COST_STEP, EXACT, Book, BookError, apply_fill, apply_write_off, unrealised_pnl
from safety.intents import Side

# Each sale rounds the cost it takes once, by at most half a step.
ROUNDING = Fraction(COST_STEP) / 2

prices = st.decimals("0.00000001", "1000000", places=8)
quantities = st.decimals("0.00000001", "100000", places=8)
fees = st.decimals("0", "1000", places=8)
buys = st.tuples(st.just(Side.BUY), quantities, prices, fees)
# A sale names the share of what is held, in thousandths: 1000 sells all.
sales = st.tuples(st.just(Side.SELL), st.integers(1, 1000), prices, fees)
histories = st.lists(st.one_of(buys, sales), max_size=30)


class LotModel:
    """Average cost by lots: a sale takes the same share of every lot, as if each coin in the heap were worn alike."""

    def __init__(self) -> None:
        self.lots: list[tuple[Fraction, Fraction]] = []
        self.gains = Fraction(0)
        self.fees = Fraction(0)
        self.spent = Fraction(0)
        self.received = Fraction(0)

    @property
    def held(self) -> Fraction:
        return sum((quantity for quantity, _ in self.lots), Fraction(0))

    @property
    def cost(self) -> Fraction:
        return sum((quantity * price for quantity, price in self.lots), Fraction(0))

    def buy(self, quantity: Fraction, price: Fraction, fee: Fraction) -> None:
        self.lots.append((quantity, price))
        self.spent += quantity * price
        self.fees += fee

    def sell(self, quantity: Fraction, price: Fraction, fee: Fraction) -> None:
        share = quantity / self.held
        for held, bought_at in self.lots:
            self.gains += held * share * (price - bought_at)
        self.lots = [(held * (1 - share), bought_at) for held, bought_at in self.lots if share != 1]
        self.received += quantity * price
        self.fees += fee


def play(history: list[tuple[Side, Decimal | int, Decimal, Decimal]]) -> tuple[Book, LotModel, int]:
    """Play a history into the book and the model; return both, and how many sales there were."""
    book, model, sold = Book(), LotModel(), 0
    for side, amount, price, fee in history:
        if side == Side.BUY:
            quantity = Decimal(amount)
            model.buy(Fraction(quantity), Fraction(price), Fraction(fee))
        else:
            quantity = sale_of(book.quantity, int(amount))
            if quantity <= 0:
                continue
            model.sell(Fraction(quantity), Fraction(price), Fraction(fee))
            sold += 1
        book = apply_fill(book, side, quantity, price, fee)
    return book, model, sold


def sale_of(held: Decimal, thousandths: int) -> Decimal:
    """Return that share of what is held, in whole steps of 1e-8; 1000 is all of it."""
    if thousandths == 1000:
        return held
    return (held * thousandths / 1000).quantize(Decimal("1e-8"), rounding="ROUND_DOWN")


@given(histories)
def test_book_agrees_with_lots_followed_one_by_one(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]],
) -> None:
    book, model, sold = play(history)
    slack = ROUNDING * sold
    assert Fraction(book.quantity) == model.held
    assert Fraction(book.fees) == model.fees
    assert Fraction(book.cash_flow) == model.received - model.spent - model.fees
    assert abs(Fraction(book.cost) - model.cost) <= slack
    assert abs(Fraction(book.realised_pnl) - (model.gains - model.fees)) <= slack


@given(histories)
def test_money_is_never_made_nor_lost_in_the_books(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]],
) -> None:
    """What came in less what went out is what was earned less what is tied up: exactly, whatever was rounded."""
    book, _, _ = play(history)
    assert Fraction(book.cash_flow) == Fraction(book.realised_pnl) - Fraction(book.cost)


@given(histories, prices)
def test_selling_everything_leaves_nothing_but_cash(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]], price: Decimal
) -> None:
    book, _, _ = play(history)
    if book.quantity == 0:
        assert book.cost == 0
        return
    flat = apply_fill(book, Side.SELL, book.quantity, price, Decimal(0))
    assert flat.quantity == flat.cost == 0
    assert flat.realised_pnl == flat.cash_flow
    assert flat.fees == book.fees


@given(histories, prices)
def test_unrealised_profit_is_what_selling_at_the_mark_would_realise(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]], mark: Decimal
) -> None:
    book, _, _ = play(history)
    gain = unrealised_pnl(book, mark)
    if book.quantity == 0:
        assert gain == 0
        return
    flat = apply_fill(book, Side.SELL, book.quantity, mark, Decimal(0))
    assert Fraction(flat.realised_pnl) == Fraction(book.realised_pnl) + Fraction(gain)


@given(histories, prices, fees)
def test_sale_keeps_the_average_price_of_what_stays(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]], price: Decimal, fee: Decimal
) -> None:
    book, _, _ = play(history)
    quantity = sale_of(book.quantity, 500)
    if quantity <= 0:
        return
    after = apply_fill(book, Side.SELL, quantity, price, fee)
    before_average, after_average = (Fraction(b.cost) / Fraction(b.quantity) for b in (book, after))
    assert abs(after_average - before_average) <= ROUNDING / Fraction(after.quantity)


@given(histories, st.decimals("0.00000001", "10", places=8), prices)
def test_sale_of_more_than_is_held_is_refused(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]], excess: Decimal, price: Decimal
) -> None:
    book, _, _ = play(history)
    with pytest.raises(BookError, match="only"):
        apply_fill(book, Side.SELL, book.quantity + excess, price, Decimal(0))


def test_worked_example() -> None:
    """Two buys at 100 and 110, half sold at 120: cost 105 a unit, 15 earned on one, less every fee."""
    book = apply_fill(Book(), Side.BUY, Decimal(1), Decimal(100), Decimal("0.4"))
    book = apply_fill(book, Side.BUY, Decimal(1), Decimal(110), Decimal("0.44"))
    book = apply_fill(book, Side.SELL, Decimal(1), Decimal(120), Decimal("0.48"))
    assert book == Book(Decimal(1), Decimal(105), Decimal("13.68"), Decimal("1.32"), Decimal("-91.32"))
    assert unrealised_pnl(book, Decimal(100)) == -5


def test_thirds_lose_nothing_on_the_way_to_flat() -> None:
    book = apply_fill(Book(), Side.BUY, Decimal(3), Decimal("33.33333333"), Decimal(0))
    for _ in range(3):
        book = apply_fill(book, Side.SELL, Decimal(1), Decimal(40), Decimal(0))
    assert book.quantity == book.cost == 0
    assert book.realised_pnl == Decimal("20.00000001")


@settings(deadline=None)
@given(histories, st.integers(1, 1000))
def test_what_is_written_off_is_lost_at_cost_and_moves_no_money(
    history: list[tuple[Side, Decimal | int, Decimal, Decimal]], share: int
) -> None:
    book, _, _ = play(history)
    if not book.quantity:
        with pytest.raises(BookError, match="only"):
            apply_write_off(book, Decimal(1))
        return
    with localcontext(EXACT):
        gone = book.quantity * share / 1000
        after = apply_write_off(book, gone)
        assert after.quantity == book.quantity - gone
        assert (after.cash_flow, after.fees) == (book.cash_flow, book.fees)
        assert book.realised_pnl - after.realised_pnl == book.cost - after.cost >= 0
        assert after.realised_pnl == after.cash_flow + after.cost
    assert bool(after.quantity) or after.cost == 0
