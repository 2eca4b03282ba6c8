// What is chosen, and what stands beside the picture: numbers, bars, a table.

const page = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const scene = new Scene(by("scene"), page);
const chosen = { item: 0, target: 0, orbit: 0, turn: 0 };
const count = (x) => (item().counts.every(Number.isInteger) ? String(x) : x.toFixed(2));

function make(name, attributes = {}, text = "") { // an element of HTML, or of SVG in a drawing
  const svg = ["svg", "rect", "line", "text", "title"].includes(name);
  const element = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

function decimals(values, total) { // four digits of the largest addend, and five of their total
  const power = (x) => Math.floor(Math.log10(Math.max(Math.abs(x), 1e-4)));
  return Math.min(8, Math.max(0, 3 - power(Math.max(...values.map(Math.abs))), 4 - power(total)));
}

function written(value, digits, plus = false) {
  const text = Math.abs(value).toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  return (value < 0 ? "−" : plus ? "+" : "") + text;
}

const item = () => page.items[chosen.item];
const target = () => page.targets[chosen.target];
const adds = () => item().adds[chosen.target];

function showNumbers() {
  const values = adds(), value = item().values[chosen.target], digits = decimals(values, value);
  const turned = item().turned.map((row) => row[chosen.target]), spread = Math.max(...turned) - Math.min(...turned);
  by("value").textContent = written(value, digits);
  by("value").dataset.value = value;
  by("unit").textContent = target().unit + (page.kind === "image" ? `, probability ${item().shares[chosen.target]}` : "");
  by("in").textContent = target().unit ? `, ${target().unit}` : "";
  const small = spread && spread < 10 ** -digits / 2;
  const width = small ? spread.toExponential(1).replace("-", "−") : written(spread, digits);
  by("spread").textContent = `turned ${turned.length - 1} times, it changes by ${width} ${target().unit} at most`;
  const now = turned[chosen.turn];
  by("turned").textContent = `orientation ${chosen.turn + 1} of ${turned.length}: ${written(now, digits)} ${target().unit}`;
  by("turned").dataset.value = now;
  const orbits = values.reduce((sum, x) => sum + x, 0);
  const lines = [[`${values.length} orbits`, orbits]];
  for (const [name, parts] of item().constants) if (parts[chosen.target]) lines.push([name, parts[chosen.target]]);
  lines.push([page.kind === "image" ? "logit" : "prediction", value]);
  by("sums").replaceChildren(...lines.map(([name, x], i) => {
    const row = make("tr"), last = i === lines.length - 1;
    const cell = make("td", { "data-value": x }, written(x, digits, !last));
    row.append(make("td", {}, name), cell);
    return row;
  }));
  by("rows").replaceChildren(...values.map((x, i) => {
    const row = make("tr", { "data-orbit": i });
    const cells = [page.centers[item().orbits[i]].toFixed(2), count(item().counts[i]), written(x, digits, true)];
    row.append(...cells.map((text) => make("td", {}, text)));
    row.lastChild.dataset.value = x;
    row.addEventListener("click", () => choose({ orbit: i }));
    return row;
  }));
}

function ticks(low, high) { // a few round numbers from low to high
  const rough = (high - low) / 3, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((x) => x * power >= rough);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

function showChart() {
  const values = adds(), digits = decimals(values, item().values[chosen.target]), width = by("chart").clientWidth || 480, height = 208;
  const [left, right, top, bottom] = [58, 6, 10, 34];
  const low = Math.min(0, ...values), high = Math.max(0, ...values), span = high - low || 1;
  const y = (x) => top + ((high - x) / span) * (height - top - bottom);
  const { orbits } = item(), first = orbits[0], slots = orbits.at(-1) - first + 1;
  const slot = (width - left - right) / slots, x = (i) => left + (orbits[i] - first) * slot;
  const about = `What each of ${values.length} orbits adds to ${target().name}, bars by radius`;
  const svg = make("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": about });
  for (const at of ticks(low, high || low + span)) {
    const line = { x1: left, x2: width - right, y1: y(at), y2: y(at), class: at ? "" : "zero" };
    const label = { x: left - 8, y: y(at) + 4, "text-anchor": "end" };
    svg.append(make("line", line), make("text", label, String(+at.toPrecision(4)).replace("-", "−")));
  }
  const steps = Math.max(1, Math.ceil(slots / Math.floor((width - left - right) / 42)));
  orbits.forEach((k, i) => {
    const [a, b] = [y(Math.max(0, values[i])), y(Math.min(0, values[i]))], tall = Math.max(1, b - a);
    const bar = { x: x(i) + slot * 0.1, y: a, width: slot * 0.8, height: tall, rx: Math.min(2, slot / 5), class: "bar", "data-orbit": i };
    const hit = make("rect", { x: x(i), y: top, width: slot, height: height - top - bottom, class: "hit" });
    hit.append(make("title", {}, `${page.centers[k].toFixed(2)} ${page.length}: ${written(values[i], digits, true)} ${target().unit}`));
    hit.addEventListener("click", () => choose({ orbit: i }));
    svg.append(make("rect", bar), hit);
    if ((k - first) % steps === 0)
      svg.append(make("text", { x: x(i) + slot / 2, y: height - bottom + 15, "text-anchor": "middle" }, page.centers[k].toFixed(1)));
  });
  const under = { x: (left + width - right) / 2, y: height - 3, "text-anchor": "middle" };
  svg.append(make("text", under, `radius of the orbit, ${page.length}`));
  by("chart").replaceChildren(svg);
}

function showOrbit() {
  const { orbit } = chosen, radius = page.centers[item().orbits[orbit]].toFixed(2), points = page.kind === "image" ? "pixels" : "atoms";
  const said = `${radius} ${page.length}, ${count(item().counts[orbit])} ${points}`;
  by("chosen").textContent = said;
  Object.assign(by("orbit"), { max: item().orbits.length - 1, value: orbit });
  by("orbit").setAttribute("aria-valuetext", said);
  for (const old of document.querySelectorAll(".chosen")) old.classList.remove("chosen");
  for (const one of document.querySelectorAll(`[data-orbit="${orbit}"]`)) one.classList.add("chosen");
  const rows = document.querySelector(".rows"), row = by("rows").children[orbit];
  rows.scrollTop = row.offsetTop - 5 * row.offsetHeight; // whole rows
  scene.canvas.setAttribute("aria-label", `${item().name}; orbit at ${said}`);
  scene.show(item(), orbit);
}

function facing() { // the matrix of the chosen orientation
  const one = item().orientations[chosen.turn];
  if (Array.isArray(one)) return tilted(one);
  const [c, s] = [Math.cos((one * Math.PI) / 180), Math.sin((one * Math.PI) / 180)];
  return [c, -s, 0, s, c, 0, 0, 0, 1];
}

function choose(what) {
  const [before, fresh] = [item().orbits[chosen.orbit], "item" in what];
  Object.assign(chosen, what);
  if (fresh) { // about the same radius as before
    const distance = item().orbits.map((k) => Math.abs(k - before));
    chosen.orbit = distance.indexOf(Math.min(...distance));
    chosen.turn = 0;
    if (page.kind === "image") by("target").value = chosen.target = item().shares.indexOf([...item().shares].sort((a, b) => b - a)[0]);
  }
  if (fresh || "turn" in what) scene.face(facing());
  if (!("orbit" in what)) {
    showNumbers();
    showChart();
  }
  showOrbit();
}

page.items.forEach((one, i) => {
  const more = page.kind === "image" ? `predicted ${one.said}` : one.formula;
  by("item").append(make("option", { value: i }, `${one.name} · ${more}`));
});
page.targets.forEach((one, i) => by("target").append(make("option", { value: i }, one.name + (page.kind === "image" || !one.unit ? "" : `, ${one.unit}`))));
by("item").addEventListener("change", (event) => choose({ item: +event.target.value }));
by("target").addEventListener("change", (event) => choose({ target: +event.target.value }));
by("orbit").addEventListener("input", (event) => choose({ orbit: +event.target.value }));
by("turn").addEventListener("click", () => choose({ turn: (chosen.turn + 1) % item().turned.length }));
new ResizeObserver(() => { showChart(); showOrbit(); }).observe(by("chart"));
const sizes = page.items[0].counts; // begin with the middle one of the orbits that hold most points
const fullest = sizes.map((n, i) => [n, i]).filter(([n]) => n > 0.99 * Math.max(...sizes));
by("target").value = chosen.target = page.start;
choose({ item: 0 });
choose({ orbit: fullest[Math.floor(fullest.length / 2)][1] });
