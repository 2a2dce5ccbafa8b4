// Keeps a page up to date: asks the node for what has changed, and puts it in place. Shows times in the reader's own
// zone, and says so when the node does not answer or the login has ended. Pages are whole without it.
"use strict";

(() => {
  const page = document.documentElement;
  const body = document.body;
  const SECOND = 1000;
  // How often to ask while somebody looks, and while nobody does: the icon of a tab in the background is seen, too.
  // With what the node keeps for a moment, a change is on the page within two seconds.
  const ASK = 1.3 * SECOND;
  const ASK_HIDDEN = 10 * SECOND;
  // The login that has ended may be given in another tab.
  const ASK_ENDED = 5 * SECOND;
  // After this time without an answer what is shown counts as old: at once if asking failed, later if it goes on. And
  // a collector that does not turn is stuck.
  const STALE = 3 * SECOND;
  const LATE = 5 * SECOND;
  const STUCK = 6 * SECOND;

  // Times.

  const clockOf = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const dateOf = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const span = (ms) => {
    const s = Math.max(0, Math.floor(ms / SECOND));
    if (s < 120) return `${s} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  };

  // The node's clock less the reader's: a reader whose clock is off still sees how long something is ago.
  let ahead = 0;

  const tick = (under) => {
    const now = Date.now() + ahead;
    for (const time of under.querySelectorAll("time[datetime]")) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      let text;
      if ("ago" in time.dataset) text = `${span(now - at)} ago`;
      else text = (new Date(at).toDateString() === new Date().toDateString() ? clockOf : dateOf).format(at);
      if (time.textContent !== text) time.textContent = text;
      const title = `${dateOf.format(at)} here, ${time.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      if (time.title !== title) time.title = title;
    }
  };

  // A login that must wait.

  const waiting = document.querySelector("[data-retry-after]");
  if (waiting) {
    const button = document.querySelector("main form button");
    const until = Date.now() + Number(waiting.dataset.retryAfter) * SECOND;
    const count = () => {
      const left = Math.ceil((until - Date.now()) / SECOND);
      button.disabled = left > 0;
      waiting.textContent = left > 0 ? `Too many attempts. Try again in ${left} s.` : "You may try again.";
      if (left > 0) setTimeout(count, SECOND / 4);
    };
    count();
  }

  tick(document);
  setInterval(() => tick(document), SECOND);
  document.addEventListener("times", () => tick(document));
  if (!body.dataset.build) return;

  // Putting new content in place of old: elements that stay keep the focus, and what is open stays open.

  const alike = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");

  const becomes = (old, next) => {
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.data !== next.data) old.data = next.data;
      return;
    }
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && !(name === "open" || name === "title")) old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    }
    takes(old, next);
  };

  const takes = (old, next) => {
    let at = old.firstChild;
    for (const child of [...next.childNodes]) {
      if (!at) {
        old.append(child);
        continue;
      }
      const following = at.nextSibling;
      if (alike(at, child)) becomes(at, child);
      else old.replaceChild(child, at);
      at = following;
    }
    while (at) {
      const following = at.nextSibling;
      at.remove();
      at = following;
    }
  };

  const put = (region, html) => {
    const held = region.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
    const template = document.createElement("template");
    template.innerHTML = html;
    takes(region, template.content);
    tick(region);
    // The content may have moved on by a place: the focus follows it.
    if (held && document.activeElement?.getAttribute("href") !== held) {
      region.querySelector(`[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
    }
  };

  // Asking.

  const { root, path } = body.dataset;
  const stale = document.getElementById("stale");
  const ended = document.getElementById("ended");
  const teller = document.getElementById("live");
  const icon = document.querySelector("link[rel=icon]");
  const asOf = document.querySelector("#asof time");
  let since = "";
  let told = null;
  // When it last answered with the page, and with anything.
  let answered = Date.now();
  let heard = answered;
  let failures = 0;
  let timer;

  const isHidden = () => document.visibilityState === "hidden";

  // A tab that nobody looks at must not go on to say that all is well.
  const grey = () => {
    page.classList.add("stale");
    if (document.title.startsWith("? stale")) return;
    document.title = `? stale – ${document.title.replace(/^\S+ /, "")}`;
    icon.href = root + body.dataset.blindIcon;
  };

  const show = (why) => {
    // An alert is read out when its text changes, so it must not count seconds.
    if (why && stale.textContent !== why) stale.textContent = why;
    stale.hidden = !why;
    if (why) grey();
    else page.classList.remove("stale");
  };

  const take = (live) => {
    if (live.build !== body.dataset.build || live.made_for !== body.dataset.madeFor) {
      location.reload();
      return;
    }
    for (const [name, hash, html] of live.regions) {
      const region = document.querySelector(`[data-region="${CSS.escape(name)}"]`);
      if (!region) {
        location.reload();
        return;
      }
      put(region, html);
      region.dataset.hash = hash;
    }
    if (live.cells) {
      since = live.cells.frame;
      document.dispatchEvent(new CustomEvent("cells", { detail: live.cells }));
    }
    document.title = live.title;
    page.dataset.state = live.state;
    if (!icon.href.endsWith(live.icon)) icon.href = root + live.icon;
    if (told !== null && told !== live.told) teller.textContent = live.told;
    told = live.told;
    show(live.turned_ms > STUCK ? "This node answers, but has stopped to judge: what you see is old. Its journal says more." : "");
    // Again, since a page that was stale has lost its title.
    document.title = live.turned_ms > STUCK ? document.title : live.title;
  };

  const failed = (why) => {
    failures += 1;
    if (Date.now() - answered > STALE) show(why);
  };

  const silent = () =>
    `This node has not answered since ${clockOf.format(answered)}: what you see is of then. It is asked again and again.`;

  const ask = async () => {
    clearTimeout(timer);
    const have = [...document.querySelectorAll("[data-region]")].map((region) => region.dataset.hash).join(",");
    const query = new URLSearchParams(location.search);
    query.set("have", have);
    query.set("since", since);
    let pause = isHidden() ? ASK_HIDDEN : ASK;
    try {
      const reply = await fetch(`${root}live${path}?${query}`, { cache: "no-store", signal: AbortSignal.timeout(5 * SECOND) });
      heard = Date.now();
      if (reply.status === 401 || (reply.redirected && reply.url.includes("/login"))) {
        stale.hidden = true;
        ended.hidden = false;
        grey();
        failures = 0;
        pause = ASK_ENDED;
      } else if (reply.ok) {
        const date = Date.parse(reply.headers.get("Date"));
        const off = date - Date.now();
        // The field counts whole seconds.
        if (!Number.isNaN(date)) ahead = Math.abs(off) > 2 * SECOND ? off : 0;
        const live = await reply.json();
        answered = Date.now();
        failures = 0;
        asOf.dateTime = new Date(answered + ahead).toISOString().replace(/\.\d+/, "");
        ended.hidden = true;
        take(live);
      } else {
        failed(`This node no longer shows this page (${reply.status}): it may have another configuration. Reload the page.`);
      }
    } catch {
      failed(silent());
    }
    // Not all at once, when a node comes back to many.
    timer = setTimeout(ask, (failures > 3 ? 2 * pause : pause) * (0.9 + 0.2 * Math.random()));
  };

  // Since when somebody looks: what is old by then has its time to be asked for.
  let seen = Date.now();
  document.addEventListener("visibilitychange", () => {
    seen = Date.now();
    if (!isHidden()) ask();
  });
  setInterval(() => {
    const late = LATE + (ended.hidden ? 0 : ASK_ENDED);
    if (!isHidden() && Date.now() - Math.max(heard, seen) > late) show(silent());
  }, SECOND);
  ask();
})();
