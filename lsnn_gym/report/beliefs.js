"use strict";
/* Functions that are learnt within an episode, and what is believed of them: a curve of one input, two surfaces of two. */

function beliefSays(view, step) {
  const last = lastUpTo(view.seen, step);
  return `${plural(step, "example")} seen · mean squared error of the belief ${view.errors[last].toFixed(4)}`;
}

function beliefCurve(view) {
  const [[left, right]] = view.bounds;
  const span = view.high - view.low || 1, wide = 100;
  const x = (input) => (input - left) / (right - left) * wide;
  const y = (target) => (view.high - target) / span * 60;
  const svg = make("svg", { viewBox: "-2 -2 104 64", role: "img", "aria-label": "The function, and what is believed of it" });
  const curve = (levels) => pathOf([...levels].map((level, index) => [index / (view.points - 1) * wide, (1 - level / 255) * 60]));
  const line = (style) => make("path", { fill: "none", style, "vector-effect": "non-scaling-stroke" });
  const truth = line("stroke:var(--goal-rim);stroke-width:4;opacity:.7");
  truth.setAttribute("d", curve(bytes(view.values)));
  const belief = line("stroke:var(--group-0);stroke-width:2.5");
  belief.id = "belief";
  const believed = bytes(view.believed);
  const dots = view.targets.map((target, index) => make("circle", {
    cx: x(view.inputs[index][0]), cy: y(target), r: 1, style: "fill:var(--ink);stroke:var(--card);stroke-width:.3",
  }));
  const asked = make("line", { y1: 0, y2: 60, style: "stroke:var(--group-1);stroke-width:1.5", "vector-effect": "non-scaling-stroke" });
  svg.append(truth, asked, belief, ...dots);
  const caption = make("figcaption", {}, key("function", "goal-rim"), key("believed", "group-0"), key("asked now", "group-1"));
  return {
    element: make("figure", {}, svg, caption),
    onStage: true,
    draw(step) {
      const last = lastUpTo(view.seen, step);
      belief.setAttribute("d", curve(believed.subarray(last * view.points, (last + 1) * view.points)));
      dots.forEach((dot, index) => { dot.style.visibility = index < step ? "visible" : "hidden"; });
      for (const end of ["x1", "x2"]) asked.setAttribute(end, x(view.inputs[step][0]));
    },
    says: (step) => beliefSays(view, step),
  };
}

function beliefSurfaces(view) {
  const side = Math.round(Math.sqrt(view.points));
  const truth = bytes(view.values), believed = bytes(view.believed);
  let now = 0;
  const mixed = (level, ends) => {
    const share = level / 255 * 2 - 1, end = share < 0 ? ends[0] : ends[2];
    return ends[1].map((middle, part) => middle + (end[part] - middle) * Math.abs(share));
  };
  const parts = (name) => color(name).match(/[0-9a-f]{2}/gi).map((pair) => parseInt(pair, 16));
  const surface = (levels, dots) => canvasFor((context, width, height) => {
    const ends = [parts("group-0"), parts("ground"), parts("group-1")];
    const small = new ImageData(side, side), shownLevels = levels();
    for (let column = 0; column < side; column++) {
      for (let row = 0; row < side; row++) {
        const [red, green, blue] = mixed(shownLevels[column * side + row], ends);
        small.data.set([red, green, blue, 255], 4 * ((side - 1 - row) * side + column));
      }
    }
    const picture = new OffscreenCanvas(side, side);
    picture.getContext("2d").putImageData(small, 0, 0);
    context.drawImage(picture, 0, 0, width, height);
    if (dots) drawExamples(context, width, height);
  });
  const drawExamples = (context, width, height) => {
    const [[left, right], [bottom, top]] = view.bounds;
    for (let index = 0; index < now; index++) {
      const [first, second] = view.inputs[index];
      context.beginPath();
      context.arc((first - left) / (right - left) * width, (top - second) / (top - bottom) * height, 3, 0, 7);
      context.fillStyle = color("ink");
      context.fill();
    }
  };
  const last = () => lastUpTo(view.seen, now);
  const given = surface(() => truth, false);
  const guess = surface(() => believed.subarray(last() * view.points, (last() + 1) * view.points), true);
  guess.canvas.id = "belief";
  const panel = (canvas, text) => make("figure", { role: "img", "aria-label": text }, make("figcaption", {}, text), canvas);
  return {
    element: make("div", { class: "surfaces" }, panel(given.canvas, "the function"), panel(guess.canvas, "believed")),
    onStage: true,
    draw(step) { now = step; guess.repaint(); },
    repaint() { given.repaint(); guess.repaint(); },
    says: (step) => beliefSays(view, step),
  };
}

VIEWS.belief = (view) => (view.dimensions === 1 ? beliefCurve(view) : beliefSurfaces(view));
