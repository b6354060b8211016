"use strict";
/* The views of a replay. Each maker in VIEWS gets the view's data and its replay, and returns
   {element, onStage, draw(step), says(step)}: what to put on the page, whether it shows the present step only, how to
   draw a step, and what can be said of it in words. Colours are CSS variables, so that light and dark need no code,
   but for canvases, which are drawn anew (`paint`) when the colours or their size change. */

const SVG = "http://www.w3.org/2000/svg";
const GROUPS = 5;

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
}

function make(tag, attributes = {}, ...children) {
  const inSvg = ["svg", "g", "path", "circle", "rect", "line", "clipPath"].includes(tag);
  const element = inSvg ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/* Calls visit(row, column) for every spike: see packing.pack_spikes. */
function eachSpike(text, columns, visit) {
  let place = -1, distance = 0, shift = 0;
  for (const byte of bytes(text)) {
    distance += (byte & 127) * 2 ** shift;
    shift += 7;
    if (byte < 128) {
      place += distance;
      visit(Math.floor(place / columns), place % columns);
      distance = shift = 0;
    }
  }
}

/* A path through points [x, y]; broken where a y is null. */
function pathOf(points) {
  let text = "", pen = "M";
  for (const [x, y] of points) {
    if (y === null) { pen = "M"; continue; }
    text += `${pen}${x} ${y}`;
    pen = "L";
  }
  return text;
}

/* The number of the last entry of an ascending list that is at most `limit`; -1 if none is. */
function lastUpTo(list, limit) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle] <= limit) low = middle + 1; else high = middle;
  }
  return low - 1;
}

function plural(number, noun) { return `${number} ${noun}${number === 1 ? "" : "s"}`; }

function shown(number) { return number.toFixed(2).replace("-", "−"); }

/* A canvas as sharp as the screen; `paint(context, width, height)` is called when its size or the colours change. */
function canvasFor(paint) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  const repaint = () => {
    const width = canvas.clientWidth, height = canvas.clientHeight, sharp = window.devicePixelRatio || 1;
    if (!width || !height) return;
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
    const context = canvas.getContext("2d");
    context.scale(sharp, sharp);
    paint(context, width, height);
  };
  new ResizeObserver(repaint).observe(canvas);
  return { canvas, repaint };
}

