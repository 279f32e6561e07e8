fetch("/answer.txt").then((r) => r.text()).then((text) => postMessage(text.trim()));
