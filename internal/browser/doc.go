// Package browser runs the browser steps of a journey in real Chromium.
//
// Each run has a Chromium process of its own, in its own process group and with HOME, TMPDIR and profile inside one directory that
// goes when the run closes. The process is warmed up with a tiny page, and the journey then runs in a fresh browser context, so
// that no run sees another's cache, cookies or sockets and the first request is not slow because the process is cold.
//
// Package chromium owns the process and the protocol, package tab the page and what it shows, package traffic the account of its
// requests, package elements finds what a step names, package hand (with keyboard) is the input, package steps plays the steps; this
// package opens and closes the browser of a run.
//
// # The network
//
// A run brings its access network. By a SOCKS5 proxy everything of the page goes through it: frames, workers, WebSockets and popups;
// QUIC, WebRTC's datagrams and look-ups by Chromium itself do not come out. What Chromium cannot know behind a proxy, which is dns,
// connect, the address of the target and why there is no connection, comes from the network's own records. A request on a connection
// that was opened for another, or for none, has no dns and no connect. In a network that the process itself is in, all is
// Chromium's own. What the browser does of its own accord, such as asking for updates, happens outside the run's context and reaches
// nobody. Chromium stands behind the probe, whose emulator it competes with, in priority.
//
// # What a run's steps and servers share
//
// Where a scenario has allowHosts, its pages' requests bear a traceparent of the run's trace: see tab.Trace for which do, how, and what
// that costs. Without allowHosts none does: nobody has said who is to know. Cookies that http steps were given, pages have, and the other
// way round, but for partitioned ones.
//
// # What a step's duration is
//
// DurationMS is the time that a person would wait: from the step's start until its action is done, its navigation has loaded, its
// assertions hold and its extractions have found their values. Of each look that found what it looked for, the time our own scripts
// ran in the page (measured inside it, so that a page too busy to answer is not mistaken for our work), the queries of the
// accessibility tree and the two frames in which we check that an element does not move are subtracted. Time spent waiting for a
// late, covered or disabled element is the page's and counts, looks in vain included; it is known to a poll interval (50 ms,
// waitForElement 100 ms) and one look.
//
// SettledMS runs from the step's start to the last activity before 500 ms without a request in flight; it is nil when the page did
// not become quiet within 2 s of the end of the step (or what settle says), and it is never part of DurationMS. Web vitals are read after that, or after
// the first paint where that is later but still within the 2 s.
//
// Devices are Lighthouse's: desktop is 1350x940, moto-g-power 412x823 at 1.75 with touch and a CPU slowed down four times. Both
// bear the user agent of a plain Chrome.
//
// # What goes wrong
//
// What is wrong with the target (no answer, an error status, an element that never came) is a failed step with its cause.
// Chromium crashing or hanging is a *runs.Fault, and so is a machine without a network, sockets or memory, or a proxy of the run's
// that does not answer: a killed or stopped process of Chromium's, whichever it is, is looked for before a target is blamed.
//
// What a page does to the browser is the target's doing. A script that never yields, a service worker that never answers, a page that
// sends itself on for ever: the step times out. Beyond a limit of what pages may do (memory, bytes, requests, windows, frames and
// workers, dialogs; see Limits) the browser is ended, and that step and every later one fail with class script. Dialogs are dismissed,
// downloads denied, windows over the limit closed; of the last two the step's warnings tell.
//
// A run is tainted when Chromium opened a connection to a host before the first request to it: the predictor, which does so, is off
// in both engines, and each run proves that.
package browser
