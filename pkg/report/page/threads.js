// SPDX-License-Identifier: Apache-2.0

// Threads against time: thin at home, thick and coloured away, red around those that
// were left behind.
const lane = 16, axisHeight = 22;
let lanes = [];
const labelWidth = () => Math.min(230, byID("lanes").clientWidth * 0.3);

function filterThreads() {
  const found = new Set(data.threads.filter((t) => matches(t.text) && t.spans.some((s) => overlaps(s[0], s[1]))));
  // Who cloned one that was left behind belongs to the story.
  for (const t of [...found]) if (t.incident && t.parent >= 0) found.add(data.threads[t.parent]);
  lanes = [...found];
  // Those left behind first, each with its parent below it.
  const order = (t) => (t.bad ? 0 : t.incident ? 1 : 2);
  const family = new Map();
  for (const t of lanes) {
    const best = family.get(t.pid);
    if (best === undefined || order(t) < best) family.set(t.pid, order(t));
  }
  lanes.sort((a, b) => family.get(a.pid) - family.get(b.pid) || a.pid - b.pid || order(a) - order(b) || a.spans[0][0] - b.spans[0][0]);
  for (const t of data.threads) t.lane = -1;
  lanes.forEach((t, n) => { t.lane = n; });
  byID("lanes-space").style.height = lanes.length * lane + axisHeight + 6 + "px";
  byID("threads-count").textContent = lanes.length === data.threads.length ? `${data.threads.length} that were away` : `${lanes.length} of ${data.threads.length}`;
  byID("threads-section").hidden = data.threads.length === 0;
}

function revealThread(t) {
  if (t.lane < 0) return;
  const box = byID("lanes"), y = t.lane * lane;
  if (y < box.scrollTop || y + lane * 2 > box.scrollTop + box.clientHeight - axisHeight) box.scrollTop = y - box.clientHeight / 3;
}

function lanesScale() {
  const width = byID("lanes").clientWidth;
  return timeScale(labelWidth(), width - 8);
}

function drawThreads() {
  const box = byID("lanes");
  if (byID("threads-section").hidden) return;
  const height = Math.min(420, lanes.length * lane + axisHeight + 6), width = box.clientWidth;
  const c = prepare(byID("lanes-canvas"), width, height), at = lanesScale(), left = labelWidth(), right = width - 8;
  timeAxis(c, at, left, right, 0, height - axisHeight);
  c.save();
  c.beginPath();
  c.rect(0, 0, width, height - axisHeight);
  c.clip();
  const first = Math.max(0, Math.floor(box.scrollTop / lane)), last = Math.min(lanes.length, first + Math.ceil(height / lane) + 1);
  for (let n = first; n < last; n++) drawLane(c, lanes[n], n * lane - box.scrollTop, at, left, right);
  for (let n = Math.max(0, first - 200); n < Math.min(lanes.length, last + 200); n++) drawClone(c, lanes[n], at, left, right, box.scrollTop);
  c.restore();
}

function drawLane(c, t, y, at, left, right) {
  const middle = y + lane / 2;
  c.textAlign = "left";
  c.fillStyle = t.bad ? palette.bad : palette.fg;
  c.fillText(clip(c, `${t.comm || "?"}[${t.pid}] ${t.tid}`, left - 16), 6, middle);
  if (view.chosen && t.incident === view.chosen) {
    c.fillStyle = palette.accent;
    c.fillRect(0, y + 1, 3, lane - 2);
  }
  const born = t.parent >= 0 ? t.cloned : full.from, gone = t.exited || full.to;
  c.fillStyle = palette.line;
  const a = Math.max(left, at(born)), b = Math.min(right, at(gone));
  if (b > a) c.fillRect(a, middle - 0.5, b - a, 1);
  let drawn = -1;
  for (let n = firstSpan(t.spans); n < t.spans.length && t.spans[n][0] <= view.to; n++) {
    const s = t.spans[n], from = Math.max(left, at(s[0])), to = Math.min(right, at(s[1]));
    const bad = t.bad && n === t.spans.length - 1;
    if (to - from < 0.7 && Math.round(from) === drawn && !bad) continue;
    drawn = Math.round(from);
    const w = Math.max(1.5, to - from);
    c.fillStyle = hue(s[2]);
    c.fillRect(from, y + 3, w, lane - 6);
    if (bad) {
      c.strokeStyle = palette.bad;
      c.lineWidth = 2;
      c.strokeRect(from, y + 2, w, lane - 4);
      c.lineWidth = 1;
    }
    if (w > 60) {
      c.fillStyle = palette.card;
      c.fillText(clip(c, data.netns[s[2]].name + (bad ? ": left behind" : ""), w - 8), from + 4, middle);
    }
  }
  c.fillStyle = palette.bad;
  for (const [when, failed] of t.calls || []) {
    const x = at(when);
    if (x < left || x > right) continue;
    c.fillStyle = failed ? palette.bad : palette.muted;
    c.fillRect(x - 0.75, y + 1, 1.5, failed ? lane - 2 : 5);
  }
}

