// A service worker that asks another host while it is installed.
oninstall = e => e.waitUntil(fetch(`http://service.test:${location.port}/answer.txt`, { mode: "no-cors" }));
