// What a browser says of itself, wherever this runs.
async function who() {
  const data = navigator.userAgentData;
  const high = await data.getHighEntropyValues(["model", "platformVersion", "fullVersionList", "formFactors"]);
  const format = Intl.DateTimeFormat().resolvedOptions();
  const place = navigator.geolocation &&
    await new Promise((done) => navigator.geolocation.getCurrentPosition((p) => done(`${p.coords.latitude} ${p.coords.longitude} ${p.coords.accuracy}`), (e) => done(e.message)));
  return {
    agent: navigator.userAgent, platform: navigator.platform, language: navigator.languages.join() + " " + navigator.language + " " + format.locale,
    zone: format.timeZone, brands: data.brands.map((b) => b.brand + " " + b.version).join(), mobile: String(data.mobile), hint: data.platform,
    model: `${high.model} ${high.platformVersion} ${high.formFactors}`, full: high.fullVersionList.length + "",
    screen: globalThis.screen ? `${screen.width}x${screen.height}@${devicePixelRatio} ${navigator.maxTouchPoints}` : "", place: place ?? "",
  };
}
