fetch("/from-sub-worker").then(() => postMessage("done"))
