// Finds elements. A selector is an object {kind, text}; a chain is a list of them, each looked for inside the matches of the one
// before (in their open shadow root where they have one); alternatives are chains of which the first with a match wins.
globalThis.lastmile ??= {};
lastmile.find = (() => {
  const limit = 2000;

  const shadows = function* (root) {
    for (const el of root.querySelectorAll("*")) {
      if (el.shadowRoot) yield el.shadowRoot;
    }
  };

  const css = (root, text) => [...root.querySelectorAll(text)];

  const pierce = (root, text) => {
    const found = css(root, text);
    for (const shadow of shadows(root)) found.push(...pierce(shadow, text));
    return found;
  };

  const xpath = (root, text) => {
    if (root instanceof ShadowRoot) return [...root.children].flatMap((child) => xpath(child, text));
    const found = [];
    const matches = document.evaluate(text, root, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE);
    for (let i = 0; i < Math.min(matches.snapshotLength, limit); i++) {
      if (matches.snapshotItem(i) instanceof Element) found.push(matches.snapshotItem(i));
    }
    return found;
  };

  const silent = new Set(["SCRIPT", "STYLE", "HEAD", "NOSCRIPT", "TEMPLATE"]);
  const hasValue = (el) =>
    el instanceof HTMLTextAreaElement || (el instanceof HTMLInputElement && !["checkbox", "radio", "password", "hidden"].includes(el.type));

  // The deepest elements whose text, shadow roots and the values of inputs included, contains the text.
  const text = (root, wanted) => {
    const found = [];
    const walk = (node) => {
      if (node.nodeType === Node.TEXT_NODE) return node.data;
      if (node instanceof Element && silent.has(node.tagName)) return "";
      if (hasValue(node)) {
        if (node.value.includes(wanted)) found.push(node);
        return node.value;
      }
      const before = found.length;
      let content = "";
      for (const child of node.childNodes) content += walk(child);
      if (node.shadowRoot) content += walk(node.shadowRoot);
      if (found.length === before && node instanceof Element && content.includes(wanted)) found.push(node);
      return content;
    };
    for (const child of root.childNodes) walk(child);
    if (found.length === 0 && root instanceof Element && root.textContent.includes(wanted)) found.push(root);
    return found;
  };

  const kinds = { css, pierce, xpath, text };

  const chain = (selectors) => {
    let found = [document];
    for (const { kind, text } of selectors) {
      const next = new Set();
      for (const root of found) {
        for (const el of kinds[kind](root.shadowRoot ?? root, text)) {
          if (next.size < limit) next.add(el);
        }
      }
      found = [...next];
    }
    return found;
  };

  // Whether el is the ancestor or below it, across shadow roots.
  const within = (el, ancestor) => {
    for (let node = el; node; node = node.assignedSlot ?? node.parentNode ?? node.host) {
      if (node === ancestor) return true;
    }
    return false;
  };

  return { chain, within, one: (root, selector) => kinds[selector.kind](root.shadowRoot ?? root, selector.text)[0] ?? null };
})();
