// Package chromium starts Chromium processes, speaks the DevTools protocol with them over a pipe, and leaves nothing of them behind.
//
// Each Browser is a process group of its own with HOME, TMPDIR and profile inside one directory, which goes at Close together with
// every process of the group, whatever state they are in. A watchdog kills a browser that stops answering, and what broke a
// browser is told apart from what is wrong with the pages it shows.
//
// A probe that is killed cannot tidy up. The kernel then kills the browsers that it started, and what is left (helpers that hang, the
// directories) goes at the next start of a probe of the same user and temporary directory, or within ten minutes where one runs: each
// run directory is locked by its probe, and says which process group works in it.
//
// What pages may take of the machine is limited (see Limits). Memory is looked at twice a second and needs no rights; control groups,
// where a container or a unit has them, stand behind that as a bound for the probe as a whole. A renderer that the kernel kills for
// want of memory below our own limit is a crash of the browser's: the machine was too small.
//
// chromedp gives the pipe transport and cdproto the typed protocol. The session layer is ours: one goroutine reads replies and
// events in the order in which Chromium sent them, for all targets.
package chromium
