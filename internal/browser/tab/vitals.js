// Collects the paint vitals of a document from its start. Runs in an isolated world of every frame; only the main frame's count.
if (self === top) {
  const found = (globalThis.lastmileVitals = {});
  const activated = () => performance.getEntriesByType("navigation")[0]?.activationStart ?? 0;
  const watch = (type, take) => {
    const observer = new PerformanceObserver((list) => list.getEntries().forEach(take));
    observer.observe({ type, buffered: true });
    return () => observer.takeRecords().forEach(take);
  };
  const flushes = [
    watch("paint", (entry) => {
      if (entry.name === "first-contentful-paint") found.fcp = entry.startTime - activated();
    }),
    watch("largest-contentful-paint", (entry) => {
      found.lcp = entry.startTime - activated();
    }),
  ];
  found.read = () => {
    flushes.forEach((flush) => flush());
    const navigation = performance.getEntriesByType("navigation")[0];
    const ttfb = navigation?.responseStart > 0 ? navigation.responseStart - activated() : undefined;
    return { ttfb_ms: ttfb, fcp_ms: found.fcp, lcp_ms: found.lcp };
  };
}
