importScripts("/service-import.js");
oninstall = (e) => { skipWaiting(); e.waitUntil(caches.open("a").then((c) => c.addAll(["/controlled/precached"]))); };
onactivate = (e) => e.waitUntil(clients.claim());
onfetch = (e) => {
  const path = new URL(e.request.url).pathname;
  if (path.endsWith("/synthetic")) e.respondWith(new Response("made up"));
  else if (path.endsWith("/precached")) e.respondWith(caches.match("/controlled/precached"));
  else if (path.endsWith("/through")) e.respondWith(fetch(e.request));
  else if (path.endsWith("/instead")) e.respondWith(fetch("/controlled/other"));
};
