// Finds elements. A part of a selector is an object {kind, text, via}; a chain is a list of them, each looked for inside the matches of
// the one before. via says where inside: "" in the open shadow root where there is one, "deep" in all shadow roots below too, "same"
// in the match itself.
lastmile.find = (() => {
  const limit = 2000;

  const shadows = function* (root) {
    for (const el of root.querySelectorAll("*")) {
      if (el.shadowRoot) {
        yield el.shadowRoot;
        yield* shadows(el.shadowRoot);
      }
    }
  };

  const css = (root, text, via) => {
    if (via !== "same" || !root.parentElement) return root.querySelectorAll(text);
    if (/^[-\w*\P{ASCII}]/u.test(text)) return root.querySelectorAll(text);
    const place = [...root.parentElement.children].indexOf(root) + 1; // the rest of a selector whose beginning is the root
    return root.parentElement.querySelectorAll(`:scope>:nth-child(${place})${text}`);
  };

  const xpath = (root, text) => {
    if (root instanceof ShadowRoot) return [...root.children].flatMap((child) => xpath(child, text));
    const found = [];
    const matches = document.evaluate(text, root, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE);
    for (let i = 0; i < Math.min(matches.snapshotLength, limit); i++) {
      const node = matches.snapshotItem(i);
      if (node instanceof Element) found.push(node);
      else if (node instanceof Text && node.parentElement) found.push(node.parentElement);
    }
    return found;
  };

  const silent = new Set(["SCRIPT", "STYLE", "HEAD", "NOSCRIPT", "TEMPLATE"]);
  const hasValue = (el) =>
    el instanceof HTMLTextAreaElement || (el instanceof HTMLInputElement && !["checkbox", "radio", "password", "hidden", "image"].includes(el.type));

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
    if (root instanceof Element) {
      walk(root);
    } else {
      for (const child of root.childNodes) walk(child);
    }
    return found;
  };

  const kinds = { css, xpath, text };

  const places = function* (root, via) {
    const inner = via === "same" ? root : (root.shadowRoot ?? root);
    yield inner;
    if (via === "deep") yield* shadows(inner);
  };

  // The way down to an element, as the numbers of children; shadow trees come after the children of their host.
  const address = (el) => {
    const steps = [];
    for (let node = el; node; ) {
      let before = 0;
      for (let other = node.previousSibling; other; other = other.previousSibling) before++;
      steps.unshift(node instanceof ShadowRoot ? Infinity : before);
      node = node.parentNode ?? node.host;
    }
    return steps;
  };

  const inOrder = (elements) =>
    elements
      .map((el) => [el, address(el)])
      .sort(([, a], [, b]) => {
        for (let i = 0; i < Math.min(a.length, b.length); i++) {
          if (a[i] !== b[i]) return a[i] - b[i];
        }
        return a.length - b.length;
      })
      .map(([el]) => el);

  // All matches of the last part, in the order of the document.
  const chain = (parts, roots = [document]) => {
    let found = roots;
    for (const { kind, text, via } of parts) {
      const next = new Set();
      let sources = 0;
      for (const root of found) {
        for (const place of places(root, via)) {
          sources++;
          for (const el of kinds[kind](place, text, via)) {
            if (next.size < limit) next.add(el);
          }
        }
      }
      found = sources > 1 && next.size > 1 && next.size < limit ? inOrder([...next]) : [...next];
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

  return { chain, within };
})();
