"use strict";
// A picture on a canvas: a molecule in space with the shells of its orbits, or an image with rings.

const identity = () => [1, 0, 0, 0, 1, 0, 0, 0, 1]; // matrices are row by row
const times = (a, b) =>
  Array.from(a, (_, i) => {
    const row = 3 * Math.floor(i / 3), column = i % 3;
    return a[row] * b[column] + a[row + 1] * b[column + 3] + a[row + 2] * b[column + 6];
  });
const apply = (m, x, y, z) =>
  [0, 3, 6].map((row) => m[row] * x + m[row + 1] * y + m[row + 2] * z);

function turnAbout(x, y) { // by x about the vertical axis, by y about the horizontal one
  const [a, b, c, d] = [Math.cos(x), Math.sin(x), Math.cos(y), Math.sin(y)];
  return times([1, 0, 0, 0, c, -d, 0, d, c], [a, 0, b, 0, 1, 0, -b, 0, a]);
}

function orthonormal(m) { // rounding errors of many small turns, and of steps between two turns
  const unit = (v) => v.map((x) => x / Math.hypot(...v));
  const u = unit(m.slice(0, 3)), w = m.slice(3, 6);
  const along = u[0] * w[0] + u[1] * w[1] + u[2] * w[2];
  const v = unit(w.map((x, i) => x - along * u[i]));
  return [...u, ...v, u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0]];
}

// seen a little from above and from the side, or what is flat would look so
const tilted = (m) => times(turnAbout(-0.35, 0.5), m);
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const mixed = (a, b, part) => a.map((x, i) => Math.round(x + (b[i] - x) * part));
const css = (color, alpha = 1) => `rgba(${color.join(",")},${alpha})`;

