// SPDX-License-Identifier: Apache-2.0

// Canvases: sharp on every screen, in the page's colours, with a time axis.
const redraws = new Set();
let pending = false;

function redraw() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    for (const draw of redraws) draw();
  });
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

let palette = {};
function refreshPalette() {
  for (const name of ["bg", "card", "fg", "muted", "line", "grid", "accent", "bad", "warn", "good", "lightness"]) palette[name] = colour(name);
}

// Hues far from red, which means trouble.
function hue(index) {
  return `hsl(${45 + ((index * 137.5) % 265)} 52% ${palette.lightness})`;
}

function prepare(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    canvas.style.width = width + "px";
    canvas.style.height = height + "px";
  }
  const c = canvas.getContext("2d");
  c.setTransform(ratio, 0, 0, ratio, 0, 0);
  c.clearRect(0, 0, width, height);
  c.font = '11px system-ui, "DejaVu Sans", sans-serif';
  c.textBaseline = "middle";
  return c;
}

function timeScale(left, right, from = view.from, to = view.to) {
  const factor = (right - left) / (to - from);
  const at = (t) => left + (t - from) * factor;
  at.back = (x) => from + (x - left) / factor;
  return at;
}

const steps = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 1.5e4, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 432e5, 864e5, 1728e5, 6048e5];

function timeAxis(c, at, left, right, top, bottom, labels = true) {
  const from = at.back(left), to = at.back(right);
  const step = steps.find((s) => ((right - left) * s) / (to - from) >= 90) || steps[steps.length - 1];
  const shift = (data.begin + data.offset * 1000) % step;
  c.fillStyle = palette.muted;
  c.strokeStyle = palette.grid;
  c.lineWidth = 1;
  c.textAlign = "center";
  for (let t = Math.ceil((from + shift) / step) * step - shift; t <= to; t += step) {
    const x = Math.round(at(t)) + 0.5;
    c.beginPath();
    c.moveTo(x, top);
    c.lineTo(x, bottom);
    c.stroke();
    if (labels && x > left + 26 && x < right - 26) c.fillText(clock(t, step >= 1000 ? 0 : 3), x, bottom + 8);
  }
}

function valueAxis(c, max, left, right, top, bottom) {
  const scale = (v) => bottom - ((bottom - top) * v) / max;
  const rough = max / 3;
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1e-9)));
  const step = Math.max(1, [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough));
  c.textAlign = "right";
  c.fillStyle = palette.muted;
  c.strokeStyle = palette.grid;
  for (let v = 0; v <= max; v += step) {
    const y = Math.round(scale(v)) + 0.5;
    c.beginPath();
    c.moveTo(left, y);
    c.lineTo(right, y);
    c.stroke();
    c.fillText(v >= 10000 ? v.toExponential(0) : String(v), left - 4, y);
  }
  return scale;
}

function tip(event, text) {
  const box = byID("tip");
  box.hidden = !text;
  if (!text) return;
  box.textContent = text;
  const w = box.offsetWidth, h = box.offsetHeight;
  box.style.left = Math.max(4, Math.min(event.clientX + 14, innerWidth - w - 6)) + "px";
  box.style.top = (event.clientY + 18 + h > innerHeight ? Math.max(4, event.clientY - h - 10) : event.clientY + 18) + "px";
}

function hover(canvas, describe) {
  canvas.addEventListener("pointermove", (e) => {
    const box = canvas.getBoundingClientRect();
    tip(e, describe(e.clientX - box.left, e.clientY - box.top));
  });
  canvas.addEventListener("pointerleave", (e) => tip(e, ""));
}

function show(from, to) {
  const least = 0.005, width = Math.min(Math.max(to - from, least), full.to - full.from);
  view.from = Math.min(Math.max(from, full.from), full.to - width);
  view.to = view.from + width;
  changed(false);
}

function zoom(factor, around = (view.from + view.to) / 2) {
  show(around - (around - view.from) * factor, around + (view.to - around) * factor);
}

// Ctrl and the wheel zoom, Shift and the wheel go along.
function wheel(canvas, scale) {
  canvas.addEventListener("wheel", (e) => {
    if (!e.ctrlKey && !e.shiftKey) return;
    e.preventDefault();
    const x = e.clientX - canvas.getBoundingClientRect().left;
    if (e.ctrlKey) zoom(e.deltaY > 0 ? 1.25 : 0.8, scale().back(x));
    else {
      const by = ((view.to - view.from) * (e.deltaY || e.deltaX)) / 1000;
      show(view.from + by, view.to + by);
    }
  }, { passive: false });
}
