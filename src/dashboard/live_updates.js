// Keeps a page up to date: requests the changed parts and replaces them, shows times in the reader's time zone, and shows a
// banner when the node does not answer or the session has expired. Pages are complete without this script.
"use strict";

(() => {
  const page = document.documentElement;
  const body = document.body;
  const SECOND = 1000;
  // The time between requests while the page is visible, and while it is not: the icon of a background tab is visible,
  // too. With the node's cache, a change is on the page within two seconds.
  const POLL_MS = 1.3 * SECOND;
  const HIDDEN_POLL_MS = 10 * SECOND;
  // The reader may log in again in another tab.
  const EXPIRED_POLL_MS = 5 * SECOND;
  // The time after which the page is marked as stale: since the last update if requests fail, since the last reply if
  // they hang.
  const FAILED_STALE_MS = 3 * SECOND;
  const PENDING_STALE_MS = 5 * SECOND;
  // The time without a tick after which the node's event loop counts as stalled, as in dashboard/mod.rs.
  const STALLED_MS = 6 * SECOND;
  const REQUEST_TIMEOUT_MS = 5 * SECOND;

  // Times.

  const timeFormat = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
  const shortTimeFormat = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
  const dateFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

  const formatDuration = (ms) => {
    const s = Math.max(0, Math.floor(ms / SECOND));
    if (s < 120) return `${s} s`;
    if (s < 7200) return `${Math.floor(s / 60)} min`;
    if (s < 172800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  };

  // The node's clock minus the reader's, so that durations are right for a reader whose clock is wrong.
  let clockOffset = 0;

  const updateTimes = (root) => {
    const now = Date.now() + clockOffset;
    for (const element of root.querySelectorAll("time[datetime]")) {
      const time = Date.parse(element.dateTime);
      if (Number.isNaN(time)) continue;
      const isToday = new Date(time).toDateString() === new Date().toDateString();
      const text = "ago" in element.dataset
        ? `${formatDuration(now - time)} ago`
        : (isToday ? timeFormat : dateFormat).format(time);
      if (element.textContent !== text) element.textContent = text;
      const title = `${dateFormat.format(time)} here, ${element.dateTime.replace("T", " ").replace("Z", "")} UTC`;
      if (element.title !== title) element.title = title;
    }
  };

  // The login page after too many attempts.

  const retryNotice = document.querySelector("[data-retry-after]");
  if (retryNotice) {
    const button = document.querySelector("main form button");
    const until = Date.now() + Number(retryNotice.dataset.retryAfter) * SECOND;
    const countDown = () => {
      const left = Math.ceil((until - Date.now()) / SECOND);
      button.disabled = left > 0;
      retryNotice.textContent = left > 0 ? `Too many attempts. Try again in ${left} s.` : "You may try again.";
      if (left > 0) setTimeout(countDown, SECOND / 4);
    };
    countDown();
  }

  updateTimes(document);
  setInterval(() => updateTimes(document), SECOND);
  document.addEventListener("times", () => updateTimes(document));
  if (!body.dataset.build) return;

  // Replaces content in place: elements that remain keep the focus and stay open.

  const isSameElement = (one, other) =>
    one.nodeType === other.nodeType && one.nodeName === other.nodeName && (one.id || "") === (other.id || "");

  const updateNode = (node, target) => {
    if (node.nodeType !== Node.ELEMENT_NODE) {
      if (node.data !== target.data) node.data = target.data;
      return;
    }
    for (const { name } of [...node.attributes]) {
      if (!target.hasAttribute(name) && !(name === "open" || name === "title")) node.removeAttribute(name);
    }
    for (const { name, value } of target.attributes) {
      if (node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    updateChildren(node, target);
  };

  const updateChildren = (node, target) => {
    let child = node.firstChild;
    for (const targetChild of [...target.childNodes]) {
      if (!child) {
        node.append(targetChild);
        continue;
      }
      const next = child.nextSibling;
      if (isSameElement(child, targetChild)) updateNode(child, targetChild);
      else node.replaceChild(targetChild, child);
      child = next;
    }
    while (child) {
      const next = child.nextSibling;
      child.remove();
      child = next;
    }
  };

  const replaceRegion = (region, html) => {
    const hasFocus = region.contains(document.activeElement);
    const focusedHref = hasFocus ? document.activeElement.getAttribute("href") : null;
    const template = document.createElement("template");
    template.innerHTML = html;
    updateChildren(region, template.content);
    updateTimes(region);
    // The focused link may have moved to another element.
    if (focusedHref && document.activeElement?.getAttribute("href") !== focusedHref) {
      region.querySelector(`[href="${CSS.escape(focusedHref)}"]`)?.focus({ preventScroll: true });
    }
  };

  // Polling.

  const { root, path } = body.dataset;
  const staleBanner = document.getElementById("stale");
  const expiredBanner = document.getElementById("ended");
  const announcer = document.getElementById("live");
  const icon = document.querySelector("link[rel=icon]");
  const updateTime = document.querySelector("#asof time");
  let matrixVersion = "";
  let lastAnnouncement = null;
  let lastUpdate = Date.now();
  let lastReply = lastUpdate;
  let failures = 0;
  let pollTimer;

  const isHidden = () => document.visibilityState === "hidden";

  // The title and icon of a background tab must not look healthy.
  const markStale = () => {
    page.classList.add("stale");
    if (document.title.startsWith("? stale")) return;
    document.title = `? stale – ${document.title.replace(/^\S+ /, "")}`;
    icon.href = root + body.dataset.unknownIcon;
  };

  // Shows a reason for stale data, or hides the banner for an empty one.
  const showStale = (reason) => {
    // Screen readers announce an alert whose text changes, so the reason has no running time.
    if (reason && staleBanner.textContent !== reason) staleBanner.textContent = reason;
    staleBanner.hidden = !reason;
    if (reason) markStale();
    else page.classList.remove("stale");
  };

  const applyUpdate = (update) => {
    const isSamePage = update.build === body.dataset.build && update.config_digest === body.dataset.configDigest;
    if (!isSamePage) {
      location.reload();
      return;
    }
    for (const [name, hash, html] of update.regions) {
      const region = document.querySelector(`[data-region="${CSS.escape(name)}"]`);
      if (!region) {
        location.reload();
        return;
      }
      replaceRegion(region, html);
      region.dataset.hash = hash;
    }
    if (update.cells) {
      matrixVersion = update.cells.version;
      document.dispatchEvent(new CustomEvent("cells", { detail: update.cells }));
    }
    // The title of a stale page has lost its health, so it is set again.
    document.title = update.title;
    page.dataset.health = update.health;
    if (!icon.href.endsWith(update.icon)) icon.href = root + update.icon;
    const isNew = lastAnnouncement !== null && lastAnnouncement !== update.announcement;
    if (isNew) announcer.textContent = update.announcement;
    lastAnnouncement = update.announcement;
    showStale(update.last_tick_age_ms > STALLED_MS ? stalledReason(update.last_tick_age_ms) : "");
  };

  const stalledReason = (ageMs) =>
    `This node has stopped evaluating; the data below is from ${shortTimeFormat.format(Date.now() - ageMs)}. Its journal shows why.`;

  const noAnswerReason = () =>
    `This node has not answered since ${timeFormat.format(lastUpdate)}; the data below is from then. This page keeps trying.`;

  const handleFailure = (reason) => {
    failures += 1;
    if (Date.now() - lastUpdate > FAILED_STALE_MS) showStale(reason);
  };

  const showExpired = () => {
    staleBanner.hidden = true;
    expiredBanner.hidden = false;
    markStale();
    failures = 0;
  };

  const updateClockOffset = (reply) => {
    const offset = Date.parse(reply.headers.get("Date")) - Date.now();
    // The header has whole seconds, so a small offset is noise.
    if (!Number.isNaN(offset)) clockOffset = Math.abs(offset) > 2 * SECOND ? offset : 0;
  };

  const requestUpdate = () => {
    const hashes = [...document.querySelectorAll("[data-region]")].map((region) => region.dataset.hash);
    const query = new URLSearchParams(location.search);
    query.set("have", hashes.join(","));
    query.set("since", matrixVersion);
    const signal = AbortSignal.timeout(REQUEST_TIMEOUT_MS);
    return fetch(`${root}live${path}?${query}`, { cache: "no-store", signal });
  };

  const poll = async () => {
    clearTimeout(pollTimer);
    let pause = isHidden() ? HIDDEN_POLL_MS : POLL_MS;
    try {
      const reply = await requestUpdate();
      lastReply = Date.now();
      if (reply.status === 401 || (reply.redirected && reply.url.includes("/login"))) {
        showExpired();
        pause = EXPIRED_POLL_MS;
      } else if (reply.ok) {
        updateClockOffset(reply);
        const update = await reply.json();
        lastUpdate = Date.now();
        failures = 0;
        updateTime.dateTime = new Date(lastUpdate + clockOffset).toISOString().replace(/\.\d+/, "");
        expiredBanner.hidden = true;
        applyUpdate(update);
      } else {
        handleFailure(`This node no longer serves this page (status ${reply.status}); its configuration may have changed. Reload the page.`);
      }
    } catch {
      handleFailure(noAnswerReason());
    }
    // The random part spreads the load when a node restarts.
    pollTimer = setTimeout(poll, (failures > 3 ? 2 * pause : pause) * (0.9 + 0.2 * Math.random()));
  };

  // A page that becomes visible has time to update before it counts as stale.
  let visibleSince = Date.now();
  document.addEventListener("visibilitychange", () => {
    visibleSince = Date.now();
    if (!isHidden()) poll();
  });
  setInterval(() => {
    const limit = PENDING_STALE_MS + (expiredBanner.hidden ? 0 : EXPIRED_POLL_MS);
    if (!isHidden() && Date.now() - Math.max(lastReply, visibleSince) > limit) showStale(noAnswerReason());
  }, SECOND);
  poll();
})();
