"use strict";
/* The clock of the replay: one number, the step, that buttons, keys, the range and the pictures change, and that all
   views are drawn by. */

(() => {
  const replays = JSON.parse(document.getElementById("replays").textContent);
  const [play, scrub, speed, episode, status, stage, timeline] =
    ["play", "scrub", "speed", "episode", "status", "stage", "timeline"].map((id) => document.getElementById(id));
  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  const CALM_MILLISECONDS = 500; // between pictures, for readers who want little motion
  let replay = null, views = [], step = 0, playing = false, before = 0, owed = 0;

  function open(index) {
    stop();
    replay = replays[index];
    views = replay.views.map((view) => VIEWS[view.kind](view, replay));
    stage.replaceChildren(...views.filter((view) => view.onStage).map((view) => view.element));
    timeline.replaceChildren(...views.filter((view) => !view.onStage).map((view) => view.element));
    stage.parentElement.classList.toggle("flat", !stage.children.length);
    scrub.max = replay.steps - 1;
    show(0);
  }

  function show(wanted) {
    step = Math.max(0, Math.min(replay.steps - 1, Math.round(wanted)));
    scrub.value = step;
    for (const view of views) view.draw(step);
    const words = views.map((view) => view.says(step)).filter(Boolean);
    status.textContent = [`${replay.stepName} ${step + 1} of ${replay.steps}`, ...words].join(" · ");
    scrub.setAttribute("aria-valuetext", status.textContent);
  }

  function start() {
    if (step === replay.steps - 1) show(0);
    playing = true;
    owed = 0;
    before = performance.now();
    play.textContent = "Stop";
    status.setAttribute("aria-live", "off"); // a reader would never come to an end
    requestAnimationFrame(tick);
  }

  function stop() {
    playing = false;
    play.textContent = "Play";
    status.setAttribute("aria-live", "polite");
  }

  function tick(now) {
    if (!playing) return;
    const wait = calm.matches ? CALM_MILLISECONDS : 0;
    if (now - before >= wait) {
      owed += (now - before) / 1000 * replay.stepsPerSecond * Number(speed.value);
      before = now;
      const whole = Math.floor(owed);
      owed -= whole;
      if (whole) show(step + whole);
    }
    if (step === replay.steps - 1) stop(); else requestAnimationFrame(tick);
  }

  const toggle = () => (playing ? stop() : start());
  play.addEventListener("click", toggle);
  scrub.addEventListener("input", () => { stop(); show(Number(scrub.value)); });
  episode.addEventListener("change", () => open(episode.selectedIndex));

  const ways = {
    ArrowRight: (far) => step + far, ArrowLeft: (far) => step - far, ArrowUp: (far) => step + far,
    ArrowDown: (far) => step - far, Home: () => 0, End: () => replay.steps - 1,
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const focus = document.activeElement;
    const free = focus === document.body || focus === scrub; // elsewhere keys have meanings of their own
    if (event.key === " " && free) toggle();
    else if (event.key in ways && (focus === scrub || (free && !/Up|Down|Home|End/.test(event.key)))) {
      stop();
      show(ways[event.key](event.shiftKey ? 10 : 1));
    } else return;
    event.preventDefault();
  });

  /* A press on a picture over time goes there; dragging goes along. */
  timeline.addEventListener("pointerdown", (event) => {
    const plot = event.target.closest("[data-over-time]");
    if (!plot || event.button) return;
    stop();
    const follow = (move) => {
      const { left, width } = plot.getBoundingClientRect();
      show((move.clientX - left) / width * replay.steps - 0.5);
    };
    const leave = () => {
      plot.removeEventListener("pointermove", follow);
      for (const end of ["pointerup", "pointercancel"]) plot.removeEventListener(end, leave);
    };
    plot.setPointerCapture(event.pointerId);
    plot.addEventListener("pointermove", follow);
    for (const end of ["pointerup", "pointercancel"]) plot.addEventListener(end, leave);
    follow(event);
  });

  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const view of views) view.repaint?.();
  });

  episode.append(...replays.map(({ title }) => new Option(title)));
  open(0);
})();
