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
  const OWN = { DETAILS: "open", FORM: "data-sent" }; // what somebody opened or closed, and what is on its way
  const NAMING = ["id", "data-key", "name", "action", "aria-labelledby"]; // by which nodes of one kind are told apart
  const ABOUT_A_LINK = new Set(["TR", "LI", "ARTICLE"]); // and these by the first link in them
  let source = null;
  let moved = false;
  let timer = 0;
  let asking = false;

  const say = (state, text) => {
    light.hidden = false;
    light.dataset.liveState = state;
    if (word.textContent !== text) word.textContent = text;
  };

  const nameOf = (node) => {
    if (node.nodeType !== Node.ELEMENT_NODE) return node.nodeName;
    const link = ABOUT_A_LINK.has(node.nodeName) ? node.querySelector("a[href]") : null;
    const told = NAMING.map((name) => node.getAttribute(name));
    return [node.nodeName, ...told, link?.getAttribute("href")].join(" ");
  };

  const isBlank = (node) => node?.nodeType === Node.TEXT_NODE && !/[^ \t\r\n\f]/.test(node.data);
  const shown = (place) => [...place.childNodes].filter((node) => !isBlank(node));
  const withBlank = (node) => (isBlank(node.previousSibling) ? [node.previousSibling, node] : [node]);

  // Which of mine goes on as which of theirs: the longest row of names that both have in the same order.
  const partners = (mine, theirs) => {
    const [old, now] = [mine.map(nameOf), theirs.map(nameOf)];
    const longest = Array.from({ length: old.length + 1 }, () => new Uint16Array(now.length + 1));
    for (let i = old.length - 1; i >= 0; i -= 1) {
      for (let j = now.length - 1; j >= 0; j -= 1) {
        const passed = Math.max(longest[i + 1][j], longest[i][j + 1]);
        longest[i][j] = old[i] === now[j] ? longest[i + 1][j + 1] + 1 : passed;
      }
    }
    const found = new Map();
    for (let i = 0, j = 0; i < old.length && j < now.length; ) {
      if (old[i] === now[j]) found.set(theirs[j++], mine[i++]);
      else if (longest[i + 1][j] >= longest[i][j + 1]) i += 1;
      else j += 1;
    }
    return found;
  };

  const renewAttributes = (here, there) => {
    const own = OWN[here.nodeName];
    for (const { name } of [...here.attributes]) {
      if (name !== own && !there.hasAttribute(name)) here.removeAttribute(name);
    }
    for (const { name, value } of there.attributes) {
      if (name !== own && here.getAttribute(name) !== value) here.setAttribute(name, value);
    }
  };

  const renew = (here, there) => {
    if (here.nodeType !== Node.ELEMENT_NODE) {
      if (here.data !== there.data) here.data = there.data;
    } else if (!KEPT.has(here.nodeName) || here.type === "hidden") {
      renewAttributes(here, there);
      match(here, there);
    }
  };

  // What stays is not moved: what somebody types in, points at or has opened is the same node after it.
  const match = (here, there) => {
    const [mine, theirs] = [shown(here), shown(there)];
    const found = partners(mine, theirs);
    const staying = new Set(found.values());
    mine.filter((node) => !staying.has(node)).forEach((node) => withBlank(node).forEach((part) => part.remove()));
    theirs.reduceRight((next, node) => {
      const now = found.get(node);
      if (now) renew(now, node);
      else if (next) withBlank(next)[0].before(...withBlank(node));
      else here.append(...withBlank(node));
      return now ?? node;
    }, null);
  };

  const look = async () => {
    timer = 0;
    if (!moved || asking || document.hidden) return;
    moved = false;
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "X-Fragment": "1" }, redirect: "error" });
      const whom = answer.headers.get("X-Fragment") ?? document.body.dataset.whom; // what no page of ours says, too
      if (whom !== document.body.dataset.whom) return location.reload();
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
  const again = () => document.querySelectorAll("form[data-sent]").forEach((form) => delete form.dataset.sent);
  addEventListener("pageshow", again);
  window.navigation?.addEventListener("navigateerror", again); // somebody stopped what was on its way
})();
