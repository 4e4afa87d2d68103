"""The intelligence layer: what candles and a quote say of a market, and what may be done in it. Pure: data in, data out."""