/* A figure over all steps, with questions shaded, marks, and a cursor: fill `plot` with what is to be seen. */
function overTime(replay, label, height, caption) {
  const plot = make("div", { class: "over-time", style: `min-height:${height}px`, "data-over-time": "" });
  const lines = make("svg", { viewBox: `0 0 ${replay.steps} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  for (const { first, after } of replay.questions) {
    lines.append(make("rect", { x: first, y: 0, width: after - first, height: 1, style: "fill:var(--goal);opacity:.3" }));
  }
  for (const { color: name, steps } of replay.marks) {
    for (const step of steps) lines.append(upright(step + 0.5, `stroke:var(--${name});opacity:.55`));
  }
  const ahead = make("rect", { y: 0, height: 1, style: "fill:var(--card);opacity:.6" });
  const cursor = upright(0, "stroke:var(--ink);stroke-width:2");
  const top = make("svg", { viewBox: `0 0 ${replay.steps} 1`, preserveAspectRatio: "none", "aria-hidden": "true" });
  top.append(ahead, cursor);
  plot.append(lines, top);
  const element = make("figure", { role: "group", "aria-label": label }, make("figcaption", {}, ...caption), plot);
  const draw = (step) => {
    ahead.setAttribute("x", step + 1);
    ahead.setAttribute("width", Math.max(0, replay.steps - step - 1));
    for (const end of ["x1", "x2"]) cursor.setAttribute(end, step + 0.5);
  };
  return { element, plot, top, draw };
}

function upright(x, style) {
  return make("line", { x1: x, x2: x, y1: 0, y2: 1, style, "vector-effect": "non-scaling-stroke" });
}

function key(text, name) { return make("span", { class: "key", style: `--color:var(--${name})` }, text); }

const VIEWS = {
  /* From above: the way so far, the present stretch strong; where the goal was reached and the wall hit. */
  arena(view, replay) {
    const limit = 1.06 * view.size;
    const svg = make("svg", {
      viewBox: `${-limit} ${-limit} ${2 * limit} ${2 * limit}`, role: "img", "aria-label": "The arena from above",
    });
    const at = ([x, y]) => [x, -y]; // up is up
    const round = (place, radius, style) => {
      const [cx, cy] = at(place);
      return make("circle", { cx, cy, r: radius, style, "vector-effect": "non-scaling-stroke" });
    };
    const water = "fill:var(--water);stroke:var(--rim);stroke-width:2", side = 2 * view.size;
    const border = view.shape === "disc"
      ? round([0, 0], view.size, water)
      : make("rect", { x: -view.size, y: -view.size, width: side, height: side, style: water,
                       "vector-effect": "non-scaling-stroke" });
    svg.append(
      border,
      // The part of the goal that is outside of the arena cannot be reached.
      make("clipPath", { id: "arena-only" }, border.cloneNode()),
      make("g", { "clip-path": "url(#arena-only)" },
           round(view.goal, view.goalRadius, "fill:var(--goal);stroke:var(--goal-rim);stroke-width:2")),
    );
    const starts = [0, ...view.starts];
    const stretches = starts.map((start, index) => {
      const points = view.path.slice(start, starts[index + 1]).map(at);
      const path = make("path", { fill: "none", "vector-effect": "non-scaling-stroke" });
      svg.append(path);
      return { start, points, path };
    });
    const dots = (steps, style, placed) => steps.map((step) => {
      const dot = round(placed(step), 0.022 * view.size, style);
      svg.append(dot);
      return { step, dot };
    });
    const events = [
      ...dots(view.walls, "fill:var(--wall)", (step) => view.path[step]),
      ...dots(view.starts, "fill:var(--goal-rim)", (step) => view.path[step - 1]),
    ];
    const agent = round(view.path[0], 0.045 * view.size, "fill:var(--ink);stroke:var(--card);stroke-width:2");
    agent.id = "agent";
    svg.append(agent);
    const told = view.told && make("line", { id: "told", "vector-effect": "non-scaling-stroke", "stroke-linecap": "round",
                                             style: "stroke:var(--goal-rim);stroke-width:3;stroke-dasharray:1 5" });
    if (told) svg.insertBefore(told, agent);
    const caption = make("figcaption", {}, key("way to the first goal", "group-1"), key("later ways", "group-0"),
                         ...(told ? ["dotted: where it says that the goal is"] : []),
                         ...replay.marks.map(({ name, color: of }) => key(name, of)));
    return {
      element: make("figure", {}, svg, caption),
      onStage: true,
      draw(step) {
        const present = lastUpTo(starts, step);
        stretches.forEach(({ start, points, path }, index) => {
          path.setAttribute("d", index > present ? "" : pathOf(points.slice(0, step - start + 1)));
          const name = index === 0 ? "group-1" : "group-0";
          path.style.cssText = `stroke:var(--${name});stroke-width:${index === present ? 2.5 : 1};` +
            `opacity:${index === present ? 1 : 0.35};stroke-linejoin:round`;
        });
        for (const { step: when, dot } of events) dot.style.visibility = when <= step ? "visible" : "hidden";
        const [cx, cy] = at(view.path[step]);
        agent.setAttribute("cx", cx);
        agent.setAttribute("cy", cy);
        if (!told) return;
        const [x2, y2] = at(view.told[step]);
        for (const [name, value] of Object.entries({ x1: cx, y1: cy, x2, y2 })) told.setAttribute(name, value);
      },
      says(step) {
        const [x, y] = view.path[step];
        const until = (steps) => lastUpTo(steps, step) + 1;
        return `at x ${shown(x)}, y ${shown(y)} · ${plural(until(view.starts), "goal")} · ` +
          plural(until(view.walls), "wall hit");
      },
    };
  },

  /* Figures over time. */
  lines(view, replay) {
    const [low, high] = view.bounds;
    const span = high - low || 1;
    const strong = view.lines.filter((line) => line.strong);
    const name = (line) => `group-${strong.indexOf(line) % GROUPS}`;
    const few = view.lines.length <= 8 ? view.lines : strong;
    const caption = view.lines.length === 1
      ? [view.label]
      : [view.label, ...few.filter((line) => line.strong).map((line) => key(line.name, name(line)))];
    caption.push(make("span", { class: "bounds" }, `${shown(low)} to ${shown(high)}`));
    const time = overTime(replay, view.label, 84, caption);
    const svg = make("svg", { viewBox: `0 -0.04 ${replay.steps} 1.08`, preserveAspectRatio: "none", "aria-hidden": "true" });
    for (const line of [...view.lines].sort((one, other) => one.strong - other.strong)) {
      const wide = replay.steps / line.values.length;
      const points = line.values.map((y, index) => [(index + 0.5) * wide, y === null ? null : 1 - (y - low) / span]);
      svg.append(make("path", {
        d: pathOf(points), fill: "none", "vector-effect": "non-scaling-stroke",
        style: line.strong ? `stroke:var(--${name(line)});stroke-width:2` : "stroke:var(--quiet);stroke-width:1;opacity:.45",
      }));
    }
    time.plot.insertBefore(svg, time.top);
    const value = (line, step) => line.values[Math.floor(step * line.values.length / replay.steps)] ?? NaN;
    return {
      element: time.element,
      draw: time.draw,
      says(step) {
        if (view.lines.length <= 3) return view.lines.map((line) => `${line.name} ${shown(value(line, step))}`).join(", ");
        const most = view.lines.reduce((best, line) => (value(line, step) > value(best, step) ? line : best));
        return `highest ${most.name}, ${shown(value(most, step))}`;
      },
    };
  },

  /* Which neurons fired when. */
  raster(view, replay) {
    const sampled = view.of > view.neurons ? ` (${view.neurons} of ${view.of} neurons)` : "";
    const height = Math.max(90, Math.min(260, 2 * view.neurons));
    const caption = [`spikes${sampled}`, ...view.groups.map(([name], index) => key(name, `group-${index % GROUPS}`))];
    const time = overTime(replay, "Spikes", height, caption);
    time.element.classList.add("tall");
    const groupOf = view.groups.flatMap(([, size], index) => Array(size).fill(index % GROUPS));
    const each = Math.max(1, Math.round(view.rows / replay.steps));
    const counts = new Uint32Array(replay.steps);
    eachSpike(view.spikes, view.neurons, (row) => { counts[Math.min(replay.steps - 1, Math.floor(row / each))] += 1; });
    const { canvas, repaint } = canvasFor((context, width, high) => {
      const colors = [...Array(GROUPS).keys()].map((index) => color(`group-${index}`));
      const wide = Math.max(1, Math.min(3, 0.8 * width / view.rows)), tall = Math.max(1, 0.8 * high / view.neurons);
      eachSpike(view.spikes, view.neurons, (row, neuron) => {
        context.fillStyle = colors[groupOf[neuron]];
        context.fillRect((row + 0.5) / view.rows * width - wide / 2, neuron / view.neurons * high, wide, tall);
      });
    });
    time.plot.insertBefore(canvas, time.top);
    return { element: time.element, draw: time.draw, repaint, says: (step) => plural(counts[step], "spike") };
  },

  /* What came in, a row a channel, the darker the more. */
  channels(view, replay) {
    const sampled = view.of > view.channels ? ` (${view.of}, the strongest of neighbours shown)` : "";
    const time = overTime(replay, view.label, Math.max(60, Math.min(160, 3 * view.channels)), [view.label + sampled]);
    const levels = bytes(view.levels);
    const { canvas, repaint } = canvasFor((context, width, height) => {
      context.fillStyle = color("ink");
      for (let row = 0; row < view.rows; row++) {
        for (let channel = 0; channel < view.channels; channel++) {
          context.globalAlpha = levels[row * view.channels + channel] / 255;
          if (!context.globalAlpha) continue;
          const left = Math.floor(row / view.rows * width), top = Math.floor(channel / view.channels * height);
          context.fillRect(left, top, Math.ceil(width / view.rows), Math.ceil(height / view.channels));
        }
      }
    });
    time.plot.insertBefore(canvas, time.top);
    const asked = (step) => replay.questions.find(({ first, after }) => first <= step && step < after);
    return {
      element: time.element,
      draw: time.draw,
      repaint,
      says: (step) => (asked(step) ? `asked for: class ${asked(step).answer}` : ""),
    };
  },
};
