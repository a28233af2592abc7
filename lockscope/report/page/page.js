"use strict";
(() => {
  const all = (query, under = document) => [...under.querySelectorAll(query)];
  const root = document.documentElement;
  const search = document.querySelector("#search");
  const cards = all("details.card");
  const rows = all("tr[data-search]");
  const chosen = new Set();

  const words = (element) => (element.dataset.words ??= element.textContent.toLowerCase());

  const filter = () => {
    const wanted = (search?.value ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (element) => wanted.every((word) => words(element).includes(word));
    let shown = 0;
    for (const card of cards) {
      const keep = (!chosen.size || chosen.has(card.dataset.severity)) && fits(card);
      card.classList.toggle("gone", !keep);
      shown += keep;
    }
    for (const row of rows) row.classList.toggle("gone", !fits(row));
    const count = document.querySelector("#shown");
    if (count) count.textContent = shown === cards.length ? `${shown} shown` : `${shown} of ${cards.length} shown`;
    document.querySelector("#none")?.classList.toggle("gone", shown > 0 || !cards.length);
  };

  search?.addEventListener("input", filter);
  for (const button of all("button[data-severity]")) {
    button.addEventListener("click", () => {
      const severity = button.dataset.severity;
      chosen.has(severity) ? chosen.delete(severity) : chosen.add(severity);
      button.setAttribute("aria-pressed", String(chosen.has(severity)));
      filter();
    });
  }

  const openAll = (open) => cards.forEach((card) => { card.open = open; });
  document.querySelector("#open-all")?.addEventListener("click", () => openAll(true));
  document.querySelector("#close-all")?.addEventListener("click", () => openAll(false));
  let before = [];
  addEventListener("beforeprint", () => {
    before = all("details").map((d) => [d, d.open]);
    before.forEach(([d]) => { d.open = true; });
  });
  addEventListener("afterprint", () => before.forEach(([d, open]) => { d.open = open; }));

  const theme = () => {
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
  };
  document.querySelector("#theme")?.addEventListener("click", theme);

  for (const button of all(".copy button")) {
    button.addEventListener("click", async () => {
      const pre = button.parentElement.querySelector("pre");
      try {
        await navigator.clipboard.writeText(pre.textContent);
        button.textContent = "copied";
      } catch {
        const range = document.createRange();
        range.selectNodeContents(pre);
        getSelection().removeAllRanges();
        getSelection().addRange(range);
        button.textContent = "selected";
      }
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    });
  }

  for (const button of all("th button")) {
    const head = button.closest("th");
    button.addEventListener("click", () => {
      const table = head.closest("table");
      const column = [...head.parentElement.children].indexOf(head);
      const down = head.getAttribute("aria-sort") !== "descending";
      all("th", table).forEach((th) => th.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const value = (row) => {
        const cell = row.children[column];
        return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
      };
      const body = table.tBodies[0];
      [...body.rows]
        .sort((a, b) => {
          const [x, y] = [value(a), value(b)];
          const order = typeof x === "number" ? x - y : x.localeCompare(y);
          return down ? -order : order;
        })
        .forEach((row) => body.append(row));
    });
  }

  const arrive = () => {
    const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    const card = target.closest("details");
    if (card) card.open = true;
    for (let d = target; d; d = d.parentElement) if (d.tagName === "DETAILS") d.open = true;
    if (target.classList.contains("gone")) {
      if (search) search.value = "";
      chosen.clear();
      all("button[data-severity]").forEach((b) => b.setAttribute("aria-pressed", "false"));
      filter();
    }
    target.scrollIntoView();
    (card?.querySelector("summary") ?? target).focus?.({ preventScroll: true });
  };
  addEventListener("hashchange", arrive);

  const sections = all("main > section[id]");
  const links = new Map(all(".bar nav a").map((a) => [a.getAttribute("href").slice(1), a]));
  if ("IntersectionObserver" in window) {
    const seen = new IntersectionObserver((entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        links.forEach((a) => a.classList.remove("here"));
        links.get(entry.target.id)?.classList.add("here");
      }
    }, { rootMargin: "-15% 0px -75% 0px" });
    sections.forEach((section) => seen.observe(section));
  }

  const step = (by) => {
    const shown = cards.filter((card) => !card.classList.contains("gone"));
    const at = shown.findIndex((card) => card.contains(document.activeElement));
    const next = shown[Math.min(Math.max(at + by, 0), shown.length - 1)];
    next?.querySelector("summary").focus();
    next?.scrollIntoView({ block: "start" });
  };
  const help = document.querySelector("#keys");
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, textarea")) {
      if (event.key === "Escape") { search.value = ""; filter(); search.blur(); }
      return;
    }
    const acts = {
      "/": () => search?.focus(), j: () => step(1), k: () => step(-1), t: theme, o: () => openAll(true),
      c: () => openAll(false), "?": () => help?.showModal(),
    };
    if (acts[event.key]) { event.preventDefault(); acts[event.key](); }
  });

  filter();
  arrive();
})();
