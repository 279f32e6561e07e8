// Package chromium starts Chromium processes, speaks the DevTools protocol with them over a pipe, and leaves nothing of them behind.
//
// Each Browser is a process group of its own with HOME, TMPDIR and profile inside one directory, which goes at Close together with
// every process of the group, whatever state they are in. A watchdog kills a browser that stops answering, and what broke a
// browser is told apart from what is wrong with the pages it shows.
//
// chromedp gives the pipe transport and cdproto the typed protocol. The session layer is ours: one goroutine reads replies and
// events in the order in which Chromium sent them, for all targets.
package chromium
