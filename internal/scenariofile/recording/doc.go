// Package recording reads and writes the files of Chrome DevTools Recorder: JSON <-> scenario.Scenario.
//
// A recording survives the way into a scenario and back whole: what means nothing here (unknown keys, the URL and title of an asserted event,
// which Recorder's own runner does not look at), and what we would write in another way, is kept under the scenario's, the step's or the
// event's key recorder. On the way back a kept spelling counts only while it means what the step says, so that who edits the step need not
// know of it.
//
// What a recording may hold is what @puppeteer/replay reads; where that ignores a value, so do we. Refused beyond that is what could
// not be run: a URL, key, expression or name that is empty, a viewport without a size, a frame below zero, a count that is not whole.
// A recording's texts are no templates: a ${ in them becomes $${ here.
package recording
