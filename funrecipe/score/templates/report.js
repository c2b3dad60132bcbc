"use strict";
// Rows come as {id, r: reference tokens, h: hypothesis tokens, o: letters C S I D, c: [cor, sub, ins, del],
// d: seconds, s: speaker, f: flags, a: audio}. Texts only ever become text nodes, never HTML.
const PAGE_ROWS = 100;
const rows = JSON.parse(document.getElementById("data").textContent).map((row) => {
  const [cor, sub, ins, del] = row.c;
  const tokens = cor + sub + del, errors = sub + ins + del;
  const words = Array.from(row.r).join(" ") + "\n" + Array.from(row.h).join(" ");
  return {
    ...row, tokens, errors, sub, ins, del,
    rate: tokens ? 100 * errors / tokens : (errors ? Infinity : 0),
    seconds: row.d ?? -1, speaker: row.s ?? "", flags: (row.f ?? []).join(" "),
    text: words, haystack: (row.id + "\n" + words + "\n" + words.replaceAll(" ", "")).toLowerCase(),
  };
});
const element = (id) => document.getElementById(id);
const body = document.querySelector("#utterances tbody");
const player = element("player");
const state = {key: "errors", direction: -1, page: 0, playing: null};

function fillChoices(select, names) {
  for (const name of [...new Set(names)].sort()) {
    if (name) select.add(new Option(name, name));
  }
  select.parentElement.hidden = select.options.length < 2;
}

function compareRows(a, b) {
  const x = a[state.key], y = b[state.key];
  const order = x < y ? -1 : x > y ? 1 : 0;
  return order * state.direction || (a.id < b.id ? -1 : 1);
}

function selectedRows() {
  const query = element("query").value.trim().toLowerCase();
  const least = Number(element("least").value) || 0;
  const speaker = element("speaker").value, flag = element("flag").value;
  return rows.filter((row) =>
    row.rate >= least && (!query || row.haystack.includes(query)) &&
    (!speaker || row.speaker === speaker) && (!flag || (row.f ?? []).includes(flag))
  ).sort(compareRows);
}

function node(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

// Latin words need a space between them, Chinese characters do not.
function isWide(token) {
  return /^[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]|^[\ud840-\ud8bf]/.test(token);
}

function alignment(row) {
  const cell = node("td", "text");
  const ref = Array.from(row.r), hyp = Array.from(row.h);
  let r = 0, h = 0, previousWide = true;
  for (const op of row.o) {
    const above = op === "I" ? "∅" : ref[r++], below = op === "D" ? "∅" : hyp[h++];
    const wide = isWide(op === "I" ? below : above);
    if (!wide || !previousWide) cell.append(" ");
    previousWide = wide;
    if (op === "C") {
      cell.append(above);
    } else {
      const column = node("span", op);
      column.append(node("i", "", above), node("i", "", below));
      cell.append(column);
    }
  }
  return cell;
}

function play(row) {
  player.src = row.a;
  state.playing = row.id;
  player.play();
  for (const line of body.rows) line.classList.toggle("playing", line.dataset.id === row.id);
}

function tableRow(row) {
  const line = node("tr", row.id === state.playing ? "playing" : "");
  line.dataset.id = row.id;
  const first = node("td");
  if (row.a) {
    const button = node("button", "play", "▶");
    button.setAttribute("aria-label", "play " + row.id);
    button.addEventListener("click", () => play(row));
    first.append(button);
  }
  const rate = Number.isFinite(row.rate) ? row.rate.toFixed(1) : "∞";
  line.append(
    first, node("td", "id", row.id), node("td", "n", rate), node("td", "n", row.errors), node("td", "n", row.tokens),
    node("td", "n", row.sub), node("td", "n", row.ins), node("td", "n", row.del),
    node("td", "n", row.d === undefined ? "" : row.d.toFixed(2)), node("td", "", row.speaker),
    node("td", "", row.flags), alignment(row)
  );
  return line;
}

function render() {
  const selected = selectedRows();
  const pages = Math.max(1, Math.ceil(selected.length / PAGE_ROWS));
  state.page = Math.min(Math.max(0, state.page), pages - 1);
  const start = state.page * PAGE_ROWS, shown = selected.slice(start, start + PAGE_ROWS);
  body.replaceChildren(...shown.map(tableRow));
  element("shown").textContent = selected.length
    ? `${start + 1}–${start + shown.length} of ${selected.length} (${rows.length} in all)` : `none of ${rows.length}`;
  element("previous").disabled = state.page === 0;
  element("next").disabled = state.page === pages - 1;
  for (const head of document.querySelectorAll("#utterances th")) {
    if (head.dataset.key === state.key) {
      head.setAttribute("aria-sort", state.direction > 0 ? "ascending" : "descending");
    } else {
      head.removeAttribute("aria-sort");
    }
  }
}

for (const head of document.querySelectorAll("#utterances th")) {
  if (head.dataset.key === "play") continue;
  head.addEventListener("click", () => {
    const isText = ["id", "speaker", "flags", "text"].includes(head.dataset.key);
    state.direction = head.dataset.key === state.key ? -state.direction : isText ? 1 : -1;
    state.key = head.dataset.key;
    state.page = 0;
    render();
  });
}
for (const id of ["query", "least", "speaker", "flag"]) {
  element(id).addEventListener("input", () => { state.page = 0; render(); });
}
element("previous").addEventListener("click", () => { state.page -= 1; render(); });
element("next").addEventListener("click", () => { state.page += 1; render(); });
fillChoices(element("speaker"), rows.map((row) => row.speaker));
fillChoices(element("flag"), rows.flatMap((row) => row.f ?? []));
player.hidden = !rows.some((row) => row.a);
render();
