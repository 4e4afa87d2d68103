"""What kind of instrument a symbol is, and its sector: few bots of one sector, since what is alike falls together.

Crypto is one sector. Of US stocks the best known are listed here by the sector that S&P and MSCI put them in (GICS); a fund
that holds the whole market is ``broad market``. What is not listed is ``other``, and shares that sector's cap.
"""

from bots.models import Venue

CRYPTO, STOCK = "crypto", "stock"
ASSET_TYPES = (CRYPTO, STOCK)
OTHER = "other"
_BY_SECTOR = {
    "broad market": "SPY SPX VOO VTI IVV QQQ DIA IWM RSP MDY SCHB",
    "technology": "AAPL MSFT NVDA AVGO ORCL CRM ADBE AMD INTC CSCO QCOM TXN IBM NOW INTU AMAT MU LRCX KLAC PANW SNOW PLTR "
    "DELL HPQ ANET SMCI MRVL CRWD XLK SMH",
    "communication": "GOOGL GOOG META NFLX DIS CMCSA T VZ TMUS CHTR EA TTWO WBD SPOT RBLX XLC",
    "consumer discretionary": "AMZN TSLA HD MCD NKE LOW SBUX BKNG TJX F GM ABNB MAR CMG ORLY RIVN LULU EBAY XLY",
    "consumer staples": "WMT PG KO PEP COST PM MO MDLZ CL KMB GIS KHC TGT DG XLP",
    "health care": "UNH JNJ LLY PFE ABBV MRK TMO ABT DHR BMY AMGN CVS GILD MDT ISRG VRTX REGN MRNA XLV",
    "financials": "JPM BAC WFC GS MS C BRK.B V MA AXP BLK SCHW SPGI PYPL COIN HOOD USB PNC COF XLF",
    "energy": "XOM CVX COP SLB EOG MPC PSX VLO OXY KMI WMB XLE",
    "industrials": "CAT BA GE HON UPS RTX LMT DE UNP MMM FDX NOC GD EMR UBER DAL UAL AAL XLI",
    "materials": "LIN SHW FCX NEM APD ECL NUE DOW XLB GLD SLV",
    "real estate": "PLD AMT EQIX SPG O CCI PSA XLRE VNQ",
    "utilities": "NEE DUK SO D AEP EXC SRE XEL CEG VST XLU",
}
SECTORS = {symbol: sector for sector, symbols in _BY_SECTOR.items() for symbol in symbols.split()}


def asset_type(venue: str, symbol: str) -> str:
    """Return ``crypto`` or ``stock``: at Alpaca and on recordings a symbol without a separator is a stock or an index."""
    if venue == Venue.KRAKEN or "/" in symbol or "-" in symbol:
        return CRYPTO
    return STOCK


def sector(venue: str, symbol: str) -> str:
    """Return the sector that the cap counts a symbol in."""
    if asset_type(venue, symbol) == CRYPTO:
        return CRYPTO
    return SECTORS.get(symbol.upper(), OTHER)
