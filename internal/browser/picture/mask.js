// Finds what no picture may show in one frame. It runs in an isolated world, reads the document and changes nothing, so that the page
// cannot tell. The result has the boxes to cover in CSS pixels of the frame's layout viewport; all = cover the whole frame.
({ secrets, selectors, beginnings }, ...closedRoots) => {
  const maxBoxes = 2000;
  const bare = (text) => text.replace(/[\s\u00ad\u200b-\u200d\u2060\ufeff]+/g, "").toLowerCase();
  // What a secret alone decides of the base64 of something that it is a part of, at each of the three alignments.
  const cores = (secret) => {
    const bytes = String.fromCharCode(...new TextEncoder().encode(secret));
    return [0, 1, 2].map((before) =>
      btoa("\0".repeat(before) + bytes).slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6)));
  };
  const forms = new Set();
  for (const secret of secrets) {
    forms.add(bare(secret)).add(bare(encodeURIComponent(secret)));
    for (const core of cores(secret)) forms.add(core.toLowerCase()).add(core.replaceAll("+", "-").replaceAll("/", "_").toLowerCase());
  }
  forms.delete("");
  // While a secret is typed, pages repeat what there is of it so far.
  const begins = 4;
  const sign = (form) => (beginnings ? form.slice(0, begins) : form);
  const has = (text) => {
    const plain = bare(text);
    for (const form of forms) if (plain.includes(sign(form))) return true;
    return false;
  };
  const sequence = (bytes) => {
    try {
      return decodeURIComponent(bytes);
    } catch {
      return bytes;
    }
  };
  const decode = (text) => text.replaceAll("+", " ").replace(/(%[0-9a-f]{2})+/gi, sequence)
    .replace(/\\(?:u([0-9a-f]{4})|x([0-9a-f]{2})|(["'\\\/]))/gi, (_, u, x, plain) => plain ?? String.fromCharCode(parseInt(u ?? x, 16)));
  // Encoded texts are looked at decoded, once and twice over.
  const encoded = (text) => /[%\\+]/.test(text) && (has(decode(text)) || has(decode(decode(text))));
  const telling = (text) => Boolean(text) && forms.size > 0 && (has(text) || encoded(text));

  const state = (globalThis.lastmileMask ??= { sightings: 0, observed: new WeakSet() });
  // What shows up and is gone before the next look is counted: a picture taken in between would have shown it.
  state.tell = (records) => {
    for (const record of records) {
      const nodes = record.type === "childList" ? [...record.addedNodes, ...(record.addedNodes.length ? [record.target] : [])] : [record.target.parentNode];
      if (nodes.some((node) => node && (node.nodeType === Node.TEXT_NODE ? telling(node.data) : node.childElementCount < 200 && telling(node.textContent)))) {
        state.sightings++;
      }
    }
  };
  state.observer ??= new MutationObserver((records) => state.tell(records));

  const roots = [];
  const boxes = [];
  let all = false;
  const cover = (rects) => {
    for (const { x, y, width, height } of rects) {
      if (width > 0 && height > 0) boxes.push([x, y, width, height]);
    }
    if (boxes.length > maxBoxes) all = true;
  };
  const coverElement = (el) => cover(el.getClientRects());

  const guarded = /(^|\s)(cc-\S*|one-time-code|current-password|new-password)(\s|$)/i;
  const shownAttributes = ["value", "placeholder", "alt", "label", "style"];
  const drawn = ["IMG", "IMAGE", "SOURCE", "VIDEO", "OBJECT", "EMBED", "INPUT"]; // by what the address says: it may be drawn there
  const generated = (el) => {
    for (const pseudo of ["::before", "::after", "::marker"]) {
      if (telling(getComputedStyle(el, pseudo).content)) all = true;
    }
  };
  const element = (el) => {
    const field = el instanceof HTMLInputElement || el instanceof HTMLTextAreaElement;
    if (
      (el instanceof HTMLInputElement && el.type === "password") ||
      (field && (guarded.test(el.autocomplete) || telling(el.value))) ||
      (el instanceof HTMLSelectElement && [...el.selectedOptions].some((option) => telling(option.text))) ||
      globalThis.lastmile?.secret?.has(el)
    ) {
      coverElement(el);
      return;
    }
    if (forms.size === 0) return;
    let hidden = false;
    for (const { name, value } of el.attributes) {
      if (value.length < 6 || !telling(value)) continue;
      if (shownAttributes.includes(name) || drawn.includes(el.nodeName.toUpperCase())) {
        coverElement(el);
        for (const one of el.nodeName === "SOURCE" ? (el.parentElement?.querySelectorAll("img") ?? []) : []) coverElement(one);
      }
      else hidden = true;
    }
    if (hidden) generated(el);
  };

  // Texts are looked at together, so that a secret in pieces (a span for each letter) is found too.
  const coverText = (node) => {
    const range = document.createRange();
    range.selectNodeContents(node);
    const rects = range.getClientRects();
    if (rects.length > 0) cover(rects);
    else if (node.parentElement) coverElement(node.parentElement);
  };
  const texts = (nodes) => {
    for (const node of nodes) if (encoded(node.data)) coverText(node);
    let together = "";
    const ends = nodes.map((node) => (together += bare(node.data)).length);
    for (const form of forms) {
      for (let at = together.indexOf(sign(form)); at >= 0; at = together.indexOf(sign(form), at + 1)) {
        let length = sign(form).length;
        while (length < form.length && together[at + length] === form[length]) length++;
        let i = 0;
        for (let low = 0, high = ends.length; low < high; i = low) {
          const middle = (low + high) >> 1;
          if (ends[middle] > at) high = middle;
          else low = middle + 1;
        }
        for (; i < nodes.length && (i === 0 ? 0 : ends[i - 1]) < at + length; i++) {
          coverText(nodes[i]);
        }
        if (all) return;
      }
    }
  };

  const walk = (root) => {
    roots.push(root);
    if (!state.observed.has(root)) {
      state.observed.add(root);
      state.observer.observe(root, { subtree: true, childList: true, characterData: true });
    }
    const nodes = [];
    const walker = document.createTreeWalker(root, NodeFilter.SHOW_ELEMENT | NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node && !all; node = walker.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) {
        if (forms.size > 0 && !["SCRIPT", "STYLE", "NOSCRIPT"].includes(node.parentNode?.nodeName)) nodes.push(node);
        continue;
      }
      element(node);
      if (node.shadowRoot) walk(node.shadowRoot);
    }
    if (!all) texts(nodes);
  };
  walk(document);
  for (const root of closedRoots) walk(root);

  // Selectors are taken generously: in every root, whatever their kind.
  const below = (node, ancestor) => {
    for (; node; node = node.assignedSlot ?? node.parentNode ?? node.host) if (node === ancestor) return true;
    return false;
  };
  const names = (el) => {
    const out = [el.getAttribute("aria-label"), el.getAttribute("title"), el.getAttribute("placeholder"), el.getAttribute("alt"), el.textContent];
    for (const id of (el.getAttribute("aria-labelledby") ?? "").split(/\s+/)) if (id) out.push(el.getRootNode().getElementById?.(id)?.textContent);
    for (const label of el.labels ?? []) out.push(label.textContent);
    return out.filter(Boolean).map((name) => name.replace(/\s+/g, " ").trim());
  };
  const deepest = (found) => found.filter((el) => !found.some((other) => other !== el && el.contains(other)));
  const kinds = {
    css: (root, text) => [...root.querySelectorAll(text)],
    xpath: (root, text) => {
      if (root !== document) return [...root.children].flatMap((child) => kinds.xpathBelow(child, text));
      return kinds.xpathBelow(root, text);
    },
    xpathBelow: (root, text) => {
      const found = document.evaluate(text, root, null, XPathResult.ORDERED_NODE_SNAPSHOT_TYPE);
      return Array.from({ length: found.snapshotLength }, (_, i) => found.snapshotItem(i)).filter((node) => node instanceof Element);
    },
    text: (root, text) => deepest([...root.querySelectorAll("*")].filter((el) => (el.value ?? el.textContent ?? "").toString().includes(text))),
    aria: (root, text) => deepest([...root.querySelectorAll("*")].filter((el) => names(el).includes(text))),
  };
  kinds.pierce = kinds.css;
  for (const chain of selectors) {
    let found = null;
    for (const { kind, text } of chain) {
      const matches = roots.flatMap((root) => kinds[kind](root, text));
      found = found === null ? matches : matches.filter((el) => found.some((outer) => outer !== el && below(el, outer)));
    }
    for (const el of found ?? []) {
      coverElement(el);
      if (el.getClientRects().length === 0) for (const child of el.querySelectorAll("*")) coverElement(child);
    }
  }
  state.tell(state.observer.takeRecords());
  const view = window.visualViewport;
  return {
    boxes: all ? [] : boxes, all, sightings: state.sightings,
    left: view?.offsetLeft ?? 0, top: view?.offsetTop ?? 0, width: view?.width ?? innerWidth, height: view?.height ?? innerHeight,
  };
}
