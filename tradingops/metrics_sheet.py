"""Collects metrics and writes them as Prometheus reads them. What was never set is absent, and never 0."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector, CollectorRegistry

from audit.tallies import Histogram
from tradingops.metrics_names import METRICS, Kind, Metric


class Sheet(Collector):
    """One scrape. Names are those of ``METRICS``, without the prefix that all share."""

    def __init__(self) -> None:
        self._families: dict[str, Family] = {}

    def set(self, name: str, value: float, *labels: str) -> None:
        """Set one series of a gauge or a counter. Raises KeyError for a metric that nobody described."""
        family = self._family(name, len(labels))
        if not isinstance(family, GaugeMetricFamily | CounterMetricFamily):
            raise TypeError(f"{name} is a histogram")
        family.add_metric(list(labels), value)

    def observe(self, name: str, histogram: Histogram, *labels: str) -> None:
        """Set one series of a histogram. Raises KeyError for a metric that nobody described."""
        family = self._family(name, len(labels))
        if not isinstance(family, HistogramMetricFamily):
            raise TypeError(f"{name} is no histogram")
        buckets, total = [], 0
        for bound, count in zip([*map(str, histogram.bounds_s), "+Inf"], histogram.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        family.add_metric(list(labels), buckets, histogram.sum_us / 1_000_000)

    def collect(self) -> Iterator[Family]:
        """Yield what was set."""
        yield from self._families.values()

    def text(self) -> bytes:
        """Return all of it in Prometheus' text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def _family(self, name: str, labels: int) -> Family:
        metric = METRICS[name]
        if labels != len(metric.labels):
            raise ValueError(f"{name} has the labels {metric.labels}")
        if name not in self._families:
            self._families[name] = _new(metric)
        return self._families[name]


def _new(metric: Metric) -> Family:
    kinds: dict[Kind, type[GaugeMetricFamily | CounterMetricFamily | HistogramMetricFamily]] = {
        Kind.GAUGE: GaugeMetricFamily,
        Kind.COUNTER: CounterMetricFamily,
        Kind.HISTOGRAM: HistogramMetricFamily,
    }
    return kinds[metric.kind](metric.name, metric.help, labels=list(metric.labels))
