// Looks at the elements that find.js found and prepares them for input. Each operation takes candidates, a list of [index of the
// alternative, elements], and returns what it saw; cost is the milliseconds that it kept the page from its own work. Points are from
// the corner of the frame's viewport.
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

  // An animation that has not drawn its first frame yet, or is at its very beginning in this one, is about to move what has stood still so far.
  const starting = (el) => {
    for (let node = el; node; node = node.parentElement) {
      if (node.getAnimations().some((a) => a.pending || (a.playState === "running" && a.currentTime === 0))) return true;
    }
    return false;
  };

  // The element to press for el: itself, or its label where a page hides the control behind it.
  const pressable = (el) => (visible(el) ? el : [...(el.labels ?? [])].find(visible));

  // Brings a point of an element into view, where it is not.
  const bring = (el, offset) => {
    if (parent !== window) el.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" }); // the frame, too
    let point = pointOf(el, offset);
    if (inside(point.x, point.y)) return;
    el.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
    point = pointOf(el, offset); // of something larger than the viewport
    if (!inside(point.x, point.y)) scrollBy({ left: point.x - innerWidth / 2, top: point.y - innerHeight / 2, behavior: "instant" });
  };

  const check = async (el, { press, enabled, offset }, spent) => {
    const shown = pressable(el);
    if (!shown) return { state: "hidden" };
    if (enabled && disabled(el)) return { state: "disabled" };
    bring(shown, offset);
    const before = shown.getBoundingClientRect();
    spent.pause();
    const waiting = performance.now();
    const drawn = (await frame()) && (await frame());
    spent.resume();
    if (!drawn && !document.hidden) return { state: "moving" }; // who has not seen it drawn cannot say that it stands still
    if (!shown.isConnected || starting(shown) || !sameBox(before, shown.getBoundingClientRect())) return { state: "moving" };
    spent.add(Math.min(performance.now() - waiting, twoFrames)); // more than that is the page being busy
    const point = pointOf(shown, offset);
    if (press) {
      if (!inside(point.x, point.y)) return { state: "outside the viewport" };
      const hit = topmost(point.x, point.y);
      const label = hit?.closest("label");
      if (!lastmile.find.within(hit, shown) && !(label && label.control === el)) return { state: "covered", by: describe(hit) };
    }
    current = el;
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

  let current; // the element that was last found ready

  const typed = new Set(["text", "url", "tel", "search", "password", "number", "email"]);
  const kindOf = (el) => {
    if (el instanceof HTMLSelectElement) return "select";
    if (el instanceof HTMLTextAreaElement) return "text";
    if (el instanceof HTMLInputElement) {
      if (el.type === "checkbox" || el.type === "radio") return "toggle";
      return typed.has(el.type) ? "text" : "value";
    }
    if (["checkbox", "radio", "switch"].includes(el.getAttribute("role"))) return "toggle";
    return el.isContentEditable ? "text" : "none";
  };

  const hasValue = (el) => [HTMLInputElement, HTMLTextAreaElement, HTMLSelectElement, HTMLOutputElement].some((kind) => el instanceof kind);

  // Whether b has all that a has, all the way down.
  const has = (a, b) => {
    if (a === b) return true;
    if (!(a instanceof Object) || !(b instanceof Object)) return false;
    return Object.entries(a).every(([key, value]) => has(value, b[key]));
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
    // How many elements the first alternative with any has, and whether all of them are as wanted.
    count: (candidates, { shown, attributes, properties }) => {
      for (const [index, elements] of candidates) {
        if (elements.length === 0) continue;
        const visibles = elements.filter(visible);
        const every = (shown ? visibles : elements).every(
          (el) => Object.entries(attributes ?? {}).every(([name, value]) => el.getAttribute(name) === value) && has(properties ?? {}, el),
        );
        return { state: "found", index, total: elements.length, visible: visibles.length, every };
      }
      return { state: "missing", total: 0, visible: 0, every: true };
    },
    // The text of the first element: an attribute, else an input's value, else what a person reads.
    read: (candidates, { attribute }) => {
      for (const [index, elements] of candidates) {
        const el = elements.find(visible) ?? elements[0];
        if (!el) continue;
        const text = attribute ? el.getAttribute(attribute) : (hasValue(el) ? el.value : (el.innerText ?? el.textContent ?? "")).trim();
        return text === null ? { state: "bare", index } : { state: "found", index, text: text.slice(0, longest) };
      }
      return { state: "missing" };
    },
  };
  const longest = 1 << 20; // characters of a text

  const run = async (operation, options, candidates) => {
    const spent = meter();
    const result = await operations[operation](candidates(), options, spent);
    return { ...result, cost: spent.read() };
  };

  // The matches of the alternatives; one that cannot be understood has none, unless none of them can.
  const searched = (alternatives) => {
    const errors = [];
    const found = alternatives.flatMap(({ index, chain }) => {
      try {
        return [[index, lastmile.find.chain(chain)]];
      } catch (error) {
        errors.push(error);
        return [];
      }
    });
    if (found.length === 0 && errors.length > 0) throw errors[0];
    return found;
  };

  return {
    frame,
    visible,
    current: () => current,
    search: (operation, options, alternatives) => run(operation, options, () => searched(alternatives)),
    // Goes on from what the accessibility tree found: the matches of the rest of a chain below it.
    given: (operation, options, index, rest, ...roots) => run(operation, options, () => [[index, lastmile.find.chain(rest, roots)]]),
    // Where a point of a frame is in this document, which has the frame's element, and whether it can be pressed there.
    through: (owner, x, y, press) => {
      const spent = meter();
      const at = () => {
        const box = owner.getBoundingClientRect();
        const style = getComputedStyle(owner);
        const scale = owner.offsetWidth > 0 ? box.width / owner.offsetWidth : 1;
        return {
          x: box.left + (owner.clientLeft + parseFloat(style.paddingLeft) + x) * scale,
          y: box.top + (owner.clientTop + parseFloat(style.paddingTop) + y) * scale,
        };
      };
      const point = at();
      const { offsetLeft, offsetTop } = visualViewport;
      const say = (state, by) => ({ state, by, x: point.x - offsetLeft, y: point.y - offsetTop, cost: spent.read() });
      if (!visible(owner)) return say("in a hidden frame");
      if (press && !inside(point.x, point.y)) {
        owner.scrollIntoView({ block: "center", inline: "center", behavior: "instant" });
        const { x: left, y: top } = at();
        if (!inside(left, top)) scrollBy({ left: left - innerWidth / 2, top: top - innerHeight / 2, behavior: "instant" });
        return say("outside the viewport");
      }
      const hit = press ? topmost(point.x, point.y) : owner;
      return hit === owner ? say("ready") : say("covered", describe(hit));
    },
  };
})();