class Scene {
  constructor(canvas, page) {
    this.canvas = canvas;
    this.page = page;
    this.pen = canvas.getContext("2d");
    this.home = this.view = page.kind === "image" ? identity() : tilted(identity());
    new ResizeObserver(() => this.draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
    let last = null;
    canvas.addEventListener("pointerdown", (event) => {
      last = event;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (last?.pointerId !== event.pointerId) return;
      this.turn(0.01 * (event.clientX - last.clientX), 0.01 * (event.clientY - last.clientY));
      last = event;
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => (last = null));
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-0.15, 0], ArrowRight: [0.15, 0], ArrowUp: [0, -0.15], ArrowDown: [0, 0.15] };
      if (event.key in step) this.turn(...step[event.key]);
      else if (event.key === "Home") this.face(this.home);
      else return;
      event.preventDefault();
    });
  }

  turn(x, y) {
    cancelAnimationFrame(this.frame);
    const flat = this.page.kind === "image"; // in its plane
    const by = flat ? [Math.cos(x), -Math.sin(x), 0, Math.sin(x), Math.cos(x), 0, 0, 0, 1] : turnAbout(x, y);
    this.view = orthonormal(times(by, this.view));
    this.draw();
  }

  face(goal) { // turn to an orientation, at once for those who want no motion
    cancelAnimationFrame(this.frame);
    const from = this.view, begin = performance.now();
    const length = matchMedia("(prefers-reduced-motion: reduce)").matches ? 0 : 450;
    const step = () => {
      const t = length ? Math.min(1, (performance.now() - begin) / length) : 1, part = t * t * (3 - 2 * t);
      this.view = t < 1 ? orthonormal(from.map((x, i) => x + (goal[i] - x) * part)) : goal;
      this.draw();
      if (t < 1) this.frame = requestAnimationFrame(step);
    };
    step();
  }

  show(item, orbit) {
    Object.assign(this, { item, orbit });
    this.draw();
  }

  draw() {
    if (!this.item) return;
    const { canvas, pen } = this, density = devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    if (!width) return;
    canvas.width = Math.round(width * density);
    canvas.height = Math.round(height * density);
    pen.setTransform(density, 0, 0, density, (density * width) / 2, (density * height) / 2);
    const style = getComputedStyle(canvas), get = (name) => style.getPropertyValue(name).trim();
    this.paper = rgb(get("--raised"));
    this.ink = rgb(get("--ink"));
    this.accent = get("--ring").split(",").map(Number);
    if (this.page.kind === "image") this.drawImage(Math.min(width, height));
    else this.drawMolecule(Math.min(width, height));
  }

  circle(radius, color, width = 1) {
    this.pen.beginPath();
    this.pen.arc(0, 0, Math.max(radius, 0), 0, 2 * Math.PI);
    Object.assign(this.pen, { strokeStyle: color, lineWidth: width });
    this.pen.stroke();
  }

  others(scale) { // hairlines of the orbits that hold points
    for (const k of this.item.orbits) this.circle(scale * this.page.centers[k], css(this.ink, 0.06));
  }

  drawMolecule(size) {
    const { item, page, pen, view } = this, { atoms, sizes } = item;
    const radius = atoms.map((_, i) => 0.26 + 0.26 * sizes[i]); // of drawn balls, in Angstrom
    const extent = Math.max(...atoms.map((atom, i) => atom[4] + radius[i]), 1.2);
    const far = 4.5 * extent, scale = (0.47 * size) / extent;
    const shell = page.centers[item.orbits[this.orbit]];
    const place = (point) => { // in perspective
      const [u, v, w] = apply(view, ...point), near = far / (far - w);
      return { x: scale * near * u, y: -scale * near * v, z: w, near };
    };
    const spots = atoms.map((atom, i) => {
      const spot = place(atom.slice(1, 4)), held = item.members[i].find(([k]) => k === this.orbit)?.[1] ?? 0;
      return { ...spot, r: scale * spot.near * radius[i], held, i };
    });
    const things = spots.map((spot) => ({ at: spot.z, q: atoms[spot.i][4], paint: () => this.ball(spot) }));
    for (const [i, j] of item.bonds)
      for (const [a, b] of [[i, j], [j, i]]) { // each half begins at the surface of its atom
        const [from, to] = [atoms[a], atoms[b]].map((atom) => atom.slice(1, 4));
        const length = Math.hypot(...from.map((x, c) => to[c] - x)), first = (0.9 * radius[a]) / length;
        if (first > 0.5) continue;
        const point = (part) => from.map((x, c) => x + (to[c] - x) * part), middle = point((first + 0.5) / 2);
        const paint = () => this.stick(place(point(first)), place(point(0.5)), spots[a], 0.13 * scale);
        things.push({ at: apply(view, ...middle)[2], q: Math.hypot(...middle), paint });
      }
    things.sort((a, b) => a.at - b.at);
    // behind the shell, inside of it, in front of it
    const where = ({ at, q }) => (q <= shell + 1e-3 ? 1 : at < 0 ? 0 : 2);
    pen.clearRect(-size * 4, -size * 4, size * 8, size * 8);
    this.others(scale);
    this.circle(scale * shell, css(this.accent, 0.07), 2 * scale * page.reach);
    for (const layer of [0, 1, 2]) {
      for (const thing of things) if (where(thing) === layer) thing.paint();
      if (layer < 2) this.shell(scale, shell, far, layer === 1);
    }
    for (const spot of [...spots].sort((a, b) => a.z - b.z)) this.label(spot);
  }

  shell(scale, radius, far, front) { // half of a sphere: a disc, its rim, and parts of great circles
    const { pen, accent, view } = this, r = scale * radius;
    const glow = pen.createRadialGradient(0, 0, 0, 0, 0, Math.max(r, 0.1));
    for (const [at, alpha] of [[0, 0.03], [0.75, 0.07], [1, 0.2]]) glow.addColorStop(at, css(accent, alpha));
    pen.fillStyle = glow;
    pen.beginPath();
    pen.arc(0, 0, r, 0, 2 * Math.PI);
    pen.fill();
    if (front) this.circle(r, css(accent, 0.75), 1.25);
    Object.assign(pen, { strokeStyle: css(accent, front ? 0.55 : 0.2), lineWidth: 1 });
    for (const axis of [0, 1, 2]) {
      pen.beginPath();
      let down = false;
      for (let i = 0; i <= 96; i++) {
        const [c, s] = [radius * Math.cos((i * Math.PI) / 48), radius * Math.sin((i * Math.PI) / 48)];
        const [u, v, w] = apply(view, ...[[0, c, s], [c, 0, s], [c, s, 0]][axis]);
        const shown = front === w >= 0;
        if (shown) pen[down ? "lineTo" : "moveTo"](scale * u, -scale * v);
        down = shown;
      }
      pen.stroke();
    }
  }

  color(i, held) { // atoms outside of the chosen orbit step back
    const color = rgb(this.page.colors[this.item.atoms[i][0]] ?? this.page.colors[0]);
    return held > 0 ? color : mixed(color, this.paper, 0.5);
  }

  ball({ x, y, r, held, i }) {
    const { pen } = this, color = this.color(i, held);
    const shade = pen.createRadialGradient(x - 0.35 * r, y - 0.4 * r, 0.05 * r, x, y, 1.05 * r);
    shade.addColorStop(0, css(mixed(color, [255, 255, 255], 0.65)));
    shade.addColorStop(0.45, css(color));
    shade.addColorStop(1, css(mixed(color, [20, 26, 34], 0.45)));
    pen.fillStyle = shade;
    pen.beginPath();
    pen.arc(x, y, r, 0, 2 * Math.PI);
    pen.fill();
    if (held > 0) {
      Object.assign(pen, { strokeStyle: css(this.accent, 0.35 + 0.65 * Math.min(1, 4 * held)), lineWidth: 2.5 });
      pen.stroke();
    }
  }

  stick(from, to, atom, width) { // the half of a bond that belongs to an atom
    const { pen } = this, color = this.color(atom.i, atom.held);
    for (const [part, tone] of [[1, mixed(color, [20, 26, 34], 0.35)], [0.62, color], [0.2, mixed(color, [255, 255, 255], 0.4)]]) {
      pen.beginPath();
      pen.moveTo(from.x, from.y);
      pen.lineTo(to.x, to.y);
      Object.assign(pen, { strokeStyle: css(tone), lineWidth: 2 * part * width * from.near, lineCap: "butt" });
      pen.stroke();
    }
  }

  label({ x, y, r, held, i }) { // all but carbon and hydrogen, and those in the orbit
    const charge = this.item.atoms[i][0], { pen } = this;
    if (!held && (charge === 1 || charge === 6)) return;
    const [red, green, blue] = this.color(i, held);
    const light = 0.3 * red + 0.59 * green + 0.11 * blue > 150;
    pen.font = `600 ${Math.max(9, 0.85 * r)}px system-ui, sans-serif`;
    Object.assign(pen, { fillStyle: light ? "#20272e" : "#ffffff", textAlign: "center", textBaseline: "middle" });
    pen.fillText(this.page.symbols[charge], x, y + 0.04 * r);
  }

  drawImage(size) {
    const { item, page, pen, view } = this, side = item.side;
    const scale = (0.47 * size) / (side / 2 + 1), pitch = (scale * side) / (side - 1);
    pen.clearRect(-size * 4, -size * 4, size * 8, size * 8);
    const small = document.createElement("canvas"), dots = new ImageData(side, side);
    small.width = small.height = side;
    for (let i = 0; i < side * side; i++) // black is left out, so that pages dark and light look alike
      dots.data.set([...this.ink, parseInt(item.pixels.slice(2 * i, 2 * i + 2), 16)], 4 * i);
    small.getContext("2d").putImageData(dots, 0, 0);
    pen.save();
    pen.rotate(-Math.atan2(view[3], view[0]));
    pen.imageSmoothingEnabled = false;
    pen.drawImage(small, (-side / 2) * pitch, (-side / 2) * pitch, side * pitch, side * pitch);
    pen.restore();
    this.others(scale);
    const radius = scale * page.centers[item.orbits[this.orbit]], reach = scale * page.reach;
    this.circle(radius, css(this.accent, 0.3), 2 * reach);
    this.circle(radius, css(this.accent, 0.9), 1.25);
  }
}
