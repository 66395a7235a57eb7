// SPDX-License-Identifier: Apache-2.0

// changed takes in a new view; cards are built anew only for another search.
function changed(search) {
  filterFindings();
  filterThreads();
  if (search) buildCards();
  redraw();
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  refreshPalette();
  drawLegend();
  buildCards();
  redraw();
}

function key(e) {
  if (e.target === byID("search")) {
    if (e.key === "Escape") {
      byID("search").value = "";
      setQuery("");
      byID("search").blur();
    } else if (e.key === "Enter") {
      byID("search").blur();
      step(0);
    }
    return;
  }
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const width = view.to - view.from;
  const actions = {
    "/": () => byID("search").focus(),
    j: () => step(1), k: () => step(-1),
    ArrowDown: document.activeElement === byID("list") ? () => step(1) : null,
    ArrowUp: document.activeElement === byID("list") ? () => step(-1) : null,
    "+": () => zoom(0.6), "=": () => zoom(0.6), "-": () => zoom(1 / 0.6),
    ArrowLeft: () => show(view.from - width / 4, view.to - width / 4),
    ArrowRight: () => show(view.from + width / 4, view.to + width / 4),
    0: () => show(full.from, full.to),
    z: () => {
      const i = view.chosen;
      if (!i) return;
      const around = Math.max((i.last.at - i.first.at) * 0.3, 100);
      show(i.first.at - around, i.last.at + around);
      const thread = data.threads.find((t) => t.incident === i);
      if (thread) revealThread(thread);
    },
    t: () => byID("theme").click(),
    "?": () => byID("keys").showModal(),
    Escape: () => { byID("search").value = ""; setQuery(""); },
  };
  const action = actions[e.key];
  if (!action || byID("keys").open) return;
  e.preventDefault();
  action();
}

function setQuery(text) {
  view.query = text.trim().toLowerCase();
  byID("list").scrollTop = 0;
  changed(true);
  if (view.query && !listed.includes(view.chosen) && listed.length) choose(listed[0], false);
}

let typing = 0;
byID("search").addEventListener("input", (e) => {
  clearTimeout(typing);
  typing = setTimeout(() => setQuery(e.target.value), 120);
});
byID("reset").addEventListener("click", () => show(full.from, full.to));
byID("help").addEventListener("click", () => byID("keys").showModal());
byID("theme").addEventListener("click", () => setTheme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
document.addEventListener("keydown", key);
addEventListener("resize", redraw);
addEventListener("scroll", redraw, { passive: true });
byID("list").addEventListener("scroll", redraw);

byID("found").textContent = data.found === "nothing" ? "Nothing was found" : data.found;
byID("found").className = incidents.some((i) => i.last.state !== "closed") ? "bad" : "good";
byID("where").textContent = `${data.where}; ${data.evidence}; times are ${data.zone}`;
byID("notes").replaceChildren(...data.notes.map((n) => element("li", {}, n)),
  data.dropped ? element("li", {}, `${data.dropped} things are too many to be shown here`) : "");

redraws.add(drawOverview);
redraws.add(drawRows);
redraws.add(drawThreads);
redraws.add(drawCharts);
brush();
setupThreads();
filterFindings();
filterThreads();
const asked = new URLSearchParams(location.hash.slice(1));
setTheme(asked.get("theme") || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
choose(incidents.find((i) => i.last.state !== "closed") || incidents[0] || null, false);
if (asked.get("q")) {
  byID("search").value = asked.get("q");
  setQuery(asked.get("q"));
}
for (const k of asked.get("keys") || "") key(new KeyboardEvent("keydown", { key: k, cancelable: true }));
document.documentElement.dataset.ready = String(incidents.length);
