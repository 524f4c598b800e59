"use strict";
(() => {
  const root = document.documentElement;
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const plots = [...document.querySelectorAll("[data-plot]")];
  const status = document.getElementById("status");
  const logarithmic = new Set();
  const CONFIG = { displayModeBar: false, responsive: true, typesetMath: false };
  const PRINTED_WIDTH = 660;

  /* Colours are named by CSS variables, so that they follow light, dark and print. */
  function coloured(value, key, style) {
    if (Array.isArray(value)) return value.map((one) => coloured(one, key, style));
    if (value !== null && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, coloured(one, name, style)]));
    }
    const variable = typeof value === "string" && /color/.test(key) && /^var\((--[\w-]+)\)$/.exec(value);
    return variable ? style.getPropertyValue(variable[1]).trim() : value;
  }

  function shown(group) {
    const boxes = document.querySelectorAll(`[data-comparison="${group}"] input`);
    return new Map([...boxes].map((box) => [box.value, box.checked]));
  }

  function draw(plot) {
    const { plot: key, group, kind } = plot.dataset;
    const { data, layout } = coloured(figures[key], "", getComputedStyle(root));
    const chosen = group ? shown(group) : new Map();
    for (const trace of data) trace.visible = chosen.get(trace.meta) ?? true;
    if (kind === "roc" && logarithmic.has(group)) {
      for (const axis of [layout.xaxis, layout.yaxis]) Object.assign(axis, { type: "log", range: [-3, 0] });
    }
    if (root.classList.contains("printing")) {
      const columns = plot.closest(".three") ? 3 : plot.closest(".two") ? 2 : 1;
      layout.width = Math.floor(PRINTED_WIDTH / columns) - 12 * (columns - 1);
    }
    return Plotly.react(plot, data, layout, CONFIG);
  }

  function visible(chosen) {
    return chosen.filter((plot) => !plot.closest("[hidden]"));
  }

  function drawAll(chosen = plots) {
    visible(chosen).forEach(draw);
  }

  async function drawFirst() {
    for (const plot of visible(plots)) {
      await draw(plot);
      await new Promise((next) => setTimeout(next));
    }
    root.dataset.ready = "yes";
  }

  function ofGroup(group) {
    return plots.filter((plot) => plot.dataset.group === group);
  }

  for (const box of document.querySelectorAll("[data-comparison]")) {
    const group = box.dataset.comparison;
    box.addEventListener("change", () => drawAll(ofGroup(group)));
    for (const button of box.querySelectorAll("[data-all]")) {
      button.addEventListener("click", () => {
        for (const input of box.querySelectorAll("input")) input.checked = button.dataset.all === "yes";
        drawAll(ofGroup(group));
      });
    }
  }

  for (const button of document.querySelectorAll("[data-log]")) {
    button.addEventListener("click", () => {
      const group = button.dataset.log;
      const on = !logarithmic.has(group);
      if (on) logarithmic.add(group);
      else logarithmic.delete(group);
      button.setAttribute("aria-pressed", String(on));
      drawAll(ofGroup(group).filter((plot) => plot.dataset.kind === "roc"));
    });
  }

  /* Another replicate shows the same models as the one before. */
  for (const select of document.querySelectorAll("[data-replicates]")) {
    const parts = [...select.closest(".replicates").querySelectorAll("[data-replicate]")];
    select.closest(".choose").hidden = false;
    select.addEventListener("change", () => {
      const before = parts.find((part) => !part.hidden);
      const now = parts.find((part) => part.dataset.replicate === select.value);
      const chosen = new Map([...before.querySelectorAll("input")].map((box) => [box.value, box.checked]));
      for (const box of now.querySelectorAll("input")) box.checked = chosen.get(box.value) ?? box.checked;
      for (const part of parts) part.hidden = part !== now;
      drawAll(plots.filter((plot) => now.contains(plot)));
      status.textContent = `Replicate shown: ${select.selectedOptions[0].textContent}.`;
    });
  }

  /* Rows without a value stay last in either direction. */
  function sort(table, header) {
    const place = [...header.parentNode.children].indexOf(header);
    const descending = header.getAttribute("aria-sort") === "ascending";
    const numbers = header.dataset.kind === "number";
    const body = table.querySelector("tbody.methods");
    const value = (row) => row.children[place].dataset.value;
    const compare = (a, b) => (numbers ? Number(a) - Number(b) : a.localeCompare(b, "en", { numeric: true }));
    const rows = [...body.rows].sort((one, two) => {
      const [a, b] = [value(one), value(two)];
      if (a === "" || b === "") return (a === "") - (b === "");
      return descending ? compare(b, a) : compare(a, b);
    });
    body.append(...rows);
    for (const other of header.parentNode.children) other.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", descending ? "descending" : "ascending");
    status.textContent = `Sorted by ${header.textContent.trim()}, ${descending ? "descending" : "ascending"}.`;
  }

  for (const table of document.querySelectorAll("table.sortable")) {
    for (const button of table.querySelectorAll("thead button")) {
      button.addEventListener("click", () => sort(table, button.closest("th")));
    }
  }

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawAll());
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details.long:not([open])")];
    for (const folded of opened) folded.open = true;
    root.classList.add("printing");
    drawAll();
  });
  addEventListener("afterprint", () => {
    for (const folded of opened) folded.open = false;
    root.classList.remove("printing");
    drawAll();
  });
  drawFirst();
})();
