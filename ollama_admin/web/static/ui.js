// What pages do beyond reading: the part that changes is kept new while somebody looks, and buttons ask.
"use strict";

const live = document.getElementById("live");
const AGAIN = 5000; // ms until a page is loaded again whose events failed
let stream = null;

function listen() {
  if (!live || document.hidden || stream) return;
  stream = new EventSource(live.dataset.events);
  stream.addEventListener("part", (event) => {
    if (live.contains(document.activeElement) && document.activeElement.matches("input, select, textarea")) return;
    const focused = live.contains(document.activeElement) ? document.activeElement : null;
    const again = focused && focused.getAttribute("formaction");
    htmx.swap(live, event.data, { swapStyle: "innerHTML" });
    if (again) {
      const button = live.querySelector(`[formaction="${CSS.escape(again)}"]`);
      if (button) button.focus({ preventScroll: true });
    }
  });
  stream.addEventListener("over", () => location.reload());
  // a browser tries a connection again that broke, and no answer that is an error
  stream.addEventListener("error", (event) => {
    if (event.target.readyState === EventSource.CLOSED) setTimeout(() => location.reload(), AGAIN);
  });
}

function pause() {
  if (stream) stream.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => (document.hidden ? pause() : listen()));
addEventListener("pagehide", pause);
addEventListener("pageshow", listen);

document.addEventListener("submit", (event) => {
  const question = event.submitter && event.submitter.dataset.ask;
  if (question && !confirm(question)) event.preventDefault();
});

listen();
