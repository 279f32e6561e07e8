package tab

// Problems counts what has gone wrong in the current step, whether it matters to the page or not: errors on the consoles, uncaught
// exceptions among them, and requests of the step that got no answer, or one of status 400 and over. What Chromium writes on a
// console because a request failed counts as a failed request only.
func (t *Tab) Problems() (consoleErrors, failedRequests int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.console.errors, t.traffic.Failures()
}
