// SPDX-License-Identifier: Apache-2.0

// The list of incidents, of which only the rows that are seen exist, and the one that
// is chosen.
const rowHeight = 44;
let listed = incidents;

function filterFindings() {
  listed = incidents.filter((i) => matches(i.text));
  byID("rows").style.height = listed.length * rowHeight + "px";
  byID("findings-count").textContent = listed.length === incidents.length ? String(incidents.length) : `${listed.length} of ${incidents.length}`;
  byID("findings-section").hidden = incidents.length === 0;
}

function drawRows() {
  const list = byID("list"), rows = byID("rows");
  const first = Math.max(0, Math.floor(list.scrollTop / rowHeight) - 4);
  const last = Math.min(listed.length, Math.ceil((list.scrollTop + list.clientHeight) / rowHeight) + 4);
  rows.replaceChildren();
  for (let n = first; n < last; n++) {
    const i = listed[n];
    rows.append(element("div", {
      class: "row " + i.last.state, role: "option", "aria-selected": String(i === view.chosen), style: `top:${n * rowHeight}px`,
      "aria-posinset": n + 1, "aria-setsize": listed.length, onclick: () => choose(i),
    }, element("time", {}, clock(i.first.at)), element("b", {}, `${i.main.class} ${i.main.kind}`),
    i.last.state === "closed" ? element("span", { class: "state closed" }, i.last.kind) : null,
    element("div", {}, i.last.summary)));
  }
}

function choose(incident, scroll = true) {
  view.chosen = incident;
  drawDetail();
  if (incident && scroll) {
    const n = listed.indexOf(incident), list = byID("list");
    if (n >= 0 && (n * rowHeight < list.scrollTop || (n + 1) * rowHeight > list.scrollTop + list.clientHeight)) {
      list.scrollTop = n * rowHeight - list.clientHeight / 2;
    }
    const thread = data.threads.find((t) => t.incident === incident);
    if (thread) revealThread(thread);
  }
  redraw();
}

function step(by) {
  const n = listed.indexOf(view.chosen);
  const next = n < 0 ? 0 : Math.min(Math.max(n + by, 0), listed.length - 1);
  if (listed[next]) choose(listed[next]);
}

function frames(label, number) {
  if (!number) return [];
  return [element("dt", {}, label), element("dd", {}, element("pre", {}, data.stacks[number - 1].join("\n")))];
}

function drawDetail() {
  const box = byID("detail"), i = view.chosen;
  box.replaceChildren();
  box.scrollTop = 0;
  if (!i) {
    box.append(element("p", { class: "more" }, incidents.length ? "Choose an incident: click, or j and k." : ""));
    return;
  }
  box.append(element("h3", {}, `${i.main.class} ${i.main.kind}`, element("span", { class: "state " + i.last.state }, i.last.state)),
    element("p", { class: "more" }, `${i.id}, ${clock(i.first.at)}` + (i.steps.length > 1 ? ` to ${clock(i.last.at)}` : "")));
  const most = 200;
  const steps = i.steps.length > most ? [...i.steps.slice(0, most / 2), ...i.steps.slice(-most / 2)] : i.steps;
  let told = "";
  for (const f of steps) {
    const list = element("dl", {});
    for (const [label, text] of f.facts || []) list.append(element("dt", {}, label), element("dd", {}, text));
    if (`${f.kernel} ${f.user}` !== told) list.append(...frames("kernel", f.kernel), ...frames("user", f.user));
    told = `${f.kernel} ${f.user}`;
    if (f.lost) list.append(element("dt", {}, "incomplete"), element("dd", {}, "lost so far: " + f.lost));
    box.append(element("div", { class: "step" }, element("b", {}, `${clock(f.at)} ${f.kind}`), element("div", {}, f.summary), list));
  }
  if (steps.length < i.steps.length) box.append(element("p", { class: "more" }, `${i.steps.length - steps.length} updates between them are not shown`));
  box.append(element("p", { class: "more" }, "seen by " + i.last.how));
}

const overviewLeft = 52;

// The overview: incidents over all the time, and the part of it that is shown.
function drawOverview() {
  const canvas = byID("overview"), width = canvas.parentElement.clientWidth - 28, height = 84;
  const left = overviewLeft, right = width - 8;
  const c = prepare(canvas, width, height), at = timeScale(left, right, full.from, full.to);
  const bottom = height - 18;
  timeAxis(c, at, left, right, 4, bottom);
  const bins = new Map(), lanes = ["threads", "refs", "csum", "dst"];
  for (const i of listed) {
    for (const f of i.steps) {
      const key = lanes.indexOf(f.class) * 1e6 + Math.round(at(f.at) / 2);
      bins.set(key, (bins.get(key) || 0) + (f.state === "closed" ? 0 : 1));
    }
  }
  for (const [key, n] of bins) {
    const lane = Math.floor((key + 0.5) / 1e6), x = (key - lane * 1e6) * 2;
    c.fillStyle = n === 0 ? palette.good : palette.bad;
    c.globalAlpha = Math.min(1, 0.45 + n / 8);
    c.fillRect(x - 1, 6 + lane * 15, 2.5, 12);
  }
  c.globalAlpha = 1;
  c.textAlign = "left";
  c.fillStyle = palette.muted;
  lanes.forEach((name, n) => { if (incidents.some((i) => i.first.class === name)) c.fillText(name, 2, 12 + n * 15); });
  const a = at(view.from), b = at(view.to);
  c.fillStyle = palette.fg;
  c.globalAlpha = 0.1;
  c.fillRect(left, 2, a - left, bottom - 2);
  c.fillRect(b, 2, right - b, bottom - 2);
  c.globalAlpha = 1;
  c.strokeStyle = palette.accent;
  c.strokeRect(a + 0.5, 2.5, Math.max(1, b - a - 1), bottom - 3);
}

function brush() {
  const canvas = byID("overview");
  let from = null;
  const place = (e) => {
    const box = canvas.getBoundingClientRect();
    return timeScale(overviewLeft, box.width - 8, full.from, full.to).back(e.clientX - box.left);
  };
  canvas.addEventListener("pointerdown", (e) => { from = place(e); canvas.setPointerCapture(e.pointerId); });
  canvas.addEventListener("pointermove", (e) => {
    if (from === null) return tip(e, clock(place(e)));
    const to = place(e);
    if (Math.abs(to - from) > (full.to - full.from) / 500) show(Math.min(from, to), Math.max(from, to));
  });
  canvas.addEventListener("pointerup", (e) => {
    const to = place(e), width = view.to - view.from;
    if (from !== null && Math.abs(to - from) <= (full.to - full.from) / 500) show(to - width / 2, to + width / 2);
    from = null;
  });
  canvas.addEventListener("pointerleave", (e) => tip(e, ""));
  canvas.addEventListener("dblclick", () => show(full.from, full.to));
}
