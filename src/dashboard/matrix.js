// The matrix under the reader's hands: cells that change, an order of rows and columns, and both directions of the
// cell that is pointed at. A table where it is small, else a drawing, with the table behind it for those who hear it.
"use strict";

(() => {
  const section = document.getElementById("matrix");
  if (!section) return;

  const table = section.querySelector("table");
  const field = section.querySelector(".field");
  const detail = document.getElementById("pair");
  const base = (field ?? table).dataset.base;
  const controls = section.querySelector(".controls");

  // What is known: ids, sites, how each stands, and a value for each observer and target.

  let nodes = [];
  // By observer: what it found of whom. In rings that is far less than everybody.
  let known = [];
  let standings = "";
  let late = new Set();

  const status = (value) => value >> 14;
  const microseconds = (value) => 2 ** ((value & 0x3fff) / 32) - 1;
  const UNSEEN = 0;
  const ONLINE = 1;
  const OFFLINE = 2;
  const WORDS = ["nothing reported", "online", "offline", "unknown"];

  const letter = (value, isOwn) => {
    if (isOwn) return "m";
    switch (status(value)) {
      case UNSEEN: return "n";
      case OFFLINE: return "x";
      case ONLINE: {
        const us = microseconds(value);
        return us <= 1000 ? "a" : us <= 10000 ? "b" : us <= 50000 ? "c" : us <= 200000 ? "d" : "e";
      }
      default: return "q";
    }
  };

  // To the two digits that the value holds.
  const milliseconds = (value) => {
    const ms = microseconds(value) / 1000;
    return ms < 9.95 ? ms.toPrecision(2) : ms < 1000 ? ms.toFixed(0) : `${(ms / 1000).toPrecision(2)}k`;
  };

  const text = (value, isOwn) => {
    if (isOwn) return "–";
    if (status(value) === UNSEEN) return "·";
    return status(value) === ONLINE && value & 0x3fff ? milliseconds(value) : WORDS[status(value)];
  };

  const at = (from, to) => known[from]?.get(to) ?? 0;

  // Orders.

  const weigh = {
    // How much of what a node reports, or of what is reported of it, is not online.
    worst: (found) => -found.filter((value) => status(value) > ONLINE).length,
    slowest: (found) => {
      const times = found.filter((value) => status(value) === ONLINE).map(microseconds);
      return times.length ? -times.reduce((sum, time) => sum + time, 0) / times.length : 1;
    },
  };

  const ordered = (by, isRow) => {
    const order = nodes.map((_, index) => index);
    if (by === "site") order.sort((a, b) => nodes[a][1] < nodes[b][1] ? -1 : nodes[a][1] > nodes[b][1] ? 1 : a - b);
    else if (weigh[by]) {
      const found = nodes.map(() => []);
      known.forEach((row, from) => row.forEach((value, to) => found[isRow ? from : to].push(value)));
      const weights = found.map(weigh[by]);
      order.sort((a, b) => weights[a] - weights[b] || a - b);
    }
    return order;
  };

  // Where one site ends and the next begins.
  const edges = (order, by) => new Set(
    by === "site" ? order.filter((index, place) => place && nodes[index][1] !== nodes[order[place - 1]][1]) : []);

  let rows = [];
  let columns = [];
  let rowEdges = new Set();
  let columnEdges = new Set();

  const reorder = () => {
    const [byRow, byColumn] = [controls.elements.rows.value, controls.elements.columns.value];
    rows = ordered(byRow, true);
    columns = ordered(byColumn, false);
    rowEdges = edges(rows, byRow);
    columnEdges = edges(columns, byColumn);
    view.arrange();
  };

  // Both directions of a pair: at once what is known here, then all that the node knows.

  let asked;
  let shown = "";

  const tell = (from, to) => {
    if (from === to || from < 0 || to < 0 || !nodes.length) return;
    const key = `${from} ${to}`;
    if (key === shown) return;
    shown = key;
    const line = (a, b) => {
      const value = at(a, b);
      const time = status(value) === ONLINE && value & 0x3fff ? `, ${milliseconds(value)} ms` : "";
      return `${nodes[a][0]} → ${nodes[b][0]}: ${WORDS[status(value)]}${time}`;
    };
    const p = document.createElement("p");
    p.textContent = `${line(from, to)}; ${line(to, from)}`;
    detail.replaceChildren(p);
    clearTimeout(asked);
    asked = setTimeout(() => fetchPair(from, to, key), 150);
  };

  const fetchPair = async (from, to, key) => {
    const page = new URL(`${base}/link/${nodes[from][0]}/${nodes[to][0]}`, location.href);
    const { root, path } = document.body.dataset;
    try {
      const reply = await fetch(`${root}live${path}/link/${nodes[from][0]}/${nodes[to][0]}`, { cache: "no-store" });
      if (!reply.ok || key !== shown) return;
      const { regions } = await reply.json();
      const html = regions.find(([name]) => name === "pair")?.[2];
      if (!html || key !== shown) return;
      detail.innerHTML = html;
      // Its links are those of the pair's own page.
      for (const link of detail.querySelectorAll("a[href]")) link.href = new URL(link.getAttribute("href"), page);
      document.dispatchEvent(new Event("times"));
    } catch {
      // What is known here stands there already; the page itself says that the node does not answer.
    }
  };

  const open = (from, to) => {
    if (from !== to) location.href = `${base}/link/${nodes[from][0]}/${nodes[to][0]}`;
  };

  // The table: cells are elements, so that they can be read out, focused and searched.

  const tableView = () => {
    table.setAttribute("role", "grid");
    const [head] = table.tHead.rows;
    const heads = [...head.cells].slice(1);
    const lines = [...table.tBodies[0].rows];
    const names = lines.map((line) => line.cells[0]);
    const cells = lines.map((line) => [...line.cells].slice(1));
    const place = new Map();
    cells.forEach((line, from) => line.forEach((cell, to) => place.set(cell, [from, to])));
    names.forEach((name, from) => place.set(name.firstElementChild, [from, -1]));

    let active;
    const activate = (element) => {
      if (active) active.tabIndex = -1;
      active = element;
      active.tabIndex = 0;
    };
    for (const name of names) name.firstElementChild.tabIndex = -1;
    activate(names[0].firstElementChild);

    const target = (event) => place.get(event.target.closest("td, th a"));
    table.addEventListener("pointerover", (event) => {
      const found = target(event);
      if (found) tell(...found);
    });
    table.addEventListener("focusin", (event) => {
      const found = target(event);
      if (!found) return;
      activate(event.target);
      tell(...found);
    });
    table.addEventListener("click", (event) => {
      const found = target(event);
      if (!found || found[1] < 0) return;
      event.target.closest("td").focus();
      tell(...found);
    });
    table.addEventListener("dblclick", (event) => {
      const found = target(event);
      if (found && found[1] >= 0) open(...found);
    });
    table.addEventListener("keydown", (event) => {
      const found = target(event);
      if (!found || event.ctrlKey || event.altKey || event.metaKey) return;
      const [from, to] = found;
      let [line, column] = [rows.indexOf(from), columns.indexOf(to)];
      switch (event.key) {
        case "ArrowUp": line -= 1; break;
        case "ArrowDown": line += 1; break;
        case "ArrowLeft": column -= 1; break;
        case "ArrowRight": column += 1; break;
        case "Home": column = -1; break;
        case "End": column = columns.length - 1; break;
        case "Enter":
          if (to >= 0) {
            event.preventDefault();
            open(from, to);
          }
          return;
        default: return;
      }
      event.preventDefault();
      line = Math.min(Math.max(line, 0), rows.length - 1);
      column = Math.min(Math.max(column, -1), columns.length - 1);
      (column < 0 ? names[rows[line]].firstElementChild : cells[rows[line]][columns[column]]).focus();
    });

    const draw = (from, to) => {
      const cell = cells[from][to];
      const value = at(from, to);
      const name = letter(value, from === to) + (columnEdges.has(to) ? " edge" : "");
      if (cell.className !== name) cell.className = name;
      const words = text(value, from === to);
      if (cell.textContent !== words) cell.textContent = words;
    };

    return {
      arrange() {
        const focused = document.activeElement;
        table.tBodies[0].append(...rows.map((from) => lines[from]));
        head.append(...columns.map((to) => heads[to]));
        lines.forEach((line, from) => {
          line.append(...columns.map((to) => cells[from][to]));
          line.classList.toggle("edge", rowEdges.has(from));
          for (let to = 0; to < nodes.length; to += 1) draw(from, to);
        });
        heads.forEach((name, to) => name.classList.toggle("edge", columnEdges.has(to)));
        for (const cell of place.keys()) if (cell.tagName === "TD" && cell !== active) cell.tabIndex = -1;
        if (table.contains(focused)) focused.focus();
      },
      changed(changes) {
        for (const [from, to] of changes) draw(from, to);
        lines.forEach((line, from) => {
          line.classList.toggle("late", late.has(from));
          names[from].dataset.standing = standings[from];
          heads[from].dataset.standing = standings[from];
        });
      },
    };
  };

  // The table behind a drawing: to be heard, not to be seen.

  const tableBehind = () => {
    table.parentElement.className = "quiet";
    const lines = [...table.tBodies[0].rows];
    for (const line of lines) line.cells[0].firstElementChild.tabIndex = -1;
    return (changes) => {
      for (const [from, to] of changes) {
        const words = text(at(from, to), from === to);
        const cell = lines[from].cells[to + 1];
        if (cell.textContent !== words) cell.textContent = words;
      }
    };
  };

  // The drawing: only what is in sight is drawn.

  const fieldView = () => {
    const canvas = field.querySelector("canvas");
    const room = document.createElement("div");
    const zoom = document.getElementById("zoom");
    const pen = canvas.getContext("2d", { alpha: false });
    room.className = "room";
    field.append(room);
    field.hidden = false;
    const listed = section.querySelector(".listed");
    if (listed) listed.open = false;
    canvas.setAttribute("role", "application");
    canvas.removeAttribute("aria-labelledby");
    canvas.setAttribute("aria-label", "Matrix: the arrow keys move from cell to cell, Enter opens a pair");

    let colours = {};
    let size = 1;
    let [gutter, header] = [0, 0];
    let cursor = null;
    let due = 0;

    const readColours = () => {
      const style = getComputedStyle(document.documentElement);
      const names = ["a", "b", "c", "d", "e", "x", "q", "n", "m"].map((name) => [name, `--cell-${name}`]);
      for (const [name, variable] of [...names, ["ink", "--ink"], ["sheet", "--sheet"], ["line", "--line"], ["mark", "--link"], ["dark", "--cell-text"]]) {
        colours[name] = style.getPropertyValue(variable).trim();
      }
    };

    const schedule = () => {
      if (!due) due = requestAnimationFrame(draw);
    };

    // Where each node's column is.
    let places = [];

    const arrange = () => {
      places = [];
      columns.forEach((index, place) => { places[index] = place; });
      measure();
    };

    const measure = () => {
      const [wide, high] = [field.clientWidth, field.clientHeight];
      size = zoom.value === "fit" ? Math.max(1, Math.floor(Math.min(wide, high) / Math.max(1, nodes.length))) : Number(zoom.value);
      [gutter, header] = size >= 12 ? [150, 110] : [0, 0];
      const whole = size * nodes.length;
      room.style.width = `${gutter + whole}px`;
      room.style.height = `${header + whole}px`;
      const scale = window.devicePixelRatio || 1;
      canvas.style.width = `${wide}px`;
      canvas.style.height = `${high}px`;
      canvas.width = Math.round(wide * scale);
      canvas.height = Math.round(high * scale);
      pen.setTransform(scale, 0, 0, scale, 0, 0);
      schedule();
    };

    const GLYPHS = { x: "✕", q: "?" };

    const draw = () => {
      due = 0;
      const [wide, high] = [field.clientWidth, field.clientHeight];
      const [left, top] = [field.scrollLeft, field.scrollTop];
      pen.fillStyle = colours.sheet;
      pen.fillRect(0, 0, wide, high);
      const first = [Math.floor(top / size), Math.floor(left / size)];
      const last = [
        Math.min(rows.length, Math.ceil((top + high - header) / size)),
        Math.min(columns.length, Math.ceil((left + wide - gutter) / size)),
      ];
      const x = (column) => gutter + column * size - left;
      const y = (line) => header + line * size - top;
      pen.save();
      pen.beginPath();
      pen.rect(gutter, header, wide - gutter, high - header);
      pen.clip();
      pen.fillStyle = colours.n;
      pen.fillRect(x(first[1]), y(first[0]), (last[1] - first[1]) * size, (last[0] - first[0]) * size);
      const gap = size > 4 ? 1 : 0;
      const bad = [];
      pen.font = `${Math.min(11, size - 3)}px system-ui, sans-serif`;
      pen.textAlign = "center";
      pen.textBaseline = "middle";
      for (let line = first[0]; line < last[0]; line += 1) {
        const from = rows[line];
        pen.globalAlpha = late.has(from) ? 0.4 : 1;
        for (const [to, value] of [...known[from], [from, UNSEEN]]) {
          const column = places[to];
          if (column < first[1] || column >= last[1]) continue;
          const name = letter(value, from === to);
          if (name === "x" || name === "q") bad.push([line, column, name]);
          pen.fillStyle = colours[name];
          pen.fillRect(x(column), y(line), size - gap, size - gap);
          if (size >= 26 && status(value) === ONLINE) {
            pen.fillStyle = "de".includes(name) ? colours.dark : colours.ink;
            pen.fillText(milliseconds(value), x(column) + size / 2, y(line) + size / 2 + 1, size - 3);
          }
        }
      }
      pen.globalAlpha = 1;
      // What is wrong is seen from afar, however small the cells are.
      const least = Math.max(size - gap, 3);
      for (const name of ["q", "x"]) {
        for (const [line, column, found] of bad) {
          if (found !== name) continue;
          pen.fillStyle = colours[name];
          pen.fillRect(x(column), y(line), least, least);
          if (size >= 12) {
            pen.fillStyle = colours.sheet;
            pen.fillText(GLYPHS[name], x(column) + size / 2, y(line) + size / 2 + 1);
          }
        }
      }
      pen.fillStyle = colours.ink;
      for (let line = first[0]; line < last[0]; line += 1) if (rowEdges.has(rows[line])) pen.fillRect(gutter, y(line) - 1, wide, 1);
      for (let column = first[1]; column < last[1]; column += 1) if (columnEdges.has(columns[column])) pen.fillRect(x(column) - 1, header, 1, high);
      if (cursor) {
        pen.strokeStyle = colours.mark;
        pen.lineWidth = 2;
        pen.strokeRect(x(cursor[1]) - 1.5, y(cursor[0]) - 1.5, Math.max(size, 4) + 2, Math.max(size, 4) + 2);
      }
      pen.restore();
      if (gutter) names(first, last, x, y, wide, high);
    };

    const MARKS = { d: "✕ ", g: "▲ ", k: "? ", s: "■ ", n: "○ ", c: "≠ " };

    const names = (first, last, x, y, wide, high) => {
      pen.font = "12px system-ui, sans-serif";
      pen.textAlign = "left";
      const named = (index) => (MARKS[standings[index]] ?? "") + nodes[index][0];
      pen.save();
      pen.beginPath();
      pen.rect(0, header, gutter, high);
      pen.clip();
      for (let line = first[0]; line < last[0]; line += 1) {
        pen.fillStyle = standings[rows[line]] === "u" ? colours.ink : colours.x;
        pen.fillText(named(rows[line]), 6, y(line) + size / 2, gutter - 10);
      }
      pen.restore();
      pen.save();
      pen.beginPath();
      pen.rect(gutter, 0, wide, header);
      pen.clip();
      for (let column = first[1]; column < last[1]; column += 1) {
        pen.fillStyle = standings[columns[column]] === "u" ? colours.ink : colours.x;
        pen.save();
        pen.translate(x(column) + size / 2, header - 5);
        pen.rotate(-Math.PI / 2);
        pen.fillText(named(columns[column]), 0, 0, header - 10);
        pen.restore();
      }
      pen.restore();
    };

    const cellAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left - gutter + field.scrollLeft) / size);
      const line = Math.floor((event.clientY - box.top - header + field.scrollTop) / size);
      const inside = event.clientX - box.left >= gutter && event.clientY - box.top >= header;
      return inside && line >= 0 && line < rows.length && column >= 0 && column < columns.length ? [line, column] : null;
    };

    const move = (to) => {
      cursor = to;
      if (to) tell(rows[to[0]], columns[to[1]]);
      schedule();
    };

    canvas.addEventListener("pointermove", (event) => {
      const found = cellAt(event);
      if (found) move(found);
    });
    canvas.addEventListener("click", (event) => {
      canvas.focus();
      const found = cellAt(event);
      if (found) move(found);
    });
    canvas.addEventListener("dblclick", (event) => {
      const found = cellAt(event);
      if (found) open(rows[found[0]], columns[found[1]]);
    });
    canvas.addEventListener("focus", () => {
      detail.setAttribute("aria-live", "polite");
      if (!cursor) move([0, Math.min(1, columns.length - 1)]);
    });
    canvas.addEventListener("blur", () => detail.setAttribute("aria-live", "off"));
    canvas.addEventListener("keydown", (event) => {
      if (!cursor || event.ctrlKey || event.altKey || event.metaKey) return;
      let [line, column] = cursor;
      switch (event.key) {
        case "ArrowUp": line -= 1; break;
        case "ArrowDown": line += 1; break;
        case "ArrowLeft": column -= 1; break;
        case "ArrowRight": column += 1; break;
        case "PageUp": line -= 20; break;
        case "PageDown": line += 20; break;
        case "Home": column = 0; break;
        case "End": column = columns.length - 1; break;
        case "Enter": open(rows[line], columns[column]); return;
        default: return;
      }
      event.preventDefault();
      line = Math.min(Math.max(line, 0), rows.length - 1);
      column = Math.min(Math.max(column, 0), columns.length - 1);
      // It stays in sight.
      const [wide, high] = [field.clientWidth - gutter, field.clientHeight - header];
      field.scrollLeft = Math.min(Math.max(field.scrollLeft, (column + 1) * size - wide), column * size);
      field.scrollTop = Math.min(Math.max(field.scrollTop, (line + 1) * size - high), line * size);
      move([line, column]);
    });
    field.addEventListener("scroll", schedule, { passive: true });
    zoom.addEventListener("change", measure);
    new ResizeObserver(measure).observe(field);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readColours();
      schedule();
    });
    readColours();

    return { arrange, changed: schedule };
  };

  const view = field ? fieldView() : tableView();
  const behind = field && table ? tableBehind() : null;

  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", (event) => {
    if (event.target.id !== "zoom") reorder();
  });

  document.addEventListener("cells", ({ detail: cells }) => {
    if (cells.nodes) {
      nodes = cells.nodes.map(([id, site]) => [id, site ?? "~"]);
      known = nodes.map(() => new Map());
    }
    const isFirst = Boolean(cells.nodes);
    const changes = [];
    for (const [from, text] of cells.rows) {
      const bytes = atob(text);
      for (let place = 0; place < bytes.length; place += 4) {
        const number = (offset) => bytes.charCodeAt(place + offset) | bytes.charCodeAt(place + offset + 1) << 8;
        const to = number(0);
        known[from].set(to, number(2));
        changes.push([from, to]);
      }
    }
    standings = cells.standings;
    late = new Set(cells.late);
    if (isFirst) reorder();
    view.changed(isFirst ? [] : changes);
    behind?.(changes);
    // The cell that is pointed at may have changed.
    if (changes.some(([from, to]) => shown === `${from} ${to}` || shown === `${to} ${from}`)) {
      const [from, to] = shown.split(" ").map(Number);
      shown = "";
      if (!isFirst && document.hasFocus()) tell(from, to);
    }
  });
})();
