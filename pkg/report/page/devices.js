// SPDX-License-Identifier: Apache-2.0

// The card of a device that waits: its references over time, one on the other by what
// holds them. What is left at last is at the bottom, in shades of red while the device
// waits: it is what all else comes and goes above of.
// Where there is no ledger, the objects that hold the device are counted instead.
function deviceLayers(d) {
  const left = d.freed ? palette.warn : palette.bad;
  const layers = [];
  if (d.before) layers.push({ name: "older than the ledger", points: [[d.taken[0] ? d.taken[0].known : d.since, d.before]], style: palette.muted, alpha: 0.35 });
  const stuck = (d.taken || []).filter((t) => t.last > 0).length;
  (d.taken || []).forEach((t, n) => {
    if (t.last > 0) layers.push({ name: t.family, last: t.last, known: t.known, points: t.points, style: left, alpha: 0.85 - (0.5 * n) / Math.max(stuck, 2), stuck: true });
    else layers.push({ name: t.family, last: t.last, known: t.known, points: t.points, style: hue(n * 3 + 1), alpha: 0.55 });
  });
  return layers;
}

function objectLayers(d) {
  return d.families.map((name, n) => ({ name, points: d.holders.map((h) => [h[0], h[n + 1]]), style: hue(n * 3 + 1), alpha: 1 }));
}

// stackOf turns layers into columns: [from, one value for each layer], at each time at
// which any of them changes. What is dropped of references that are older than the
// ledger is less than 0, and taken off the layer below.
function stackOf(layers) {
  const times = [...new Set(layers.flatMap((l) => l.points.map((p) => p[0])))].sort((a, b) => a - b);
  const next = layers.map(() => 0), now = layers.map(() => 0);
  return times.map((t) => {
    layers.forEach((l, n) => {
      while (next[n] < l.points.length && l.points[next[n]][0] <= t) now[n] = l.points[next[n]++][1];
    });
    const values = now.map((v) => Math.max(v, 0));
    let over = now.reduce((sum, v) => sum - Math.min(v, 0), 0);
    for (let n = 0; n < values.length && over > 0; n++) {
      const less = Math.min(values[n], over);
      values[n] -= less;
      over -= less;
    }
    return [t, ...values];
  });
}

function total(column) { return column.slice(1).reduce((a, b) => a + b, 0); }

function deviceCard(d) {
  const until = d.freed || full.to;
  const ledger = d.taken && d.taken.length > 0;
  const layers = ledger ? deviceLayers(d) : objectLayers(d), columns = stackOf(layers);
  const draw = (c, at, left, right, top, bottom) => {
    const most = Math.max(1, ...d.refs.map((r) => r[1]), ...columns.map(total));
    const y = valueAxis(c, most * 1.1, left, right, top, bottom);
    clipTo(c, left, right);
    drawStack(c, at, y, layers, columns, until);
    line(c, at, y, d.refs, 1, ledger ? palette.fg : palette.bad, until);
    c.strokeStyle = palette.warn;
    c.setLineDash([4, 3]);
    c.beginPath();
    c.moveTo(at(d.since), top);
    c.lineTo(at(d.since), bottom);
    c.stroke();
    c.setLineDash([]);
    if (d.freed) {
      c.fillStyle = palette.good;
      c.fillRect(at(d.freed) - 1, top, 2, bottom - top);
    }
  };
  const canvas = chart(draw, (when) => describeDevice(d, layers, columns, ledger, when));
  const last = d.refs.at(-1);
  return element("div", { class: "cardbox" },
    element("h3", {}, `${d.name} of netns ${d.netns}`),
    element("p", {}, d.freed ? `waited ${span(d.freed - d.since)}, then was freed` : `waits for ${span(data.length - d.since)}${last ? `: ${last[1]} ${last[1] === 1 ? "reference" : "references"} left` : ""}`),
    canvas,
    element("div", { class: "legend" },
      ...layers.filter((l) => l.stuck || l.last === undefined || l.points.some((p) => p[1] !== 0)).map((l) => layerSwatch(l, d)),
      swatch(ledger ? palette.fg : palette.bad, "references by the kernel's count")));
}

function layerSwatch(l, d) {
  const s = swatch(l.style, l.stuck ? `${l.last} ${d.freed ? "at last" : "left"}: ${l.name}` : l.name);
  s.firstChild.style.opacity = l.alpha;
  if (l.stuck && !d.freed) s.className = "left";
  return s;
}

function describeDevice(d, layers, columns, ledger, when) {
  const lines = [`${d.name} at ${clock(when)}`];
  if (d.freed && when > d.freed) return lines.concat("freed").join("\n");
  const refs = pointAt(d.refs, when), held = pointAt(columns, when);
  if (when < d.since) lines.push("in use: not yet in unregistration");
  else if (refs) lines.push(`${refs[1]} ${refs[1] === 1 ? "reference" : "references"} left`);
  layers.forEach((l, n) => {
    if (held && held[n + 1]) lines.push(`${held[n + 1]} × ${l.name}`);
    else if (ledger && l.stuck && when < l.known) lines.push(`${l.name}: known from ${clock(l.known)} on`);
  });
  if (refs && held && refs[1] !== total(held)) lines.push(`${refs[1] - total(held)} that ${ledger ? "the ledger" : "no known object"} ${ledger ? "does not explain" : "explains"}`);
  if (ledger) {
    const objects = pointAt(d.holders, when);
    d.families.forEach((name, n) => {
      if (objects && objects[n + 1]) lines.push(`object: ${objects[n + 1]} × ${name}`);
    });
  }
  if (!refs && !held) lines.push(`not seen ${ledger ? "" : "waiting "}yet`);
  return lines.join("\n");
}

function drawStack(c, at, y, layers, columns, until) {
  columns.forEach((column, i) => {
    const from = Math.round(at(column[0])), to = Math.round(at(Math.min(until, i + 1 < columns.length ? columns[i + 1][0] : until)));
    if (to < from) return;
    let base = 0;
    layers.forEach((l, n) => {
      const v = column[n + 1];
      if (v === 0) return;
      c.fillStyle = l.style;
      c.globalAlpha = l.alpha;
      c.fillRect(from, y(base + v), Math.max(1, to - from), y(base) - y(base + v));
      base += v;
    });
  });
  c.globalAlpha = 1;
}
