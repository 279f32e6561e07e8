importScripts("/shared-import.js"); onconnect = async (e) => { await fetch("/from-shared"); e.ports[0].postMessage("done"); }
