importScripts("/who.js");
const tell = async (port) => { const me = await who(); await fetch("/api/" + location.search.slice(1)); port.postMessage(me); };
if (location.search === "?worker") tell(self);
onconnect = (e) => tell(e.ports[0]);
oninstall = () => skipWaiting();
onmessage = (e) => e.ports[0] && tell(e.ports[0]);
