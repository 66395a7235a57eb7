// SPDX-License-Identifier: Apache-2.0

// A card for each device that waits, each device that marks checksums, each counter.
// Those in trouble come first; only the first are drawn, search brings others.
const cardsMost = 60, chartHeight = 150, chartLeft = 44;

function cards(id, all, text, bad, build) {
  const found = all.filter((x) => matches(text(x)));
  found.sort((a, b) => Number(bad(b)) - Number(bad(a)));
  byID(id + "-count").textContent = found.length === all.length ? String(all.length) : `${found.length} of ${all.length}`;
  byID(id + "-section").hidden = all.length === 0;
  const box = byID(id);
  box.replaceChildren(...found.slice(0, cardsMost).map((x) => {
    const card = build(x);
    if (bad(x)) card.classList.add("bad");
    return card;
  }));
  if (found.length > cardsMost) box.append(element("p", { class: "more" }, `${found.length - cardsMost} more: search for them`));
}

const charts = [];

function chart(draw, describe) {
  const canvas = element("canvas", { tabindex: "-1" });
  const it = { canvas, draw, scale: null };
  hover(canvas, (x) => (it.scale ? describe(it.scale.back(x)) : ""));
  wheel(canvas, () => it.scale);
  charts.push(it);
  return canvas;
}

function drawCharts() {
  for (const it of charts) {
    const width = it.canvas.parentElement ? it.canvas.parentElement.clientWidth - 20 : 0;
    if (width < 50) continue;
    const box = it.canvas.getBoundingClientRect();
    if (box.bottom < -300 || box.top > innerHeight + 300) { it.scale = null; continue; }
    const c = prepare(it.canvas, width, chartHeight);
    it.scale = timeScale(chartLeft, width - 6);
    const bottom = chartHeight - 18;
    timeAxis(c, it.scale, chartLeft, width - 6, 6, bottom);
    c.save();
    it.draw(c, it.scale, chartLeft, width - 6, 8, bottom);
    c.restore();
  }
}

// at is the last point not after a time.
function pointAt(points, when) {
  let found = null;
  for (const p of points) {
    if (p[0] > when) break;
    found = p;
  }
  return found;
}

function clipTo(c, left, right) {
  c.beginPath();
  c.rect(left, 0, right - left, chartHeight);
  c.clip();
}

// line draws one column of points as steps.
function line(c, at, y, points, column, style, until) {
  c.strokeStyle = style;
  c.lineWidth = 1.6;
  c.beginPath();
  let before = null;
  for (const p of points) {
    if (before === null) c.moveTo(at(p[0]), y(p[column]));
    else {
      c.lineTo(at(p[0]), y(before));
      c.lineTo(at(p[0]), y(p[column]));
    }
    before = p[column];
  }
  if (before !== null) c.lineTo(at(until), y(before));
  c.stroke();
  c.lineWidth = 1;
}

function swatch(style, text) {
  const dot = element("i", {});
  dot.style.background = style;
  return element("span", {}, dot, text);
}

function csumCard(d) {
  const draw = (c, at, left, right, top, bottom) => {
    const y = valueAxis(c, Math.max(1, ...d.packets.map((p) => p[1])) * 1.1, left, right, top, bottom);
    clipTo(c, left, right);
    line(c, at, y, d.packets, 1, palette.accent, full.to);
    line(c, at, y, d.packets, 2, palette.bad, full.to);
  };
  const describe = (when) => {
    const p = pointAt(d.packets, when);
    return p ? `${d.name} at ${clock(when)}\n${p[1]} packets marked as verified\n${p[2]} of those checked were corrupt` : "nothing yet";
  };
  const table = element("table", {});
  for (const [name, n] of Object.entries(d.transitions)) table.append(element("tr", {}, element("td", {}, name), element("td", {}, String(n))));
  const verdicts = Object.entries(d.verdicts).filter(([, n]) => n > 0).map(([name, n]) => `${n} ${name}`).join(", ");
  return element("div", { class: "cardbox" }, element("h3", {}, `${d.name} of netns ${d.netns}`),
    element("p", {}, `by ${d.by}` + (verdicts ? `; checked: ${verdicts}` : "")), chart(draw, describe),
    element("div", { class: "legend" }, swatch(palette.accent, "marked as verified"), swatch(palette.bad, "corrupt")), table);
}

function dstCard(d) {
  const failures = data.failures.filter((f) => f.name === `${d.name} of ${d.netns}`);
  const draw = (c, at, left, right, top, bottom) => {
    const y = valueAxis(c, Math.max(4, ...d.points.map((p) => Math.max(p[1], p[2]))) * 1.1, left, right, top, bottom);
    clipTo(c, left, right);
    line(c, at, y, d.points, 1, palette.accent, full.to);
    line(c, at, y, d.points, 2, palette.muted, full.to);
    if (d.threshold) line(c, at, y, [[full.from, d.threshold]], 1, palette.warn, full.to);
    c.fillStyle = palette.bad;
    for (const f of failures) c.fillRect(at(f.at) - 1, top, 2, bottom - top);
  };
  const describe = (when) => {
    const p = pointAt(d.points, when), f = failures.findLast((x) => x.at <= when);
    if (!p) return "not read yet";
    return `${d.name} of ${d.netns} at ${clock(when)}\n${p[1]} entries by the kernel's counter\n${p[2]} charged less credited since tracing started` +
      (d.threshold ? `\nthreshold ${d.threshold}` : "") + (f ? `\n${f.count} allocations failed` : "");
  };
  return element("div", { class: "cardbox" }, element("h3", {}, `${d.name} of netns ${d.netns}`), element("p", {}, failures.length ? "allocations failed" : ""), chart(draw, describe),
    element("div", { class: "legend" }, swatch(palette.accent, "the kernel's counter"), swatch(palette.muted, "charged less credited"),
      d.threshold ? swatch(palette.warn, "threshold") : null, failures.length ? swatch(palette.bad, "failed allocation") : null));
}

// Counters that never moved say nothing.
const moving = data.dst.filter((d) => d.points && (d.points.some((p) => p[1] !== d.points[0][1]) || data.failures.some((f) => f.name === `${d.name} of ${d.netns}`)));

function buildCards() {
  charts.length = 0;
  cards("devices", data.devices, (d) => `${d.name} ${d.netns} ${d.families.join(" ")} ${(d.taken || []).map((t) => t.family).join(" ")} refs`.toLowerCase(), (d) => !d.freed, deviceCard);
  cards("csum", data.csum, (d) => `${d.name} ${d.netns} ${d.by} csum`.toLowerCase(), (d) => d.verdicts.corrupt > 0, csumCard);
  cards("dst", moving, (d) => `${d.name} ${d.netns} dst`.toLowerCase(), (d) => data.failures.some((f) => f.name === `${d.name} of ${d.netns}`), dstCard);
}
