importScripts("/worker-import.js");
const sub = new Worker("/sub-worker.js");
sub.onmessage = async () => { await fetch("/from-worker"); const s = new WebSocket("ws://localhost:PORT/ws/worker"); s.onmessage = () => postMessage("done"); };
