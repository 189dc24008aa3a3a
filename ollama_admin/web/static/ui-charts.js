// Charts of the numbers that stand in the table marked with data-chart: who cannot see them reads it.
"use strict";

const table = document.querySelector("table[data-chart]");
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const DAY = 24 * 60 * 60; // seconds
const STEPS = [1, 2, 7, 14, 30, 90].map((days) => days * DAY); // between two days that are written

const compact = new Intl.NumberFormat("en", { notation: "compact" });
const day = (time) => new Date(time * 1000).toISOString().slice(0, 10);

function numbers(column) {
  return Array.from(table.tBodies[0].rows, (row) => {
    const text = row.cells[column].dataset.value;
    return text === "" ? null : Number(text);
  });
}

function draw(box) {
  const columns = box.dataset.columns.split(",").map(Number);
  const days = Array.from(table.tBodies[0].rows, (row) => Date.parse(row.cells[0].dataset.value) / 1000);
  const strokes = [colour("--link"), colour("--warn")];
  const axis = { stroke: colour("--soft"), grid: { stroke: colour("--line") }, ticks: { stroke: colour("--line") } };
  const series = columns.map((column, index) => ({
    label: table.tHead.rows[0].cells[column].textContent,
    stroke: strokes[index],
    width: 2,
    dash: index ? [6, 4] : [],
    points: { show: true },
  }));
  box.replaceChildren();
  new uPlot(
    {
      title: box.dataset.title,
      width: Math.max(box.clientWidth, 200),
      height: 240,
      tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "UTC"),
      series: [{ label: "Day", value: (_, time) => (time ? day(time) : "") }, ...series],
      scales: {
        x: { range: (_, first, last) => [Math.min(first, last - 6 * DAY), last] },
        y: { range: (_, __, most) => [0, most * 1.05 || 1] },
      },
      axes: [
        { ...axis, incrs: STEPS, values: (_, times) => times.map((time) => day(time).slice(5)) },
        { ...axis, values: (_, values) => values.map((value) => compact.format(value)) },
      ],
    },
    [days, ...columns.map(numbers)],
    box,
  );
}

function drawAll() {
  if (table) document.querySelectorAll(".chart").forEach(draw);
}

let timer = 0;
addEventListener("resize", () => {
  clearTimeout(timer);
  timer = setTimeout(drawAll, 200);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
