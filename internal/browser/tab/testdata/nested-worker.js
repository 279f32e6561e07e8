fetch("/from-nested-worker").then(() => postMessage("done"))
