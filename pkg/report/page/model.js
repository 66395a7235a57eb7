// SPDX-License-Identifier: Apache-2.0
"use strict";

// What the page shows, and what of it: the time from view.from to view.to (ms since
// the beginning), and what contains view.query.
const data = JSON.parse(document.getElementById("data").textContent);
const full = { from: Math.min(0, ...data.devices.slice(0, 1000).map((d) => Math.max(d.since, -600000))), to: Math.max(1, data.length) };
full.to += (full.to - full.from) * 0.01;
const view = { from: full.from, to: full.to, query: "", chosen: null };
const byID = (id) => document.getElementById(id);

// Incidents: the findings that have the same id, in their order.
const incidents = [];
{
  const seen = new Map();
  for (const f of data.findings || []) {
    let incident = seen.get(f.id);
    if (!incident) {
      incident = { id: f.id, steps: [], text: "" };
      seen.set(f.id, incident);
      incidents.push(incident);
    }
    incident.steps.push(f);
  }
  for (const i of incidents) {
    i.first = i.steps[0];
    i.last = i.steps[i.steps.length - 1];
    i.main = i.steps.findLast((f) => f.state !== "closed" && f.kind !== "harm") || i.first;
    i.text = i.steps.map((f) => `${f.class} ${f.kind} ${f.summary} ${(f.facts || []).map((x) => x[1]).join(" ")}`).join(" ").toLowerCase();
    i.text += " " + [...new Set(i.steps.flatMap((f) => [f.kernel, f.user]))].filter(Boolean).map((n) => data.stacks[n - 1].join(" ")).join(" ").toLowerCase();
  }
}
// Threads that were left behind, by tid, with their incident.
const strandedBy = new Map();
for (const i of incidents) {
  if (i.first.class === "threads" && i.main.tid) {
    if (!strandedBy.has(i.main.tid)) strandedBy.set(i.main.tid, []);
    strandedBy.get(i.main.tid).push(i);
  }
}
data.threads.forEach((t, index) => {
  t.index = index;
  const start = t.spans.length ? t.spans[0][0] : 0;
  const end = t.spans.length ? t.spans[t.spans.length - 1][1] : 0;
  t.incident = (strandedBy.get(t.tid) || []).find((i) => i.first.at >= start - 1000 && i.first.at <= end + 60000) || null;
  t.bad = t.incident !== null && (t.incident.main.kind !== "cloned-mid-setns" || t.open);
  t.text = `${t.comm} ${t.pid} ${t.tid} ${[...new Set(t.spans.map((s) => s[2]))].map((n) => data.netns[n].name).join(" ")} ${t.bad ? "stranded" : ""}`.toLowerCase();
});

function matches(text) {
  return view.query === "" || view.query.split(/\s+/).every((word) => text.includes(word));
}

function overlaps(from, to) {
  return to >= view.from && from <= view.to;
}

// Times as the recording machine's clock showed them.
function clock(ms, digits = 3) {
  const t = new Date(data.begin + data.offset * 1000 + ms);
  return t.toISOString().slice(11, digits ? 23 : 19);
}

function span(ms) {
  if (ms < 1) return `${(ms * 1000).toFixed(0)} µs`;
  if (ms < 1000) return `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
  if (ms < 120000) return `${(ms / 1000).toFixed(2)} s`;
  return `${(ms / 60000).toFixed(1)} min`;
}

// A name of netns, device or process can be anything: it is only ever text.
function element(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") e.className = value;
    else if (name.startsWith("on")) e.addEventListener(name.slice(2), value);
    else e.setAttribute(name, value);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}
