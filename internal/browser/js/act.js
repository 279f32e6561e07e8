// Looks at the elements that find.js found and prepares them for input. Each operation takes candidates, a list of [index of the
// alternative, elements], and returns what it saw; cost is the milliseconds that it kept the page from its own work.
lastmile.act = (() => {
  // True after a frame was drawn, false where none came in time: on a hidden page, or on a machine that is too busy to draw.
  const frame = () =>
    Promise.race([
      new Promise((done) => requestAnimationFrame(() => done(true))),
      new Promise((done) => setTimeout(() => done(false), 250)),
    ]);
  const twoFrames = 34; // ms at 60 Hz

  const visible = (el) => {
    if (!el.isConnected || !el.checkVisibility({ visibilityProperty: true })) return false;
    const box = el.getBoundingClientRect();
    return box.width > 0 && box.height > 0;
  };

  const disabled = (el) => el.matches(":disabled") || el.closest('[aria-disabled="true"]') !== null;

  // A phone may show only a part of the layout, or all of it scaled down: what counts is what can be seen.
  const inside = (x, y) => {
    const { offsetLeft, offsetTop, width, height } = visualViewport;
    return x >= offsetLeft && y >= offsetTop && x < offsetLeft + width && y < offsetTop + height;
  };

  // The point to press: the offset from the box's corner, else the middle of the first piece of the element.
  const pointOf = (el, offset) => {
    const box = el.getBoundingClientRect();
    const piece = [...el.getClientRects()].find((r) => r.width > 0 && r.height > 0) ?? box;
    const point = { x: piece.left + piece.width / 2, y: piece.top + piece.height / 2 };
    if (offset.x !== null) point.x = box.left + offset.x;
    if (offset.y !== null) point.y = box.top + offset.y;
    return point;
  };

  const topmost = (x, y) => {
    let el = document.elementFromPoint(x, y);
    while (el?.shadowRoot) {
      const deeper = el.shadowRoot.elementFromPoint(x, y);
      if (!deeper || deeper === el) break;
      el = deeper;
    }
    return el;
  };

  const describe = (el) => {
    if (!el) return "nothing";
    return el.tagName.toLowerCase() + (el.id ? "#" + el.id : [...el.classList].slice(0, 2).map((c) => "." + c).join(""));
  };

  const sameBox = (a, b) => a.x === b.x && a.y === b.y && a.width === b.width && a.height === b.height;

  // An animation that has not drawn its first frame yet is about to move what has stood still so far.
  const starting = (el) => {
    for (let node = el; node; node = node.parentElement) {
      if (node.getAnimations().some((animation) => animation.pending)) return true;
    }
    return false;
  };

  // The element to press for el: itself, or its label where a page hides the control behind it.
  const pressable = (el) => (visible(el) ? el : [...(el.labels ?? [])].find(visible));

  const check = async (el, { press, offset }, spent) => {
    const shown = pressable(el);
    if (!shown) return { state: "hidden" };
    if (disabled(el)) return { state: "disabled" };
    let point = pointOf(shown, offset);
    if (!inside(point.x, point.y)) {
      shown.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    }
    const before = shown.getBoundingClientRect();
    spent.pause();
    const waiting = performance.now();
    const drawn = (await frame()) && (await frame());
    spent.resume();
    if (!drawn && !document.hidden) return { state: "moving" }; // who has not seen it drawn cannot say that it stands still
    if (!shown.isConnected || starting(shown) || !sameBox(before, shown.getBoundingClientRect())) return { state: "moving" };
    spent.add(Math.min(performance.now() - waiting, twoFrames)); // more than that is the page being busy
    point = pointOf(shown, offset);
    if (press) {
      if (!inside(point.x, point.y)) return { state: "outside the viewport" };
      const hit = topmost(point.x, point.y);
      const label = hit?.closest("label");
      if (!lastmile.find.within(hit, shown) && !(label && label.control === el)) return { state: "covered", by: describe(hit) };
    }
    lastmile.current = el;
    const { offsetLeft, offsetTop } = visualViewport;
    return { state: "ready", kind: kindOf(el), x: point.x - offsetLeft, y: point.y - offsetTop };
  };

  // Measures our own work in the page: pauses are the page's.
  const meter = () => {
    let from = performance.now();
    let total = 0;
    return {
      pause: () => (total += performance.now() - from),
      resume: () => (from = performance.now()),
      add: (ms) => (total += ms),
      read: () => total + performance.now() - from,
    };
  };

  const typed = new Set(["text", "url", "tel", "search", "password", "number", "email"]);
  const kindOf = (el) => {
    if (el instanceof HTMLSelectElement) return "select";
    if (el instanceof HTMLTextAreaElement || el.isContentEditable) return "text";
    if (!(el instanceof HTMLInputElement)) return "none";
    if (el.type === "checkbox" || el.type === "radio") return "toggle";
    return typed.has(el.type) ? "text" : "value";
  };

  const operations = {
    // Whether an element is ready for input, and where.
    locate: async (candidates, options, spent) => {
      let seen = { state: "missing" };
      for (const [index, elements] of candidates) {
        const el = elements.find(visible) ?? elements[0];
        if (!el) continue;
        const result = { ...(await check(el, options, spent)), index };
        if (result.state === "ready") return result;
        if (seen.state === "missing") seen = result;
      }
      return seen;
    },
    // How many elements the first alternative with any has.
    count: (candidates) => {
      for (const [index, elements] of candidates) {
        if (elements.length > 0) {
          return { state: "found", index, total: elements.length, visible: elements.filter(visible).length };
        }
      }
      return { state: "missing", total: 0, visible: 0 };
    },
    // The text of the first element: an input's value, else what a person reads.
    read: (candidates) => {
      for (const [index, elements] of candidates) {
        const el = elements.find(visible) ?? elements[0];
        if (el) return { state: "found", index, text: (el.value ?? el.innerText ?? el.textContent ?? "").toString().trim() };
      }
      return { state: "missing" };
    },
  };

  const run = async (operation, options, candidates) => {
    const spent = meter();
    const result = await operations[operation](candidates(), options, spent);
    return { ...result, cost: spent.read() };
  };

  return {
    search: (operation, options, alternatives) =>
      run(operation, options, () => alternatives.map(({ index, chain }) => [index, lastmile.find.chain(chain)])),
    given: (operation, options, index, ...elements) => run(operation, options, () => [[index, elements]]),
  };
})();
