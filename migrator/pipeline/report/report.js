"use strict";
// Filters and sorts the entities. Without it everything is there, in the order of the archive.
const tools = document.querySelector(".tools");
const [words, show, sort] = tools.querySelectorAll("input, select");
const hits = tools.querySelector("output");
const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const MAX_OPENED = 100;

const kinds = [...document.querySelectorAll(".kind")].map((node) => ({
  node,
  list: node.querySelector(".list"),
  entities: [...node.querySelectorAll(".entity, .none")].map((entity, place) => {
    const head = entity.querySelector("summary") ?? entity;
    const rows = [...entity.querySelectorAll("tbody tr")];
    const count = (name) => rows.filter((row) => row.classList.contains(name)).length;
    return {
      node: entity, head, rows, place, open: entity.open, id: head.textContent.trim(),
      title: head.textContent.trim().replace(/^\S+\s+/, ""), text: head.textContent.toLowerCase(), unlisted: entity.classList.contains("missing"),
      texts: rows.map((row) => row.textContent.toLowerCase()),
      bytes: Number(entity.dataset.b ?? 0), problems: count("missing") * 1e6 + count("altered"),
    };
  }),
}));

function filter() {
  const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
  const category = show.value;
  const all = !wanted.length && !category;
  let files = 0, entities = 0;
  for (const kind of kinds) {
    let any = false;
    for (const entity of kind.entities) {
      let shown = 0;
      entity.rows.forEach((row, number) => {
        const text = entity.text + "\n" + entity.texts[number];
        const fits = (!category || row.classList.contains(category)) && wanted.every((word) => text.includes(word));
        row.hidden = !fits;
        shown += fits;
      });
      const own = wanted.every((word) => entity.text.includes(word)) &&
        (!category || (category === "missing" && entity.unlisted));
      entity.node.hidden = !shown && !own;
      if (!entity.node.hidden) {
        any = true;
        files += shown;
        entities += 1;
        entity.node.open = all ? entity.open : shown > 0 && entities <= MAX_OPENED;
      }
    }
    kind.node.hidden = !any && !all;
  }
  hits.textContent = all ? "" : `${count(files, "file")} on ${count(entities, "entity", "entities")}`;
}

function count(number, one, many = one + "s") {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

const orders = {
  "": (a, b) => a.place - b.place,
  id: (a, b) => collator.compare(a.id, b.id) || a.place - b.place,
  title: (a, b) => collator.compare(a.title, b.title) || a.place - b.place,
  problems: (a, b) => b.unlisted - a.unlisted || b.problems - a.problems || a.place - b.place,
  files: (a, b) => b.rows.length - a.rows.length || a.place - b.place,
  bytes: (a, b) => b.bytes - a.bytes || a.place - b.place,
};

function reorder() {
  for (const kind of kinds) {
    kind.entities.sort(orders[sort.value]);
    kind.list.append(...kind.entities.map((entity) => entity.node));
  }
}

let waiting;
words.addEventListener("input", () => {
  clearTimeout(waiting);
  waiting = setTimeout(filter, 150);
});
show.addEventListener("change", filter);
sort.addEventListener("change", reorder);
tools.hidden = false;
if (words.value || show.value) filter();
if (sort.value) reorder();
