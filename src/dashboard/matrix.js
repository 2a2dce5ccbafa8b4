// The interactive matrix: updates its cells, sorts rows and columns, and shows both directions of the selected pair. A
// small network has a table; a larger one has a canvas, and the table remains for screen readers.
"use strict";

(() => {
  const section = document.getElementById("matrix");
  if (!section) return;

  const table = section.querySelector("table");
  const viewport = section.querySelector(".matrix-canvas");
  const detail = document.getElementById("pair");
  const base = (viewport ?? table).dataset.base;
  const controls = section.querySelector(".controls");

  // Id and site of each node.
  let nodes = [];
  // For each observer a map from target to value: with rings, a node observes few others.
  let observations = [];
  // A letter for each node.
  let statuses = "";
  // The observers whose report is too old.
  let outdated = new Set();

  const status = (value) => value >> 14;
  const microseconds = (value) => 2 ** ((value & 0x3fff) / 32) - 1;
  const NOT_REPORTED = 0;
  const ONLINE = 1;
  const OFFLINE = 2;
  const STATUS_TEXTS = ["nothing reported", "online", "offline", "unknown"];

  const cellClass = (value, isOwn) => {
    if (isOwn) return "m";
    switch (status(value)) {
      case NOT_REPORTED: return "n";
      case OFFLINE: return "x";
      case ONLINE: {
        const us = microseconds(value);
        return us <= 1000 ? "a" : us <= 10000 ? "b" : us <= 50000 ? "c" : us <= 200000 ? "d" : "e";
      }
      default: return "q";
    }
  };

  // Two significant digits, the precision of a value.
  const milliseconds = (value) => {
    const ms = microseconds(value) / 1000;
    return ms < 9.95 ? ms.toPrecision(2) : ms < 1000 ? ms.toFixed(0) : `${(ms / 1000).toPrecision(2)}k`;
  };

  const cellText = (value, isOwn) => {
    if (isOwn) return "–";
    if (status(value) === NOT_REPORTED) return "·";
    return status(value) === ONLINE && value & 0x3fff ? milliseconds(value) : STATUS_TEXTS[status(value)];
  };

  const valueOf = (from, to) => observations[from]?.get(to) ?? 0;

  // The order of rows and columns.

  // Sort keys; the smallest comes first. The values are those that a node reports, or that others report about it.
  const weightOf = {
    worst: (values) => -values.filter((value) => status(value) > ONLINE).length,
    slowest: (values) => {
      const times = values.filter((value) => status(value) === ONLINE).map(microseconds);
      return times.length ? -times.reduce((sum, time) => sum + time, 0) / times.length : 1;
    },
  };

  const sorted = (by, isRow) => {
    const order = nodes.map((_, index) => index);
    if (by === "site") order.sort((a, b) => nodes[a][1] < nodes[b][1] ? -1 : nodes[a][1] > nodes[b][1] ? 1 : a - b);
    else if (weightOf[by]) {
      const values = nodes.map(() => []);
      observations.forEach((row, from) => row.forEach((value, to) => values[isRow ? from : to].push(value)));
      const weights = values.map(weightOf[by]);
      order.sort((a, b) => weights[a] - weights[b] || a - b);
    }
    return order;
  };

  // If sorted by site, the first node of each site except the first site.
  const siteEdges = (order, by) => new Set(
    by === "site" ? order.filter((index, position) => position && nodes[index][1] !== nodes[order[position - 1]][1]) : []);

  let rows = [];
  let columns = [];
  let rowEdges = new Set();
  let columnEdges = new Set();

  const sort = () => {
    const [byRow, byColumn] = [controls.elements.rows.value, controls.elements.columns.value];
    rows = sorted(byRow, true);
    columns = sorted(byColumn, false);
    rowEdges = siteEdges(rows, byRow);
    columnEdges = siteEdges(columns, byColumn);
    view.arrange();
  };

  // Both directions of a pair: first the values of the matrix, then all details from the node.

  let pairTimer;
  let shownPair = "";

  const showPair = (from, to) => {
    if (from === to || from < 0 || to < 0 || !nodes.length) return;
    const key = `${from} ${to}`;
    if (key === shownPair) return;
    shownPair = key;
    const direction = (a, b) => {
      const value = valueOf(a, b);
      const rtt = status(value) === ONLINE && value & 0x3fff ? `, ${milliseconds(value)} ms` : "";
      return `${nodes[a][0]} → ${nodes[b][0]}: ${STATUS_TEXTS[status(value)]}${rtt}`;
    };
    const paragraph = document.createElement("p");
    paragraph.textContent = `${direction(from, to)}; ${direction(to, from)}`;
    detail.replaceChildren(paragraph);
    clearTimeout(pairTimer);
    pairTimer = setTimeout(() => fetchPair(from, to, key), 150);
  };

  const fetchPair = async (from, to, key) => {
    const page = new URL(`${base}/link/${nodes[from][0]}/${nodes[to][0]}`, location.href);
    const { root, path } = document.body.dataset;
    try {
      const reply = await fetch(`${root}live${path}/link/${nodes[from][0]}/${nodes[to][0]}`, { cache: "no-store" });
      if (!reply.ok || key !== shownPair) return;
      const { regions } = await reply.json();
      const html = regions.find(([name]) => name === "pair")?.[2];
      if (!html || key !== shownPair) return;
      detail.innerHTML = html;
      // The links are relative to the page of the pair.
      for (const link of detail.querySelectorAll("a[href]")) link.href = new URL(link.getAttribute("href"), page);
      document.dispatchEvent(new Event("times"));
    } catch {
      // The summary from the matrix remains, and a banner shows that the node does not answer.
    }
  };

  const openPair = (from, to) => {
    if (from !== to) location.href = `${base}/link/${nodes[from][0]}/${nodes[to][0]}`;
  };

  // The table: its cells are elements, which screen readers read, and which can be focused and searched.

  const tableView = () => {
    table.setAttribute("role", "grid");
    const [headRow] = table.tHead.rows;
    const columnHeads = [...headRow.cells].slice(1);
    const tableRows = [...table.tBodies[0].rows];
    const rowHeads = tableRows.map((row) => row.cells[0]);
    const cells = tableRows.map((row) => [...row.cells].slice(1));
    // Observer and target of each cell; a target of -1 is the name of the observer.
    const positions = new Map();
    cells.forEach((row, from) => row.forEach((cell, to) => positions.set(cell, [from, to])));
    rowHeads.forEach((head, from) => positions.set(head.firstElementChild, [from, -1]));

    // The only cell in the tab order.
    let tabStop;
    const setTabStop = (element) => {
      if (tabStop) tabStop.tabIndex = -1;
      tabStop = element;
      tabStop.tabIndex = 0;
    };
    for (const head of rowHeads) head.firstElementChild.tabIndex = -1;
    setTabStop(rowHeads[0].firstElementChild);

    const cellPosition = (event) => positions.get(event.target.closest("td, th a"));
    table.addEventListener("pointerover", (event) => {
      const position = cellPosition(event);
      if (position) showPair(...position);
    });
    table.addEventListener("focusin", (event) => {
      const position = cellPosition(event);
      if (!position) return;
      setTabStop(event.target);
      showPair(...position);
    });
    table.addEventListener("click", (event) => {
      const position = cellPosition(event);
      if (!position || position[1] < 0) return;
      event.target.closest("td").focus();
      showPair(...position);
    });
    table.addEventListener("dblclick", (event) => {
      const position = cellPosition(event);
      if (position && position[1] >= 0) openPair(...position);
    });
    table.addEventListener("keydown", (event) => {
      const position = cellPosition(event);
      if (!position || event.ctrlKey || event.altKey || event.metaKey) return;
      const [from, to] = position;
      let [row, column] = [rows.indexOf(from), columns.indexOf(to)];
      switch (event.key) {
        case "ArrowUp": row -= 1; break;
        case "ArrowDown": row += 1; break;
        case "ArrowLeft": column -= 1; break;
        case "ArrowRight": column += 1; break;
        case "Home": column = -1; break;
        case "End": column = columns.length - 1; break;
        case "Enter":
          if (to >= 0) {
            event.preventDefault();
            openPair(from, to);
          }
          return;
        default: return;
      }
      event.preventDefault();
      row = Math.min(Math.max(row, 0), rows.length - 1);
      column = Math.min(Math.max(column, -1), columns.length - 1);
      (column < 0 ? rowHeads[rows[row]].firstElementChild : cells[rows[row]][columns[column]]).focus();
    });

    const drawCell = (from, to) => {
      const cell = cells[from][to];
      const value = valueOf(from, to);
      const className = cellClass(value, from === to) + (columnEdges.has(to) ? " edge" : "");
      if (cell.className !== className) cell.className = className;
      const text = cellText(value, from === to);
      if (cell.textContent !== text) cell.textContent = text;
    };

    return {
      arrange() {
        const focused = document.activeElement;
        table.tBodies[0].append(...rows.map((from) => tableRows[from]));
        headRow.append(...columns.map((to) => columnHeads[to]));
        tableRows.forEach((row, from) => {
          row.append(...columns.map((to) => cells[from][to]));
          row.classList.toggle("edge", rowEdges.has(from));
          for (let to = 0; to < nodes.length; to += 1) drawCell(from, to);
        });
        columnHeads.forEach((head, to) => head.classList.toggle("edge", columnEdges.has(to)));
        for (const cell of positions.keys()) if (cell.tagName === "TD" && cell !== tabStop) cell.tabIndex = -1;
        if (table.contains(focused)) focused.focus();
      },
      update(changes) {
        for (const [from, to] of changes) drawCell(from, to);
        tableRows.forEach((row, from) => {
          row.classList.toggle("outdated", outdated.has(from));
          rowHeads[from].dataset.status = statuses[from];
          columnHeads[from].dataset.status = statuses[from];
        });
      },
    };
  };

  // The hidden table beside a canvas, for screen readers.

  const hiddenTableUpdater = () => {
    table.parentElement.className = "visually-hidden";
    const tableRows = [...table.tBodies[0].rows];
    for (const row of tableRows) row.cells[0].firstElementChild.tabIndex = -1;
    return (changes) => {
      for (const [from, to] of changes) {
        const text = cellText(valueOf(from, to), from === to);
        const cell = tableRows[from].cells[to + 1];
        if (cell.textContent !== text) cell.textContent = text;
      }
    };
  };

  // The canvas: only visible cells are drawn.

  const canvasView = () => {
    const canvas = viewport.querySelector("canvas");
    const scrollArea = document.createElement("div");
    const zoom = document.getElementById("zoom");
    const context = canvas.getContext("2d", { alpha: false });
    scrollArea.className = "scroll-area";
    viewport.append(scrollArea);
    viewport.hidden = false;
    const pairList = section.querySelector(".pair-list");
    if (pairList) pairList.open = false;
    canvas.setAttribute("role", "application");
    canvas.removeAttribute("aria-labelledby");
    canvas.setAttribute("aria-label", "Matrix: the arrow keys move from cell to cell, Enter opens a pair");

    let colours = {};
    let cellSize = 1;
    // The width of the row labels and the height of the column labels.
    let [labelWidth, labelHeight] = [0, 0];
    // Row and column of the selected cell.
    let cursor = null;
    let frameRequest = 0;

    const readColours = () => {
      const style = getComputedStyle(document.documentElement);
      const names = ["a", "b", "c", "d", "e", "x", "q", "n", "m"].map((name) => [name, `--cell-${name}`]);
      for (const [name, variable] of [...names, ["text", "--text"], ["surface", "--surface"], ["cursor", "--link"], ["textOnDark", "--cell-text"]]) {
        colours[name] = style.getPropertyValue(variable).trim();
      }
    };

    const schedule = () => {
      if (!frameRequest) frameRequest = requestAnimationFrame(draw);
    };

    // The column of each node.
    let columnOf = [];

    const arrange = () => {
      columnOf = [];
      columns.forEach((index, column) => { columnOf[index] = column; });
      resize();
    };

    const resize = () => {
      const [width, height] = [viewport.clientWidth, viewport.clientHeight];
      cellSize = zoom.value === "fit" ? Math.max(1, Math.floor(Math.min(width, height) / Math.max(1, nodes.length))) : Number(zoom.value);
      [labelWidth, labelHeight] = cellSize >= 12 ? [150, 110] : [0, 0];
      const matrixSize = cellSize * nodes.length;
      scrollArea.style.width = `${labelWidth + matrixSize}px`;
      scrollArea.style.height = `${labelHeight + matrixSize}px`;
      const scale = window.devicePixelRatio || 1;
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      context.setTransform(scale, 0, 0, scale, 0, 0);
      schedule();
    };

    const GLYPHS = { x: "✕", q: "?" };

    const draw = () => {
      frameRequest = 0;
      const [width, height] = [viewport.clientWidth, viewport.clientHeight];
      const [left, top] = [viewport.scrollLeft, viewport.scrollTop];
      context.fillStyle = colours.surface;
      context.fillRect(0, 0, width, height);
      const first = [Math.floor(top / cellSize), Math.floor(left / cellSize)];
      const last = [
        Math.min(rows.length, Math.ceil((top + height - labelHeight) / cellSize)),
        Math.min(columns.length, Math.ceil((left + width - labelWidth) / cellSize)),
      ];
      const x = (column) => labelWidth + column * cellSize - left;
      const y = (row) => labelHeight + row * cellSize - top;
      context.save();
      context.beginPath();
      context.rect(labelWidth, labelHeight, width - labelWidth, height - labelHeight);
      context.clip();
      context.fillStyle = colours.n;
      context.fillRect(x(first[1]), y(first[0]), (last[1] - first[1]) * cellSize, (last[0] - first[0]) * cellSize);
      const gap = cellSize > 4 ? 1 : 0;
      const notOnline = [];
      context.font = `${Math.min(11, cellSize - 3)}px system-ui, sans-serif`;
      context.textAlign = "center";
      context.textBaseline = "middle";
      for (let row = first[0]; row < last[0]; row += 1) {
        const from = rows[row];
        context.globalAlpha = outdated.has(from) ? 0.4 : 1;
        for (const [to, value] of [...observations[from], [from, NOT_REPORTED]]) {
          const column = columnOf[to];
          if (column < first[1] || column >= last[1]) continue;
          const name = cellClass(value, from === to);
          if (name === "x" || name === "q") notOnline.push([row, column, name]);
          context.fillStyle = colours[name];
          context.fillRect(x(column), y(row), cellSize - gap, cellSize - gap);
          if (cellSize >= 26 && status(value) === ONLINE) {
            context.fillStyle = "de".includes(name) ? colours.textOnDark : colours.text;
            context.fillText(milliseconds(value), x(column) + cellSize / 2, y(row) + cellSize / 2 + 1, cellSize - 3);
          }
        }
      }
      context.globalAlpha = 1;
      // Cells that are not online remain visible, however small the others are.
      const minSize = Math.max(cellSize - gap, 3);
      for (const name of ["q", "x"]) {
        for (const [row, column, cellName] of notOnline) {
          if (cellName !== name) continue;
          context.fillStyle = colours[name];
          context.fillRect(x(column), y(row), minSize, minSize);
          if (cellSize >= 12) {
            context.fillStyle = colours.surface;
            context.fillText(GLYPHS[name], x(column) + cellSize / 2, y(row) + cellSize / 2 + 1);
          }
        }
      }
      context.fillStyle = colours.text;
      for (let row = first[0]; row < last[0]; row += 1) if (rowEdges.has(rows[row])) context.fillRect(labelWidth, y(row) - 1, width, 1);
      for (let column = first[1]; column < last[1]; column += 1) if (columnEdges.has(columns[column])) context.fillRect(x(column) - 1, labelHeight, 1, height);
      if (cursor) {
        context.strokeStyle = colours.cursor;
        context.lineWidth = 2;
        context.strokeRect(x(cursor[1]) - 1.5, y(cursor[0]) - 1.5, Math.max(cellSize, 4) + 2, Math.max(cellSize, 4) + 2);
      }
      context.restore();
      if (labelWidth) drawLabels(first, last, x, y, width, height);
    };

    const STATUS_SYMBOLS = { d: "✕ ", g: "▲ ", k: "? ", s: "■ ", n: "○ ", c: "≠ " };

    const drawLabels = (first, last, x, y, width, height) => {
      context.font = "12px system-ui, sans-serif";
      context.textAlign = "left";
      const labelOf = (index) => (STATUS_SYMBOLS[statuses[index]] ?? "") + nodes[index][0];
      context.save();
      context.beginPath();
      context.rect(0, labelHeight, labelWidth, height);
      context.clip();
      for (let row = first[0]; row < last[0]; row += 1) {
        context.fillStyle = statuses[rows[row]] === "u" ? colours.text : colours.x;
        context.fillText(labelOf(rows[row]), 6, y(row) + cellSize / 2, labelWidth - 10);
      }
      context.restore();
      context.save();
      context.beginPath();
      context.rect(labelWidth, 0, width, labelHeight);
      context.clip();
      for (let column = first[1]; column < last[1]; column += 1) {
        context.fillStyle = statuses[columns[column]] === "u" ? colours.text : colours.x;
        context.save();
        context.translate(x(column) + cellSize / 2, labelHeight - 5);
        context.rotate(-Math.PI / 2);
        context.fillText(labelOf(columns[column]), 0, 0, labelHeight - 10);
        context.restore();
      }
      context.restore();
    };

    const cellAt = (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left - labelWidth + viewport.scrollLeft) / cellSize);
      const row = Math.floor((event.clientY - box.top - labelHeight + viewport.scrollTop) / cellSize);
      const inside = event.clientX - box.left >= labelWidth && event.clientY - box.top >= labelHeight;
      return inside && row >= 0 && row < rows.length && column >= 0 && column < columns.length ? [row, column] : null;
    };

    const moveCursor = (cell) => {
      cursor = cell;
      if (cell) showPair(rows[cell[0]], columns[cell[1]]);
      schedule();
    };

    canvas.addEventListener("pointermove", (event) => {
      const cell = cellAt(event);
      if (cell) moveCursor(cell);
    });
    canvas.addEventListener("click", (event) => {
      canvas.focus();
      const cell = cellAt(event);
      if (cell) moveCursor(cell);
    });
    canvas.addEventListener("dblclick", (event) => {
      const cell = cellAt(event);
      if (cell) openPair(rows[cell[0]], columns[cell[1]]);
    });
    canvas.addEventListener("focus", () => {
      detail.setAttribute("aria-live", "polite");
      if (!cursor) moveCursor([0, Math.min(1, columns.length - 1)]);
    });
    canvas.addEventListener("blur", () => detail.setAttribute("aria-live", "off"));
    canvas.addEventListener("keydown", (event) => {
      if (!cursor || event.ctrlKey || event.altKey || event.metaKey) return;
      let [row, column] = cursor;
      switch (event.key) {
        case "ArrowUp": row -= 1; break;
        case "ArrowDown": row += 1; break;
        case "ArrowLeft": column -= 1; break;
        case "ArrowRight": column += 1; break;
        case "PageUp": row -= 20; break;
        case "PageDown": row += 20; break;
        case "Home": column = 0; break;
        case "End": column = columns.length - 1; break;
        case "Enter": openPair(rows[row], columns[column]); return;
        default: return;
      }
      event.preventDefault();
      row = Math.min(Math.max(row, 0), rows.length - 1);
      column = Math.min(Math.max(column, 0), columns.length - 1);
      // Scrolls the selected cell into view.
      const [width, height] = [viewport.clientWidth - labelWidth, viewport.clientHeight - labelHeight];
      viewport.scrollLeft = Math.min(Math.max(viewport.scrollLeft, (column + 1) * cellSize - width), column * cellSize);
      viewport.scrollTop = Math.min(Math.max(viewport.scrollTop, (row + 1) * cellSize - height), row * cellSize);
      moveCursor([row, column]);
    });
    viewport.addEventListener("scroll", schedule, { passive: true });
    zoom.addEventListener("change", resize);
    new ResizeObserver(resize).observe(viewport);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      readColours();
      schedule();
    });
    readColours();

    return { arrange, update: schedule };
  };

  const view = viewport ? canvasView() : tableView();
  const updateHiddenTable = viewport && table ? hiddenTableUpdater() : null;

  controls.hidden = false;
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", (event) => {
    if (event.target.id !== "zoom") sort();
  });

  document.addEventListener("cells", ({ detail: cells }) => {
    if (cells.nodes) {
      nodes = cells.nodes.map(([id, site]) => [id, site ?? "~"]);
      observations = nodes.map(() => new Map());
    }
    const isFirst = Boolean(cells.nodes);
    const changes = [];
    for (const [from, text] of cells.rows) {
      const bytes = atob(text);
      for (let start = 0; start < bytes.length; start += 4) {
        const number = (offset) => bytes.charCodeAt(start + offset) | bytes.charCodeAt(start + offset + 1) << 8;
        const to = number(0);
        observations[from].set(to, number(2));
        changes.push([from, to]);
      }
    }
    statuses = cells.statuses;
    outdated = new Set(cells.outdated);
    if (isFirst) sort();
    view.update(isFirst ? [] : changes);
    updateHiddenTable?.(changes);
    // The shown pair may have changed.
    if (changes.some(([from, to]) => shownPair === `${from} ${to}` || shownPair === `${to} ${from}`)) {
      const [from, to] = shownPair.split(" ").map(Number);
      shownPair = "";
      if (!isFirst && document.hasFocus()) showPair(from, to);
    }
  });
})();