// firstSpan is the index of the first span that ends in view: they are in order.
function firstSpan(spans) {
  let low = 0, high = spans.length;
  while (low < high) {
    const mid = (low + high) >> 1;
    if (spans[mid][1] < view.from) low = mid + 1;
    else high = mid;
  }
  return low;
}

function drawClone(c, t, at, left, right, scroll) {
  if (t.parent < 0) return;
  const parent = data.threads[t.parent], x = at(t.cloned);
  if (parent.lane < 0 || x < left || x > right) return;
  const from = parent.lane * lane - scroll + lane / 2, to = t.lane * lane - scroll + lane / 2;
  c.strokeStyle = t.bad ? palette.bad : palette.muted;
  c.beginPath();
  c.moveTo(x + 0.5, from);
  c.lineTo(x + 0.5, to);
  c.lineTo(x - 2.5, to + (to > from ? -5 : 5));
  c.moveTo(x + 0.5, to);
  c.lineTo(x + 3.5, to + (to > from ? -5 : 5));
  c.stroke();
}

function clip(c, text, width) {
  if (c.measureText(text).width <= width) return text;
  let n = text.length;
  while (n > 1 && c.measureText(text.slice(0, n) + "…").width > width) n = Math.min(n - 1, Math.floor(n * 0.9));
  return text.slice(0, n) + "…";
}

function threadAt(y) {
  return lanes[Math.floor((y + byID("lanes").scrollTop) / lane)];
}

function describeThread(x, y) {
  const t = threadAt(y);
  if (!t) return "";
  const when = lanesScale().back(x);
  const lines = [`thread ${t.tid} (${t.comm}) of pid ${t.pid}`];
  const s = t.spans.find((s) => s[0] <= when && when <= s[1]);
  if (s) lines.push(`in netns ${data.netns[s[2]].name}, home is ${data.netns[t.home].name}`, `${clock(s[0])} to ${t.open && s === t.spans.at(-1) ? "the end" : clock(s[1])}: ${span(s[1] - s[0])}`);
  else if (x > labelWidth()) lines.push(`at home: ${data.netns[t.home].name}`);
  if (t.parent >= 0) lines.push(`cloned at ${clock(t.cloned)} by thread ${data.threads[t.parent].tid}`);
  const calls = t.calls || [];
  if (calls.length) lines.push(`${calls.length} calls seen, ${calls.filter((k) => k[1]).length} failed`);
  if (t.incident) lines.push(t.incident.last.summary);
  return lines.join("\n");
}

function setupThreads() {
  const canvas = byID("lanes-canvas"), box = byID("lanes");
  hover(canvas, describeThread);
  wheel(canvas, lanesScale);
  box.addEventListener("scroll", redraw);
  canvas.addEventListener("click", (e) => {
    const t = threadAt(e.clientY - canvas.getBoundingClientRect().top);
    if (t && t.incident) choose(t.incident);
  });
}

function drawLegend() {
  const used = [...new Set(data.threads.flatMap((t) => t.spans.map((s) => s[2])))].slice(0, 24);
  byID("legend").replaceChildren(...used.map((n) => {
    const dot = element("i", {});
    dot.style.background = hue(n);
    return element("span", {}, dot, data.netns[n].name);
  }), data.threads.some((t) => t.bad) ? element("span", { style: "color: var(--bad)" }, "red: left behind, and its failed calls") : "");
}
