// Tells what the web vitals of a page are made of, each thing as soon as it is known: the page may be gone in the next moment. Runs in
// an isolated world of every frame, from the document's start; the main frame's are what counts.
if (self === top) {
  const tell = (...told) =>
    lastmileVitals(JSON.stringify({ origin: performance.timeOrigin, interactions: performance.interactionCount ?? 0, told }));
  const navigation = performance.getEntriesByType("navigation")[0];
  // A page that was drawn ahead of its time began for a person when it was shown.
  const since = (at) => Math.max(0, at - (navigation?.activationStart ?? 0));

  // What an interaction painted belongs to the soft navigation that it made, until the next click or key.
  let soft, early;
  const painted = (entry) => ({ kind: "lcp", value: Math.max(0, (entry.largestContentfulPaint?.renderTime ?? 0) - entry.startTime) });
  for (const type of ["click", "keydown"]) {
    addEventListener(type, (event) => {
      if (event.isTrusted && soft && event.timeStamp > soft.startTime + 1) soft = undefined;
    }, { capture: true, passive: true });
  }

  const readers = {
    paint: (entry) => (entry.name === "first-contentful-paint" ? [{ kind: "fcp", value: since(entry.startTime) }] : []),
    "largest-contentful-paint": (entry) => [{ kind: "lcp", value: since(entry.startTime) }],
    "layout-shift": (entry) => (entry.hadRecentInput ? [] : [{ kind: "shift", at: entry.startTime, value: entry.value }]),
    event: (entry) => (entry.interactionId
      ? [{ kind: "input", id: entry.interactionId, at: entry.startTime, value: entry.duration, last: /^(click|pointerup|keyup)$/.test(entry.name) }] : []),
    "first-input": (entry) => readers.event(entry),
    "interaction-contentful-paint": (entry) => {
      if (soft?.interactionId === entry.interactionId) return [painted(entry)];
      early = entry;
      return [];
    },
    "soft-navigation": (entry) => {
      soft = entry;
      const first = Math.max(0, (entry.presentationTime || entry.paintTime || 0) - entry.startTime);
      const told = [{ kind: "soft", at: entry.startTime, value: first, url: entry.name }];
      if (early?.interactionId === entry.interactionId) told.push(painted(early));
      return told;
    },
  };
  const observer = new PerformanceObserver((list) => {
    const told = list.getEntries().flatMap((entry) => readers[entry.entryType](entry));
    if (told.length) tell(...told);
  });
  for (const type of Object.keys(readers)) observer.observe({ type, buffered: true, durationThreshold: 16 });

  tell({ kind: "begin" }, ...(navigation?.responseStart > 0 ? [{ kind: "ttfb", value: since(navigation.responseStart) }] : []));
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    soft = early = undefined;
    tell({ kind: "begin" }, { kind: "ttfb", value: 0 });
    requestAnimationFrame(() => requestAnimationFrame(() => {
      const value = performance.now() - event.timeStamp;
      tell({ kind: "fcp", value }, { kind: "lcp", value });
    }));
  });
}
