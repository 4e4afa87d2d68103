// The equity chart, the warning that the figures stand still, and times on one's own clock. htmx does the rest.
"use strict";

(() => {
    const REFRESH_MS = 10000;
    const LOST_AFTER_MS = 20000;
    const money = new Intl.NumberFormat("en-US", { style: "currency", currency: "USD" });
    const two = (number) => String(number).padStart(2, "0");

    const STEPS_MS = [10, 30, 60, 300, 900, 1800, 3600, 7200, 14400].map((seconds) => seconds * 1000);
    const TICKS_MAX = 8;

    const clock = (ms, withDay, withSeconds = false) => {
        const moment = new Date(ms);
        const seconds = withSeconds ? `:${two(moment.getUTCSeconds())}` : "";
        const time = `${two(moment.getUTCHours())}:${two(moment.getUTCMinutes())}${seconds}`;
        return withDay ? `${moment.toISOString().slice(0, 10)} ${time} UTC` : time;
    };

    const theme = () => {
        const isDark = document.documentElement.classList.contains("dark");
        return {
            line: isDark ? "#60a5fa" : "#2563eb",
            fill: isDark ? "rgba(96, 165, 250, .12)" : "rgba(37, 99, 235, .08)",
            grid: isDark ? "#1f2937" : "#e5e7eb",
            text: isDark ? "#9ca3af" : "#6b7280",
        };
    };

    // Ticks on round times, as on a clock, instead of on round numbers of milliseconds.
    const roundTicks = (scale) => {
        const span = scale.max - scale.min;
        const step = STEPS_MS.find((ms) => span / ms <= TICKS_MAX) || STEPS_MS[STEPS_MS.length - 1];
        scale.ticks = [];
        for (let at = Math.ceil(scale.min / step) * step; at <= scale.max && scale.ticks.length < 20; at += step) {
            scale.ticks.push({ value: at });
        }
    };

    const options = () => ({
        animation: false,
        responsive: true,
        maintainAspectRatio: false,
        interaction: { mode: "nearest", axis: "x", intersect: false },
        scales: {
            x: {
                type: "linear",
                afterBuildTicks: roundTicks,
                ticks: { maxRotation: 0, autoSkip: true, callback: (ms) => clock(ms, false, ms % 60000 !== 0) },
            },
            y: { grace: "10%", ticks: { maxTicksLimit: 6, callback: (usd) => money.format(usd) } },
        },
        plugins: {
            legend: { display: false },
            tooltip: {
                displayColors: false,
                callbacks: {
                    title: (items) => clock(items[0].parsed.x, true),
                    label: (item) => money.format(item.parsed.y),
                },
            },
        },
    });

    const paint = (chart) => {
        const colours = theme();
        Object.assign(chart.data.datasets[0], { borderColor: colours.line, backgroundColor: colours.fill });
        for (const scale of [chart.options.scales.x, chart.options.scales.y]) {
            scale.grid = { color: colours.grid };
            scale.border = { display: false };
            scale.ticks.color = colours.text;
        }
        chart.update();
    };

    const summarise = (card, points) => {
        const summary = card.querySelector("[data-equity-summary]");
        if (points.length < 2) {
            summary.textContent = "";
            return;
        }
        const [first, last] = [points[0], points[points.length - 1]];
        const change = last[1] - first[1];
        const sign = change > 0 ? "+" : "";
        summary.textContent = `${money.format(last[1])} at ${clock(last[0], false)} UTC, ${sign}${money.format(change)} since ${clock(first[0], true)}`;
    };

    const show = (canvas, chart, points) => {
        const card = canvas.closest("section");
        const isEmpty = points.length < 2;
        card.querySelector("[data-equity-empty]").hidden = !isEmpty;
        canvas.hidden = isEmpty;
        const dataset = chart.data.datasets[0];
        dataset.data = points.map(([x, y]) => ({ x, y }));
        if (!isEmpty) {
            chart.options.scales.x.min = points[0][0];
            chart.options.scales.x.max = points[points.length - 1][0];
        }
        summarise(card, points);
        chart.update();
    };

    const refresh = async (canvas, chart) => {
        if (document.hidden) {
            return;
        }
        try {
            const answer = await fetch(canvas.dataset.equityUrl, { headers: { Accept: "application/json" } });
            if (answer.ok && answer.status !== 204) {
                show(canvas, chart, (await answer.json()).points);
            }
        } catch {
            // The console does not answer; the warning above the page says so.
        }
    };

    const startChart = (canvas) => {
        const dataset = { data: [], fill: "start", borderWidth: 2, pointRadius: 0, pointHitRadius: 8, tension: 0 };
        const chart = new Chart(canvas, { type: "line", data: { datasets: [dataset] }, options: options() });
        paint(chart);
        new MutationObserver(() => paint(chart)).observe(document.documentElement, { attributeFilter: ["class"] });
        refresh(canvas, chart);
        setInterval(() => refresh(canvas, chart), REFRESH_MS);
    };

    const watchAnswers = () => {
        const warning = document.querySelector("[data-lost]");
        if (!warning) {
            return;
        }
        let answeredAt = Date.now();
        document.body.addEventListener("htmx:afterRequest", (event) => {
            if (event.detail.successful) {
                answeredAt = Date.now();
                warning.hidden = true;
            }
        });
        setInterval(() => {
            const silent = Date.now() - answeredAt;
            if (silent > LOST_AFTER_MS) {
                warning.querySelector("[data-lost-age]").textContent = `${Math.round(silent / 1000)} s`;
                warning.hidden = false;
            }
        }, 1000);
    };

    // Whoever has tapped HALT must find CONFIRM under his finger, not a HALT that was refreshed meanwhile.
    const keepOpenHalt = () => {
        document.body.addEventListener("htmx:oobBeforeSwap", (event) => {
            const target = event.detail.target;
            if (target && target.id === "tc-halt" && target.querySelector("details[open]")) {
                event.detail.shouldSwap = false;
            }
        });
    };

    // Quiet hours are UTC: what that is on the clock of whoever looks.
    const showOwnClock = (place) => {
        const moment = new Date(place.dataset.ownClock);
        place.querySelector("strong").textContent = `${two(moment.getHours())}:${two(moment.getMinutes())}`;
        place.hidden = false;
    };

    document.addEventListener("DOMContentLoaded", () => {
        document.querySelectorAll("[data-own-clock]").forEach(showOwnClock);
        keepOpenHalt();
        document.querySelectorAll("canvas[data-equity-url]").forEach(startChart);
        watchAnswers();
    });
})();
