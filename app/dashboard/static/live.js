// What moves is drawn by the server; this listens to the event stream and puts what is new in its place.
//
// events ─▶ "something moved" ─▶ at most once a second: ask for this page's content ─▶ change the nodes that differ
//
// A hidden page listens to nothing. However many events come, one request is under way at most.
"use strict";
(() => {
  const EVERY_MS = 1000;
  const place = document.querySelector("[data-swap]");
  const light = document.querySelector("[data-live-state]");
  const word = document.querySelector("[data-live-word]");
  const KEPT = new Set(["INPUT", "SELECT", "TEXTAREA"]); // what somebody is typing
  let source = null;
  let moved = false;
  let timer = 0;
  let asking = false;

  const say = (state, text) => {
    light.hidden = false;
    light.dataset.liveState = state;
    if (word.textContent !== text) word.textContent = text;
  };

  const matchAttributes = (here, there) => {
    for (const { name } of [...here.attributes]) {
      if (!there.hasAttribute(name) && !(here.nodeName === "DETAILS" && name === "open")) here.removeAttribute(name);
    }
    for (const { name, value } of there.attributes) {
      const own = here.nodeName === "DETAILS" && name === "open"; // whoever opened or closed it meant it
      if (!own && here.getAttribute(name) !== value) here.setAttribute(name, value);
    }
  };

  const same = (here, there) =>
    here.nodeType === there.nodeType && here.nodeName === there.nodeName && (here.id || "") === (there.id || "");

  const match = (here, there) => {
    const [mine, theirs] = [[...here.childNodes], [...there.childNodes]];
    theirs.forEach((node, at) => {
      const now = mine[at];
      if (!now) here.append(node);
      else if (!same(now, node)) now.replaceWith(node);
      else if (now.nodeType !== Node.ELEMENT_NODE) {
        if (now.data !== node.data) now.data = node.data;
      } else if (!KEPT.has(now.nodeName) || now.type === "hidden") {
        matchAttributes(now, node);
        match(now, node);
      }
    });
    mine.slice(theirs.length).forEach((node) => node.remove());
  };

  const look = async () => {
    timer = 0;
    if (!moved || asking || document.hidden) return;
    moved = false;
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, redirect: "error" });
      if (!answer.ok) throw new Error(`answered ${answer.status}`);
      const page = document.createElement("template");
      page.innerHTML = await answer.text();
      match(place, page.content);
      say("on", "Live");
    } catch {
      say("off", "Reload to go on");
    }
    asking = false;
    soon();
  };

  const soon = () => {
    if (moved && !timer && !asking) timer = setTimeout(look, EVERY_MS);
  };

  const listen = () => {
    if (source || document.hidden) return;
    source = new EventSource(document.body.dataset.events);
    source.onopen = () => {
      say("on", "Live");
      moved = true; // something may have happened while nobody listened
      soon();
    };
    source.onerror = () => say("off", source.readyState === EventSource.CLOSED ? "Not live" : "Reconnecting");
    for (const kind of ["job", "queue", "run", "reset"]) {
      source.addEventListener(kind, () => {
        moved = true;
        soon();
      });
    }
  };

  const stop = () => {
    source?.close();
    source = null;
  };

  if (document.body.dataset.live) {
    document.addEventListener("visibilitychange", () => (document.hidden ? stop() : listen()));
    addEventListener("pagehide", stop);
    addEventListener("pageshow", listen);
    listen();
  }

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.ask && !confirm(form.dataset.ask)) {
      event.preventDefault();
    } else if (form.method === "post") {
      const sent = form.dataset.sent;
      if (sent) event.preventDefault();
      form.dataset.sent = "yes";
    }
  });
  addEventListener("pageshow", () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent));
})();
