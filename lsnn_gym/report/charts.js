"use strict";
/* The charts: Bokeh's script is unpacked and run, then draws each from its JSON. They come in light colours; for a dark
   page each light colour is replaced by its dark one before drawing. */

(async () => {
  const text = (id) => document.getElementById(id).textContent;
  const places = [...document.querySelectorAll("[data-chart]")];
  const packed = new Blob([bytes(text("bokeh"))]).stream().pipeThrough(new DecompressionStream("gzip"));
  document.head.append(make("script", {}, await new Response(packed).text()));
  const palette = Object.values(JSON.parse(text("palette")));
  const dark = matchMedia("(prefers-color-scheme: dark)");

  async function draw() {
    let source = text("charts");
    if (dark.matches) for (const [light, other] of palette) source = source.replaceAll(`"${light}"`, `"${other}"`);
    const charts = JSON.parse(source);
    for (const place of places) {
      place.replaceChildren();
      await Bokeh.embed.embed_item(charts[place.dataset.chart][place.dataset.number], place);
    }
    document.documentElement.dataset.charts = dark.matches ? "dark" : "light";
  }

  dark.addEventListener("change", draw);
  await draw();
})();
