"""The tables that every order reads and writes, by constant SQL (audit.table). Whoever writes to one holds its bot's lock."""

from audit.table import Table
from bots.models import Bot, Deal, Fill, Order, Position

BOTS = Table(Bot)
POSITIONS = Table(Position)
DEALS = Table(Deal)
ORDERS = Table(Order)
FILLS = Table(Fill)
